//! What all connections share, under one lock; each change wakes threads (a condition variable)
//! and tasks (a watch channel) alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::Config;
use crate::mailbox::{Mailbox, Message};
use crate::script::{Effects, Rule, RuleId};

/// Which of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The IMAP server.
    Imap,
    /// The SMTP submission server.
    Smtp,
    /// The POP3 server.
    Pop3,
}

/// A command as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// Which server.
    pub protocol: Protocol,
    /// Counts the connections of all servers, from 1.
    pub connection: u64,
    /// The IMAP tag; empty in SMTP and POP3.
    pub tag: String,
    /// The name in upper case as rules know it, such as `UID FETCH`.
    pub name: String,
    /// The first line without its end, including the tag, up to a literal if there is one.
    pub line: String,
    /// The mailbox that was selected.
    pub selected: Option<String>,
    /// Whether it was opened by EXAMINE.
    pub read_only: bool,
}

impl CommandRecord {
    /// Returns whether such a command changes mailboxes or messages, or sends mail.
    #[must_use]
    pub fn is_mutating(&self) -> bool {
        let name = self.name.strip_prefix("UID ").unwrap_or(&self.name);
        let always = [
            "APPEND",
            "STORE",
            "COPY",
            "MOVE",
            "EXPUNGE",
            "CREATE",
            "DELETE",
            "RENAME",
            "SUBSCRIBE",
            "UNSUBSCRIBE",
            "DATA",
            "DELE",
        ];
        let line = self.line.to_ascii_uppercase();
        always.contains(&name)
            || (name == "CLOSE" && !self.read_only)
            || (name == "FETCH" && line.contains("BODY[") && !self.read_only)
    }
}

/// A message that the SMTP server accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMessage {
    /// The connection that brought it.
    pub connection: u64,
    /// The login, `None` if there was none.
    pub user: Option<String>,
    /// The reverse path, without angle brackets.
    pub sender: String,
    /// Parameters of MAIL, as sent.
    pub mail_parameters: String,
    /// The accepted forward paths.
    pub recipients: Vec<String>,
    /// The bytes as received, after removal of the dots.
    pub bytes: Vec<u8>,
}

/// A look at the server while it stands still, for wait conditions.
#[derive(Debug)]
pub struct View<'a>(pub(crate) &'a State);

impl View<'_> {
    /// Returns the messages of a mailbox in UID order; empty if it does not exist.
    #[must_use]
    pub fn messages(&self, mailbox: &str) -> Vec<Message> {
        let found = self.0.mailboxes.get(mailbox);
        found.map(|m| m.messages.values().cloned().collect()).unwrap_or_default()
    }

    /// Returns one message.
    #[must_use]
    pub fn message(&self, mailbox: &str, uid: u32) -> Option<&Message> {
        self.0.mailboxes.get(mailbox)?.messages.get(&uid)
    }

    /// Returns the names of all mailboxes that can be selected.
    #[must_use]
    pub fn mailboxes(&self) -> Vec<String> {
        self.0
            .mailboxes
            .iter()
            .filter(|(_, m)| !m.no_select)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Returns the commands received so far, in order.
    #[must_use]
    pub fn commands(&self) -> &[CommandRecord] {
        &self.0.commands
    }

    /// Returns the messages that the SMTP server accepted.
    #[must_use]
    pub fn sent(&self) -> &[SentMessage] {
        &self.0.sent
    }

    /// Returns how many connections wait in IDLE for something to happen in the mailbox.
    #[must_use]
    pub fn idling(&self, mailbox: &str) -> usize {
        self.0.idling.values().filter(|name| *name == mailbox).count()
    }

    /// Returns how many connections of the protocol are open.
    #[must_use]
    pub fn connections(&self, protocol: Protocol) -> usize {
        self.0.open.values().filter(|open| **open == protocol).count()
    }

    /// Returns how many connections hang in the rule.
    #[must_use]
    pub fn hanging(&self, rule: RuleId) -> usize {
        self.0.hanging.values().filter(|id| **id == rule).count()
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) mailboxes: BTreeMap<String, Mailbox>,
    pub(crate) commands: Vec<CommandRecord>,
    pub(crate) sent: Vec<SentMessage>,
    pub(crate) rules: BTreeMap<RuleId, Rule>,
    pub(crate) released: BTreeSet<RuleId>,
    pub(crate) hanging: BTreeMap<u64, RuleId>,
    pub(crate) idling: BTreeMap<u64, String>,
    pub(crate) open: BTreeMap<u64, Protocol>,
    /// UIDs of INBOX that POP3 sessions fetched.
    pub(crate) pop3_seen: BTreeSet<u32>,
    /// Raw bytes that each IMAP connection sends once, at its next chance.
    pub(crate) injections: Vec<Vec<u8>>,
    /// Connections with a smaller id end.
    pub(crate) cut_below: u64,
    next_id: u64,
}

