//! What is known of a provider before anybody asks its servers. Floor 0.

use std::time::Duration;

use crate::model::account::{Role, Tls};

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
    /// What a newcomer has to know.
    pub hint: Option<String>,
    /// Incoming by IMAP.
    pub imap: Option<PresetServer>,
    /// Incoming by POP3.
    pub pop3: Option<PresetServer>,
    /// Outgoing.
    pub smtp: Option<PresetServer>,
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
    /// How far apart it wants logins to be, whatever it says itself; nothing: no wish is known.
    pub login_gap: Duration,
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
