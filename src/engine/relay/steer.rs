//! What a person does with a message: hold, release, retry, cancel, resolve. Floor 4.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::Relay;
use super::intake::{self, HELD};
use super::reread;
use crate::engine::offload::offload;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::OutboxId;
use crate::model::outbox::{CopyState, Decision, Item, Phase};
use crate::ports::outbox::{OutboxLedger, SentFiler, Spool, Submit};
use crate::rules::relay;

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// Failed messages that are named are tried again as well. One that cannot be stops no other; the first reason
    /// is what it answers.
    pub(super) async fn retry_failed(&mut self, ids: &BTreeSet<OutboxId>) -> Result<(), Failure> {
        let mut first = Ok(());
        for id in ids {
            let done = match self.items.get(id).map(|item| item.phase) {
                Some(Phase::Failed) => self.change_one(id, Change::Retry).await,
                Some(phase @ (Phase::Held | Phase::Uncertain)) => {
                    Err(unfit(id, Change::Retry, phase))
                }
                _ => Ok(()),
            };
            first = first.and(done);
        }
        first
    }

    pub(super) async fn change(
        &mut self,
        ids: &[OutboxId],
        change: Change,
    ) -> Result<Vec<Item>, Failure> {
        let named = !ids.is_empty();
        // One that is not there, for it was just sent, stops no other.
        let (ids, mut first) = match self.chosen(ids) {
            Ok(ids) => (ids, Ok(())),
            Err(failure) => {
                let known = ids.iter().filter(|id| self.items.contains_key(*id));
                (known.cloned().collect(), Err(failure))
            }
        };
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
            // It is sent: what is given up is the copy.
            (Change::Cancel, Phase::Accepted) if item.copy == CopyState::Due => {
                item.copy = CopyState::Done;
                self.copies.remove(id);
                if let Some(item) = self.items.get(id).cloned() {
                    self.save(item, Vec::new()).await;
                }
                self.close(id).await;
                return Ok(());
            }
            (Change::Cancel, Phase::Queued | Phase::Held | Phase::Uncertain | Phase::Failed)
            | (Change::Resolve(Decision::Drop), Phase::Uncertain) => {
                return self.cancel(id).await;
            }
            (Change::Resolve(Decision::Resend), Phase::Uncertain) => {
                (item.phase, item.next_try) = (Phase::Queued, now);
            }
            (Change::Resolve(Decision::Sent), Phase::Uncertain) => {
                relay::confirm(item, "delivered, somebody says", CopyState::Due, now);
                if let Some(item) = self.items.get(id).cloned() {
                    self.save(item, Vec::new()).await;
                    self.close(id).await;
                }
                return Ok(());
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
        let Some(kept) = kept else {
            self.forget_parked(id).await?;
            let what = format!("find the file of message {id} in failed/");
            return Err(Failure::new(Scope::Message, Remedy::Never, Kind::NotFound, what)
                .detail("it was moved or removed there, so the outbox forgets it")
                .cure("drop the message again, if it is to be sent"));
        };
        self.files.insert(id.clone(), kept);
        self.items.insert(id.clone(), item);
        self.reread(id).await
    }

    /// Forgets what was taken out of `failed/` by hand, and its reason.
    pub(super) async fn forget_removed(&mut self) {
        let failed = |item: &&Item| item.phase == Phase::Failed && item.copy != CopyState::Due;
        let mine: Vec<OutboxId> =
            self.items.values().filter(failed).map(|item| item.id.clone()).collect();
        let is_due = self.removed_looked.is_none_or(|at| at.elapsed() >= LOOK_INTO_FAILED);
        if mine.is_empty() || !is_due {
            return;
        }
        self.removed_looked = Some(Instant::now());
        let spool = Arc::clone(&self.spool);
        // What is still in cur/ is parked by the look.
        let parked = match offload(move || spool.parked()).await {
            Ok(parked) => parked,
            Err(failure) => {
                warn!(%failure, "what failed cannot be looked at");
                return;
            }
        };
        for id in mine {
            if parked.contains(&id) || self.files.contains_key(&id) {
                continue;
            }
            if let Err(failure) = self.forget_parked(&id).await {
                warn!(queue_id = %id, %failure, "not forgotten");
            }
        }
    }

    /// Forgets a parked message whose file somebody took away. Should it come back, it stays where it is.
    async fn forget_parked(&mut self, id: &OutboxId) -> Result<(), Failure> {
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let ours = id.clone();
        let forgotten = move || {
            spool.discard_reason(&ours)?;
            ledger.forget(std::slice::from_ref(&ours))
        };
        offload(forgotten).await?;
        self.items.remove(id);
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
        let read = offload(move || reread::reread(&*spool, &*ledger, &setup, &item, kept, now));
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

const LOOK_INTO_FAILED: Duration = Duration::from_secs(5);