impl State {
    fn new(config: Config) -> Self {
        let mut state = Self {
            config,
            mailboxes: BTreeMap::new(),
            commands: Vec::new(),
            sent: Vec::new(),
            rules: BTreeMap::new(),
            released: BTreeSet::new(),
            hanging: BTreeMap::new(),
            idling: BTreeMap::new(),
            open: BTreeMap::new(),
            pop3_seen: BTreeSet::new(),
            injections: Vec::new(),
            cut_below: 0,
            next_id: 0,
        };
        state.create("INBOX");
        for (name, special_use) in state.config.mailboxes.clone() {
            state.create(&name);
            if let Some(mailbox) = state.mailboxes.get_mut(&name) {
                mailbox.special_use = special_use;
            }
        }
        state
    }

    /// Returns a number that was never used in this server.
    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Creates a mailbox and the names above it; false when it exists.
    pub(crate) fn create(&mut self, name: &str) -> bool {
        if let Some(existing) = self.mailboxes.get_mut(name) {
            return std::mem::take(&mut existing.no_select);
        }
        let parents: Vec<String> = match self.config.delimiter {
            None => Vec::new(),
            Some(d) => {
                name.match_indices(d).map(|(at, _)| name.split_at(at).0.to_owned()).collect()
            }
        };
        for parent in parents {
            if !parent.is_empty() && !self.mailboxes.contains_key(&parent) {
                let mut mailbox = self.fresh_mailbox();
                mailbox.no_select = true;
                self.mailboxes.insert(parent, mailbox);
            }
        }
        let mailbox = self.fresh_mailbox();
        self.mailboxes.insert(name.to_owned(), mailbox);
        true
    }

    fn fresh_mailbox(&mut self) -> Mailbox {
        let id = self.fresh_id();
        // Any value that grows serves; this one is easy to tell from a UID in a log.
        let uid_validity = 1_700_000_000_u32.saturating_add(u32::try_from(id).unwrap_or(0));
        Mailbox::new(id, uid_validity)
    }

    /// Renames a mailbox and those below it; false when it does not exist or the target does.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> bool {
        if !self.mailboxes.contains_key(from) || self.mailboxes.contains_key(to) {
            return false;
        }
        let below = self.config.delimiter.map(|d| format!("{from}{d}"));
        let moved = |name: &String| {
            name == from || below.as_ref().is_some_and(|below| name.starts_with(below.as_str()))
        };
        let names: Vec<String> = self.mailboxes.keys().filter(|n| moved(n)).cloned().collect();
        self.create(to);
        for name in names {
            let tail = name.strip_prefix(from).unwrap_or("").to_owned();
            if let Some(mailbox) = self.mailboxes.remove(&name) {
                self.mailboxes.insert(format!("{to}{tail}"), mailbox);
            }
        }
        if from == "INBOX" {
            self.create("INBOX");
        }
        true
    }

    /// Returns the current name of the mailbox with this identity.
    pub(crate) fn name_of(&self, id: u64) -> Option<&str> {
        self.mailboxes.iter().find(|(_, m)| m.id == id).map(|(name, _)| name.as_str())
    }

    pub(crate) fn reset_mailbox(&mut self, name: &str, uid_validity: u32) -> bool {
        let id = self.fresh_id();
        let found = self.mailboxes.get_mut(name);
        found.map(|mailbox| mailbox.reset(id, uid_validity)).is_some()
    }

    /// Collects what the rules do to a command.
    pub(crate) fn effects(&mut self, protocol: Protocol, name: &str, line: &[u8]) -> Effects {
        let mut effects = Effects::default();
        for (id, rule) in &mut self.rules {
            if rule.meets(protocol, name, line) {
                for action in rule.actions.clone() {
                    effects.add(*id, action);
                }
            }
        }
        effects
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    version: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let (version, _) = watch::channel(0);
        Self { state: Mutex::new(State::new(config)), changed: Condvar::new(), version }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of a caller's closure leaves plain data behind: still good for other tests.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads; wakes nobody.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.lock())
    }

    /// Works on the state without a change that anybody waits for.
    pub(crate) fn quietly<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.lock())
    }

    /// Changes, and wakes all who wait.
    pub(crate) fn update<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let result = f(&mut self.lock());
        self.changed.notify_all();
        self.version.send_modify(|version| *version += 1);
        result
    }

    /// Returns a receiver that is woken at each change from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Blocks until the condition gives a value, or for the time at most.
    pub(crate) fn wait_until<T>(
        &self,
        timeout: Duration,
        condition: impl Fn(&View<'_>) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(value) = condition(&View(&state)) {
                return Some(value);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The same for async callers. Cancel safe.
    pub(crate) async fn wait_for<T>(
        &self,
        timeout: Duration,
        condition: impl Fn(&View<'_>) -> Option<T>,
    ) -> Option<T> {
        let mut watch = self.watch();
        let wait = async {
            loop {
                watch.borrow_and_update();
                if let Some(value) = self.read(|state| condition(&View(state))) {
                    return Some(value);
                }
                if watch.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(timeout, wait).await.ok().flatten()
    }
}
