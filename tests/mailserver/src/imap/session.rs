//! One connection: reads commands, runs them, delivers updates at their boundaries.

use std::io;
use std::sync::Arc;

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::extensions::enable::CapabilityEnable;
use tokio::net::TcpStream;

use super::notify::Notify;
use super::receive::Received;
use super::updates::{Selected, Updates};
use crate::config::{Capability, Tls, TlsMode};
use crate::dispatch;
use crate::script::{Effects, replace};
use crate::state::{Protocol, Shared};
use crate::wire::{Wire, cut};

/// How a command ends: the text after the tag, and what may be told before it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) status: String,
    pub(super) updates: Updates,
}

impl Done {
    pub(super) fn ok(text: &str) -> Self {
        Self { status: format!("OK {text}"), updates: Updates::All }
    }

    pub(super) fn no(text: &str) -> Self {
        Self { status: format!("NO {text}"), updates: Updates::All }
    }

    pub(super) fn bad(text: &str) -> Self {
        Self { status: format!("BAD {text}"), updates: Updates::All }
    }

    /// Holds EXPUNGE back: the client may have sent sequence numbers already.
    pub(super) fn without_expunge(mut self) -> Self {
        self.updates = Updates::WithoutExpunge;
        self
    }

    pub(super) fn without_updates(mut self) -> Self {
        self.updates = Updates::Nothing;
        self
    }
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) user: Option<String>,
    pub(super) selected: Option<Selected>,
    pub(super) condstore: bool,
    pub(super) qresync: bool,
    pub(super) notify: Option<Notify>,
    /// Untagged responses that wait for the end of the command.
    pub(super) items: Vec<Vec<u8>>,
    pub(super) effects: Effects,
    /// Whether the connection ends after this command.
    pub(super) ended: bool,
    injected: usize,
    /// Whether compression follows the tagged reply.
    compresses: bool,
    /// The handshake that follows the tagged reply.
    handshake: Option<Tls>,
}

impl Session {
    pub(super) fn new(stream: TcpStream, id: u64, shared: Arc<Shared>) -> Self {
        let injected = shared.read(|state| state.injections.len());
        Self {
            wire: Wire::new(stream),
            shared,
            id,
            user: None,
            selected: None,
            condstore: false,
            qresync: false,
            notify: None,
            items: Vec::new(),
            effects: Effects::default(),
            ended: false,
            injected,
            compresses: false,
            handshake: None,
        }
    }

    pub(super) fn has(&self, capability: Capability) -> bool {
        self.shared.read(|state| state.config.capabilities.has(capability))
    }

    pub(super) fn push(&mut self, line: String) {
        let mut bytes = line.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        self.items.push(bytes);
    }

