//! The outbox: its directory, its ledger, the way out, the copy for Sent.
//!
//! [`Spool`] and [`OutboxLedger`] block on the disk: the engine calls them on the blocking pool.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::failure::Failure;
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Address, Broken, Dsn, Envelope, Item, Outcome, Submitted, Verdict};
use crate::model::status::Micros;

/// A file that was dropped and is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Where it is.
    pub path: PathBuf,
    /// Its name without Maildir flags.
    pub name: String,
    /// Whether it carries `D`: hold.
    pub draft: bool,
    /// Whether it carries `T`: cancel.
    pub trashed: bool,
    /// Whether it lay in the directory itself: nothing but its writer says that it is whole.
    pub is_flat: bool,
    /// Whether it looks like mail that was in a mailbox before: the flags of one, or an old file.
    pub is_used: bool,
}

/// Something that was dropped and can never be a message: a link, a pipe, a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it, and what mends it.
    pub why: String,
}

/// A file in `cur/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it is now; the flags in its name may change at any time.
    pub path: PathBuf,
    /// Whether it carries `D`: hold.
    pub draft: bool,
    /// Whether it carries `T`: cancel.
    pub trashed: bool,
    /// Its size in bytes.
    pub size: u64,
    /// Differs when somebody wrote into the file or put another in its place.
    pub stamp: Stamp,
}

/// What tells a file from what it was: inode, and seconds and nanoseconds of its last change.
pub type Stamp = (u64, i64, i64);

/// What one look at the directory found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Complete files, oldest name first.
    pub ready: Vec<Dropped>,
    /// What can never be a message.
    pub odd: Vec<Odd>,
    /// Whether a file is still being written: look again soon.
    pub unfinished: bool,
}

/// The outbox directory.
pub trait Spool: Send + Sync + 'static {
    /// Looks for complete files in `new/` and in the directory itself.
    ///
    /// # Errors
    /// When a directory cannot be listed completely, or others may write to it.
    fn scan(&self) -> Result<Scan, Failure>;

    /// Moves dropped files into `cur/`, durably; the ids become their base names.
    ///
    /// Each has its own result; an error leaves that file where it was. One of scope `Message` says
    /// that the file itself cannot be read.
    fn claim(&self, batch: &[(Dropped, OutboxId)]) -> Vec<Result<Kept, Failure>>;

    /// Moves something that is no message to `failed/` under an id, and writes the reason beside it, durably.
    /// It is neither opened nor followed.
    ///
    /// # Errors
    /// When it cannot be moved.
    fn set_aside(&self, path: &Path, id: &OutboxId, reason: &str) -> Result<(), Failure>;

    /// Whether the message ends before its last part does: the closing delimiter of its outermost
    /// multipart is missing (RFC 2046 §5.1.1).
    ///
    /// # Errors
    /// When it cannot be read.
    fn ends_early(&self, kept: &Kept, boundary: &str) -> Result<bool, Failure>;

    /// Finds one file of `cur/` as it is now.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn find(&self, id: &OutboxId) -> Result<Option<Kept>, Failure>;

    /// Finds what has the name of a message in `cur/` and is no regular file: a link, a pipe, a directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn replaced(&self, id: &OutboxId) -> Result<Option<Odd>, Failure>;

    /// Lists `cur/` by id.
    ///
    /// # Errors
    /// When the directory cannot be listed completely.
    fn kept(&self) -> Result<BTreeMap<OutboxId, Kept>, Failure>;

    /// Returns the beginning of a message, at most `limit` bytes.
    ///
    /// # Errors
    /// When the file is not a regular file of ours, or cannot be read.
    fn head(&self, kept: &Kept, limit: usize) -> Result<Vec<u8>, Failure>;

    /// Puts bytes into a message at an offset, durably: all of it is there afterwards, or nothing.
    ///
    /// # Errors
    /// When it cannot be written; the message is unchanged then.
    fn insert(&self, kept: &Kept, at: u64, bytes: &[u8]) -> Result<Kept, Failure>;

    /// Takes the flags of a message away: it is neither held nor cancelled by its name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    fn unflag(&self, id: &OutboxId, kept: &Kept) -> Result<Kept, Failure>;

    /// Moves a message to `failed/` and writes the reason beside it, durably.
    ///
    /// # Errors
    /// When it cannot be moved.
    fn park(&self, id: &OutboxId, kept: &Kept, reason: &str) -> Result<(), Failure>;

    /// Puts a copy of a message into `failed/` under another id, with a reason beside it, durably. A copy that
    /// is there already is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    fn park_copy(&self, id: &OutboxId, kept: &Kept, reason: &str) -> Result<(), Failure>;

    /// Finds a message in `cur/` or in `failed/`, as it is now.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn find_anywhere(&self, id: &OutboxId) -> Result<Option<Kept>, Failure>;

    /// Moves a message from `failed/` back to `cur/`, durably, and drops the reason. None when it is not there.
    ///
    /// # Errors
    /// When it cannot be moved.
    fn unpark(&self, id: &OutboxId) -> Result<Option<Kept>, Failure>;

    /// Removes a message of `failed/` and its reason, durably. One that is gone already is fine.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn discard(&self, id: &OutboxId) -> Result<(), Failure>;

    /// Removes the reason of a parked message that is not there any more. A message is never removed by this.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn discard_reason(&self, id: &OutboxId) -> Result<(), Failure>;

    /// Lists the ids in `failed/`.
    ///
    /// # Errors
    /// When the directory cannot be listed completely.
    fn parked(&self) -> Result<Vec<OutboxId>, Failure>;

    /// Removes messages that are done or cancelled, durably. One that is gone already is fine.
    ///
    /// # Errors
    /// When one cannot be removed; others may be gone.
    fn remove(&self, kept: &[Kept]) -> Result<(), Failure>;
}

