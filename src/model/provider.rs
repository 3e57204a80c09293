//! What is known of a provider before anybody asks its servers. Floor 0.

use std::time::Duration;

use crate::model::account::{Role, Tls};
use crate::model::automatic::Way;

/// A preset: `config/providers.toml` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// What `provider = "…"` names it.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Domains of addresses that it serves.
    pub domains: Vec<String>,
    /// Ends of the names of its mail exchangers.
    pub mx: Vec<String>,
    /// How to log in; the first is to be preferred.
    pub auth: Vec<PresetAuth>,
    /// Who issues OAuth tokens for it: `google`, `microsoft`.
    pub oauth: Option<String>,
    /// Whether it files sent mail itself.
    pub files_sent: bool,
    /// Roles of mailboxes that hold copies of what is elsewhere.
    pub leave_out: Vec<Role>,
    /// How many connections an account may have at once.
    pub max_connections: Option<u32>,
    /// Where it hands out app passwords.
    pub setup_url: Option<String>,
    /// How much may travel a day, where that is known.
    pub daily: Option<Daily>,
    /// What a newcomer has to know.
    pub hint: Option<String>,
    /// Why Thunderbird's database says something else of its servers, where it does.
    pub differs: Option<String>,
    /// Incoming by IMAP.
    pub imap: Option<PresetServer>,
    /// Incoming by POP3.
    pub pop3: Option<PresetServer>,
    /// Outgoing.
    pub smtp: Option<PresetServer>,
}

/// How much a program may fetch and upload a day, in megabytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Daily {
    /// From the server.
    pub down_mb: u32,
    /// To the server.
    pub up_mb: u32,
}

impl Preset {
    /// What is to be known of its passwords, and where they are made.
    pub fn advice(&self) -> Option<String> {
        let hint = self.hint.as_ref()?;
        let page = self.setup_url.as_ref().map(|url| format!(" ({url})")).unwrap_or_default();
        Some(format!("{}: {hint}{page}", self.title))
    }
}

/// What to log in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresetAuth {
    /// The password, or one that was made for this program.
    Password,
    /// A token of [`Preset::oauth`].
    OAuth,
}

/// A server of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresetServer {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its encryption.
    pub tls: Tls,
    /// What it takes as the user's name; none: what the account says, else the address.
    pub user: Option<UserForm>,
    /// What it may take instead, where it refuses that.
    pub or_user: Option<UserForm>,
    /// How else it can be reached, where that fails.
    pub other: Option<Way>,
    /// How far apart it wants logins to be, whatever it says itself; nothing: no wish is known.
    pub login_gap: Duration,
}

impl PresetServer {
    /// A server that was found, of which nothing more is known.
    pub fn new(host: String, port: u16, tls: Tls, user: Option<UserForm>) -> Self {
        let (or_user, other) = (None, None);
        Self { host, port, tls, user, or_user, other, login_gap: Duration::ZERO }
    }

    /// How to reach it, the way to prefer first.
    pub fn ways(&self) -> impl Iterator<Item = Way> {
        [Way { port: self.port, tls: self.tls }].into_iter().chain(self.other)
    }
}

/// What a server takes as the user's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserForm {
    /// The whole address.
    Address,
    /// What stands before the `@`.
    LocalPart,
}

impl UserForm {
    /// The user's name for an address.
    pub fn of(self, address: &str) -> String {
        match self {
            Self::Address => address.to_owned(),
            Self::LocalPart => {
                address.rsplit_once('@').map_or(address, |(local, _)| local).to_owned()
            }
        }
    }
}
