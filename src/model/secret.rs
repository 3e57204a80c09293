//! Where passwords and tokens come from. Floor 0.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::model::oauth::OAuth;

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The first line of the output of a command (argv, no shell).
    Command(Vec<String>),
    /// An OAuth access token: the first line of the output of a command (argv, no shell).
    Token(Vec<String>),
    /// An OAuth access token that is had and renewed here, after a `login`.
    OAuth(Box<OAuth>),
    /// A file of mode 0600; one trailing newline is dropped.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential: `$CREDENTIALS_DIRECTORY/<name>`.
    Credential(String),
    /// The desktop's keyring, under the account's name.
    Keyring,
    /// Written in the (private) configuration file.
    Plain(Zeroizing<String>),
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(argv) => write!(f, "Command({:?})", argv.first()),
            Self::Token(argv) => write!(f, "Token({:?})", argv.first()),
            Self::OAuth(oauth) => write!(f, "OAuth({})", oauth.issuer.name),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Env(name) => write!(f, "Env({name})"),
            Self::Credential(name) => write!(f, "Credential({name})"),
            Self::Keyring => f.write_str("Keyring"),
            Self::Plain(_) => f.write_str("Plain(…)"),
        }
    }
}

impl SecretSource {
    /// Whether it gives an OAuth access token, not a password.
    pub fn is_token(&self) -> bool {
        match self {
            Self::Token(_) | Self::OAuth(_) => true,
            Self::Command(_)
            | Self::File(_)
            | Self::Env(_)
            | Self::Credential(_)
            | Self::Keyring
            | Self::Plain(_) => false,
        }
    }
}
