//! The dialogue up to DATA.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::config::{SmtpExtension, TlsMode};
use crate::dispatch;
use crate::script::Effects;
use crate::state::{CommandRecord, Protocol, Shared};
use crate::wire::{Wire, cut};

/// The transaction between MAIL and the end of DATA.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) sender: String,
    pub(super) parameters: String,
    pub(super) recipients: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) user: Option<String>,
    pub(super) transaction: Option<Transaction>,
    pub(super) effects: Effects,
    /// `None` before EHLO or HELO.
    extended: Option<bool>,
    ended: bool,
}

impl Session {
    pub(super) fn new(stream: TcpStream, id: u64, shared: Arc<Shared>) -> Self {
        Self {
            wire: Wire::new(stream),
            shared,
            id,
            user: None,
            transaction: None,
            effects: Effects::default(),
            extended: None,
            ended: false,
        }
    }

    /// Returns whether the extension is on, and the client said EHLO.
    pub(super) fn has(&self, extension: SmtpExtension) -> bool {
        self.extended == Some(true)
            && self.shared.read(|state| state.config.smtp_extensions.has(extension))
    }

    /// Runs the dialogue to its end.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        if let Some(tls) = self.shared.read(|state| state.config.tls(TlsMode::Implicit)) {
            self.wire.start_tls(&tls).await?;
        }
        self.effects = self.shared.update(|s| s.effects(Protocol::Smtp, "GREETING", b""));
        dispatch::before(&self.shared, self.id, &mut self.wire, &self.effects).await?;
        let refusal = self.effects.refuse.take();
        self.reply(refusal.as_deref().unwrap_or("220 localhost ESMTP ready")).await?;
        while !self.ended {
            self.wire.limit(None);
            if !self.wire.has_input() {
                self.wire.flush().await?;
            }
            let Some(line) = self.wire.line().await? else {
                return Ok(());
            };
            self.command(&line).await?;
        }
        self.wire.flush().await
    }

    /// Records a command and collects what the rules do to it.
    pub(super) fn record(&mut self, name: &str, line: &[u8]) {
        let record = CommandRecord {
            protocol: Protocol::Smtp,
            connection: self.id,
            tag: String::new(),
            name: name.to_owned(),
            line: String::from_utf8_lossy(line).into_owned(),
            selected: None,
            read_only: false,
        };
        self.effects = self.shared.update(|state| {
            state.commands.push(record);
            state.effects(Protocol::Smtp, name, line)
        });
    }

    async fn command(&mut self, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line).into_owned();
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let verb = verb.to_ascii_uppercase();
        self.record(&verb, line);
        dispatch::before(&self.shared, self.id, &mut self.wire, &self.effects).await?;
        let early = self.effects.refuse_early.take();
        if let Some(text) = self.effects.refuse.take().or(early) {
            return self.reply(&text).await;
        }
        if self.effects.reply.is_some() {
            return self.reply("").await;
        }
        match verb.as_str() {
            "EHLO" => self.greet(true).await,
            "HELO" => self.greet(false).await,
            "AUTH" => self.authenticate(rest).await,
            "STARTTLS" => self.start_tls().await,
            "MAIL" => self.mail(rest).await,
            "RCPT" => self.recipient(rest).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.transaction = None;
                self.reply("250 2.0.0 reset").await
            }
            "NOOP" => self.reply("250 2.0.0 done").await,
            "VRFY" => self.reply("252 2.5.0 send some mail, I will try").await,
            "QUIT" => {
                self.ended = true;
                self.reply("221 2.0.0 see you").await
            }
            _ => self.reply("500 5.5.2 unknown command").await,
        }
    }

    /// Sends a reply (lines without their ends), or what a rule puts in its place.
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
        let scripted = self.effects.tagged.take();
        let mut text = scripted.unwrap_or_else(|| self.plain_codes(text));
        text.push_str("\r\n");
        match self.effects.distort(text.into_bytes()) {
            Some(bytes) => self.wire.send(&bytes).await,
            None => Ok(()),
        }
    }

    /// Takes the enhanced status code out of a single-line reply where it is not offered.
    fn plain_codes(&self, text: &str) -> String {
        let words: Vec<&str> = text.splitn(3, ' ').collect();
        match words.as_slice() {
            [code, enhanced, rest]
                if !self.has(SmtpExtension::EnhancedStatusCodes)
                    && enhanced.split('.').count() == 3 =>
            {
                format!("{code} {rest}")
            }
            _ => text.to_owned(),
        }
    }

    async fn greet(&mut self, extended: bool) -> io::Result<()> {
        self.extended = Some(extended);
        self.transaction = None;
        let mut lines = vec!["localhost".to_owned()];
        let max = self.shared.read(|state| state.config.smtp_bytes_max);
        for (extension, line) in [
            (SmtpExtension::Pipelining, "PIPELINING".to_owned()),
            (SmtpExtension::Size, format!("SIZE {max}")),
            (SmtpExtension::EightBitMime, "8BITMIME".to_owned()),
            (SmtpExtension::EnhancedStatusCodes, "ENHANCEDSTATUSCODES".to_owned()),
            (SmtpExtension::SmtpUtf8, "SMTPUTF8".to_owned()),
            (SmtpExtension::Dsn, "DSN".to_owned()),
        ] {
            if self.has(extension) {
                lines.push(line);
            }
        }
        let plain = self.has(SmtpExtension::AuthPlain).then_some("PLAIN");
        let login = self.has(SmtpExtension::AuthLogin).then_some("LOGIN");
        let token = self.has(SmtpExtension::AuthXOAuth2).then_some("XOAUTH2");
        let mechanisms: Vec<&str> = plain.into_iter().chain(login).chain(token).collect();
        if !mechanisms.is_empty() {
            lines.push(format!("AUTH {}", mechanisms.join(" ")));
        }
        let offered = self.shared.read(|state| state.config.tls(TlsMode::StartTls));
        if offered.is_some() && !self.wire.is_tls() {
            lines.push("STARTTLS".to_owned());
        }
        let last = lines.len() - 1;
        let line = |(at, line): (usize, &String)| {
            format!("250{}{line}", if at == last { " " } else { "-" })
        };
        let text = lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n");
        self.reply(&text).await
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        let tls = self.shared.read(|state| state.config.tls(TlsMode::StartTls));
        let Some(tls) = tls.filter(|_| !self.wire.is_tls()) else {
            return self.reply("502 5.5.1 STARTTLS is not offered").await;
        };
        if self.effects.tagged.is_some() {
            return self.reply("").await;
        }
        self.reply("220 2.0.0 begin TLS").await?;
        // RFC 3207, section 4.2: nothing that was said before counts.
        self.extended = None;
        self.transaction = None;
        self.wire.start_tls(&tls).await
    }

    async fn mail(&mut self, rest: &str) -> io::Result<()> {
        let required = self.shared.read(|state| state.config.smtp_auth_required);
        if self.extended.is_none() || self.transaction.is_some() {
            return self.reply("503 5.5.1 bad sequence of commands").await;
        }
        if required && self.user.is_none() {
            return self.reply("530 5.7.0 authentication required").await;
        }
        let Some((sender, parameters)) = path(rest, "FROM:") else {
            return self.reply("501 5.5.4 MAIL FROM:<address>").await;
        };
        if let Some((code, parameter)) = self.parameter_refusal(&parameters) {
            return self.reply(&format!("{code} {parameter}")).await;
        }
        self.transaction = Some(Transaction { sender, parameters, recipients: Vec::new() });
        self.reply("250 2.1.0 sender ok").await
    }

    fn parameter_refusal(&self, parameters: &str) -> Option<(&'static str, String)> {
        let max = self.shared.read(|state| state.config.smtp_bytes_max);
        for parameter in parameters.split_ascii_whitespace() {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let needed = match key.to_ascii_uppercase().as_str() {
                "SIZE" => SmtpExtension::Size,
                "BODY" => SmtpExtension::EightBitMime,
                "SMTPUTF8" => SmtpExtension::SmtpUtf8,
                "RET" | "ENVID" => SmtpExtension::Dsn,
                "AUTH" => SmtpExtension::AuthPlain,
                _ => return Some(("555 5.5.4", format!("unknown parameter {key}"))),
            };
            if !self.has(needed) {
                return Some(("555 5.5.4", format!("{key} is not offered")));
            }
            if needed == SmtpExtension::Size && value.parse::<usize>().is_ok_and(|n| n > max) {
                return Some(("552 5.3.4", "message too large".to_owned()));
            }
        }
        None
    }

    async fn recipient(&mut self, rest: &str) -> io::Result<()> {
        let parsed = path(rest, "TO:").filter(|(address, _)| !address.is_empty());
        let scripted = self.effects.tagged.as_ref().filter(|text| !text.starts_with('2')).is_some();
        let Some(transaction) = self.transaction.as_mut() else {
            return self.reply("503 5.5.1 MAIL first").await;
        };
        let Some((address, _)) = parsed else {
            return self.reply("501 5.5.4 RCPT TO:<address>").await;
        };
        if !scripted {
            transaction.recipients.push(address);
        }
        self.reply("250 2.1.5 recipient ok").await
    }
}

/// Parses `FROM:<address> parameters`.
fn path(text: &str, prefix: &str) -> Option<(String, String)> {
    let (head, rest) = text.trim_start().split_at_checked(prefix.len())?;
    let rest = rest.trim_start().strip_prefix('<').filter(|_| head.eq_ignore_ascii_case(prefix))?;
    let (address, parameters) = rest.split_once('>')?;
    Some((address.to_owned(), parameters.trim().to_owned()))
}
