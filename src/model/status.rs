//! Immutable snapshots of how things are, for D-Bus, the terminal and the log. Floor 0.
//!
//! Times are microseconds since the epoch, 0 = never. No secret, subject or text appears here.

use std::collections::BTreeMap;

use crate::model::ids::{AccountName, MailboxName};

/// Microseconds since the Unix epoch; 0 means never.
pub type Micros = u64;

/// The state of the whole service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Since when the daemon runs.
    pub since: Micros,
    /// Starting until the first pass of each account began.
    pub starting: bool,
    /// Stopping since SIGTERM.
    pub stopping: bool,
    /// Paused by the user.
    pub paused: bool,
    /// Whether traffic is counted, so that old and large mail waits for another network.
    pub metered: bool,
    /// What is wrong with a configuration that was not taken over: the old one goes on.
    pub config_error: Option<Trouble>,
    /// The accounts by name.
    pub accounts: BTreeMap<AccountName, AccountStatus>,
    /// The outbox.
    pub outbox: OutboxStatus,
}

impl Status {
    /// What is wrong with an account, for whoever looks: receiving first, then sending, but what needs a
    /// person before what passes.
    pub fn trouble(&self, name: &AccountName) -> Option<&Trouble> {
        let account = self.accounts.get(name);
        let sending = self.outbox.troubles.get(name);
        let of_sending = account.is_some_and(|account| !account.state.needs_attention())
            && self.state(name).needs_attention();
        let own = account.and_then(|account| account.trouble.as_ref());
        if of_sending { sending.or(own) } else { own.or(sending) }
    }

    /// The state of an account, for whoever looks: a login that is refused where mail is sent needs a
    /// person as well.
    pub fn state(&self, name: &AccountName) -> AccountState {
        let account = self.accounts.get(name);
        let state = account.map(|account| account.state).unwrap_or_default();
        let is_alone = account.is_some_and(|account| account.protocol == "none");
        if matches!(state, AccountState::Disabled | AccountState::Paused) || state.needs_attention()
        {
            return state;
        }
        match self.outbox.troubles.get(name).map(|trouble| trouble.name.as_str()) {
            Some("AuthFailed" | "NeedsLogin") => AccountState::NeedsLogin,
            Some("KeyringLocked") => AccountState::KeyringLocked,
            Some("TlsUntrusted") => AccountState::CertProblem,
            Some("ConfigInvalid" | "NotSupported") => AccountState::Error,
            // One that only sends has no other way to show it.
            Some("Offline" | "Timeout") if is_alone => AccountState::Offline,
            Some(_) if is_alone => AccountState::Backoff,
            _ => state,
        }
    }
}

/// The state of an account (product page §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccountState {
    /// `enabled = false`.
    Disabled,
    /// Dialling and logging in.
    #[default]
    Connecting,
    /// All is synced; waiting for something to happen.
    Idle,
    /// A pass runs.
    Syncing,
    /// Failed; waits for the next try.
    Backoff,
    /// No way to the server.
    Offline,
    /// Paused by the user.
    Paused,
    /// The login was refused, or there is no secret.
    NeedsLogin,
    /// The secret is in a keyring that is locked.
    KeyringLocked,
    /// The certificate was not acceptable.
    CertProblem,
    /// The Maildir's root is not there.
    StoreMissing,
    /// Something else that does not mend itself.
    Error,
}

impl AccountState {
    /// As on D-Bus and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Connecting => "connecting",
            Self::Idle => "idle",
            Self::Syncing => "syncing",
            Self::Backoff => "backoff",
            Self::Offline => "offline",
            Self::Paused => "paused",
            Self::NeedsLogin => "needs-login",
            Self::KeyringLocked => "keyring-locked",
            Self::CertProblem => "cert-problem",
            Self::StoreMissing => "store-missing",
            Self::Error => "error",
        }
    }

    /// Whether a person has to do something.
    pub fn needs_attention(self) -> bool {
        match self {
            Self::NeedsLogin | Self::CertProblem | Self::StoreMissing | Self::Error => true,
            Self::Disabled
            | Self::Connecting
            | Self::Idle
            | Self::Syncing
            | Self::Backoff
            | Self::Offline
            | Self::KeyringLocked
            | Self::Paused => false,
        }
    }
}

/// How changes on the server are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Push {
    /// NOTIFY (RFC 5465).
    Notify,
    /// IDLE (RFC 2177).
    Idle,
    /// Polling.
    Poll,
    /// Not at all.
    #[default]
    None,
}

impl Push {
    /// As on D-Bus and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Idle => "idle",
            Self::Poll => "poll",
            Self::None => "none",
        }
    }
}

/// How local changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watch {
    /// inotify, FSEvents.
    Inotify,
    /// Looking from time to time.
    #[default]
    Poll,
}

