//! What the settings of a server leave open, and what is remembered of it. Floor 0.

use std::path::PathBuf;

use crate::model::account::{Mechanism, Tls};

/// Where a server listens, and how the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// TCP port.
    pub port: u16,
    /// Encryption.
    pub tls: Tls,
}

/// What the settings of a server leave open. What they decide is never tried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The ways to try, the one to prefer first; a single one is decided.
    pub ways: Vec<Way>,
    /// The user's names to try, the one to prefer first; a single one is decided.
    pub users: Vec<String>,
    /// Where it is remembered what worked.
    pub memory: PathBuf,
}

/// What is remembered of a server. All of it may be lost: then it is tried out again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// Whose memory it is: of another host nothing here counts.
    pub host: String,
    /// The way that worked last.
    pub way: Option<Way>,
    /// The user's name that the server let in.
    pub user: Option<String>,
    /// How the last login went.
    pub auth: Option<Mechanism>,
    /// The user's names that were refused since a login went well, the last one last.
    pub refused: Vec<String>,
}
