//! What is due when, and how things stand. Floor 4.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Relay;
use crate::model::ids::AccountName;
use crate::model::outbox::Phase;
use crate::model::status::{Micros, OutboxStatus, Trouble};
use crate::ports::outbox::{OutboxLedger, SentFiler, Spool, Submit};
use crate::rules::relay::is_late;

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// How long nothing is due.
    pub(super) fn pause(&self) -> Duration {
        let now = self.now();
        if self.more {
            return Duration::ZERO;
        }
        let copies = self.copies.values().copied().filter(|at| *at != Micros::MAX);
        let finish =
            (!self.done.is_empty() && self.finish_at != Micros::MAX).then_some(self.finish_at);
        let next = copies.chain(self.next_attempt()).chain(finish).min();
        let rescan = if self.unfinished { RESCAN_UNFINISHED } else { RESCAN };
        let until = next.map_or(rescan, |at| Duration::from_micros(at.saturating_sub(now)));
        until.clamp(Duration::from_millis(10), rescan)
    }

    pub(super) fn next_attempt(&self) -> Option<Micros> {
        if self.paused {
            return None;
        }
        let queued = self.items.values().filter(|item| item.phase == Phase::Queued);
        let due = queued.filter_map(|item| {
            let account = item.account.as_ref().filter(|name| !self.setup.rests(name))?;
            let line = self.lines.get(account);
            let at = item.next_try.max(item.hold_until);
            match line {
                // When it is free again, it wakes us.
                Some(line) if line.busy => None,
                Some(line) => Some(at.max(line.not_before)),
                None => Some(at),
            }
        });
        due.min()
    }

    /// The accounts whose mail waits for their outgoing server.
    fn troubles(&self) -> BTreeMap<AccountName, Trouble> {
        let waits = |name: &AccountName| {
            self.items.values().any(|item| {
                let phase = item.phase;
                item.account.as_ref() == Some(name)
                    && matches!(phase, Phase::Queued | Phase::Sending | Phase::Dot)
            })
        };
        let lines = self.lines.iter().filter(|(name, _)| waits(name));
        lines.filter_map(|(name, line)| Some((name.clone(), line.trouble.clone()?))).collect()
    }

    pub(super) fn publish(&self) {
        let count = |wanted: &[Phase]| {
            let n = self.items.values().filter(|item| wanted.contains(&item.phase)).count();
            u32::try_from(n).unwrap_or(u32::MAX)
        };
        let status = OutboxStatus {
            queued: count(&[Phase::Claimed, Phase::Queued, Phase::Sending, Phase::Dot]),
            held: count(&[Phase::Held]),
            uncertain: count(&[Phase::Uncertain]),
            failed: count(&[Phase::Failed]),
            late: u32::try_from(self.items.values().filter(|i| is_late(i, self.now())).count())
                .unwrap_or(u32::MAX),
            trouble: self.trouble.clone(),
            troubles: self.troubles(),
            sending: count(&[Phase::Sending, Phase::Dot]) > 0,
            next_attempt: self.next_attempt().unwrap_or(0),
            directory: self.setup.directory.clone(),
        };
        self.links.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
    }
}

const RESCAN: Duration = Duration::from_secs(60);
/// Closing a file that was open for writing is an event; the end of its second name is none.
const RESCAN_UNFINISHED: Duration = Duration::from_secs(2);
