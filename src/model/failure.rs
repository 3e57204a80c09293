//! What went wrong, how far it reaches and when to try again. Floor 0.
//!
//! Each adapter turns its errors into a [`Failure`] in one place (`classify`). The engine decides by
//! [`Scope`] alone what is spoilt, and by [`Remedy`] when to come back.

use std::fmt;
use std::time::Duration;

/// What a failure spoils.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One message; the mailbox goes on.
    Message,
    /// One mailbox; the account goes on.
    Mailbox,
    /// The account: its connection is dropped.
    Account,
    /// The whole service.
    Daemon,
}

/// When it makes sense to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// At once: the world changed under us.
    Now,
    /// After a back-off.
    Later,
    /// After a back-off, and not before this time is over: the other side asked for it.
    After(Duration),
    /// Only after something changed: config, secret, the server's certificate, or a person's word.
    Never,
}

/// The kind of a failure; decides error name, exit code and account state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No route, no name, connection refused or cut.
    Offline,
    /// A deadline passed.
    Timeout,
    /// The certificate or the handshake was not acceptable.
    TlsUntrusted,
    /// There is no encryption to be had at this port, or not in this way.
    NotEncrypted,
    /// The server refused the login.
    AuthFailed,
    /// There is no usable secret: the command failed, the file is missing.
    NeedsLogin,
    /// The secret is in a keyring that is locked.
    KeyringLocked,
    /// The server asked to slow down.
    Throttled,
    /// The server refused a command (NO).
    Refused,
    /// The server broke the protocol, or said BAD.
    Protocol,
    /// A local read or write failed.
    LocalIo,
    /// The local store is not there: unmounted, marker missing.
    StoreMissing,
    /// The configuration is wrong.
    Config,
    /// The thing that was asked for does not exist.
    NotFound,
    /// Another instance holds the lock.
    Busy,
    /// An address cannot be used, or no account may send for it.
    Address,
    /// A message is too big for the server.
    TooBig,
    /// The other side lacks what is needed.
    NotSupported,
}

impl Kind {
    /// The name of the D-Bus error (product page §5), without its prefix.
    pub fn error_name(self) -> &'static str {
        match self {
            Self::Offline => "Offline",
            Self::Timeout => "Timeout",
            Self::TlsUntrusted | Self::NotEncrypted => "TlsUntrusted",
            Self::AuthFailed => "AuthFailed",
            Self::NeedsLogin => "NeedsLogin",
            Self::KeyringLocked => "KeyringLocked",
            Self::Throttled | Self::Busy => "Busy",
            Self::Refused | Self::Protocol => "Protocol",
            Self::LocalIo | Self::StoreMissing => "LocalIo",
            Self::Config => "ConfigInvalid",
            Self::NotFound => "NoSuchMailbox",
            Self::Address => "InvalidAddress",
            Self::TooBig => "MessageTooBig",
            Self::NotSupported => "NotSupported",
        }
    }

    /// The exit code of a command that ends with this failure (sysexits).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Offline | Self::Timeout => 69,
            Self::AuthFailed | Self::NeedsLogin | Self::KeyringLocked => 77,
            Self::Throttled | Self::Busy => 75,
            Self::TlsUntrusted
            | Self::NotEncrypted
            | Self::Refused
            | Self::Protocol
            | Self::NotSupported => 76,
            Self::LocalIo | Self::StoreMissing => 74,
            Self::Config => 78,
            Self::NotFound => 67,
            Self::Address | Self::TooBig => 65,
        }
    }
}

/// Something failed: what, where, in whose words, what it means and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What is spoilt.
    pub scope: Scope,
    /// When to come back.
    pub remedy: Remedy,
    /// What kind it is.
    pub kind: Kind,
    /// What was attempted, lower case: `select mailbox "INBOX"`.
    pub what: String,
    /// Where: `imap.example.com:993 (IMAP, LOGIN)`, or a path.
    pub place: Option<String>,
    /// The cause in the words of the library or the operating system.
    pub detail: Option<String>,
    /// The server's own words, escaped, one line, at most 512 bytes (see [`server_words`]).
    pub server_said: Option<String>,
    /// What mends it, as a sentence or a command.
    pub cure: Option<String>,
}

impl Failure {
    /// A failure with nothing but its classification and what was attempted.
    pub fn new(scope: Scope, remedy: Remedy, kind: Kind, what: impl Into<String>) -> Self {
        Self {
            scope,
            remedy,
            kind,
            what: what.into(),
            place: None,
            detail: None,
            server_said: None,
            cure: None,
        }
    }

    /// A local read or write failed: spoils the account for now, retried later.
    pub fn local_io(what: impl Into<String>, err: &std::io::Error) -> Self {
        Self::new(Scope::Account, Remedy::Later, Kind::LocalIo, what).detail(err)
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(server_words(&detail.to_string()));
        self
    }

    /// Adds the server's words, escaped and shortened.
    #[must_use]
    pub fn said(mut self, words: &str) -> Self {
        self.server_said = Some(server_words(words));
        self
    }

    /// Adds what mends it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// For a login of an account: what a refusal means, and the command that shows whether the mending helped.
    #[must_use]
    pub fn of_login(mut self, account: &str) -> Self {
        let needs_a_person = matches!(
            self.kind,
            Kind::Offline
                | Kind::Timeout
                | Kind::TlsUntrusted
                | Kind::NotEncrypted
                | Kind::AuthFailed
                | Kind::Config
        );
        if !needs_a_person {
            return self;
        }
        if self.kind == Kind::AuthFailed && self.detail.is_none() {
            self = self.detail("the server does not take this user with this password");
        }
        let command = format!("postrider check {account}");
        self.cure = Some(match self.cure.take() {
            None => command,
            Some(cure) if cure.contains("postrider ") => cure,
            Some(cure) => format!("{cure}; then: {command}"),
        });
        self
    }

    /// Narrows or widens what is spoilt.
    #[must_use]
    pub fn scoped(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(said) = &self.server_said {
            write!(f, ": server said: {said}")?;
        }
        if let Some(cure) = &self.cure {
            write!(f, " (to mend it: {cure})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Makes words from outside safe to show: one line, no control characters, at most 512 bytes.
pub fn server_words(raw: &str) -> String {
    let mut out = String::new();
    for c in raw.trim().chars() {
        if out.len() >= SERVER_WORDS_BYTES_MAX {
            out.push('…');
            break;
        }
        if c.is_control() || is_direction(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character turns the direction of what is shown, so that it reads as something else.
fn is_direction(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

const SERVER_WORDS_BYTES_MAX: usize = 508;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_server_cannot_steer_a_terminal() {
        let shown = server_words("NO \u{1b}]0;x\u{7}\r\nforged line");
        assert!(!shown.contains(char::is_control), "{shown}");
        assert!(shown.contains("forged line"));
        assert_eq!(server_words("a\u{202e}b"), "a\\u{202e}b");
        assert!(server_words(&"x".repeat(9000)).len() <= 512);
    }
}
