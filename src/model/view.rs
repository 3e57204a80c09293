//! What each side looked like, and what both last agreed on. Floor 0.
//!
//! Invariant: absence counts only where a view is complete, and a local absence only where it is in
//! [`LocalView::absent`]. A scan that failed half-way is an error, never a view.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::account::Role;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName, ModSeq, Uid, UidValidity};
use crate::model::remote_list::RemoteList;
use crate::model::uids::UidSet;

/// Where the server stood when it was last asked: enough to see whether anything changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// UIDVALIDITY.
    pub uidvalidity: UidValidity,
    /// The next UID that the server will give out; 0 if it did not say.
    pub uidnext: u32,
    /// HIGHESTMODSEQ; 0 without CONDSTORE.
    pub modseq: ModSeq,
    /// The number of messages.
    pub exists: u32,
}

/// A mailbox as LIST (and STATUS) showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteMailbox {
    /// Its decoded name.
    pub name: MailboxName,
    /// Its SPECIAL-USE role.
    pub role: Option<Role>,
    /// Whether it is subscribed to; true where nobody asked.
    pub is_subscribed: bool,
    /// Whether it can hold messages (`\Noselect` and `\NonExistent` cannot).
    pub selectable: bool,
    /// Its STATUS, where it came with the listing.
    pub status: Option<Cursor>,
}

/// A message on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteMessage {
    /// Its UID.
    pub uid: Uid,
    /// Its flags; `None` means that the server did not say, never that there are none.
    pub flags: Option<Flags>,
    /// RFC822.SIZE in bytes, where it was asked for.
    pub size: Option<u32>,
    /// INTERNALDATE in seconds since the epoch, where it was asked for.
    pub date: Option<i64>,
}

/// A mailbox on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteView {
    /// Every message that exists, counted against EXISTS.
    Complete {
        /// Where the server stood.
        cursor: Cursor,
        /// All messages.
        messages: RemoteList,
    },
    /// What changed since a cursor, counted against EXISTS.
    Delta {
        /// Where the server stands now.
        cursor: Cursor,
        /// New messages and messages whose flags may have changed.
        changed: RemoteList,
        /// Messages that are gone.
        vanished: UidSet,
    },
}

/// What the server says about one known message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteState {
    /// It is there, and this was said about it.
    Seen(RemoteMessage),
    /// It is there and nothing changed.
    Unchanged,
    /// It is gone.
    Gone,
}

impl RemoteView {
    /// Where the server stood.
    pub fn cursor(&self) -> Cursor {
        match self {
            Self::Complete { cursor, .. } | Self::Delta { cursor, .. } => *cursor,
        }
    }

    /// The messages that were listed.
    pub fn listed(&self) -> &RemoteList {
        match self {
            Self::Complete { messages, .. } => messages,
            Self::Delta { changed, .. } => changed,
        }
    }

    /// What the server says about a message that was known before.
    pub fn state(&self, uid: Uid) -> RemoteState {
        match self {
            Self::Complete { messages, .. } => {
                messages.get(uid).map_or(RemoteState::Gone, RemoteState::Seen)
            }
            Self::Delta { changed, vanished, .. } => {
                if vanished.contains(uid) {
                    RemoteState::Gone
                } else {
                    changed.get(uid).map_or(RemoteState::Unchanged, RemoteState::Seen)
                }
            }
        }
    }
}

/// Whether a file lies in `new/` or in `cur/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sub {
    /// `new/`: not yet seen by a mail reader.
    New,
    /// `cur/`.
    Cur,
}

/// A message in the Maildir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMessage {
    /// Which directory it lies in.
    pub sub: Sub,
    /// Its flags.
    pub flags: Flags,
    /// What follows the base name: separator, `2,` and letters, or nothing.
    pub info: String,
}

/// The state of a Maildir's directories, to see whether anything changed: mtimes in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Of `new/`.
    pub new_ns: i64,
    /// Of `cur/`.
    pub cur_ns: i64,
}

