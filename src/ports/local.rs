//! The Maildir. All methods block: call them off the async threads.
//!
//! File and SQLite work blocks anyway, and batches make the calls coarse (docs/decisions/003).

use std::io::Write;
use std::path::PathBuf;

use crate::model::failure::Failure;
use crate::model::flags::{Flag, FlagDelta, Flags};
use crate::model::ids::{Base, MailboxName, Uid, UidValidity};
use crate::model::listing::Listing;
use crate::model::status::Watch;
use crate::model::view::{Fingerprint, LocalMessage, Stamp, Sub};
use crate::ports::hints::HintBox;
use crate::ports::remote::Upload;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A scan, with what tells whether the directory stood still.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// All messages.
    pub messages: Listing,
    /// The directories' state, the same before and after the scan.
    pub stamp: Stamp,
    /// Whether the state was the same before and after, and nothing was seen twice.
    pub steady: bool,
    /// The keywords that file names of this mailbox can express.
    pub keywords: BTreeSet<String>,
}

impl Scan {
    /// The directories' state, if they stood still and it will show the next change.
    pub fn still(&self) -> Option<Stamp> {
        (self.steady && !self.stamp.is_coarse()).then_some(self.stamp)
    }
}

/// How much is in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Its messages.
    pub total: usize,
    /// Those that nobody read.
    pub unread: usize,
    /// The directories' state, if they stood still and it will show the next change.
    pub still: Option<Stamp>,
}

/// A message that was written but is not yet visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// Its UID on the server.
    pub uid: Uid,
    /// Its base name.
    pub base: Base,
    /// Where it goes.
    pub sub: Sub,
    /// Its flags.
    pub flags: Flags,
    /// What it is recognised by.
    pub print: Option<Fingerprint>,
    /// Its INTERNALDATE in seconds since the epoch, where it is known.
    pub date: Option<i64>,
}

/// A message where a scan saw it.
pub type Seen = (Base, LocalMessage);

/// A file being written in `tmp/`.
pub trait Staging: Write + Send {
    /// Completes the file: mode, mtime (seconds since the epoch). Nothing is durable yet.
    ///
    /// # Errors
    /// The write failed; the file is removed.
    fn finish(self, date: Option<i64>) -> Result<(Base, Fingerprint), Failure>;

    /// SHA-256 of what was written so far.
    fn digest(&self) -> [u8; 32];

    /// Removes the file.
    fn discard(self);
}

/// Where a message that landed was found after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// In `new/` or `cur/`.
    Visible,
    /// Nowhere: it has to be fetched again.
    Nowhere,
}

/// Watches Maildirs and puts hints where they change.
pub trait LocalWatcher: Send + Sync {
    /// Watches one more mailbox; watching one twice is fine.
    fn add(&mut self, mailbox: &MailboxName);

    /// How changes are noticed.
    fn state(&self) -> Watch;
}

