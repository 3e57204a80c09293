//! What the configuration says about servers, secrets and accounts, after validation. Floor 0.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::model::endpoint::{Endpoint, Mechanism, Tls};
use crate::model::ids::{AccountName, MailboxName};
pub use crate::model::pop::{Leave, PopSettings};
pub use crate::model::secret::SecretSource;

/// How mailboxes become directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `Archive/2024` is a directory of that name.
    Fs,
    /// `Archive/2024` is the directory `.Archive.2024`; INBOX is the root.
    MaildirPlusPlus,
}

/// Which way changes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// From the server to the Maildir only.
    Pull,
    /// From the Maildir to the server only.
    Push,
}

/// Where a mailbox that exists on one side only is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreatePolicy {
    /// On either side.
    Both,
    /// Only in the Maildir.
    Local,
    /// Only on the server.
    Remote,
    /// Nowhere.
    None,
}

/// What a message that was deleted locally becomes on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletePolicy {
    /// It is moved to the Trash mailbox.
    Trash,
    /// It is expunged.
    Expunge,
    /// It stays.
    Keep,
}

/// More deletions than `max(min, percent)` in one mailbox wait for consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// Absolute number that is always allowed.
    pub min: u32,
    /// Share of the mailbox that is always allowed, in percent.
    pub percent: u32,
}

/// What stays on the server. Limits only ever touch the local copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Larger messages, in bytes on the wire.
    pub max_size: Option<u64>,
    /// Older messages, by INTERNALDATE.
    pub max_age: Option<Duration>,
    /// All but the newest so many of a mailbox.
    pub max_messages: Option<u32>,
    /// Whether traffic is counted: old and large mail waits for another network. No setting says so.
    pub is_metered: bool,
}

/// The `[account.NAME.sync]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncPolicy {
    /// Which way changes travel.
    pub direction: Direction,
    /// Glob patterns on the decoded name; `!` excludes, the last match wins.
    pub mailboxes: Vec<String>,
    /// Mailboxes with these roles are left out: they hold copies of what is elsewhere.
    pub leave_out: Vec<Role>,
    /// Whether only mailboxes that are subscribed to are synced.
    pub subscribed_only: bool,
    /// Where missing mailboxes are created.
    pub create: CreatePolicy,
    /// What a local deletion becomes.
    pub delete: DeletePolicy,
    /// Whether the removal of an empty mailbox is propagated.
    pub remove_mailboxes: bool,
    /// What stays on the server.
    pub limits: Limits,
    /// The deletion brake.
    pub brake: Brake,
    /// How long removed files are kept.
    pub quarantine: Duration,
}

/// The `[account.NAME.imap]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImapSettings {
    /// The server.
    pub endpoint: Endpoint,
    /// Only mailboxes below this prefix are seen, and their names lose it.
    pub path_prefix: Option<String>,
    /// Mailboxes watched by IDLE; empty means polling only.
    pub push: Vec<MailboxName>,
    /// Most connections at one time.
    pub max_connections: u32,
}

/// The role of a mailbox (RFC 6154).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The inbox.
    Inbox,
    /// `\Sent`.
    Sent,
    /// `\Trash`.
    Trash,
    /// `\Drafts`.
    Drafts,
    /// `\Junk`.
    Junk,
    /// `\Archive`.
    Archive,
    /// `\All`.
    All,
    /// `\Flagged`.
    Flagged,
    /// `\Important` (RFC 8457).
    Important,
}

impl Role {
    /// The role as it stands in configuration and status: `sent`, `trash`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Sent => "sent",
            Self::Trash => "trash",
            Self::Drafts => "drafts",
            Self::Junk => "junk",
            Self::Archive => "archive",
            Self::All => "all",
            Self::Flagged => "flagged",
            Self::Important => "important",
        }
    }
}

/// Who files a copy of a sent message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentCopy {
    /// Look whether the server filed it, else file it.
    Auto,
    /// Always file it.
    Append,
    /// The server files it.
    Server,
    /// Nobody.
    None,
}

/// An outgoing server, with who files the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpSettings {
    /// The server.
    pub endpoint: Endpoint,
    /// Who files the copy.
    pub sent_copy: SentCopy,
}

/// One account, validated and complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: AccountName,
    /// Its address.
    pub address: String,
    /// Whether it runs at all.
    pub enabled: bool,
    /// Further addresses it may send as; `*@domain` is a wildcard.
    pub aliases: Vec<String>,
    /// The root of its Maildir.
    pub maildir: PathBuf,
    /// How mailboxes become directories.
    pub layout: Layout,
    /// Between base name and flags.
    pub info_separator: char,
    /// Roles fixed by the configuration.
    pub roles: BTreeMap<Role, MailboxName>,
    /// Incoming mail by IMAP.
    pub imap: Option<ImapSettings>,
    /// Incoming mail by POP3; never beside IMAP.
    pub pop3: Option<PopSettings>,
    /// Sync settings.
    pub sync: SyncPolicy,
    /// Outgoing mail.
    pub smtp: Option<SmtpSettings>,
}

impl Account {
    /// Its servers.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let imap = self.imap.as_ref().map(|imap| &imap.endpoint);
        let pop3 = self.pop3.as_ref().map(|pop| &pop.endpoint);
        let smtp = self.smtp.as_ref().map(|smtp| &smtp.endpoint);
        [imap, pop3, smtp].into_iter().flatten()
    }
}

/// What happens to a message whose fate after the final dot is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUncertain {
    /// It waits for a person.
    Hold,
    /// It is sent again with the same Message-ID.
    Retry,
}

/// The `[outbox]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxSettings {
    /// The directory that is watched.
    pub dir: PathBuf,
    /// How long a message waits before its first attempt.
    pub undo_delay: Duration,
    /// How long transient refusals are retried.
    pub retry_for: Duration,
    /// What happens when the fate is not known.
    pub on_uncertain: OnUncertain,
}

/// Which bus carries the D-Bus objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusChoice {
    /// The session bus and the private socket.
    Session,
    /// The private socket only.
    Private,
    /// None.
    Off,
}

/// The `[daemon]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonSettings {
    /// How often mailboxes are looked at that push does not cover.
    pub poll_interval: Duration,
    /// The log filter.
    pub log: String,
    /// Which bus.
    pub bus: BusChoice,
    /// Whether the desktop is told of new mail and of trouble.
    pub notifications: bool,
}

/// A command of the user's: an argument vector, no shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long to wait for more of the same before it is run.
    pub debounce: Duration,
    /// How long it may run.
    pub timeout: Duration,
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file it came from.
    pub path: PathBuf,
    /// The daemon's own settings.
    pub daemon: DaemonSettings,
    /// The outbox.
    pub outbox: OutboxSettings,
    /// What is run when new mail came.
    pub new_mail: Option<Hook>,
    /// The accounts, by name.
    pub accounts: BTreeMap<AccountName, Account>,
}
