//! What becomes of the messages of a maildrop. Floor 1; time is an argument.
//!
//! Mail comes one way: nothing that is or is not listed ever touches what is here.

use crate::model::account::Leave;
use crate::model::pop::{PopKnown, PopListing, PopMessage, PopState};
use crate::rules::limits::{METERED_BYTES, METERED_NEWEST, Skip};

/// What is done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is fetched.
    Fetch,
    /// It stays there, for this reason, and is listed.
    Skip(Skip),
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
    /// While traffic is counted: messages with a lower number wait, and so do large ones.
    pub metered_from: Option<u32>,
    /// Seconds since the epoch.
    pub now: i64,
}

/// Takes the unique ids away that more than one message has, and tells which messages need a hash of their
/// header, because they have no key now, by number.
pub fn nameless(listing: &mut PopListing) -> Vec<u32> {
    listing.sort_by_key();
    let is_same = |listing: &PopListing, one: usize, next: usize| {
        let key = |at: usize| listing.messages.get(at).and_then(|m| listing.key(m));
        key(one).is_some() && key(one) == key(next)
    };
    let mut first = 0;
    for at in 1..=listing.messages.len() {
        if is_same(listing, first, at) {
            continue;
        }
        if at - first > 1 {
            (first..at).for_each(|shared| listing.set_key(shared, None));
        }
        first = at;
    }
    let nameless = listing.messages.iter().filter(|m| listing.key(m).is_none());
    let mut numbers: Vec<u32> = nameless.map(|m| m.number).collect();
    numbers.sort_unstable();
    numbers
}

/// Gives each message its key, and puts them into the order of the keys; messages that need a hash and
/// have none are left out. `hashes` are those of what [`nameless`] told, by number.
///
/// Equal hashes are told apart by counting. Where a server gave unique ids that cannot be used, the key is
/// good to know a message again, and for nothing else.
pub fn named(mut listing: PopListing, hashes: &[(u32, [u8; 32])]) -> PopListing {
    let (mut hashed, has_uidl) = (Vec::with_capacity(hashes.len()), listing.has_uidl);
    for at in 0..listing.messages.len() {
        let Some(message) = listing.messages.get(at) else { break };
        let (number, octets) = (message.number, message.octets);
        if listing.key(message).is_some() {
            set_sure(&mut listing, at, true);
        } else if let Ok(of) = hashes.binary_search_by_key(&number, |(number, _)| *number) {
            hashed.extend(hashes.get(of).map(|(_, hash)| (*hash, octets, number, at)));
        }
    }
    hashed.sort_unstable();
    for same in hashed.chunk_by(|(one, octets, ..), (next, size, ..)| (one, octets) == (next, size))
    {
        for (nth, (hash, octets, _, at)) in same.iter().enumerate() {
            listing.set_key(*at, Some(&hash_key(hash, *octets, nth)));
            set_sure(&mut listing, *at, !has_uidl && same.len() == 1);
        }
    }
    listing.drop_nameless();
    listing.sort_by_key();
    listing
}

fn set_sure(listing: &mut PopListing, at: usize, is_sure: bool) {
    if let Some(message) = listing.messages.get_mut(at) {
        message.is_sure = is_sure;
    }
}

/// The key of the `nth` message with this header and size.
fn hash_key(hash: &[u8; 32], octets: u64, nth: usize) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let nth = if nth == 0 { String::new() } else { format!(".{nth}") };
    format!("h{hex}.{octets}{nth}")
}

/// Whether a key that was away and comes back means another message now: a server may give the unique id
/// of a message that is gone to a new one (RFC 1939 §7).
pub fn is_reused(known: &PopKnown, octets: u64) -> bool {
    !known.is_listed && known.state == PopState::Stored && known.octets != octets
}

/// Decides about a message that is listed.
pub fn decide(policy: &PopPolicy, message: &PopMessage, known: Option<&PopKnown>) -> Verdict {
    let is_large = policy.octets_max.is_some_and(|max| message.octets > max);
    match known.map_or(PopState::Named, |known| known.state) {
        PopState::Named | PopState::Skipped if is_large => Verdict::Skip(Skip::Size),
        PopState::Named if policy.waits(message) => Verdict::Skip(Skip::Metered),
        // It was too large, or had to wait before; either is looked at again in another network.
        PopState::Skipped if policy.metered_from.is_some() => Verdict::Skip(Skip::Metered),
        PopState::Named | PopState::Skipped | PopState::Failed | PopState::Wanted => Verdict::Fetch,
        PopState::Waiting => Verdict::Wait,
        PopState::Stored => {
            let goes = known.is_some_and(|known| policy.removes(known));
            if goes && message.is_sure { Verdict::Remove } else { Verdict::Keep }
        }
    }
}

/// The first message that comes while traffic is counted: once a maildrop was fetched, what is new is;
/// before that, and where all has to be compared again, the newest are.
pub fn metered_from(listing: &PopListing, was_complete: bool) -> u32 {
    if was_complete {
        return 0;
    }
    let mut numbers: Vec<u32> = listing.messages.iter().map(|message| message.number).collect();
    numbers.sort_unstable();
    numbers.iter().rev().take(METERED_NEWEST).next_back().copied().unwrap_or_default()
}