/// What the outbox remembers. Each call is one durable transaction.
pub trait OutboxLedger: Send + Sync + 'static {
    /// Records what the arguments of `sendmail` said, before the file appears.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    fn submit(&self, id: &OutboxId, submitted: &Submitted, now: Micros) -> Result<(), Failure>;

    /// Returns what [`OutboxLedger::submit`] recorded.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    fn submitted(&self, id: &OutboxId) -> Result<Option<Submitted>, Failure>;

    /// Writes an item and its recipients, new or known.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    fn put(&self, item: &Item) -> Result<(), Failure>;

    /// Writes items and their recipients, new or known, all or none.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    fn put_all(&self, items: &[Item]) -> Result<(), Failure>;

    /// Writes an item and remembers that these recipients have it, for the replay guard.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    fn put_accepted(&self, item: &Item, accepted: &[Address], now: Micros) -> Result<(), Failure>;

    /// Writes a message and the one that was parted from it, with what was submitted for both; all or none.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    fn put_parted(&self, whole: &Item, part: &Item) -> Result<(), Failure>;

    /// Returns all items, oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    fn items(&self) -> Result<Vec<Item>, Failure>;

    /// Forgets items and what was submitted for them, all or none.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    fn forget(&self, ids: &[OutboxId]) -> Result<(), Failure>;

    /// Returns which of these recipients have this Message-ID since `since`, and when.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    fn delivered(
        &self,
        message_id: &str,
        recipients: &[Address],
        since: Micros,
    ) -> Result<Vec<(Address, Micros)>, Failure>;

    /// Whether the server of this account is known to file sent messages itself.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    fn server_files(&self, account: &AccountName) -> Result<Option<bool>, Failure>;

    /// Remembers whether the server of this account files sent messages itself.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    fn set_server_files(&self, account: &AccountName, files: bool) -> Result<(), Failure>;

    /// Forgets deliveries and submissions from before `before`.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    fn prune(&self, before: Micros) -> Result<(), Failure>;
}

/// One message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The account that sends it.
    pub account: AccountName,
    /// The file.
    pub path: PathBuf,
    /// Byte ranges of the file that stay here (Bcc and the like), ascending.
    pub skip: Vec<Range<u64>>,
    /// Sender, and the recipients that are still to be tried.
    pub envelope: Envelope,
    /// The delivery reports that are asked for.
    pub dsn: Dsn,
    /// Whether the header itself needs SMTPUTF8 (RFC 6532).
    pub utf8_header: bool,
}

/// Asked before the final dot leaves.
pub trait DotGate: Send + Sync {
    /// Makes durable that the final dot may leave, and what the server said to each recipient; an error keeps
    /// it here.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    fn open(
        &self,
        verdicts: &[(Address, Verdict)],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The way out.
pub trait Submit: Send + Sync + 'static {
    /// Makes one attempt.
    ///
    /// # Errors
    /// What broke the attempt off, and whether the server may have the message. A failure of scope
    /// `Account` says nothing about the message.
    fn submit(
        &self,
        job: &Job,
        gate: &impl DotGate,
    ) -> impl Future<Output = Result<Outcome, Broken>> + Send;
}

/// A sent message, for the Sent mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The account that sent it.
    pub account: AccountName,
    /// The file.
    pub path: PathBuf,
    /// Byte ranges of the file that are not filed.
    pub skip: Vec<Range<u64>>,
    /// Its Message-ID, with angle brackets.
    pub message_id: String,
}

/// Who put a message into the Sent mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// It is not there.
    None,
    /// Somebody here: the mail program, or we.
    Local,
    /// The server: the sync brought it.
    Server,
}

/// Files copies of sent messages.
pub trait SentFiler: Send + Sync + 'static {
    /// Looks for messages in the Sent mailbox, and waits at most `wait` for all of them to appear. The answers
    /// are in the order of the ids.
    ///
    /// # Errors
    /// When the mailbox cannot be read, or is not known yet.
    fn sightings(
        &self,
        account: &AccountName,
        message_ids: &[String],
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Sighting>, Failure>> + Send;

    /// Files a copy, durably, unless one with its Message-ID is there.
    ///
    /// # Errors
    /// When it cannot be filed now.
    fn file(&self, copy: &Copy) -> impl Future<Output = Result<(), Failure>> + Send;
}
