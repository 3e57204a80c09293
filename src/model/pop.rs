//! A maildrop as a session showed it, and what is known of its messages. Floor 0.

use crate::model::ids::{Base, Uid};

/// A message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopMessage {
    /// Its number, good for this session.
    pub number: u32,
    /// Its size in octets, as the server told it: not always the size it has.
    pub octets: u64,
    /// Its unique id, where the server gave one that can be used.
    pub uidl: Option<Box<str>>,
}

/// All messages of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PopListing {
    /// The messages, by number.
    pub messages: Vec<PopMessage>,
    /// Whether the server gives unique ids at all.
    pub has_uidl: bool,
    /// Whether the server's answers agreed with each other. From one that does not, absence means
    /// nothing, and nothing is removed.
    pub is_sound: bool,
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
    /// Where it stands.
    pub state: PopState,
    /// The file it was stored as.
    pub base: Option<Base>,
}