impl Stamp {
    /// Whether the file system keeps times in steps of 10 ms or more (FAT, exFAT, HFS+): a change may
    /// then leave the times as they were. (exFAT in FUSE does not even move them at a rename.)
    pub fn is_coarse(self) -> bool {
        const STEP_NS: i64 = 10_000_000;
        self.new_ns % STEP_NS == 0 && self.cur_ns % STEP_NS == 0
    }
}

/// What the Maildir shows of the messages that a plan is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalView {
    /// Those that are there, by base name.
    pub messages: BTreeMap<Base, LocalMessage>,
    /// Known messages whose absence is proven: two looks at a directory that stood still between.
    pub absent: BTreeSet<Base>,
}

/// The number of a ledger row.
pub type RowId = i64;

/// What became of a message on one side while the other still has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    /// Both sides agreed.
    Paired,
    /// On one side on purpose: a deletion that was not to be propagated.
    Orphan,
    /// A transfer failed, and another try is due.
    Failed,
    /// A transfer failed, and the next try is not due yet.
    Waiting,
    /// On the server only, because of a limit.
    Skipped,
    /// On the server only, and a person asked for it.
    Wanted,
    /// A limit says that the local copy goes, and it may still be there.
    Expiring,
    /// On the server only: the file has another content now, and is a new message.
    Replaced,
}

/// One message that is known: what both sides last agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRow {
    /// Its row.
    pub row: RowId,
    /// On the server; `None` if it is not there.
    pub uid: Option<Uid>,
    /// In the Maildir; `None` if it is not there.
    pub base: Option<Base>,
    /// The flags both sides agreed on.
    pub flags: Flags,
    /// Why it is as it is.
    pub state: RowState,
    /// Its size on the wire in bytes, where it is known.
    pub size: Option<u64>,
    /// Its INTERNALDATE in seconds since the epoch, where it is known.
    pub date: Option<i64>,
    /// Whether a person asked for it: no limit takes it away.
    pub is_pinned: bool,
}

impl BaseRow {
    /// A message that both sides have, of unknown size and date.
    pub fn pair(row: RowId, uid: Uid, base: Base, flags: Flags) -> Self {
        let (uid, base, state) = (Some(uid), Some(base), RowState::Paired);
        Self { row, uid, base, flags, state, size: None, date: None, is_pinned: false }
    }
}

/// What both sides last agreed on in one mailbox, as far as a plan needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaseView {
    /// Every row that a side differs from, or that is not a pair. A row that is left out is a pair
    /// on which all three agree.
    pub rows: Vec<BaseRow>,
    /// The UIDs of all rows, those that are left out too.
    pub uids: UidSet,
    /// How many messages are known, those that are left out too.
    pub n_known: usize,
    /// The UIDVALIDITY that the UIDs belong to.
    pub uidvalidity: Option<UidValidity>,
}

impl BaseView {
    /// A view that leaves no row out.
    pub fn of(rows: Vec<BaseRow>, uidvalidity: Option<UidValidity>) -> Self {
        let uids = rows.iter().filter_map(|r| r.uid).collect();
        Self { n_known: rows.len(), rows, uids, uidvalidity }
    }
}

/// What a message is recognised by wherever it turns up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its Message-ID and size on the wire.
    pub evidence: Evidence,
    /// SHA-256 of its bytes as they are on disk.
    pub digest: [u8; 32],
}

/// The evidence by which messages of both sides are paired when there is no base for them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evidence {
    /// The Message-ID, with its brackets.
    pub message_id: String,
    /// The size in bytes on the wire.
    pub size: u64,
}

/// A message that a limit left on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedMessage {
    /// Its UID.
    pub uid: Uid,
    /// Its size on the wire in bytes, where it is known.
    pub size: Option<u64>,
    /// Its INTERNALDATE in seconds since the epoch, where it is known.
    pub date: Option<i64>,
    /// The key of the limit.
    pub reason: String,
}
