//! What becomes of the messages of a maildrop. Floor 1; time is an argument.
//!
//! Mail comes one way: nothing that is or is not listed ever touches what is here.

use std::collections::BTreeMap;

use crate::model::account::Leave;
use crate::model::pop::{PopKnown, PopListing, PopState};

/// A message of a session under the key by which it is known for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its number in the session.
    pub number: u32,
    /// Its size in octets, as listed.
    pub octets: u64,
    /// Its key.
    pub key: String,
    /// Whether the key can mean no other message: only then is one removed that an earlier session
    /// fetched.
    pub is_sure: bool,
}

/// What is done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is fetched.
    Fetch,
    /// It stays there, because it is too large, and is listed.
    Skip,
    /// It failed before, and waits.
    Wait,
    /// Nothing.
    Keep,
    /// It is here, and goes there.
    Remove,
}

/// What decides about a message.
#[derive(Debug, Clone, Copy)]
pub struct PopPolicy {
    /// How long messages stay on the server.
    pub leave: Leave,
    /// Larger ones are not fetched, in octets.
    pub octets_max: Option<u64>,
    /// Seconds since the epoch.
    pub now: i64,
}

/// The messages that need a hash of their header: they have no unique id, or share it.
pub fn nameless(listing: &PopListing) -> Vec<u32> {
    let uses = uses(listing);
    let messages = listing.messages.iter();
    messages.filter(|m| !is_unique(&uses, m.uidl.as_deref())).map(|m| m.number).collect()
}

