//! What a person does with a message: hold, release, retry, cancel, resolve. Floor 4.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Relay;
use super::intake::{self, HELD};
use crate::engine::offload::offload;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::OutboxId;
use crate::model::outbox::{CopyState, Decision, Item, Phase, RecipientState};
use crate::ports::outbox::{OutboxLedger, SentFiler, Spool, Submit};
use crate::rules::relay;

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// A failed message that is named is tried again as well.
    pub(super) async fn retry_failed(&mut self, ids: &BTreeSet<OutboxId>) -> Result<(), Failure> {
        for id in ids {
            if self.items.get(id).is_some_and(|item| item.phase == Phase::Failed) {
                self.change_one(id, Change::Retry).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn change(
        &mut self,
        ids: &[OutboxId],
        change: Change,
    ) -> Result<Vec<Item>, Failure> {
        let named = !ids.is_empty();
        let ids = self.chosen(ids)?;
        let mut first = Ok(());
        for id in &ids {
            // One that cannot be changed stops no other.
            first = first.and(self.change_one(id, change).await);
        }
        if named {
            first?;
        }
        Ok(ids.iter().filter_map(|id| self.items.get(id).cloned()).collect())
    }

    async fn change_one(&mut self, id: &OutboxId, change: Change) -> Result<(), Failure> {
        let now = self.now();
        let Some(item) = self.items.get_mut(id) else { return Ok(()) };
        match (change, item.phase) {
            (Change::Hold, Phase::Queued) => {
                intake::hold(item, HELD, "held by command: release it to send it");
            }
            (Change::Hold, Phase::Held) => return Ok(()),
            (Change::Release, Phase::Held) => {
                self.unflag(id).await?;
                return self.reread(id).await;
            }
            (Change::Release, Phase::Queued) => item.hold_until = 0,
            (Change::Retry, Phase::Queued) => item.next_try = now,
            (Change::Retry, Phase::Failed) => {
                return self.retry(id).await;
            }
            (Change::Cancel, Phase::Queued | Phase::Held | Phase::Uncertain | Phase::Failed)
            | (Change::Resolve(Decision::Drop), Phase::Uncertain) => {
                return self.cancel(id).await;
            }
            (Change::Resolve(Decision::Resend), Phase::Uncertain) => {
                (item.phase, item.next_try) = (Phase::Queued, now);
            }
            (Change::Resolve(Decision::Sent), Phase::Uncertain) => {
                for one in item.recipients.iter_mut().filter(|one| one.state.is_open()) {
                    one.state = RecipientState::Accepted;
                }
                (item.phase, item.copy) = (Phase::Accepted, CopyState::Due);
            }
            (_, phase) => return Err(unfit(id, change, phase)),
        }
        if let Some(item) = self.items.get(id).cloned() {
            self.save(item, Vec::new()).await;
        }
        Ok(())
    }

    /// Takes a failed message up again. It is read anew: its file, its account or its recipients may be
    /// others by now.
    async fn retry(&mut self, id: &OutboxId) -> Result<(), Failure> {
        let now = self.now();
        let Some(mut item) = self.items.get(id).cloned() else { return Ok(()) };
        relay::retry(&mut item, now);
        let (spool, ours) = (Arc::clone(&self.spool), id.clone());
        let kept = offload(move || spool.unpark(&ours)).await?;
        let was_here = kept.is_some();
        self.files.extend(kept.map(|kept| (id.clone(), kept)));
        self.items.insert(id.clone(), item.clone());
        if was_here {
            return self.reread(id).await;
        }
        self.save(item, Vec::new()).await;
        Ok(())
    }

    /// Makes the envelope of a message anew, since its file may have been edited, and lets it go. Whoever has
    /// it does not get it again.
    pub(super) async fn reread(&mut self, id: &OutboxId) -> Result<(), Failure> {
        let (Some(item), Some(kept)) = (self.items.get(id), self.files.get(id)) else {
            return Ok(());
        };
        let (item, kept, now) = (item.clone(), kept.clone(), self.now());
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let setup = Arc::clone(&self.setup);
        let read = offload(move || intake::reread(&*spool, &*ledger, &setup, &item, kept, now));
        let (item, kept) = read.await?;
        self.files.insert(id.clone(), kept);
        self.items.insert(id.clone(), item);
        // It may have turned out not to be sendable.
        self.close(id).await;
        Ok(())
    }

    /// Takes the flag D away, or the next look would hold the message again.
    async fn unflag(&mut self, id: &OutboxId) -> Result<(), Failure> {
        let Some(kept) = self.files.get(id).filter(|kept| kept.draft).cloned() else {
            return Ok(());
        };
        let (spool, ours) = (Arc::clone(&self.spool), id.clone());
        let kept = offload(move || spool.unflag(&ours, &kept)).await?;
        self.files.insert(id.clone(), kept);
        Ok(())
    }
}

/// This cannot be done with a message in this phase.
fn unfit(id: &OutboxId, change: Change, phase: Phase) -> Failure {
    let verb = match change {
        Change::Hold => "hold",
        Change::Release => "release",
        Change::Retry => "retry",
        Change::Cancel => "cancel",
        Change::Resolve(_) => "resolve",
    };
    let (kind, why, cure) = match phase {
        Phase::Claimed | Phase::Sending | Phase::Dot => {
            (Kind::Busy, "it is on its way to the server", "ask again in a moment".to_owned())
        }
        Phase::Accepted | Phase::SentCopy => {
            (Kind::NotSupported, "it was sent", format!("postrider outbox show {id}"))
        }
        Phase::Queued => {
            (Kind::NotSupported, "it waits to be sent", format!("postrider outbox hold {id}"))
        }
        Phase::Held => (Kind::NotSupported, "it is held", format!("postrider outbox release {id}")),
        Phase::Uncertain => (
            Kind::NotSupported,
            "nobody knows whether it was sent",
            format!("postrider outbox resolve {id} sent|resend|drop"),
        ),
        Phase::Failed => (Kind::NotSupported, "it failed", format!("postrider outbox retry {id}")),
    };
    let what = format!("{verb} message {id}");
    Failure::new(Scope::Message, Remedy::Later, kind, what).detail(why).cure(cure)
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Hold,
    Release,
    Retry,
    Cancel,
    Resolve(Decision),
}
