//! A maildrop: what is to become of it, what a session showed of it, and what is known of its messages.
//! Floor 0.

use std::time::Duration;

use crate::model::account::Endpoint;
use crate::model::ids::{Base, MailboxName, Uid};

/// How long a message stays on a POP3 server once it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It is never removed.
    Forever,
    /// It is removed this long after it was fetched; nothing means at once.
    For(Duration),
    /// It is removed when the local copy left its mailbox: moved or deleted.
    UntilMoved,
}

/// The `[account.NAME.pop3]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopSettings {
    /// The server.
    pub endpoint: Endpoint,
    /// What becomes of messages on the server.
    pub leave: Leave,
    /// The local mailbox that they come into.
    pub mailbox: MailboxName,
    /// How far apart logins have to be at least; a server that asks for more has its way.
    pub login_gap: Duration,
}

/// A message of a session. Its key stands in the [`PopListing`] that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PopMessage {
    /// Its number, good for this session.
    pub number: u32,
    /// Its size in octets, as the server told it: not always the size it has.
    pub octets: u64,
    /// Whether its key can mean no other message: only then is one removed that an earlier session
    /// fetched.
    pub is_sure: bool,
    key_at: u32,
    key_len: u8,
}

/// All messages of a session: some fifty bytes for each, for as long as they are sorted.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct PopListing {
    /// The messages.
    pub messages: Vec<PopMessage>,
    keys: String,
    /// Whether the server gives unique ids at all.
    pub has_uidl: bool,
    /// Whether the server's answers agreed with each other. From one that does not, absence means
    /// nothing, and nothing is removed.
    pub is_sound: bool,
}

impl PopListing {
    /// Adds a message that has no key yet.
    pub fn push(&mut self, number: u32, octets: u64) {
        let message = PopMessage { number, octets, is_sure: false, key_at: 0, key_len: 0 };
        self.messages.push(message);
    }

    /// The key of a message of this listing: `u` and the unique id that the server gave, or what
    /// [`crate::rules::pop::named`] made of its header.
    pub fn key(&self, message: &PopMessage) -> Option<&str> {
        Some(key_in(&self.keys, message)).filter(|key| !key.is_empty())
    }

    /// Gives the message at this place a key of at most 255 bytes, or takes it away.
    pub fn set_key(&mut self, at: usize, key: Option<&str>) {
        let Some(message) = self.messages.get_mut(at) else { return };
        let place = key.and_then(|key| {
            Some((u32::try_from(self.keys.len()).ok()?, u8::try_from(key.len()).ok()?))
        });
        (message.key_at, message.key_len) = place.unwrap_or_default();
        if place.is_some() {
            self.keys.push_str(key.unwrap_or_default());
        }
    }

    /// Leaves the messages out that have no key.
    pub fn drop_nameless(&mut self) {
        self.messages.retain(|message| message.key_len > 0);
    }

    /// Puts the messages into the order of their keys as bytes; those without one come first.
    pub fn sort_by_key(&mut self) {
        let keys = &self.keys;
        self.messages.sort_unstable_by(|a, b| key_in(keys, a).cmp(key_in(keys, b)));
    }
}

fn key_in<'a>(keys: &'a str, message: &PopMessage) -> &'a str {
    let at = message.key_at as usize;
    keys.get(at..at.saturating_add(message.key_len.into())).unwrap_or_default()
}

/// Where a known message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PopState {
    /// Its key is known, and nothing else happened.
    Named,
    /// It was stored in the Maildir, whatever became of the file since.
    Stored,
    /// A transfer failed, and another try is due.
    Failed,
    /// A transfer failed, and the next try is not due yet.
    Waiting,
    /// A limit left it on the server.
    Skipped,
    /// A limit left it on the server, and a person asked for it.
    Wanted,
}

/// What is known of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopKnown {
    /// The ledger's number.
    pub uid: Uid,
    /// Its key.
    pub key: String,
    /// Its size in octets, as it was listed.
    pub octets: u64,
    /// When it was fetched, in seconds since the epoch.
    pub at: i64,
    /// Whether the last session listed it.
    pub is_listed: bool,
    /// Whether its local copy left its mailbox.
    pub is_moved: bool,
    /// Whether the server was asked to remove it.
    pub is_asked: bool,
    /// How many sessions broke off while it was on its way.
    pub cuts: u32,
    /// Where it stands.
    pub state: PopState,
    /// The file it was stored as.
    pub base: Option<Base>,
}