impl PopPolicy {
    /// Whether a message waits for a network where traffic is not counted.
    fn waits(&self, message: &PopMessage) -> bool {
        let is_large = message.octets > METERED_BYTES;
        self.metered_from.is_some_and(|first| is_large || message.number < first)
    }

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
        let mut listing = PopListing::default();
        listing.has_uidl = has_uidl;
        for (at, uidl) in uidls.iter().enumerate() {
            listing.push(u32::try_from(at + 1).unwrap(), 10);
            listing.set_key(at, uidl.map(|uidl| format!("u{uidl}")).as_deref());
        }
        listing
    }

    fn numbers(listing: &PopListing) -> Vec<u32> {
        listing.messages.iter().map(|m| m.number).collect()
    }

    fn sure(listing: &PopListing) -> Vec<bool> {
        listing.messages.iter().map(|m| m.is_sure).collect()
    }

    #[test]
    fn a_shared_unique_id_is_no_key_and_removes_nothing() {
        let mut shared = listing(&[Some("a"), Some("b"), Some("a"), None], true);
        assert_eq!(nameless(&mut shared), [1, 3, 4]);
        let named = named(shared, &[(1, [1; 32]), (3, [3; 32])]);
        assert_eq!(numbers(&named), [1, 3, 2], "4 has no hash");
        assert_eq!(sure(&named), [false, false, true]);
    }

    #[test]
    fn unique_ids_are_keys_whatever_their_order() {
        let mut many = listing(&[Some("c"), Some("a"), Some("d"), Some("d"), Some("b")], true);
        assert_eq!(nameless(&mut many), [3, 4]);
        let named = named(many, &[]);
        assert_eq!(numbers(&named), [2, 5, 1]);
        let keys: Vec<_> = named.messages.iter().map(|m| named.key(m).unwrap()).collect();
        assert_eq!(keys, ["ua", "ub", "uc"]);
    }

    #[test]
    fn without_unique_ids_a_hash_is_one_unless_two_messages_have_it() {
        let mut bare = listing(&[None, None, None], false);
        assert_eq!(nameless(&mut bare), [1, 2, 3]);
        let named = named(bare, &[(1, [1; 32]), (2, [2; 32]), (3, [1; 32])]);
        assert_eq!(sure(&named), [false, false, true]);
        let keys: std::collections::BTreeSet<_> =
            named.messages.iter().map(|m| named.key(m)).collect();
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
            cuts: 0,
            state,
            base: None,
        }
    }

    fn message(octets: u64, is_sure: bool) -> PopMessage {
        let mut listing = PopListing::default();
        listing.push(1, octets);
        listing.messages[0].is_sure = is_sure;
        listing.messages[0]
    }

    #[test]
    fn what_is_new_comes_and_what_is_here_never_comes_again() {
        let policy = PopPolicy {
            leave: Leave::Forever,
            octets_max: Some(10),
            metered_from: None,
            now: 5000,
        };
        let verdict = |octets, state| decide(&policy, &message(octets, true), Some(&known(state)));
        assert_eq!(decide(&policy, &message(10, true), None), Verdict::Fetch);
        assert_eq!(decide(&policy, &message(11, true), None), Verdict::Skip(Skip::Size));
        assert_eq!(verdict(11, PopState::Wanted), Verdict::Fetch);
        assert_eq!(verdict(10, PopState::Skipped), Verdict::Fetch, "the limit was raised");
        assert_eq!(verdict(11, PopState::Skipped), Verdict::Skip(Skip::Size));
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
            let policy = PopPolicy { leave, octets_max: None, metered_from: None, now };
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
    fn while_traffic_is_counted_the_newest_come_first_and_large_ones_wait() {
        let many = listing(&[None; 130], false);
        assert_eq!(metered_from(&many, false), 31, "the newest hundred");
        assert_eq!(metered_from(&listing(&[None; 3], false), false), 1);
        assert_eq!(metered_from(&many, true), 0, "what is new comes");
        let metered_from = Some(31);
        let policy = PopPolicy { leave: Leave::Forever, octets_max: None, metered_from, now: 5000 };
        let numbered = |number, octets| {
            let mut message = message(octets, true);
            message.number = number;
            message
        };
        let fresh = |number, octets| decide(&policy, &numbered(number, octets), None);
        assert_eq!(fresh(30, 10), Verdict::Skip(Skip::Metered));
        assert_eq!(fresh(31, 10), Verdict::Fetch);
        assert_eq!(fresh(130, METERED_BYTES + 1), Verdict::Skip(Skip::Metered));
        let again = |state| decide(&policy, &numbered(31, 10), Some(&known(state)));
        assert_eq!(again(PopState::Skipped), Verdict::Skip(Skip::Metered), "it waits on");
        assert_eq!(again(PopState::Wanted), Verdict::Fetch);
        let elsewhere = PopPolicy { metered_from: None, ..policy };
        let skipped = known(PopState::Skipped);
        assert_eq!(decide(&elsewhere, &numbered(1, 10), Some(&skipped)), Verdict::Fetch);
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
