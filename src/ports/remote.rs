//! The IMAP side. Implemented by `adapters::imap`, and by the fakes of the tests.

use std::collections::BTreeSet;
use std::fs::File;
use std::future::Future;
use std::time::Duration;

use crate::model::failure::Failure;
use crate::model::flags::{FlagDelta, Flags, Permanent};
use crate::model::ids::{MailboxName, Uid, UidValidity};
use crate::model::uids::UidSet;
use crate::model::view::{Cursor, Evidence, Fingerprint, RemoteMailbox, RemoteView};

/// Dials and logs in.
pub trait Connector: Send + Sync + 'static {
    /// The connection it makes.
    type Remote: Remote;

    /// Opens a connection that is logged in.
    ///
    /// # Errors
    /// Whatever kept it from being ready: network, TLS, login, protocol.
    fn connect(&self) -> impl Future<Output = Result<Self::Remote, Failure>> + Send;
}

/// A message on its way to the server.
#[derive(Debug)]
pub struct Upload {
    /// The file, open for reading at its start.
    pub file: File,
    /// Its size on disk in bytes.
    pub disk_bytes: u64,
    /// What it is recognised by; its size on the wire, where each line ends in CRLF, is in there.
    pub print: Fingerprint,
    /// Its flags.
    pub flags: Flags,
    /// Its INTERNALDATE: seconds since the epoch.
    pub date: i64,
}

/// How one APPEND ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Stored; the UID where the server told it (UIDPLUS).
    Stored(Option<Uid>),
    /// Refused, with a failure of message scope.
    Refused(Failure),
}

/// What a fetched message is, before its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its UID.
    pub uid: Uid,
    /// Its flags at the time of the fetch.
    pub flags: Option<Flags>,
    /// Its INTERNALDATE in seconds since the epoch, where the server gave a usable one.
    pub date: Option<i64>,
}

/// A piece of a fetched message, line ends already LF.
#[derive(Debug)]
pub enum Fetched {
    /// A whole message.
    Whole(Header, Vec<u8>),
    /// A large message begins.
    Begin(Header),
    /// More of the message that began.
    Chunk(Vec<u8>),
    /// The message that began is complete.
    End,
    /// A message could not be fetched; the failure has message scope.
    Failed(Uid, Failure),
}

/// Takes fetched messages, in any order. Waiting in `put` slows the transfer down.
pub trait FetchSink: Send {
    /// Takes one piece.
    ///
    /// # Errors
    /// Ends the fetch: the local side cannot take more.
    fn put(&mut self, item: Fetched) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A message that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its UID.
    pub uid: Uid,
    /// Its size, where it is known; large ones come in pieces.
    pub size: Option<u32>,
}

/// What is known of a mailbox before it is asked for changes.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Where the server stood.
    pub cursor: Cursor,
    /// The UIDs that are known to have existed then.
    pub uids: &'a UidSet,
    /// How much of it is to be looked at where the server cannot tell what changed.
    pub depth: Depth,
}

/// How much of a mailbox is looked at for changed flags where the server has no CONDSTORE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every message.
    All,
    /// The newest, and another part of the rest in each round.
    Some(u32),
}

/// A habit of a server that it was caught at, and that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quirk {
    /// QRESYNC told once what was not so.
    DoubtQresync,
    /// QRESYNC cannot be believed.
    NoQresync,
    /// A mod-sequence went back once.
    DoubtCondstore,
    /// Mod-sequences cannot be believed.
    NoCondstore,
}

impl Quirk {
    /// Every one.
    pub const ALL: [Self; 4] =
        [Self::DoubtQresync, Self::NoQresync, Self::DoubtCondstore, Self::NoCondstore];

    /// The name under which it is remembered.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DoubtQresync => "doubt-qresync",
            Self::NoQresync => "no-qresync",
            Self::DoubtCondstore => "doubt-condstore",
            Self::NoCondstore => "no-condstore",
        }
    }
}

/// How messages are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// Moved to this mailbox.
    MoveTo(MailboxName),
    /// Expunged.
    Expunge,
}

/// Whether a message stays where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relocation {
    /// It leaves.
    Move,
    /// It stays.
    Copy,
}

/// What became of removed messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// They are gone.
    Gone,
    /// They are marked as deleted: without UIDPLUS nothing else is safe.
    Marked,
}

/// Why waiting for the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// It said that something changed.
    Changed,
    /// Nothing happened in the time that was given.
    Quiet,
}

/// What the server told about its mailboxes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heard {
    /// These changed.
    pub mailboxes: BTreeSet<MailboxName>,
    /// Mailboxes came, went, or were subscribed to.
    pub is_list_changed: bool,
    /// It will tell nothing more: it was too much (RFC 5465 §5.8).
    pub is_over: bool,
}

