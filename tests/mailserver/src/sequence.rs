//! Sequence sets: from the wire to positions, and UIDs back to the wire.

use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};

/// Inclusive ranges with `*` resolved.
pub(crate) fn ranges(set: &SequenceSet, largest: u32) -> Vec<(u32, u32)> {
    let value = |id: &SeqOrUid| match id {
        // The codec's normalisation writes `*` as the largest number.
        SeqOrUid::Value(n) if n.get() == u32::MAX => largest,
        SeqOrUid::Value(n) => n.get(),
        SeqOrUid::Asterisk => largest,
    };
    let one = |sequence: &Sequence| match sequence {
        Sequence::Single(a) => (value(a), value(a)),
        Sequence::Range(a, b) => (value(a).min(value(b)), value(a).max(value(b))),
    };
    set.0.as_ref().iter().map(one).collect()
}

/// Returns the positions (0-based, ascending) in the sorted `uids` that the set names, by UID or
/// by sequence number; `None` if it names a sequence number that does not exist.
pub(crate) fn positions(set: &SequenceSet, uids: &[u32], by_uid: bool) -> Option<Vec<usize>> {
    let count = u32::try_from(uids.len()).unwrap_or(u32::MAX);
    let largest = if by_uid { uids.last().copied().unwrap_or(0) } else { count };
    let mut found = Vec::new();
    for (low, high) in ranges(set, largest) {
        if by_uid {
            let start = uids.partition_point(|uid| *uid < low);
            let end = uids.partition_point(|uid| *uid <= high);
            found.extend(start..end);
        } else if low == 0 || high > count {
            return None;
        } else {
            found.extend(low as usize - 1..high as usize);
        }
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// Writes UIDs (any order, made ascending) as a set such as `1:3,7`.
pub(crate) fn compact(uids: impl IntoIterator<Item = u32>) -> String {
    let mut uids: Vec<u32> = uids.into_iter().collect();
    uids.sort_unstable();
    uids.dedup();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for uid in uids {
        match runs.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(uid) => *end = uid,
            _ => runs.push((uid, uid)),
        }
    }
    let text = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}:{b}") });
    text.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_resolve_and_compact() {
        let set = |text: &str| SequenceSet::try_from(text).unwrap();
        let uids = [2, 4, 9];
        let check =
            |text, by_uid, expected| assert_eq!(positions(&set(text), &uids, by_uid), expected);
        check("1:4", true, Some(vec![0, 1]));
        check("100:*", true, Some(vec![2]));
        check("*", false, Some(vec![2]));
        check("4", false, None);
        assert_eq!(compact([9, 1, 2, 3, 7]), "1:3,7,9");
    }
}
