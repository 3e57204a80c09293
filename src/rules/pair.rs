//! Pairs messages of both sides that have no agreed past: first contact with a filled Maildir, a
//! lost ledger, a new UIDVALIDITY. Floor 1.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ids::{Base, Uid};
use crate::model::view::Evidence;

/// What the evidence says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairing {
    /// Unique on both sides: the same message.
    pub pairs: Vec<(Uid, Base)>,
    /// The same evidence more than once on a side: only the bytes can decide.
    pub unclear: Vec<(Vec<Uid>, Vec<Base>)>,
}

/// Pairs by Message-ID and size where that is unique on both sides.
///
/// An empty Message-ID is evidence of nothing but the size, and never unique enough.
pub fn pair(remote: &[(Uid, Evidence)], local: &[(Base, Evidence)]) -> Pairing {
    let mut groups: BTreeMap<&Evidence, (Vec<Uid>, Vec<Base>)> = BTreeMap::new();
    for (uid, evidence) in remote {
        groups.entry(evidence).or_default().0.push(*uid);
    }
    for (base, evidence) in local {
        groups.entry(evidence).or_default().1.push(base.clone());
    }
    let mut pairing = Pairing::default();
    for (evidence, (uids, bases)) in groups {
        if uids.is_empty() || bases.is_empty() {
            continue;
        }
        match (uids.as_slice(), bases.as_slice()) {
            ([uid], [base]) if !evidence.message_id.is_empty() => {
                pairing.pairs.push((*uid, base.clone()));
            }
            _ => pairing.unclear.push((uids, bases)),
        }
    }
    pairing
}

/// Pairs what differs by the `X-TUID` line that mbsync adds to the copy that it makes, on either side.
/// For what [`pair`] left over: the Message-ID must be unique on both sides, and the size differ by
/// exactly that line.
pub fn pair_marked(remote: &[(Uid, Evidence)], local: &[(Base, Evidence)]) -> Vec<(Uid, Base)> {
    let mut pairs = pair(remote, &unmarked(local)).pairs;
    let uids: BTreeSet<Uid> = pairs.iter().map(|(uid, _)| *uid).collect();
    let bases: BTreeSet<Base> = pairs.iter().map(|(_, base)| base.clone()).collect();
    let there = pair(&unmarked(remote), local).pairs.into_iter();
    pairs.extend(there.filter(|(uid, base)| !uids.contains(uid) && !bases.contains(base)));
    pairs
}

/// Pairs what another program says to be the same, where the evidence does not speak against it: the same
/// Message-ID, or none on both sides and the same size, but for the line of mbsync. What is paired leaves
/// both lists.
pub fn pair_told(
    remote: &mut Vec<(Uid, Evidence)>,
    local: &mut Vec<(Base, Evidence)>,
    told: &[(Base, Uid)],
) -> Vec<(Uid, Base)> {
    let theirs: BTreeMap<Uid, &Evidence> = remote.iter().map(|(uid, e)| (*uid, e)).collect();
    let ours: BTreeMap<&Base, &Evidence> = local.iter().map(|(base, e)| (base, e)).collect();
    let (mut uids, mut bases) = (BTreeSet::new(), BTreeSet::new());
    let mut pairs = Vec::new();
    for (base, uid) in told {
        let (Some(there), Some(here)) = (theirs.get(uid), ours.get(base)) else { continue };
        if may_be_same(there, here) && !uids.contains(uid) && bases.insert(base.clone()) {
            uids.insert(*uid);
            pairs.push((*uid, base.clone()));
        }
    }
    remote.retain(|(uid, _)| !uids.contains(uid));
    local.retain(|(base, _)| !bases.contains(base));
    pairs
}

fn may_be_same(one: &Evidence, other: &Evidence) -> bool {
    if one.message_id != other.message_id {
        return false;
    }
    let differ = one.size.abs_diff(other.size);
    !one.message_id.is_empty() || differ == 0 || differ == TUID_LINE_BYTES
}

