//! What to try at a server whose settings leave something open. Floor 1.
//!
//! Whoever sits between us and the server can block a port, take a word out of a greeting that is not
//! encrypted, and wait. So nothing here ever leads to less than what was there before: every way is
//! encrypted, with a certificate that is checked, and where a login once went without showing the password
//! to the server, it is not shown to whoever answers later.

use crate::model::account::{Mechanism, Tls};
use crate::model::automatic::{Memory, Open, Way};
use crate::model::failure::{Failure, Kind};

/// What is remembered, as far as it is about this server: another host, or a port or encryption that the
/// settings do not leave open any more, is another server.
pub fn about(memory: Memory, open: &Open, host: &str) -> Memory {
    let is_it = memory.host == host && memory.way.is_some_and(|way| open.ways.contains(&way));
    if is_it { memory } else { Memory::default() }
}

/// The ways to try, in this order: what worked last, then what the settings leave open beside it. The next
/// one is tried only where [`is_about_the_way`] says so.
pub fn ways(open: &Open, memory: &Memory) -> Vec<Way> {
    let known = memory.way.filter(|way| open.ways.contains(way));
    let others = open.ways.iter().copied().filter(|way| Some(*way) != known);
    let all: Vec<Way> = known.into_iter().chain(others).collect();
    // Cleartext is a choice of the settings, never a finding.
    match all.as_slice() {
        [_] => all,
        _ => all.into_iter().filter(|way| way.tls != Tls::None).collect(),
    }
}

/// The user's names to try on this occasion, each with one login.
///
/// One that was let in is the only one. Else both forms are tried, once: when both were refused they take
/// turns, one on each occasion, so that a wrong password costs no more refused logins than with one form.
pub fn users<'a>(open: &'a Open, memory: &'a Memory) -> Vec<&'a str> {
    let is_open = |user: &&String| open.users.contains(user);
    if let Some(known) = memory.user.as_ref().filter(is_open) {
        return vec![known];
    }
    let fresh: Vec<&str> = open
        .users
        .iter()
        .filter(|user| !memory.refused.contains(user))
        .map(String::as_str)
        .collect();
    match memory.refused.iter().find(is_open) {
        Some(longest_ago) if fresh.is_empty() => vec![longest_ago],
        _ => fresh,
    }
}

/// The mechanisms that may be used for a password where the settings leave them open; empty: all.
pub fn mechanisms(memory: &Memory) -> &'static [Mechanism] {
    match memory.auth {
        Some(Mechanism::ScramSha256) => &[Mechanism::ScramSha256],
        Some(Mechanism::CramMd5) => &[Mechanism::ScramSha256, Mechanism::CramMd5],
        Some(Mechanism::Plain | Mechanism::Login | Mechanism::OAuthBearer | Mechanism::XOAuth2)
        | None => &[],
    }
}

/// Whether a failure before the login is about the port or its encryption, so that another way may help.
/// A certificate that is not trusted is none of these, and a name without an address belongs to all ways.
pub fn is_about_the_way(failure: &Failure) -> bool {
    let has_address = !failure.place.as_deref().unwrap_or_default().ends_with(", DNS)");
    let is_silent = matches!(failure.kind, Kind::Offline | Kind::Timeout);
    let is_of_another_kind = matches!(failure.kind, Kind::Protocol | Kind::NotEncrypted);
    is_of_another_kind || (is_silent && has_address)
}

/// What to remember once a server answered on a way.
pub fn reached(memory: Memory, host: &str, way: Way) -> Memory {
    Memory { host: host.to_owned(), way: Some(way), ..memory }
}

/// What to remember once a login went well.
pub fn let_in(memory: Memory, user: &str, auth: Option<Mechanism>) -> Memory {
    Memory { user: Some(user.to_owned()), auth, refused: Vec::new(), ..memory }
}

