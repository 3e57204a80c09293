//! Sets of UIDs as ranges: a mailbox of a million messages is a few bytes. Floor 0.

use std::fmt;
use std::ops::RangeInclusive;

use crate::model::ids::Uid;

/// A set of UIDs, kept as ascending ranges that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UidSet {
    ranges: Vec<RangeInclusive<u32>>,
    len: usize,
}

impl UidSet {
    /// The set of these UIDs, in any order.
    pub fn of(uids: impl IntoIterator<Item = Uid>) -> Self {
        let mut all: Vec<u32> = Vec::new();
        let mut set = Self::default();
        for uid in uids.into_iter().map(Uid::get) {
            // In order, as a server and a ledger give them, nothing has to be kept aside.
            if all.is_empty() && set.last().is_none_or(|last| uid > last) {
                set.push(uid);
            } else {
                all.push(uid);
            }
        }
        if all.is_empty() {
            return set;
        }
        all.extend(set.iter().map(Uid::get));
        all.sort_unstable();
        all.dedup();
        let mut set = Self::default();
        all.into_iter().for_each(|uid| set.push(uid));
        set
    }

    fn last(&self) -> Option<u32> {
        self.ranges.last().map(|r| *r.end())
    }

    /// Adds a UID above all others.
    fn push(&mut self, uid: u32) {
        self.len = self.len.saturating_add(1);
        match self.ranges.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(uid) => *last = *last.start()..=uid,
            _ => self.ranges.push(uid..=uid),
        }
    }

    /// How many UIDs there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a UID is in the set.
    pub fn contains(&self, uid: Uid) -> bool {
        let uid = uid.get();
        let at = self.ranges.partition_point(|r| *r.end() < uid);
        self.ranges.get(at).is_some_and(|r| r.contains(&uid))
    }

    /// Adds a UID.
    pub fn insert(&mut self, uid: Uid) {
        if self.last().is_none_or(|last| uid.get() > last) {
            self.push(uid.get());
        } else if !self.contains(uid) {
            *self = Self::of(self.iter().chain([uid]));
        }
    }

    /// The lowest UID.
    pub fn first(&self) -> Option<Uid> {
        self.ranges.first().and_then(|r| Uid::new(*r.start()))
    }

    /// The lowest of the `n` highest UIDs; nothing if there are no more than `n`.
    pub fn nth_newest(&self, n: usize) -> Option<Uid> {
        if self.len <= n {
            return None;
        }
        let mut left = n;
        for range in self.ranges.iter().rev() {
            let len = (range.end() - range.start()) as usize + 1;
            if left <= len {
                let above = u32::try_from(left).unwrap_or(u32::MAX);
                return Uid::new(range.end().saturating_sub(above).saturating_add(1));
            }
            left -= len;
        }
        None
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[RangeInclusive<u32>] {
        &self.ranges
    }

    /// All UIDs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.ranges.iter().cloned().flatten().filter_map(Uid::new)
    }

    /// The UIDs of `self` that are not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self::of(self.iter().filter(|uid| !other.contains(*uid)))
    }

    /// The UIDs of `self` that lie in one of these ranges, which a server may have given: they can
    /// say 1:4294967295, and cost no more for it.
    #[must_use]
    pub fn within(&self, ranges: &[RangeInclusive<u32>]) -> Self {
        Self::of(self.iter().filter(|uid| ranges.iter().any(|r| r.contains(&uid.get()))))
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        Self::of(uids)
    }
}

/// As an IMAP sequence set (RFC 9051 §9): `1:3,7`.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}:{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(uids: &[u32]) -> UidSet {
        UidSet::of(uids.iter().filter_map(|u| Uid::new(*u)))
    }

    #[test]
    fn ranges_say_what_the_numbers_say() {
        let uids = set(&[7, 1, 3, 2, 3, u32::MAX]);
        assert_eq!(uids.to_string(), "1:3,7,4294967295");
        assert_eq!(uids.len(), 5);
        assert!(uids.contains(Uid::new(2).unwrap()) && !uids.contains(Uid::new(4).unwrap()));
        assert_eq!(uids.minus(&set(&[2, 7])).to_string(), "1,3,4294967295");
        assert_eq!(uids.within(&[2..=u32::MAX - 1]).to_string(), "2:3,7");
        let mut uids = set(&[1, 3]);
        uids.insert(Uid::new(2).unwrap());
        uids.insert(Uid::new(2).unwrap());
        assert_eq!((uids.to_string().as_str(), uids.len()), ("1:3", 3));
        assert_eq!(set(&[]).to_string(), "");
        let newest = |n| set(&[1, 2, 5, 6, 9]).nth_newest(n).map(Uid::get);
        assert_eq!([newest(1), newest(2), newest(3), newest(4)], [9, 6, 5, 2].map(Some));
        assert_eq!(newest(5), None);
    }
}