impl Watch {
    /// As on D-Bus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inotify => "inotify",
            Self::Poll => "poll",
        }
    }
}

/// An error that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The name of the D-Bus error, without prefix.
    pub name: String,
    /// What, where, the server's words, the cure; one line.
    pub text: String,
    /// Since when.
    pub since: Micros,
    /// When the next try is due; 0: not by itself.
    pub next_retry: Micros,
}

/// How far a pass is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The mailbox at work.
    pub mailbox: String,
    /// Messages done.
    pub done: u64,
    /// Messages to do.
    pub total: u64,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes to do.
    pub bytes_total: u64,
}

/// What was found to work at a server; none where configuration or preset decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// `imap`, `pop3` or `smtp`.
    pub protocol: &'static str,
    /// Its name.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
    /// The encryption.
    pub tls: Option<&'static str>,
    /// The user's name that it let in.
    pub user: Option<String>,
    /// The mechanism by which the login went.
    pub auth: Option<&'static str>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountStatus {
    /// Its address.
    pub address: String,
    /// `imap`, `pop3` or `none`.
    pub protocol: String,
    /// Whether it runs at all.
    pub enabled: bool,
    /// The root of its Maildir.
    pub maildir: String,
    /// Its state.
    pub state: AccountState,
    /// How server changes are noticed.
    pub push: Push,
    /// How local changes are noticed.
    pub watch: Watch,
    /// What is wrong.
    pub trouble: Option<Trouble>,
    /// When the last pass ended.
    pub last_sync: Micros,
    /// When the last pass ended well.
    pub last_success: Micros,
    /// The pass that runs.
    pub progress: Option<Progress>,
    /// What was found to work at its servers.
    pub servers: Vec<ServerStatus>,
    /// The mailboxes by name.
    pub mailboxes: BTreeMap<MailboxName, MailboxStatus>,
}

impl AccountStatus {
    /// Unread messages in all mailboxes.
    pub fn unread(&self) -> u32 {
        self.mailboxes.values().map(|m| m.unread).fold(0, u32::saturating_add)
    }

    /// Messages in all mailboxes.
    pub fn total(&self) -> u32 {
        self.mailboxes.values().map(|m| m.total).fold(0, u32::saturating_add)
    }

    /// Deletions held back by the brake.
    pub fn held(&self) -> u32 {
        self.mailboxes.values().map(|m| m.held).fold(0, u32::saturating_add)
    }
}

/// One mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailboxStatus {
    /// Its directory.
    pub path: String,
    /// Its role, or empty.
    pub role: String,
    /// Messages.
    pub total: u32,
    /// Messages without `\Seen`.
    pub unread: u32,
    /// When the last pass over it ended.
    pub last_sync: Micros,
    /// How server changes are noticed.
    pub push: Push,
    /// Deletions held back by the brake.
    pub held: u32,
    /// Messages that stay on the server because of a limit.
    pub skipped: u32,
    /// Messages that could not be transferred.
    pub failed: u32,
}

/// The outbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboxStatus {
    /// Messages waiting to be sent.
    pub queued: u32,
    /// Messages held by the user or by a guard.
    pub held: u32,
    /// Messages whose fate after the final dot is not known.
    pub uncertain: u32,
    /// Messages parked in `failed/`.
    pub failed: u32,
    /// Of those that are queued, how many have waited for hours.
    pub late: u32,
    /// Why the outbox as a whole does not work.
    pub trouble: Option<Trouble>,
    /// Accounts whose mail waits because of their outgoing server.
    pub troubles: BTreeMap<AccountName, Trouble>,
    /// Whether a message is on the wire.
    pub sending: bool,
    /// When the next attempt is due.
    pub next_attempt: Micros,
    /// The directory.
    pub directory: String,
}

/// What one pass did to a mailbox; the counters of `sync --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages fetched.
    pub downloaded: u32,
    /// Messages appended.
    pub uploaded: u32,
    /// Local messages whose flags changed.
    pub flags_local: u32,
    /// Server messages whose flags changed.
    pub flags_remote: u32,
    /// Local files moved.
    pub moved_local: u32,
    /// Server messages moved.
    pub moved_remote: u32,
    /// Local files removed.
    pub deleted_local: u32,
    /// Server messages removed.
    pub deleted_remote: u32,
    /// Deletions held back.
    pub held: u32,
    /// Messages left on the server by a limit.
    pub skipped: u32,
    /// Messages that failed.
    pub failed: u32,
}

impl Counters {
    /// Whether nothing moved or changed on either side.
    pub fn is_quiet(&self) -> bool {
        let Self { held, skipped, failed, .. } = *self;
        *self == Self { held, skipped, failed, ..Self::default() }
    }
}
