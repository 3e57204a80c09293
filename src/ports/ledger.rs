//! The ledger. All methods block: call them off the async threads.
//!
//! SQLite work blocks anyway, and batches make the calls coarse (docs/decisions/003).

use crate::model::event::Consent;
use crate::model::failure::Failure;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName, Uid, UidValidity};
use crate::model::uids::UidSet;
use crate::model::view::{
    BaseRow, BaseView, Cursor, Fingerprint, RemoteMessage, RowId, SkippedMessage, Stamp,
};
use crate::ports::local::Landing;
use crate::ports::pop::PopChange;
use crate::ports::remote::Quirk;
use std::collections::BTreeSet;

/// The number of a mailbox in the ledger.
pub type MailboxId = i64;

/// A mailbox that the ledger knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxRow {
    /// Its number.
    pub id: MailboxId,
    /// Its name.
    pub name: MailboxName,
    /// Where the server stood after the last complete pass.
    pub cursor: Option<Cursor>,
    /// The directories' state after the last complete pass.
    pub stamp: Option<Stamp>,
    /// How many rows are in the way of skipping a pass: failed transfers, held deletions.
    pub unsettled: u32,
    /// Deletions that waited for consent after the last pass.
    pub held: u32,
    /// Messages whose transfer failed.
    pub failed: u32,
    /// Messages that a limit left on the server.
    pub skipped: u32,
    /// The limits that were kept to in the last complete pass.
    pub limits: Option<String>,
    /// What a person said about them since.
    pub consent: Option<Consent>,
    /// The moves that were begun as a copy and a removal, and are not known to be whole: copies of what was
    /// to leave may be in Trash, of what was to come here.
    pub halves: BTreeSet<Way>,
    /// Whether it has rows: messages that were synced before.
    pub is_known: bool,
    /// Whether any of them has a file here: without one there is nothing to miss.
    pub has_files: bool,
}

/// Which way messages of a mailbox are moved, where the server cannot do that in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To Trash.
    Leave,
    /// From other mailboxes to this one.
    Come,
}

/// One change of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file is durable in `tmp/` and about to become visible.
    Land(Landing),
    /// The files that landed under these UIDs are visible.
    Landed(Vec<Uid>),
    /// A landing came to nothing.
    Unland(Uid),
    /// Both sides have this message, with these flags agreed.
    Pair {
        /// On the server.
        uid: Uid,
        /// In the Maildir.
        base: Base,
        /// Agreed flags.
        flags: Flags,
        /// What it is recognised by.
        print: Option<Fingerprint>,
        /// Its INTERNALDATE in seconds since the epoch, where it is known.
        date: Option<i64>,
    },
    /// A file has another base name now.
    Rebase(RowId, Base),
    /// Both sides agree on these flags now.
    Agree(RowId, Flags),
    /// The message is gone on both sides.
    Forget(RowId),
    /// The file has another content now: it counts as new, and the row is about the old message.
    Replace(RowId),
    /// The new content is gone before it came to the server: the row is about the file again.
    Restore(RowId),
    /// A file of unknown past: it stays here, and is no new mail.
    Stray(Base),
    /// The message stays on one side on purpose.
    Orphan(RowId, OneSide),
    /// What a limit does.
    Limit(LimitChange),
    /// A transfer failed.
    Failed {
        /// On the server.
        uid: Option<Uid>,
        /// In the Maildir.
        base: Option<Base>,
        /// Why.
        reason: String,
    },
    /// The UIDVALIDITY that the UIDs of the rows belong to.
    Validity(UidValidity),
    /// All pairs are void: UIDVALIDITY changed.
    Void,
    /// The server gave these names to messages.
    Named(Vec<(Uid, String)>),
    /// Messages are about to be moved this way by a copy and a removal.
    Halved(Way),
    /// All that were moved this way are whole.
    Whole(Way),
    /// The pass was complete up to here.
    Cursor(Option<Cursor>, Option<Stamp>),
    /// So many deletions wait for consent.
    Held(u32),
    /// A person's word about them; none once it was followed.
    Consent(Option<Consent>),
    /// What is known about a POP3 maildrop.
    Pop(PopChange),
}

/// What limits, and the wish to have a message in spite of them, do to rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitChange {
    /// A message stays on the server because of a limit: the key that says so.
    Skip(RemoteMessage, &'static str),
    /// The local copy of a message is about to go because of a limit.
    Expire(RowId, &'static str),
    /// It is gone.
    Expired(RowId),
    /// A person asks for messages that are on the server only.
    Want(Vec<Uid>),
    /// The limits that were kept to in the last complete pass.
    Kept(String),
}

/// Which side an orphan remains on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneSide {
    /// The server.
    Remote,
    /// The Maildir.
    Local,
}

