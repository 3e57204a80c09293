//! Response codes and capabilities: what a server says about itself. Floor 3.

use std::time::Duration;

use crate::adapters::sasl;
use crate::model::account::Mechanism;

/// A response code that means something to us (RFC 2449 §8, RFC 3206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// Somebody else has the maildrop open.
    InUse,
    /// The last login was not long enough ago.
    LoginDelay,
    /// Trouble of the server that passes.
    SysTemp,
    /// Trouble of the server that a person must mend.
    SysPerm,
    /// It is about the credentials.
    Auth,
}

/// The response code of a status line: it stands in brackets, first.
pub(super) fn code(line: &str) -> Option<Code> {
    let (_, rest) = line.split_once(' ')?;
    let (code, _) = rest.trim_start().strip_prefix('[')?.split_once(']')?;
    let code = code.to_ascii_uppercase();
    // What follows a slash is more detail.
    let is =
        |name: &str| code == name || code.strip_prefix(name).is_some_and(|r| r.starts_with('/'));
    [
        ("IN-USE", Code::InUse),
        ("LOGIN-DELAY", Code::LoginDelay),
        ("SYS/TEMP", Code::SysTemp),
        ("SYS/PERM", Code::SysPerm),
        ("AUTH", Code::Auth),
    ]
    .into_iter()
    .find(|(name, _)| is(name))
    .map(|(_, code)| code)
}

/// What the server said that it can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// Whether it answered CAPA at all. One that does not may have anything but what is younger.
    pub(super) is_known: bool,
    pub(super) stls: bool,
    pub(super) user: bool,
    pub(super) uidl: bool,
    pub(super) top: bool,
    pub(super) pipelining: bool,
    pub(super) utf8: bool,
    /// Whether user names may be UTF-8 (RFC 6856 §2.2).
    pub(super) utf8_user: bool,
    pub(super) mechanisms: Vec<Mechanism>,
    pub(super) login_delay: Option<Duration>,
}

impl Offers {
    /// Takes a line of the answer to CAPA.
    pub(super) fn take(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).to_ascii_uppercase();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("STLS") => self.stls = true,
            Some("USER") => self.user = true,
            Some("UIDL") => self.uidl = true,
            Some("TOP") => self.top = true,
            Some("PIPELINING") => self.pipelining = true,
            Some("UTF8") => {
                self.utf8 = true;
                self.utf8_user = words.any(|word| word == "USER");
            }
            Some("SASL") => self.mechanisms.extend(words.filter_map(sasl::mechanism)),
            Some("LOGIN-DELAY") => {
                let seconds = words.next().and_then(|n| n.parse().ok()).map(|n: u64| n.min(86_400));
                self.login_delay = seconds.filter(|n| *n > 0).map(Duration::from_secs);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_where_they_belong_and_nowhere_else() {
        assert_eq!(code("-ERR [IN-USE] locked"), Some(Code::InUse));
        assert_eq!(code("-ERR [sys/temp/disk] x"), Some(Code::SysTemp));
        assert_eq!(code("-ERR [AUTH] no"), Some(Code::Auth));
        assert_eq!(code("-ERR locked [IN-USE]"), None);
        assert_eq!(code("-ERR [AUTHX] no"), None);
        assert_eq!(code("-ERR"), None);
    }

    #[test]
    fn offers_are_read_in_any_case_and_unknown_ones_passed_over() {
        let mut offers = Offers::default();
        for line in
            ["sasl plain X-GSS scram-sha-256", "Login-Delay 900 USER", "UTF8 USER", "top", "X"]
        {
            offers.take(line.as_bytes());
        }
        assert_eq!(offers.mechanisms, [Mechanism::Plain, Mechanism::ScramSha256]);
        assert_eq!(offers.login_delay, Some(Duration::from_secs(900)));
        assert!(offers.utf8 && offers.utf8_user && offers.top && !offers.uidl);
    }
}