/// Gives each message its key, in the order of the keys; messages that need a hash and have none are left
/// out.
///
/// Equal hashes are told apart by counting. Where a server gave unique ids that cannot be used, the key is
/// good to know a message again, and for nothing else.
pub fn named(listing: PopListing, hashes: &BTreeMap<u32, [u8; 32]>) -> Vec<Named> {
    let shared: Vec<bool> = {
        let uses = uses(&listing);
        listing.messages.iter().map(|m| !is_unique(&uses, m.uidl.as_deref())).collect()
    };
    let mut counted: BTreeMap<String, u32> = BTreeMap::new();
    let mut all = Vec::with_capacity(listing.messages.len());
    for (message, is_shared) in listing.messages.into_iter().zip(shared) {
        let (number, octets) = (message.number, message.octets);
        if let (false, Some(uidl)) = (is_shared, &message.uidl) {
            all.push(Named { number, octets, key: format!("u{uidl}"), is_sure: true });
            continue;
        }
        let Some(hash) = hashes.get(&number) else { continue };
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut key = format!("h{hex}.{octets}");
        let n = counted.entry(key.clone()).or_default();
        let nth = *n;
        *n = n.saturating_add(1);
        if nth > 0 {
            key.push_str(&format!(".{nth}"));
        }
        all.push(Named { number, octets, key, is_sure: !listing.has_uidl });
    }
    let is_alone =
        |key: &str| counted.get(key.split('.').take(2).collect::<Vec<_>>().join(".").as_str());
    for one in &mut all {
        one.is_sure &= !one.key.starts_with('h') || is_alone(&one.key) == Some(&1);
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

type Uses<'a> = BTreeMap<&'a str, u32>;

fn uses(listing: &PopListing) -> Uses<'_> {
    let mut uses = Uses::new();
    for uidl in listing.messages.iter().filter_map(|m| m.uidl.as_deref()) {
        *uses.entry(uidl).or_default() += 1;
    }
    uses
}

fn is_unique(uses: &Uses<'_>, uidl: Option<&str>) -> bool {
    uidl.is_some_and(|uidl| uses.get(uidl) == Some(&1))
}

/// Whether a key that was away and comes back means another message now: a server may give the unique id
/// of a message that is gone to a new one (RFC 1939 §7).
pub fn is_reused(known: &PopKnown, octets: u64) -> bool {
    !known.is_listed && known.state == PopState::Stored && known.octets != octets
}

/// Decides about a message that is listed.
pub fn decide(policy: &PopPolicy, message: &Named, known: Option<&PopKnown>) -> Verdict {
    let is_large = policy.octets_max.is_some_and(|max| message.octets > max);
    match known.map_or(PopState::Named, |known| known.state) {
        PopState::Named | PopState::Skipped if is_large => Verdict::Skip,
        PopState::Named | PopState::Skipped | PopState::Failed | PopState::Wanted => Verdict::Fetch,
        PopState::Waiting => Verdict::Wait,
        PopState::Stored => {
            let goes = known.is_some_and(|known| policy.removes(known));
            if goes && message.is_sure { Verdict::Remove } else { Verdict::Keep }
        }
    }
}

impl PopPolicy {
    /// Whether a message that is here goes from the server.
    fn removes(&self, known: &PopKnown) -> bool {
        match self.leave {
            Leave::Forever => false,
            Leave::UntilMoved => known.is_moved,
            Leave::For(time) => {
                let time = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
                known.at.saturating_add(time) <= self.now
            }
        }
    }
}

/// Whether to begin another session at once: one that brought this many new messages may have shown only
/// some of them, as Gmail does. `window` is how many an earlier session brought before another one brought
/// more.
pub fn may_have_more(n_new: u32, has_window: bool) -> bool {
    n_new >= if has_window { 1 } else { WINDOW_MIN }
}

/// No server is known that shows fewer at a time.
const WINDOW_MIN: u32 = 50;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::ids::Uid;
    use crate::model::pop::PopMessage;

    fn listing(uidls: &[Option<&str>], has_uidl: bool) -> PopListing {
        let messages = uidls.iter().zip(1..).map(|(uidl, number)| PopMessage {
            number,
            octets: 10,
            uidl: uidl.map(Into::into),
        });
        PopListing { messages: messages.collect(), has_uidl, is_sound: true }
    }

    #[test]
    fn a_shared_unique_id_is_no_key_and_removes_nothing() {
        let shared = listing(&[Some("a"), Some("b"), Some("a"), None], true);
        assert_eq!(nameless(&shared), [1, 3, 4]);
        let hashes = BTreeMap::from([(1, [1; 32]), (3, [3; 32])]);
        let named = named(shared, &hashes);
        assert_eq!(named.iter().map(|n| n.number).collect::<Vec<_>>(), [1, 3, 2], "4 has no hash");
        assert_eq!(named.iter().map(|n| n.is_sure).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn without_unique_ids_a_hash_is_one_unless_two_messages_have_it() {
        let hashes = BTreeMap::from([(1, [1; 32]), (2, [2; 32]), (3, [1; 32])]);
        let named = named(listing(&[None, None, None], false), &hashes);
        assert_eq!(named.iter().map(|n| n.is_sure).collect::<Vec<_>>(), [false, false, true]);
        let keys: std::collections::BTreeSet<&str> = named.iter().map(|n| n.key.as_str()).collect();
        assert_eq!(keys.len(), 3, "each message has a key of its own");
    }

    fn known(state: PopState) -> PopKnown {
        PopKnown {
            uid: Uid::new(1).unwrap(),
            key: "ua".to_owned(),
            octets: 10,
            at: 1000,
            is_listed: true,
            is_moved: false,
            is_asked: false,
            state,
            base: None,
        }
    }

    fn message(octets: u64, is_sure: bool) -> Named {
        Named { number: 1, octets, key: "ua".to_owned(), is_sure }
    }

    #[test]
    fn what_is_new_comes_and_what_is_here_never_comes_again() {
        let policy = PopPolicy { leave: Leave::Forever, octets_max: Some(10), now: 5000 };
        let verdict = |octets, state| decide(&policy, &message(octets, true), Some(&known(state)));
        assert_eq!(decide(&policy, &message(10, true), None), Verdict::Fetch);
        assert_eq!(decide(&policy, &message(11, true), None), Verdict::Skip);
        assert_eq!(verdict(11, PopState::Wanted), Verdict::Fetch);
        assert_eq!(verdict(10, PopState::Skipped), Verdict::Fetch, "the limit was raised");
        assert_eq!(verdict(11, PopState::Skipped), Verdict::Skip);
        assert_eq!(verdict(10, PopState::Failed), Verdict::Fetch);
        assert_eq!(verdict(10, PopState::Waiting), Verdict::Wait);
        assert_eq!(verdict(10, PopState::Stored), Verdict::Keep);
    }

    #[test]
    fn each_policy_removes_what_is_here_and_only_that() {
        let here = known(PopState::Stored);
        let moved = PopKnown { is_moved: true, ..here.clone() };
        let week = Duration::from_secs(7 * 86_400);
        let cases = [
            (Leave::Forever, 9_000_000, &moved, Verdict::Keep),
            (Leave::For(Duration::ZERO), 1000, &here, Verdict::Remove),
            (Leave::For(week), 1000 + 604_799, &here, Verdict::Keep),
            (Leave::For(week), 1000 + 604_800, &here, Verdict::Remove),
            (Leave::UntilMoved, 9_000_000, &here, Verdict::Keep),
            (Leave::UntilMoved, 1000, &moved, Verdict::Remove),
        ];
        for (leave, now, known, wanted) in cases {
            let policy = PopPolicy { leave, octets_max: None, now };
            assert_eq!(decide(&policy, &message(10, true), Some(known)), wanted, "{leave:?} {now}");
            let unsure = decide(&policy, &message(10, false), Some(known));
            assert_eq!(unsure, Verdict::Keep, "a key that is not sure removes nothing");
            for state in [PopState::Named, PopState::Failed, PopState::Skipped] {
                let verdict =
                    decide(&policy, &message(10, true), Some(&PopKnown { state, ..known.clone() }));
                assert_eq!(verdict, Verdict::Fetch, "{leave:?} {state:?}");
            }
        }
    }

    #[test]
    fn a_unique_id_that_comes_back_with_another_size_is_another_message() {
        let here = known(PopState::Stored);
        assert!(!is_reused(&here, 11), "a size may change while it is listed");
        let away = PopKnown { is_listed: false, ..here };
        assert!(is_reused(&away, 11));
        assert!(!is_reused(&away, 10), "it was only not shown for a while");
    }
}