/// A message of another mailbox, or of the same one, that may be the one that turned up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kin {
    /// Its row.
    pub row: RowId,
    /// Its mailbox.
    pub mailbox: MailboxId,
    /// The mailbox's name.
    pub name: MailboxName,
    /// The UIDVALIDITY of its UID.
    pub validity: UidValidity,
    /// On the server.
    pub uid: Uid,
    /// In the Maildir.
    pub base: Base,
    /// The flags both sides agreed on.
    pub flags: Flags,
}

/// What both sides agreed on, durably. A method returns after its transaction is on disk.
pub trait Ledger: Send + Sync + 'static {
    /// The id of the Maildir root that the ledger belongs to.
    fn root(&self) -> Result<Option<String>, Failure>;

    /// Binds the ledger to a root.
    fn set_root(&self, id: &str) -> Result<(), Failure>;

    /// What the server was caught at before.
    fn quirks(&self) -> Result<BTreeSet<Quirk>, Failure>;

    /// Remembers what the server was caught at.
    fn learn_quirk(&self, quirk: Quirk) -> Result<(), Failure>;

    /// The number of the newest pass that changed something; none in a new ledger.
    fn epoch(&self) -> Result<Option<u64>, Failure>;

    /// Sets that number.
    fn set_epoch(&self, epoch: u64) -> Result<(), Failure>;

    /// All mailboxes.
    fn mailboxes(&self) -> Result<Vec<MailboxRow>, Failure>;

    /// A mailbox by name; made if it is not known.
    fn mailbox(&self, name: &MailboxName) -> Result<MailboxRow, Failure>;

    /// Gives a mailbox another name.
    fn rename(&self, mailbox: MailboxId, to: &MailboxName) -> Result<(), Failure>;

    /// Forgets a mailbox and everything about it.
    fn forget(&self, mailbox: MailboxId) -> Result<(), Failure>;

    /// What is known of a mailbox; of its rows only those that are not pairs.
    fn known(&self, mailbox: MailboxId) -> Result<BaseView, Failure>;

    /// Shows every row of a mailbox, one after the other: they are never in memory together.
    fn each(&self, mailbox: MailboxId, visit: &mut dyn FnMut(BaseRow)) -> Result<(), Failure>;

    /// The rows of these UIDs.
    fn rows(&self, mailbox: MailboxId, uids: &UidSet) -> Result<Vec<BaseRow>, Failure>;

    /// Rows whose file has another content now, with its base name.
    fn replaced(&self, mailbox: MailboxId) -> Result<Vec<(RowId, Base)>, Failure>;

    /// The SHA-256 of a message as it was when both sides agreed, where it is known.
    fn digest(&self, row: RowId) -> Result<Option<[u8; 32]>, Failure>;

    /// The messages of a mailbox that a limit left on the server, by UID.
    fn skipped(&self, mailbox: MailboxId) -> Result<Vec<SkippedMessage>, Failure>;

    /// How many messages of a mailbox are in the Maildir, and how many of them are not seen.
    fn tally(&self, mailbox: MailboxId) -> Result<(u32, u32), Failure>;

    /// Files that were about to become visible.
    fn landings(&self, mailbox: MailboxId) -> Result<Vec<Landing>, Failure>;

    /// Whether another mailbox has messages: only then can one have come from there.
    fn has_others(&self, mailbox: MailboxId) -> Result<bool, Failure>;

    /// Messages of any mailbox with these bytes.
    fn kin_by_digest(&self, digest: &[u8; 32]) -> Result<Vec<Kin>, Failure>;

    /// Messages of other mailboxes with this size on the wire; with a Message-ID only those.
    fn kin_by_evidence(
        &self,
        not_in: MailboxId,
        size: u64,
        message_id: Option<&str>,
    ) -> Result<Vec<Kin>, Failure>;

    /// Messages of other mailboxes to which the server gave this name.
    fn kin_by_id(&self, not_in: MailboxId, id: &str) -> Result<Vec<Kin>, Failure>;

    /// Files of a mailbox that lost their UID, with the names that the server gave them.
    fn named_halves(&self, mailbox: MailboxId) -> Result<Vec<(String, Base)>, Failure>;

    /// Messages from this UID on whose name is not known.
    fn nameless(&self, mailbox: MailboxId, first: u32) -> Result<Vec<Uid>, Failure>;

    /// Applies changes in one transaction.
    fn apply(&self, mailbox: MailboxId, changes: &[Change]) -> Result<(), Failure>;
}
