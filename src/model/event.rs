//! What wakes the engine: hints (something may have changed) and commands (a person asks). Floor 0.

use crate::model::ids::{AccountName, MailboxName, OutboxId, Uid};
use crate::model::status::Counters;
use std::collections::BTreeMap;

/// Something may have changed. A hint never causes an effect by itself: it only wakes a loop.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// The server may have changed this mailbox.
    Remote(MailboxName),
    /// The directory of this mailbox may have changed.
    Local(MailboxName),
    /// Everything may have changed: events were lost, mailboxes came or went.
    Everything,
}

/// What a person wants synced: an account, or one of its mailboxes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The account.
    pub account: AccountName,
    /// The mailbox; none means all.
    pub mailbox: Option<MailboxName>,
}

impl Target {
    /// Reads `ACCOUNT` or `ACCOUNT/MAILBOX`; an account's name has no `/`.
    pub fn parse(text: &str) -> Self {
        match text.split_once('/') {
            Some((account, mailbox)) if !mailbox.is_empty() => Self {
                account: AccountName(account.to_owned()),
                mailbox: Some(MailboxName::parse(mailbox)),
            },
            Some((account, _)) => Self { account: AccountName(account.to_owned()), mailbox: None },
            None => Self { account: AccountName(text.to_owned()), mailbox: None },
        }
    }
}

/// A person's word about held deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// They are meant: carry them out.
    Confirm,
    /// They are not: bring the messages back.
    Reject,
}

/// What happened that readers of mail want to hear of at once, beside the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Unseen mail landed in a mailbox.
    NewMessages {
        /// The account.
        account: AccountName,
        /// The mailbox.
        mailbox: MailboxName,
        /// The new files.
        paths: Vec<String>,
    },
    /// The brake holds back deletions and waits for a word.
    DeletesHeld {
        /// The account.
        account: AccountName,
        /// The mailbox.
        mailbox: MailboxName,
        /// How many.
        count: u32,
    },
    /// The server numbered a mailbox anew; its messages are paired again.
    MailboxReset {
        /// The account.
        account: AccountName,
        /// The mailbox.
        mailbox: MailboxName,
    },
}

/// The number of a job that `WaitJob` can wait for.
pub type JobId = u32;

/// What a person asks of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Sync an account, or some of its mailboxes; empty means all.
    Sync {
        /// The job to report to.
        job: JobId,
        /// The account.
        account: AccountName,
        /// The mailboxes.
        mailboxes: Vec<MailboxName>,
    },
    /// Stop working for so many seconds; 0 means until resumed. No account means all.
    Pause {
        /// The account.
        account: Option<AccountName>,
        /// Seconds; 0 means until resumed.
        seconds: u64,
    },
    /// Go on.
    Resume {
        /// The account.
        account: Option<AccountName>,
    },
    /// Fetch messages that are on the server only, whatever a limit says, in the next sync.
    Want {
        /// The account.
        account: AccountName,
        /// The mailbox.
        mailbox: MailboxName,
        /// The messages.
        uids: Vec<Uid>,
    },
    /// Decide about the deletions that the brake holds back in a mailbox.
    Decide {
        /// The account.
        account: AccountName,
        /// The mailbox.
        mailbox: MailboxName,
        /// The word.
        consent: Consent,
    },
    /// Read the configuration again.
    Reload,
    /// Try queued messages now; empty means all.
    Flush {
        /// The job to report to.
        job: JobId,
        /// The messages.
        ids: Vec<OutboxId>,
    },
}

/// How one account's part of a sync ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountReport {
    /// The counters per mailbox.
    pub mailboxes: BTreeMap<MailboxName, Counters>,
    /// Error name, text and exit code of what failed.
    pub error: Option<ReportError>,
}

impl AccountReport {
    /// Whether nothing moved or changed on either side.
    pub fn is_quiet(&self) -> bool {
        self.mailboxes.values().all(Counters::is_quiet)
    }
}

/// What failed, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportError {
    /// Stable name, as of the D-Bus errors.
    pub code: String,
    /// The whole story in one line.
    pub text: String,
    /// The exit code that goes with it.
    pub exit: u8,
}