/// A connection that is logged in. Any `Err` of account scope means that it must be dropped.
///
/// None of the methods is cancel safe: a dropped future means a dropped connection.
pub trait Remote: Send + 'static {
    /// Whether the server can push (IDLE).
    fn can_push(&self) -> bool;

    /// Whether the server can tell changes of all mailboxes on one connection (NOTIFY, RFC 5465).
    fn can_notify(&self) -> bool;

    /// Whether the server can expunge exactly what it is told to (UIDPLUS). Where it cannot, a removal
    /// is a mark.
    fn can_expunge(&self) -> bool;

    /// Whether the server moves messages in one step (MOVE). Where it cannot, a move is a copy and a
    /// removal, and a cut can come between the two.
    fn can_move(&self) -> bool;

    /// Whether the server is on this machine: then a second connection costs more than it brings.
    fn is_near(&self) -> bool;

    /// What the server was caught at so far.
    fn quirks(&self) -> &BTreeSet<Quirk>;

    /// Tells what the server was caught at before.
    fn expect(&mut self, quirks: &BTreeSet<Quirk>);

    /// Which flags the selected mailbox keeps.
    fn permanent(&self) -> &Permanent;

    /// All mailboxes, with STATUS where that costs one round trip.
    fn mailboxes(&mut self) -> impl Future<Output = Result<Vec<RemoteMailbox>, Failure>> + Send;

    /// Creates a mailbox, and subscribes to it.
    fn create(&mut self, mailbox: &MailboxName)
    -> impl Future<Output = Result<(), Failure>> + Send;

    /// Renames a mailbox, and those below it.
    fn rename(
        &mut self,
        from: &MailboxName,
        to: &MailboxName,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Deletes a mailbox that is empty.
    ///
    /// # Errors
    /// It is not empty: mailbox scope, `Refused`, and nothing was done.
    fn delete(&mut self, mailbox: &MailboxName)
    -> impl Future<Output = Result<(), Failure>> + Send;

    /// Selects a mailbox, whose UIDVALIDITY must be as given, so that its messages can be fetched:
    /// for a connection that helps another one.
    fn open(
        &mut self,
        mailbox: &MailboxName,
        validity: UidValidity,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Selects a mailbox and tells what is there, or what changed since `known`.
    fn changes(
        &mut self,
        mailbox: &MailboxName,
        known: Option<Known<'_>>,
    ) -> impl Future<Output = Result<RemoteView, Failure>> + Send;

    /// Fetches messages of the selected mailbox into `sink`; messages that are gone are left out.
    fn fetch<S: FetchSink>(
        &mut self,
        wanted: &[Wanted],
        sink: &mut S,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Message-ID and size of messages of the selected mailbox from `first` on.
    fn evidence(
        &mut self,
        first: u32,
    ) -> impl Future<Output = Result<Vec<(Uid, Evidence)>, Failure>> + Send;

    /// Appends messages to a mailbox, in order. The answer has one entry per message that was
    /// decided; if it is shorter than `uploads`, the fate of the next one is not known.
    fn append(
        &mut self,
        mailbox: &MailboxName,
        uploads: Vec<Upload>,
    ) -> impl Future<Output = (Vec<Appended>, Result<(), Failure>)> + Send;

    /// Which of these messages `to` has as well, with Message-ID and size, and under which UID there.
    /// Leaves `from` selected.
    fn copies(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
    ) -> impl Future<Output = Result<Vec<(Uid, Uid)>, Failure>> + Send;

    /// Changes flags of messages of the selected mailbox, whose UIDVALIDITY must be as given.
    fn set_flags(
        &mut self,
        validity: UidValidity,
        uids: &[Uid],
        delta: &FlagDelta,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Removes exactly these messages of the selected mailbox, whose UIDVALIDITY must be as given.
    fn remove(
        &mut self,
        validity: UidValidity,
        uids: &[Uid],
        removal: &Removal,
    ) -> impl Future<Output = Result<Removed, Failure>> + Send;

    /// Moves or copies messages of another mailbox, whose UIDVALIDITY must be as given, and answers
    /// old and new UIDs as far as the server tells them. That mailbox is selected afterwards.
    fn relocate(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
        how: Relocation,
    ) -> impl Future<Output = Result<Vec<(Uid, Uid)>, Failure>> + Send;

    /// Which of these messages of another mailbox, whose UIDVALIDITY must be as given, are gone.
    /// That mailbox is selected afterwards.
    fn gone(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
    ) -> impl Future<Output = Result<BTreeSet<Uid>, Failure>> + Send;

    /// Selects the mailbox that will be waited for: what happens from now on is told by `wait`.
    fn begin_wait(
        &mut self,
        mailbox: &MailboxName,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Waits until the server says that the mailbox changed since it was last waited for, at most
    /// `limit`. What changed before the first wait is not told.
    fn wait(
        &mut self,
        mailbox: &MailboxName,
        limit: Duration,
    ) -> impl Future<Output = Result<Woken, Failure>> + Send;

    /// Asks for changes of all mailboxes: what happens from now on is told by `wait_any`. False if
    /// the server refuses; the connection is good for anything else then.
    fn begin_notify(&mut self) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Waits until the server tells something about any mailbox, at most `limit`.
    fn wait_any(&mut self, limit: Duration) -> impl Future<Output = Result<Heard, Failure>> + Send;

    /// Ends the connection politely, within a short deadline.
    fn logout(self) -> impl Future<Output = ()> + Send;
}
