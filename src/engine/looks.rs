//! Two looks before a local disappearance counts. Floor 4.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::ids::{Base, MailboxName};
use crate::model::view::Stamp;
use crate::ports::local::Scan;
use crate::rules::schedule::ABSENCE_PROOF;

/// The first looks of all mailboxes where something was missing.
#[derive(Debug, Default)]
pub(super) struct Looks {
    first: BTreeMap<MailboxName, Look>,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    stamp: Stamp,
    missing: BTreeSet<Base>,
}

impl Looks {
    /// Returns which of the missing messages are proven gone, and when to look again for the rest.
    ///
    /// A look proves nothing unless the directory stood still, from the first look to this one, for
    /// at least a second.
    pub(super) fn look(
        &mut self,
        mailbox: &MailboxName,
        scan: &Scan,
        missing: BTreeSet<Base>,
        now: Instant,
    ) -> (BTreeSet<Base>, Option<Instant>) {
        if missing.is_empty() {
            self.first.remove(mailbox);
            return (BTreeSet::new(), None);
        }
        let before = self.first.get(mailbox).filter(|l| l.stamp == scan.stamp && scan.steady);
        let Some(first) = before else {
            let again = now + ABSENCE_PROOF + MARGIN;
            if scan.steady {
                let look = Look { at: now, stamp: scan.stamp, missing };
                self.first.insert(mailbox.clone(), look);
            } else {
                self.first.remove(mailbox);
            }
            return (BTreeSet::new(), Some(again));
        };
        if now.duration_since(first.at) < ABSENCE_PROOF {
            return (BTreeSet::new(), Some(first.at + ABSENCE_PROOF + MARGIN));
        }
        (first.missing.intersection(&missing).cloned().collect(), None)
    }
}

const MARGIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(ns: i64, steady: bool) -> Scan {
        Scan { stamp: Stamp { new_ns: 0, cur_ns: ns }, steady, ..Scan::default() }
    }

    fn gone() -> BTreeSet<Base> {
        BTreeSet::from([Base("a".to_owned())])
    }

    #[test]
    fn only_a_directory_that_stood_still_for_a_second_proves_absence() {
        let inbox = MailboxName::inbox();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut looks = Looks::default();
        assert_eq!(looks.look(&inbox, &scan(1, true), gone(), at(0)).0, BTreeSet::new());
        assert_eq!(looks.look(&inbox, &scan(1, true), gone(), at(500)).0, BTreeSet::new());
        assert_eq!(looks.look(&inbox, &scan(1, true), gone(), at(1001)).0, gone());

        let mut looks = Looks::default();
        assert!(looks.look(&inbox, &scan(1, true), gone(), at(0)).1.is_some());
        assert_eq!(looks.look(&inbox, &scan(2, true), gone(), at(1500)).0, BTreeSet::new());
        assert_eq!(looks.look(&inbox, &scan(2, false), gone(), at(3000)).0, BTreeSet::new());
        assert_eq!(looks.look(&inbox, &scan(2, true), gone(), at(4000)).0, BTreeSet::new());
        assert_eq!(looks.look(&inbox, &scan(2, true), gone(), at(5100)).0, gone());
    }
}