/// The messages as they would be without the line.
fn unmarked<K: Clone>(messages: &[(K, Evidence)]) -> Vec<(K, Evidence)> {
    let unmark = |(key, evidence): &(K, Evidence)| {
        let size = evidence.size.checked_sub(TUID_LINE_BYTES)?;
        Some((key.clone(), Evidence { size, ..evidence.clone() }))
    };
    messages.iter().filter_map(unmark).collect()
}

/// `X-TUID: `, 12 characters, CRLF (isync 1.4 and 1.5, `copy_msg_convert`).
pub const TUID_LINE_BYTES: u64 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(id: &str, size: u64) -> Evidence {
        Evidence { message_id: id.to_owned(), size }
    }

    #[test]
    fn the_mark_of_mbsync_on_either_side_is_no_difference() {
        let uid = |n| Uid::new(n).unwrap();
        let base = |s: &str| Base(s.to_owned());
        let remote = [
            (uid(1), evidence("<a>", 100)),
            (uid(2), evidence("<b>", 122)),
            (uid(3), evidence("<c>", 100)),
            (uid(4), evidence("", 100)),
            (uid(5), evidence("<d>", 100)),
            (uid(6), evidence("<d>", 100)),
        ];
        let local = [
            (base("la"), evidence("<a>", 122)),
            (base("lb"), evidence("<b>", 100)),
            (base("lc"), evidence("<c>", 121)),
            (base("le"), evidence("", 122)),
            (base("ld"), evidence("<d>", 122)),
        ];
        assert_eq!(pair_marked(&remote, &local), [(uid(1), base("la")), (uid(2), base("lb"))]);
    }

    #[test]
    fn the_word_of_another_program_pairs_unless_the_evidence_is_against_it() {
        let uid = |n| Uid::new(n).unwrap();
        let base = |s: &str| Base(s.to_owned());
        let mut remote = vec![
            (uid(1), evidence("<a>", 100)),
            (uid(2), evidence("<a>", 100)),
            (uid(3), evidence("", 100)),
            (uid(4), evidence("", 100)),
            (uid(5), evidence("<b>", 100)),
        ];
        let mut local = vec![
            (base("a"), evidence("<a>", 122)),
            (base("b"), evidence("<a>", 90)),
            (base("c"), evidence("", 122)),
            (base("d"), evidence("", 121)),
            (base("e"), evidence("<c>", 100)),
        ];
        let told = [("b", 1), ("a", 2), ("c", 3), ("d", 4), ("e", 5), ("x", 1), ("a", 9), ("b", 2)];
        let told = told.map(|(name, n)| (base(name), uid(n)));
        let pairs = pair_told(&mut remote, &mut local, &told);
        assert_eq!(pairs, [(uid(1), base("b")), (uid(2), base("a")), (uid(3), base("c"))]);
        let left: Vec<_> = remote.iter().map(|(uid, _)| uid.get()).collect();
        assert_eq!(left, [4, 5]);
        let left: Vec<_> = local.iter().map(|(base, _)| base.0.as_str()).collect();
        assert_eq!(left, ["d", "e"]);
    }

    #[test]
    fn only_unique_evidence_pairs() {
        let uid = |n| Uid::new(n).unwrap();
        let base = |s: &str| Base(s.to_owned());
        let remote = [
            (uid(1), evidence("<a>", 5)),
            (uid(2), evidence("<b>", 5)),
            (uid(3), evidence("<b>", 5)),
            (uid(4), evidence("<c>", 5)),
            (uid(5), evidence("", 9)),
        ];
        let local = [
            (base("la"), evidence("<a>", 5)),
            (base("lb"), evidence("<b>", 5)),
            (base("lc"), evidence("<c>", 6)),
            (base("ld"), evidence("", 9)),
        ];
        let pairing = pair(&remote, &local);
        assert_eq!(pairing.pairs, [(uid(1), base("la"))]);
        assert_eq!(
            pairing.unclear,
            [(vec![uid(5)], vec![base("ld")]), (vec![uid(2), uid(3)], vec![base("lb")])]
        );
    }
}
