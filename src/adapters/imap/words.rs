//! Lines of a server before the grammar of async-imap reads them, and that none comes. Floor 3.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::adapters::{net, sasl};
use crate::model::account::{Endpoint, Mechanism, Tls};
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// The tagged end of a command.
#[derive(Debug)]
pub(super) struct Tagged {
    pub(super) is_ok: bool,
    pub(super) text: String,
}

/// The tagged end of a command, if the line is that.
pub(super) fn tagged(line: &str, tag: &str) -> Option<Tagged> {
    let rest = line.strip_prefix(tag)?.strip_prefix(' ')?;
    let is_ok = rest.split(' ').next().is_some_and(|w| w.eq_ignore_ascii_case("OK"));
    Some(Tagged { is_ok, text: rest.to_owned() })
}

/// The capabilities in a response code, which save a round trip; a `CAPABILITY` line is no code.
pub(super) fn capability_code(line: &str) -> Option<BTreeSet<String>> {
    let (_, rest) = line.split_once("[CAPABILITY ")?;
    let (words, _) = rest.split_once(']')?;
    Some(words.split_whitespace().map(str::to_ascii_uppercase).collect())
}

/// The mechanisms that the capabilities name.
pub(super) fn mechanisms(capabilities: &BTreeSet<String>) -> Vec<Mechanism> {
    let named = capabilities.iter().filter_map(|one| one.strip_prefix("AUTH="));
    named.filter_map(sasl::mechanism).collect()
}

/// Whether a login that is refused in these words may be welcome later.
pub(super) fn is_passing(text: &str) -> bool {
    const PASSING: [&str; 8] = [
        "[UNAVAILABLE]",
        "[INUSE]",
        "[LIMIT]",
        "[SERVERBUG]",
        "[THROTTLED]",
        "[OVERQUOTA]",
        "TOO MANY",
        "SUGGESTED BACKOFF TIME",
    ];
    let upper = text.to_ascii_uppercase();
    PASSING.iter().any(|word| upper.contains(word))
}

/// The first personal prefix of a NAMESPACE line: `* NAMESPACE (("INBOX." ".")) NIL NIL`.
pub(super) fn personal_prefix(line: &str) -> Option<String> {
    let rest = line.strip_prefix("* NAMESPACE ")?.strip_prefix("((\"")?;
    let mut prefix = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => prefix.extend(chars.next()),
            c => prefix.push(c),
        }
    }
    Some(prefix).filter(|p| !p.is_empty())
}

/// The pause that a server asks for in plain words, as Exchange does: `Suggested Backoff Time: 299961
/// milliseconds`.
pub(super) fn suggested_pause(text: &str) -> Option<Duration> {
    let lower = text.to_ascii_lowercase();
    let (_, rest) = lower.split_once("suggested backoff time:")?;
    let mut words = rest.split_whitespace();
    let n: u64 = words.next()?.parse().ok()?;
    words.next()?.starts_with("millisecond").then(|| Duration::from_millis(n))
}

/// What a refusal that asks to slow down asks for.
pub(super) fn slowed_down(text: &str) -> Remedy {
    suggested_pause(text).map_or(Remedy::Later, Remedy::After)
}

/// A link within the machine is faster than the compression; one that nobody knows may be.
pub(super) fn leaves_the_machine(peer: Option<IpAddr>) -> bool {
    peer.is_some_and(|peer| !peer.to_canonical().is_loopback())
}

/// What is known of a provider: NetEase offers SASL-IR and refuses it, and lets nobody look into a mailbox
/// who did not say what program it is (ID, RFC 2971).
pub(super) fn is_netease(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    [".163.com", ".126.com", ".yeah.net"].iter().any(|domain| host.ends_with(domain))
}

/// Says what program this is.
pub(super) const INTRODUCTION: &str =
    concat!("ID (\"name\" \"postrider\" \"version\" \"", env!("CARGO_PKG_VERSION"), "\")");

/// A server that says nothing before the login is through.
pub(super) fn timed_out(endpoint: &Endpoint, phase: &str) -> Failure {
    let late = Failure::new(Scope::Account, Remedy::Later, Kind::Timeout, "connect")
        .at(net::place(endpoint, "IMAP", phase))
        .detail("no answer in time");
    let may_want_tls = phase == "greeting" && endpoint.tls != Tls::Implicit;
    if may_want_tls {
        late.cure("a port that waits for TLS is silent: check tls and port")
    } else {
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_in_plain_words_is_understood() {
        let text =
            "NO [THROTTLED] Request is throttled. Suggested Backoff Time: 299961 milliseconds";
        assert_eq!(suggested_pause(text), Some(Duration::from_millis(299_961)));
        for nothing in ["Suggested Backoff Time:", "suggested backoff time: soon", "busy", ""] {
            assert_eq!(suggested_pause(nothing), None);
        }
        let huge = "Suggested Backoff Time: 99999999999999999999 milliseconds";
        assert_eq!(suggested_pause(huge), None);
    }

    #[test]
    fn only_what_leaves_the_machine_is_worth_compressing() {
        for near in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            assert!(!leaves_the_machine(near.parse().ok()), "{near}");
        }
        for far in ["192.0.2.1", "2001:db8::1", "10.0.0.1"] {
            assert!(leaves_the_machine(far.parse().ok()), "{far}");
        }
        assert!(!leaves_the_machine(None));
    }

    #[test]
    fn codes_and_namespaces_are_read() {
        let line = "OK [CAPABILITY IMAP4rev1 idle] welcome";
        let caps = capability_code(line).unwrap();
        assert!(caps.contains("IDLE") && caps.len() == 2);
        assert_eq!(capability_code("* CAPABILITY IMAP4rev1"), None);
        let prefix = |line: &str| personal_prefix(line);
        assert_eq!(prefix("* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL").as_deref(), Some("INBOX."));
        assert_eq!(prefix("* NAMESPACE ((\"\" \"/\")) NIL NIL"), None);
        assert_eq!(prefix("* NAMESPACE NIL NIL NIL"), None);
        assert_eq!(prefix("* NAMESPACE ((\"a\\\"b/\" \"/\")) NIL NIL").as_deref(), Some("a\"b/"));
        assert_eq!(prefix("* NAMESPACE ((\"open"), None);
    }
}
