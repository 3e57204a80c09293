//! What a start finds in ledger and directory, and makes of it. Floor 4.

use std::collections::BTreeMap;

use super::RelaySetup;
use super::intake::{HELD, REPLAY_MICROS, hold, prepare};
use crate::model::failure::Failure;
use crate::model::ids::OutboxId;
use crate::model::outbox::{Item, Phase};
use crate::model::status::Micros;
use crate::ports::outbox::{Kept, OutboxLedger, Spool};
use crate::rules::relay;

/// What a start finds, settled with the directory.
pub(super) struct Found {
    pub(super) items: Vec<Item>,
    pub(super) files: BTreeMap<OutboxId, Kept>,
    /// Whose fate is not known: the Sent mailbox may tell.
    pub(super) doubts: Vec<OutboxId>,
}

/// Reads ledger and directory at the start and settles where they differ.
pub(super) fn restore(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
) -> Result<Found, Failure> {
    let now: Micros = (setup.clock)();
    ledger.prune(now.saturating_sub(REPLAY_MICROS))?;
    let mut files = spool.kept()?;
    let parked = spool.parked()?;
    let (mut items, mut doubts) = (Vec::new(), Vec::new());
    for mut item in ledger.items()? {
        let before = item.phase;
        relay::resume(&mut item, now, &setup.policy);
        match (files.get(&item.id).cloned(), item.phase) {
            // The first look completes it.
            (Some(_), Phase::Claimed) => items.push(item),
            (None, Phase::Failed) if parked.contains(&item.id) => items.push(item),
            // Claimed but never moved: it is still where it was dropped. The others were deleted,
            // which cancels, or finished just before the row went.
            (None, _) => ledger.forget(std::slice::from_ref(&item.id))?,
            (Some(_), _) => {
                if matches!(before, Phase::Dot | Phase::Uncertain) {
                    doubts.push(item.id.clone());
                }
                if item.phase != before {
                    ledger.put(&item)?;
                }
                items.push(item);
            }
        }
    }
    let strangers: Vec<OutboxId> =
        files.keys().filter(|id| !items.iter().any(|item| item.id == **id)).cloned().collect();
    for id in strangers {
        let Some(kept) = files.get(&id).cloned() else { continue };
        let (mut item, kept) = prepare(spool, ledger, setup, Item::claimed(id, now), kept)?;
        if item.phase == Phase::Queued {
            hold(
                &mut item,
                HELD,
                "the ledger does not know it, so it may have been sent: release it to send it",
            );
            ledger.put(&item)?;
        }
        files.insert(item.id.clone(), kept);
        items.push(item);
    }
    Ok(Found { items, files, doubts })
}