/// The Maildir of an account.
pub trait Local: Send + Sync + 'static {
    /// A file being written.
    type Staging: Staging;

    /// Makes sure that the root is the one with this id, and returns its id; `None` accepts any
    /// and marks a new root.
    ///
    /// # Errors
    /// `StoreMissing` if the marker is not there or another one is.
    fn open_root(&self, expected: Option<&str>) -> Result<String, Failure>;

    /// The number of the newest pass that changed something here; 0 if there was none.
    fn epoch(&self) -> Result<u64, Failure>;

    /// Sets that number, durably.
    fn set_epoch(&self, epoch: u64) -> Result<(), Failure>;

    /// Begins to watch for changes.
    fn watch(&self, hints: Arc<HintBox>) -> Box<dyn LocalWatcher>;

    /// Which UIDs another program says that messages have on the server, in file names or state files of
    /// its own; nothing where none did. A hint: it may be old or wrong.
    fn known_elsewhere(
        &self,
        mailbox: &MailboxName,
        validity: UidValidity,
        bases: &[Base],
    ) -> Vec<(Base, Uid)>;

    /// The mailboxes that exist as Maildirs.
    fn mailboxes(&self) -> Result<Vec<MailboxName>, Failure>;

    /// Creates the directories of a mailbox; fine if they exist.
    fn create(&self, mailbox: &MailboxName) -> Result<(), Failure>;

    /// Renames the directory of a mailbox, durably, with those below it; fine if that was done.
    fn rename(&self, from: &MailboxName, to: &MailboxName) -> Result<(), Failure>;

    /// Removes the directories of a mailbox that is empty; false if it is not, or another one lies
    /// below it.
    fn remove(&self, mailbox: &MailboxName) -> Result<bool, Failure>;

    /// The directory of a mailbox.
    fn path(&self, mailbox: &MailboxName) -> PathBuf;

    /// The state of a mailbox's directories.
    fn stamp(&self, mailbox: &MailboxName) -> Result<Stamp, Failure>;

    /// Lists a mailbox completely, or fails.
    fn scan(&self, mailbox: &MailboxName) -> Result<Scan, Failure>;

    /// Counts the messages of a mailbox.
    fn tally(&self, mailbox: &MailboxName) -> Result<Tally, Failure> {
        let scan = self.scan(mailbox)?;
        let unread = scan.messages.flags().filter(|f| !f.has(Flag::Seen)).count();
        Ok(Tally { total: scan.messages.len(), unread, still: scan.still() })
    }

    /// From now on notes what others change in a mailbox, if its directories are still in this state, and
    /// whoever keeps them tells everything; false if not.
    fn attest(&self, mailbox: &MailboxName, since: Stamp) -> bool;

    /// Ends that: the directories' state, if since then nothing was changed but by these methods, and it
    /// will show the next change.
    fn attested(&self, mailbox: &MailboxName) -> Result<Option<Stamp>, Failure>;

    /// Looks for some files, which carried these flags when they were last seen; those that are
    /// not there are left out. The scan is of nothing else.
    fn find(&self, mailbox: &MailboxName, files: &[(Base, Flags)]) -> Result<Scan, Failure>;

    /// Begins a file in `tmp/`.
    fn stage(&self, mailbox: &MailboxName) -> Result<Self::Staging, Failure>;

    /// Makes the content of staged files durable.
    fn barrier(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<(), Failure>;

    /// Makes staged files visible, and that durable.
    fn promote(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<(), Failure>;

    /// Finds out what became of files that were about to become visible when the process died;
    /// those still in `tmp/` are made visible, and what is visible is durable. Answers in order.
    fn settle(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<Vec<Settled>, Failure>;

    /// Changes flags; a file that is gone is left out of the answer, the others come back with the
    /// flags that they have now. Files are looked for where they were `seen` first.
    fn set_flags(
        &self,
        mailbox: &MailboxName,
        changes: &[(Seen, FlagDelta)],
    ) -> Result<Vec<(Base, Flags)>, Failure>;

    /// Moves files out of sight, into the quarantine; files that are gone are fine.
    fn quarantine(&self, mailbox: &MailboxName, seen: &[Seen]) -> Result<(), Failure>;

    /// Drops what lay longer than allowed in the quarantine, and old files of ours in `tmp/`.
    fn sweep(&self) -> Result<(), Failure>;

    /// Opens a message for upload; `None` if it is gone.
    fn open(&self, mailbox: &MailboxName, seen: &Seen) -> Result<Option<Upload>, Failure>;

    /// All messages with their mtimes in seconds since the epoch.
    fn dates(&self, mailbox: &MailboxName) -> Result<Vec<(Seen, i64)>, Failure>;

    /// The fingerprints of messages; files that are gone are left out.
    fn fingerprints(
        &self,
        mailbox: &MailboxName,
        seen: &[Seen],
    ) -> Result<Vec<(Base, Fingerprint)>, Failure>;

    /// Moves files into another mailbox, durably, and answers those that were there to be moved.
    fn relocate(
        &self,
        from: &MailboxName,
        to: &MailboxName,
        seen: &[Seen],
    ) -> Result<Vec<Base>, Failure>;

    /// Gives files that another program moved or copied here from another mailbox the letters that this
    /// one has for their keywords, durably; with the flags that each was last known to have. Answers
    /// those that were renamed. A second time changes nothing.
    fn translate(
        &self,
        from: &MailboxName,
        to: &MailboxName,
        files: &[(Seen, Flags)],
    ) -> Result<Vec<Base>, Failure>;
}
