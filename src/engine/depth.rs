//! How deep a look goes where the server cannot tell what changed, and what it was caught at.
//! Floor 4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::model::failure::Failure;
use crate::model::ids::MailboxName;
use crate::ports::ledger::Ledger;
use crate::ports::local::Local;
use crate::ports::remote::{Connector, Depth, Quirk, Remote};

/// When each mailbox was looked at completely, and the shallow looks since.
#[derive(Debug, Default)]
pub(super) struct Depths {
    /// Whether looks may be shallow: not on a new connection, nor where somebody waits for a sync.
    pub(super) may_be_shallow: bool,
    looks: BTreeMap<MailboxName, (Instant, u32)>,
}

impl Depths {
    /// How deep the next look at a mailbox goes.
    pub(super) fn next(&mut self, mailbox: &MailboxName, now: Instant) -> Depth {
        let last = self.looks.get_mut(mailbox).filter(|_| self.may_be_shallow);
        match last.filter(|(deep, _)| now.duration_since(*deep) < DEEP_EVERY) {
            Some((_, round)) => {
                *round = round.wrapping_add(1);
                Depth::Some(*round)
            }
            None => Depth::All,
        }
    }

    /// A look at a mailbox succeeded.
    pub(super) fn looked(&mut self, mailbox: &MailboxName, depth: Depth, now: Instant) {
        match depth {
            Depth::All => drop(self.looks.insert(mailbox.clone(), (now, 0))),
            Depth::Some(_) => {}
        }
    }
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Tells a connection what its server was caught at before.
    pub(super) async fn recall(&self, remote: &mut C::Remote) -> Result<(), Failure> {
        let ledger = Arc::clone(&self.ledger);
        remote.expect(&offload(move || ledger.quirks()).await?);
        Ok(())
    }

    /// Remembers what the server was caught at on this connection.
    pub(super) async fn remember(
        &self,
        remote: &C::Remote,
        before: &BTreeSet<Quirk>,
    ) -> Result<(), Failure> {
        let new: Vec<Quirk> = remote.quirks().difference(before).copied().collect();
        if new.is_empty() || self.is_dry {
            return Ok(());
        }
        let ledger = Arc::clone(&self.ledger);
        offload(move || new.into_iter().try_for_each(|quirk| ledger.learn_quirk(quirk))).await
    }
}

/// How often every flag is read where the server has no CONDSTORE.
const DEEP_EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_deep_at_first_on_demand_and_once_an_hour() {
        let inbox = MailboxName::inbox();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut depths = Depths { may_be_shallow: true, ..Depths::default() };
        assert_eq!(depths.next(&inbox, at(0)), Depth::All);
        assert_eq!(depths.next(&inbox, at(0)), Depth::All, "the first one failed");
        depths.looked(&inbox, Depth::All, at(0));
        assert_eq!(depths.next(&inbox, at(60)), Depth::Some(1));
        depths.looked(&inbox, Depth::Some(1), at(60));
        assert_eq!(depths.next(&inbox, at(120)), Depth::Some(2));
        depths.may_be_shallow = false;
        assert_eq!(depths.next(&inbox, at(180)), Depth::All);
        depths.may_be_shallow = true;
        assert_eq!(depths.next(&inbox, at(3600)), Depth::All);
    }
}