    /// Runs the dialogue to its end.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        self.greet().await?;
        while !self.ended {
            if !self.wire.has_input() {
                self.wire.flush().await?;
            }
            let Some(line) = self.wire.line().await? else {
                return Ok(());
            };
            let Some(received) = self.receive(line).await? else {
                continue;
            };
            self.command(received).await?;
            self.wire.limit(None);
        }
        self.wire.flush().await
    }

    async fn greet(&mut self) -> io::Result<()> {
        if let Some(tls) = self.shared.read(|state| state.config.tls(TlsMode::Implicit)) {
            self.wire.start_tls(&tls).await?;
        }
        self.effects = self.shared.update(|s| s.effects(Protocol::Imap, "GREETING", b""));
        dispatch::before(&self.shared, self.id, &mut self.wire, &self.effects).await?;
        let text = self.capability_line();
        let refusal = self.effects.refuse.take();
        let status = refusal.unwrap_or_else(|| format!("OK [CAPABILITY {text}] ready"));
        let greeting = format!("* {status}\r\n").into_bytes();
        let greeting = self.effects.reply.take().unwrap_or(greeting);
        self.send(greeting).await?;
        self.wire.flush().await?;
        if self.effects.cut_after { Err(cut()) } else { Ok(()) }
    }

    async fn command(&mut self, received: Received) -> io::Result<()> {
        dispatch::before(&self.shared, self.id, &mut self.wire, &self.effects).await?;
        if let Some(raw) = self.effects.reply.take() {
            let raw = replace(&raw, b"{tag}", received.tag.as_bytes());
            return self.send(raw).await;
        }
        let done = match self.effects.refuse.take() {
            Some(text) => Done { status: text, updates: Updates::Nothing },
            None => self.execute(&received).await?,
        };
        self.finish(&received.tag, done).await
    }

    /// Sends what has gathered, then the tagged reply, as far as the rules let it.
    pub(super) async fn finish(&mut self, tag: &str, done: Done) -> io::Result<()> {
        let compresses = std::mem::take(&mut self.compresses);
        let handshake = self.handshake.take();
        self.collect_updates(done.updates);
        if done.updates != Updates::Nothing {
            self.collect_notifications();
        }
        self.send_items().await?;
        if let Some(rule) = self.effects.hang_after {
            self.wire.flush().await?;
            dispatch::hang(&self.shared, self.id, rule).await;
        }
        if self.effects.cut_after {
            self.wire.flush().await?;
            return Err(cut());
        }
        if let Some(raw) = self.effects.tagged_raw.take() {
            return self.send(replace(&raw, b"{tag}", tag.as_bytes())).await;
        }
        let status = self.effects.tagged.take().unwrap_or(done.status);
        self.send(format!("{tag} {status}\r\n").into_bytes()).await?;
        if compresses && status.starts_with("OK") {
            return self.wire.compress().await;
        }
        match handshake.filter(|_| status.starts_with("OK")) {
            Some(tls) => self.wire.start_tls(&tls).await,
            None => Ok(()),
        }
    }

    /// Sends the gathered untagged responses, and what a test injected.
    pub(super) async fn send_items(&mut self) -> io::Result<()> {
        let from = self.injected;
        let injected = self.shared.read(|state| {
            state.injections.get(from..).map(<[Vec<u8>]>::to_vec).unwrap_or_default()
        });
        self.injected += injected.len();
        for item in std::mem::take(&mut self.items) {
            self.send(item).await?;
        }
        for raw in injected {
            self.wire.send(&raw).await?;
        }
        Ok(())
    }

    async fn send(&mut self, response: Vec<u8>) -> io::Result<()> {
        match self.effects.distort(response) {
            Some(response) => self.wire.send(&response).await,
            None => Ok(()),
        }
    }

    async fn execute(&mut self, received: &Received) -> io::Result<Done> {
        if let Some(refusal) = self.refusal(&received.name) {
            return Ok(refusal);
        }
        match received.name.as_str() {
            "IDLE" => return self.idle().await,
            "STARTTLS" => return Ok(self.start_tls()),
            "APPEND" => return Ok(self.append(&received.arguments)),
            "LIST" | "LSUB" => return Ok(self.list(&received.name, &received.arguments)),
            "COMPRESS" => {
                self.compresses = true;
                return Ok(Done::ok("compressed from here on").without_updates());
            }
            "NOTIFY" => return Ok(self.notify(&received.arguments)),
            "STATUS" => return Ok(self.status(&received.arguments)),
            _ => {}
        }
        let Ok((_, command)) = CommandCodec::default().decode_static(&received.raw) else {
            return Ok(Done::bad("not understood"));
        };
        self.execute_parsed(command.body).await
    }

    async fn execute_parsed(&mut self, body: CommandBody<'static>) -> io::Result<Done> {
        Ok(match body {
            CommandBody::Capability => self.capability(),
            CommandBody::Noop | CommandBody::Check => Done::ok("done"),
            CommandBody::Logout => self.logout(),
            CommandBody::Id { .. } => {
                self.push("* ID (\"name\" \"mailserver\")".to_owned());
                Done::ok("done")
            }
            CommandBody::Namespace => self.namespace(),
            CommandBody::Login { username, password } => {
                self.login(username.as_ref(), password.declassify().as_ref())
            }
            CommandBody::Authenticate { mechanism, initial_response } => {
                self.authenticate(&mechanism, initial_response).await?
            }
            CommandBody::Enable { capabilities } => self.enable(capabilities.as_ref()),
            CommandBody::Select { mailbox, parameters } => {
                self.select(&mailbox, &parameters, false)
            }
            CommandBody::Examine { mailbox, parameters } => {
                self.select(&mailbox, &parameters, true)
            }
            CommandBody::Unselect => self.unselect(),
            CommandBody::Close => self.close(),
            CommandBody::Create { mailbox } => self.create(&mailbox),
            CommandBody::Delete { mailbox } => self.delete(&mailbox),
            CommandBody::Rename { from, to } => self.rename(&from, &to),
            CommandBody::Subscribe { mailbox } => self.subscribe(&mailbox, true),
            CommandBody::Unsubscribe { mailbox } => self.subscribe(&mailbox, false),
            CommandBody::Expunge => self.expunge(None),
            CommandBody::ExpungeUid { sequence_set } => self.expunge(Some(&sequence_set)),
            CommandBody::Search { criteria, uid, .. } => self.search(criteria.as_ref(), uid),
            CommandBody::Fetch { sequence_set, macro_or_item_names, uid, modifiers } => {
                self.fetch(&sequence_set, macro_or_item_names, uid, &modifiers).await?
            }
            CommandBody::Store { sequence_set, kind, response, flags, uid, modifiers } => {
                let change = super::store::Change { kind, response, flags, modifiers };
                self.store(&sequence_set, &change, uid)
            }
            CommandBody::Copy { sequence_set, mailbox, uid } => {
                self.copy(&sequence_set, &mailbox, uid, super::store::Source::Keep)
            }
            CommandBody::Move { sequence_set, mailbox, uid } => {
                self.copy(&sequence_set, &mailbox, uid, super::store::Source::Remove)
            }
            _ => Done::bad("unknown command"),
        })
    }

    fn capability(&mut self) -> Done {
        let text = self.capability_line();
        self.push(format!("* CAPABILITY {text}"));
        Done::ok("done")
    }

    pub(super) fn capability_line(&self) -> String {
        let plain = !self.wire.is_tls();
        self.shared.read(|state| {
            let line = state.config.capabilities.line();
            match state.config.tls(TlsMode::StartTls).filter(|_| plain) {
                Some(_) => format!("{line} STARTTLS"),
                None => line,
            }
        })
    }

    fn start_tls(&mut self) -> Done {
        self.handshake = self.shared.read(|state| state.config.tls(TlsMode::StartTls));
        if self.handshake.is_none() || self.wire.is_tls() || self.user.is_some() {
            self.handshake = None;
            return Done::bad("STARTTLS is not offered");
        }
        Done::ok("begin TLS")
    }

    fn logout(&mut self) -> Done {
        self.push("* BYE see you".to_owned());
        self.ended = true;
        Done::ok("done").without_updates()
    }

    fn enable(&mut self, wanted: &[CapabilityEnable<'_>]) -> Done {
        let mut line = "* ENABLED".to_owned();
        for capability in wanted {
            let name = capability.to_string().to_ascii_uppercase();
            if name == "CONDSTORE" && self.has(Capability::CondStore) {
                self.condstore = true;
                line.push_str(" CONDSTORE");
            } else if name == "QRESYNC" && self.has(Capability::QResync) {
                self.condstore = true;
                self.qresync = true;
                line.push_str(" QRESYNC");
            }
        }
        self.push(line);
        Done::ok("done")
    }
}
