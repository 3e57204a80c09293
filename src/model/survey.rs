//! What an account holds on its server, as a first look shows it. Floor 0.

use crate::model::account::Role;
use crate::model::ids::MailboxName;

/// What an account holds on its server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// INBOX first, then those with a role, then the others by name.
    pub mailboxes: Vec<Surveyed>,
    /// How large all of it is that will be synced.
    pub size: Size,
}

/// How large an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Size {
    /// The server does not say, or not in time.
    #[default]
    Unknown,
    /// About so many bytes on the wire: what some messages of each mailbox lead to.
    About(u64),
    /// So many bytes on the wire, as the server says.
    Exactly(u64),
}

/// One mailbox of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// Its decoded name.
    pub name: MailboxName,
    /// Its role.
    pub role: Option<Role>,
    /// How many messages are in it; none where the server did not say, or not in time.
    pub n_messages: Option<u64>,
    /// Whether it will be synced.
    pub is_synced: bool,
}

impl Survey {
    /// How many messages will be synced, as far as the server said.
    pub fn n_messages(&self) -> u64 {
        let synced = self.mailboxes.iter().filter(|mailbox| mailbox.is_synced);
        synced.filter_map(|mailbox| mailbox.n_messages).sum()
    }

    /// Whether the server said of each mailbox that will be synced how many messages are in it.
    pub fn is_counted(&self) -> bool {
        let mut synced = self.mailboxes.iter().filter(|mailbox| mailbox.is_synced);
        synced.all(|mailbox| mailbox.n_messages.is_some())
    }
}
