//! The dialogue. Numbers are those of the moment of the login; what is marked goes at QUIT.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::config::{Pop3Extension, TlsMode};
use crate::dispatch;
use crate::script::Effects;
use crate::state::{CommandRecord, Protocol, Shared, State};
use crate::wire::{Wire, cut};

/// The timestamp in the greeting.
pub(super) const STAMP: &str = "<1896.697170952@localhost>";

#[derive(Debug)]
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) shared: Arc<Shared>,
    pub(super) named: Option<String>,
    id: u64,
    effects: Effects,
    /// UIDs in the order of their numbers; none before the login.
    maildrop: Option<Vec<u32>>,
    marked: BTreeSet<u32>,
    ended: bool,
}

impl Session {
    pub(super) fn new(stream: TcpStream, id: u64, shared: Arc<Shared>) -> Self {
        Self {
            wire: Wire::new(stream),
            shared,
            named: None,
            id,
            effects: Effects::default(),
            maildrop: None,
            marked: BTreeSet::new(),
            ended: false,
        }
    }

    pub(super) fn has(&self, extension: Pop3Extension) -> bool {
        self.shared.read(|state| state.config.pop3_extensions.has(extension))
    }

    /// Runs the dialogue to its end.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        if let Some(tls) = self.shared.read(|state| state.config.tls(TlsMode::Implicit)) {
            self.wire.start_tls(&tls).await?;
        }
        self.effects = self.shared.update(|s| s.effects(Protocol::Pop3, "GREETING", b""));
        dispatch::before(&self.shared, self.id, &mut self.wire, &self.effects).await?;
        let refusal = self.effects.refuse.take();
        let stamp = if self.has(Pop3Extension::Apop) { STAMP } else { "" };
        self.reply(&refusal.unwrap_or_else(|| format!("+OK ready {stamp}"))).await?;
        while !self.ended {
            self.wire.limit(None);
            if !self.wire.has_input() {
                self.wire.flush().await?;
            }
            let Some(line) = self.wire.line().await? else { return Ok(()) };
            self.command(&line).await?;
        }
        self.wire.flush().await
    }

    /// Takes the maildrop as it is now.
    pub(super) fn open(&mut self) {
        let uids = self.shared.read(|state| {
            let inbox = state.mailboxes.get("INBOX");
            let uids = inbox.into_iter().flat_map(|m| m.messages.keys().copied());
            match state.config.pop3_window {
                None => uids.collect(),
                Some(n) => uids.filter(|uid| !state.pop3_seen.contains(uid)).take(n).collect(),
            }
        });
        self.maildrop = Some(uids);
    }

    async fn command(&mut self, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line).into_owned();
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let verb = verb.to_ascii_uppercase();
        let record = CommandRecord {
            protocol: Protocol::Pop3,
            connection: self.id,
            tag: String::new(),
            name: verb.clone(),
            line: text.clone(),
            selected: None,
            read_only: false,
        };
        self.effects = self.shared.update(|state| {
            state.commands.push(record);
            state.effects(Protocol::Pop3, &verb, line)
        });
        dispatch::before(&self.shared, self.id, &mut self.wire, &self.effects).await?;
        if let Some(text) = self.effects.refuse.take() {
            return self.reply(&text).await;
        }
        if self.effects.reply.is_some() {
            return self.reply("").await;
        }
        match (verb.as_str(), self.maildrop.is_some()) {
            ("CAPA", _) => self.capa().await,
            ("QUIT", _) => self.quit().await,
            ("STLS", false) => self.start_tls().await,
            ("UTF8", false) if self.has(Pop3Extension::Utf8) => self.reply("+OK").await,
            ("USER", false) => self.user(rest).await,
            ("PASS", false) => self.pass(rest).await,
            ("APOP", false) if self.has(Pop3Extension::Apop) => self.apop(rest).await,
            ("AUTH", false) => self.authenticate(rest).await,
            ("STAT", true) => self.stat().await,
            ("LIST", true) => self.list(|message| message.bytes.len().to_string()).await,
            ("UIDL", true) if self.has(Pop3Extension::Uidl) => {
                self.list(|message| format!("id{:08x}", message.uid)).await
            }
            ("TOP", true) if self.has(Pop3Extension::Top) => self.message(rest, true).await,
            ("RETR", true) => self.message(rest, false).await,
            ("DELE", true) => self.mark(rest).await,
            ("NOOP", true) => self.reply("+OK").await,
            ("RSET", true) => {
                self.marked.clear();
                self.reply("+OK").await
            }
            _ => self.reply("-ERR unknown command").await,
        }
    }

    async fn capa(&mut self) -> io::Result<()> {
        if !self.has(Pop3Extension::Capa) {
            return self.reply("-ERR unknown command").await;
        }
        let mut lines: Vec<String> = Vec::new();
        for (extension, line) in [
            (Pop3Extension::User, "USER"),
            (Pop3Extension::Uidl, "UIDL"),
            (Pop3Extension::Top, "TOP"),
            (Pop3Extension::Pipelining, "PIPELINING"),
            (Pop3Extension::Utf8, "UTF8 USER"),
        ] {
            if self.has(extension) {
                lines.push(line.to_owned());
            }
        }
        let mechanisms = [
            (Pop3Extension::AuthPlain, " PLAIN"),
            (Pop3Extension::AuthLogin, " LOGIN"),
            (Pop3Extension::AuthXOAuth2, " XOAUTH2"),
            (Pop3Extension::AuthOAuthBearer, " OAUTHBEARER"),
        ];
        let offered: String =
            mechanisms.iter().filter(|(e, _)| self.has(*e)).map(|(_, name)| *name).collect();
        if !offered.is_empty() {
            lines.push(format!("SASL{offered}"));
        }
        if let Some(seconds) = self.shared.read(|state| state.config.pop3_login_delay) {
            lines.push(format!("LOGIN-DELAY {seconds}"));
        }
        let tls = self.shared.read(|state| state.config.tls(TlsMode::StartTls));
        if tls.is_some() && !self.wire.is_tls() {
            lines.push("STLS".to_owned());
        }
        lines.push("RESP-CODES".to_owned());
        self.lines("+OK here it is", lines.into_iter().map(String::into_bytes)).await
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        let tls = self.shared.read(|state| state.config.tls(TlsMode::StartTls));
        let Some(tls) = tls.filter(|_| !self.wire.is_tls()) else {
            return self.reply("-ERR not offered").await;
        };
        self.reply("+OK begin TLS").await?;
        self.named = None;
        self.wire.start_tls(&tls).await
    }

    /// The messages that are there, by number.
    fn there(&self) -> Vec<(usize, crate::mailbox::Message)> {
        let maildrop = self.maildrop.clone().unwrap_or_default();
        self.shared.read(|state| {
            let inbox = state.mailboxes.get("INBOX");
            let message = |uid: &u32| inbox.and_then(|m| m.messages.get(uid)).cloned();
            let unmarked =
                maildrop.iter().enumerate().filter(|(_, uid)| !self.marked.contains(uid));
            unmarked.filter_map(|(at, uid)| Some((at + 1, message(uid)?))).collect()
        })
    }

    async fn stat(&mut self) -> io::Result<()> {
        let there = self.there();
        let octets: usize = there.iter().map(|(_, m)| m.bytes.len()).sum();
        self.reply(&format!("+OK {} {octets}", there.len())).await
    }

    async fn list(&mut self, tell: impl Fn(&crate::mailbox::Message) -> String) -> io::Result<()> {
        let lines: Vec<Vec<u8>> = self
            .there()
            .iter()
            .map(|(number, message)| format!("{number} {}", tell(message)).into_bytes())
            .collect();
        self.lines("+OK", lines.into_iter()).await
    }

    fn find(&self, rest: &str) -> Option<crate::mailbox::Message> {
        let number = rest.split_ascii_whitespace().next()?.parse::<usize>().ok()?;
        let uid = *self.maildrop.as_ref()?.get(number.checked_sub(1)?)?;
        let is_marked = self.marked.contains(&uid);
        let inbox = |state: &State| state.mailboxes.get("INBOX")?.messages.get(&uid).cloned();
        self.shared.read(inbox).filter(|_| !is_marked)
    }

    async fn message(&mut self, rest: &str, only_head: bool) -> io::Result<()> {
        let Some(message) = self.find(rest) else {
            return self.reply("-ERR no such message").await;
        };
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut bytes = &message.bytes[..];
        while !bytes.is_empty() {
            let end = bytes.windows(2).position(|pair| pair == b"\r\n");
            let (line, next) = match end {
                Some(end) => (bytes.get(..end), bytes.get(end + 2..)),
                None => (Some(bytes), None),
            };
            let line = line.unwrap_or_default();
            let stuffing: &[u8] = if line.starts_with(b".") { b"." } else { b"" };
            lines.push([stuffing, line].concat());
            bytes = next.unwrap_or_default();
            if only_head && line.is_empty() {
                break;
            }
        }
        if !only_head {
            self.shared.quietly(|state| state.pop3_seen.insert(message.uid));
        }
        self.lines(&format!("+OK {} octets", message.bytes.len()), lines.into_iter()).await
    }

    async fn mark(&mut self, rest: &str) -> io::Result<()> {
        match self.find(rest) {
            None => self.reply("-ERR no such message").await,
            Some(message) => {
                self.marked.insert(message.uid);
                self.reply("+OK marked").await
            }
        }
    }

    async fn quit(&mut self) -> io::Result<()> {
        self.ended = true;
        let marked = std::mem::take(&mut self.marked);
        self.shared.update(|state| {
            if let Some(inbox) = state.mailboxes.get_mut("INBOX") {
                marked.iter().for_each(|uid| drop(inbox.expunge(*uid)));
            }
        });
        self.reply("+OK see you").await
    }

    /// Sends a status line, or what a rule puts in its place.
    pub(super) async fn reply(&mut self, text: &str) -> io::Result<()> {
        if let Some(rule) = self.effects.hang_after {
            self.wire.flush().await?;
            dispatch::hang(&self.shared, self.id, rule).await;
        }
        if self.effects.cut_after {
            self.wire.flush().await?;
            return Err(cut());
        }
        let raw = self.effects.reply.take().or_else(|| self.effects.tagged_raw.take());
        if let Some(raw) = raw {
            return self.wire.send(&raw).await;
        }
        let text = self.effects.tagged.take().unwrap_or_else(|| text.to_owned());
        self.send(format!("{text}\r\n").into_bytes()).await
    }

    /// Sends an answer of several lines. One that a rule refuses ends with its status line.
    async fn lines(
        &mut self,
        status: &str,
        lines: impl Iterator<Item = Vec<u8>>,
    ) -> io::Result<()> {
        let is_refused = self.effects.tagged.as_ref().is_some_and(|text| !text.starts_with('+'));
        let is_raw = self.effects.tagged_raw.is_some();
        self.reply(status).await?;
        if is_refused || is_raw {
            return Ok(());
        }
        for mut line in lines {
            line.extend_from_slice(b"\r\n");
            self.send(line).await?;
        }
        self.send(b".\r\n".to_vec()).await
    }

    async fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        match self.effects.distort(bytes) {
            Some(bytes) => self.wire.send(&bytes).await,
            None => Ok(()),
        }
    }
}
