//! The POP3 side (RFC 1939), and what the ledger keeps about it. Implemented by `adapters::pop3` and
//! `adapters::ledger`.
//!
//! A message number means something within one session only. What outlives it is the key of a message,
//! to which the ledger gives a number of its own: wherever this program says [`Uid`] of a POP3 message,
//! it is that one.

use std::future::Future;
use std::time::Duration;

use crate::model::failure::Failure;
use crate::model::ids::{Base, Uid};
use crate::model::pop::{PopKnown, PopListing};
use crate::ports::ledger::{Ledger, MailboxId};
use crate::ports::remote::FetchSink;

/// Dials and logs in.
pub trait PopConnector: Send + Sync + 'static {
    /// The session it begins.
    type Drop: PopDrop;

    /// Begins a session. The maildrop is locked until it ends.
    ///
    /// # Errors
    /// Whatever kept it from being ready: network, TLS, login, protocol. A server that asks for a pause
    /// is `Throttled`.
    fn connect(&self) -> impl Future<Output = Result<Self::Drop, Failure>> + Send;
}

/// A message that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PopWanted {
    /// Its number in this session.
    pub number: u32,
    /// The ledger's number for it, under which it is handed on.
    pub uid: Uid,
    /// Its size as the server told it, in octets.
    pub octets: u64,
}

/// A session in which the maildrop stands still. Any `Err` of account scope means that it must be dropped:
/// nothing is removed then.
///
/// None of the methods is cancel safe: a dropped future means a dropped session.
pub trait PopDrop: Send + 'static {
    /// How far apart the server wants logins to be (RFC 2449 §6.5).
    fn login_delay(&self) -> Option<Duration>;

    /// All messages with size and unique id.
    fn list(&mut self) -> impl Future<Output = Result<PopListing, Failure>> + Send;

    /// A hash of the header of each of these messages, in order; none where the server refuses.
    fn heads(
        &mut self,
        numbers: &[u32],
    ) -> impl Future<Output = Result<Vec<Option<[u8; 32]>>, Failure>> + Send;

    /// Fetches messages into `sink`. Only what came with its final dot is handed on as complete.
    fn fetch<S: FetchSink>(
        &mut self,
        wanted: &[PopWanted],
        sink: &mut S,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Marks messages for removal; answers in order whether the server took it. They are gone only once
    /// [`PopDrop::quit`] succeeded.
    fn remove(
        &mut self,
        numbers: &[u32],
    ) -> impl Future<Output = Result<Vec<bool>, Failure>> + Send;

    /// Ends the session: the server removes what was marked, and confirms it.
    ///
    /// # Errors
    /// It did not confirm: what was marked may be there still.
    fn quit(self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A change of what is known about a maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PopChange {
    /// A key that was not known, with the number that it has from now on.
    Known {
        /// The number.
        uid: Uid,
        /// The key.
        key: String,
        /// The size in octets, as listed.
        octets: u64,
        /// Now, in seconds since the epoch.
        at: i64,
    },
    /// These are about to be fetched, at this time.
    Begun(Vec<Uid>, i64),
    /// These are listed again.
    Listed(Vec<Uid>),
    /// These are not listed any more, since this time.
    Unlisted(Vec<Uid>, i64),
    /// The local copies left their mailbox: what is on the server may go.
    Moved(Vec<Uid>),
    /// The server was asked to remove these, and took it.
    Asked(Vec<Uid>),
    /// A message that is here has another key now: the number that was given for that goes.
    Rekeyed {
        /// The number of the message.
        known: Uid,
        /// The number that the new key was given.
        stand_in: Uid,
    },
    /// Nothing is known about these any more.
    Forget(Vec<Uid>),
    /// Forgets what was removed on our word, and was not listed again since this time.
    Prune(i64),
}

/// The ledger of an account that fetches by POP3.
pub trait PopLedger: Ledger {
    /// Shows everything that is known of a maildrop, in the order of the keys as bytes.
    fn pop_each(&self, mailbox: MailboxId, visit: &mut dyn FnMut(PopKnown)) -> Result<(), Failure>;

    /// The number for the next key.
    fn pop_next(&self, mailbox: MailboxId) -> Result<u32, Failure>;

    /// A message that is here with these bytes, and is not listed any more.
    fn pop_unlisted(
        &self,
        mailbox: MailboxId,
        digest: &[u8; 32],
    ) -> Result<Option<(Uid, Base)>, Failure>;
}