/// What to remember once a login was refused: which form of the name it was, where that is the question.
pub fn refused(mut memory: Memory, open: &Open, user: &str) -> Memory {
    if open.users.len() < 2 || memory.user.is_some() {
        return memory;
    }
    memory.refused.retain(|other| other != user);
    memory.refused.push(user.to_owned());
    memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::{Remedy, Scope};

    const IMPLICIT: Way = Way { port: 993, tls: Tls::Implicit };
    const STARTTLS: Way = Way { port: 143, tls: Tls::StartTls };
    const CLEAR: Way = Way { port: 143, tls: Tls::None };

    fn open(ways: &[Way], users: &[&str]) -> Open {
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        Open { ways: ways.to_vec(), users, memory: "m".into() }
    }

    #[test]
    fn what_worked_comes_first_and_nothing_leads_to_cleartext() {
        let both = open(&[IMPLICIT, STARTTLS], &["me"]);
        let of = |open: &Open, way| ways(open, &Memory { way, ..Memory::default() });
        assert_eq!(of(&both, None), [IMPLICIT, STARTTLS]);
        assert_eq!(of(&both, Some(STARTTLS)), [STARTTLS, IMPLICIT]);
        assert_eq!(of(&both, Some(CLEAR)), [IMPLICIT, STARTTLS], "somebody wrote that there");
        assert_eq!(of(&open(&[IMPLICIT, CLEAR], &["me"]), None), [IMPLICIT]);
        // What the settings decide counts, whatever is remembered.
        assert_eq!(of(&open(&[CLEAR], &["me"]), Some(IMPLICIT)), [CLEAR]);
        assert_eq!(of(&open(&[IMPLICIT], &["me"]), Some(STARTTLS)), [IMPLICIT]);
    }

    #[test]
    fn each_form_of_the_name_is_tried_once_and_then_they_take_turns() {
        let both = open(&[IMPLICIT], &["me", "me@x"]);
        let mut memory = Memory::default();
        assert_eq!(users(&both, &memory), ["me", "me@x"]);
        memory = refused(memory, &both, "me");
        assert_eq!(users(&both, &memory), ["me@x"]);
        for turn in ["me", "me@x", "me", "me@x"] {
            memory = refused(memory, &both, if turn == "me" { "me@x" } else { "me" });
            assert_eq!(users(&both, &memory), [turn]);
        }
        memory = let_in(memory, "me@x", None);
        assert_eq!(users(&both, &memory), ["me@x"]);
        memory = refused(memory, &both, "me@x");
        assert_eq!(users(&both, &memory), ["me@x"], "it was let in before: the password is wrong");
        assert_eq!(users(&open(&[IMPLICIT], &["other"]), &memory), ["other"]);
    }

    #[test]
    fn a_password_that_was_never_shown_is_not_shown_later() {
        use Mechanism::{CramMd5, Login, Plain, ScramSha256, XOAuth2};
        let of = |auth| mechanisms(&Memory { auth, ..Memory::default() });
        assert_eq!(of(Some(ScramSha256)), [ScramSha256]);
        assert_eq!(of(Some(CramMd5)), [ScramSha256, CramMd5]);
        for weakest in [None, Some(Plain), Some(Login), Some(XOAuth2)] {
            assert!(of(weakest).is_empty(), "{weakest:?}");
        }
    }

    #[test]
    fn only_the_way_itself_is_a_reason_to_try_another() {
        let of = |kind, phase: &str| {
            let failure = Failure::new(Scope::Account, Remedy::Later, kind, "connect");
            is_about_the_way(&failure.at(format!("h:993 (IMAP, {phase})")))
        };
        for kind in [Kind::Offline, Kind::Timeout, Kind::NotEncrypted, Kind::Protocol] {
            assert!(of(kind, "connect"), "{kind:?}");
        }
        assert!(!of(Kind::Offline, "DNS"));
        for kind in [Kind::TlsUntrusted, Kind::AuthFailed, Kind::Throttled, Kind::Config] {
            assert!(!of(kind, "TLS"), "{kind:?}");
        }
    }

    #[test]
    fn another_server_is_a_new_beginning() {
        let before = let_in(reached(Memory::default(), "a", STARTTLS), "me", None);
        let both = open(&[IMPLICIT, STARTTLS], &["me"]);
        assert_eq!(about(before.clone(), &both, "a"), before);
        assert_eq!(about(before.clone(), &both, "b"), Memory::default());
        assert_eq!(about(before, &open(&[IMPLICIT], &["me"]), "a"), Memory::default());
    }
}
