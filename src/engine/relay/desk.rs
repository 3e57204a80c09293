//! Looking at the directory, and serving what persons ask. Floor 4.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use super::intake::{self, DRAFT, HELD};
use super::{Ask, Line, Relay, Request};
use crate::engine::offload::offload;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::OutboxId;
use crate::model::outbox::{CopyState, Decision, Item, OutboxEvent, Phase, Reason, RecipientState};
use crate::ports::outbox::{OutboxLedger, SentFiler, Spool, Submit};
use crate::rules::relay;

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// Takes up what the last run left.
    pub(super) async fn restore(&mut self) -> Result<(), Failure> {
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let setup = Arc::clone(&self.setup);
        let found = offload(move || intake::restore(&*spool, &*ledger, &setup)).await?;
        self.files = found.files;
        let ids: Vec<OutboxId> = found.items.iter().map(|item| item.id.clone()).collect();
        self.items = found.items.into_iter().map(|item| (item.id.clone(), item)).collect();
        for id in ids {
            self.close(&id).await;
        }
        for id in found.doubts {
            self.start_probe(&id);
        }
        Ok(())
    }

    /// One look at the directory: new files, changed flags, files that are gone.
    pub(super) async fn look(&mut self) {
        (self.dirty, self.more) = (false, false);
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let setup = Arc::clone(&self.setup);
        let looked = offload(move || {
            let scan = spool.scan()?;
            let (mut taken, mut rest) = (Vec::new(), scan.ready.iter());
            for dropped in rest.by_ref() {
                match intake::take_in(&*spool, &*ledger, &setup, dropped) {
                    Ok(found) => taken.extend(found),
                    // One bad file stops no other, and does not count, or bad ones could fill a batch.
                    Err(failure) => warn!(%failure, "a file in the outbox cannot be taken"),
                }
                if taken.len() >= BATCH {
                    break;
                }
            }
            Ok((taken, rest.len() > 0, spool.kept()?))
        })
        .await;
        let (taken, more, files) = match looked {
            Ok(looked) => looked,
            Err(failure) => {
                warn!(%failure, "the outbox cannot be read");
                return;
            }
        };
        (self.more, self.files) = (more, files);
        for (item, _) in taken {
            let id = item.id.clone();
            if let Some(account) = item.account.clone().filter(|_| item.phase != Phase::Failed) {
                self.tell(OutboxEvent::Queued { id: id.clone(), account });
            } else {
                self.tell(OutboxEvent::Failed {
                    id: id.clone(),
                    recipients: super::failed_recipients(&item),
                });
            }
            self.items.insert(id.clone(), item);
            self.close(&id).await;
        }
        self.heed_flags().await;
    }

    /// A file that is gone or carries T is cancelled; D holds, and its removal releases.
    async fn heed_flags(&mut self) {
        let ids: Vec<OutboxId> = self.items.keys().cloned().collect();
        for id in ids {
            let Some(item) = self.items.get_mut(&id) else { continue };
            let file = self.files.get(&id);
            let waits = matches!(item.phase, Phase::Queued | Phase::Held | Phase::Uncertain);
            let is_draft = item.reason.as_ref().is_some_and(|reason| reason.name == DRAFT);
            match file {
                _ if !waits => {}
                None => self.cancel(&id).await,
                Some(kept) if kept.trashed => self.cancel(&id).await,
                Some(kept) if kept.draft && item.phase == Phase::Queued => {
                    intake::hold(item, DRAFT, "the flag D holds it: remove the flag to send it");
                    let item = item.clone();
                    self.save(item, Vec::new()).await;
                }
                Some(kept) if !kept.draft && item.phase == Phase::Held && is_draft => {
                    (item.phase, item.reason) = (Phase::Queued, None);
                    let item = item.clone();
                    self.save(item, Vec::new()).await;
                }
                Some(_) => {}
            }
        }
    }

    async fn cancel(&mut self, id: &OutboxId) {
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let (ours, kept) = (id.clone(), self.files.get(id).cloned());
        let parked = self.items.get(id).is_some_and(|item| item.phase == Phase::Failed);
        let cancelled = offload(move || {
            let kept = if parked { spool.unpark(&ours)? } else { kept };
            intake::cancel(&*spool, &*ledger, &ours, kept.as_ref())
        });
        match cancelled.await {
            Ok(()) => {
                self.items.remove(id);
                self.files.remove(id);
            }
            Err(failure) => warn!(%id, %failure, "not cancelled"),
        }
    }

    /// Does what a person asks.
    pub(super) async fn serve(&mut self, request: Request) {
        let Request { what, reply } = request;
        let done = match what {
            Ask::List => Ok(self.listed()),
            Ask::Pause | Ask::Resume => {
                self.paused = what == Ask::Pause;
                Ok(Vec::new())
            }
            Ask::Flush(ids) => {
                let named = !ids.is_empty();
                match self.chosen(&ids) {
                    Ok(ids) => {
                        if named && let Err(failure) = self.retry_failed(&ids).await {
                            drop(reply.send(Err(failure)));
                            return;
                        }
                        self.flush(ids, named, reply);
                    }
                    Err(failure) => drop(reply.send(Err(failure))),
                }
                return;
            }
            Ask::Hold(ids) => self.change(&ids, Change::Hold).await,
            Ask::Release(ids) => self.change(&ids, Change::Release).await,
            Ask::Retry(ids) => self.change(&ids, Change::Retry).await,
            Ask::Cancel(ids) => self.change(&ids, Change::Cancel).await,
            Ask::Resolve(id, decision) => self.change(&[id], Change::Resolve(decision)).await,
        };
        // Whoever asked may be gone.
        drop(reply.send(done));
    }

    /// The messages as they wait: for their account as well as for themselves, oldest first.
    fn listed(&self) -> Vec<Item> {
        let mut items: Vec<Item> = self.items.values().cloned().collect();
        for item in items.iter_mut().filter(|item| item.phase == Phase::Queued) {
            let line = item.account.as_ref().and_then(|account| self.lines.get(account));
            item.next_try = item.next_try.max(line.map_or(0, |line| line.not_before));
            if let Some(trouble) = line.and_then(|line| line.trouble.as_ref()) {
                let (name, text) = (trouble.name.clone(), trouble.text.clone());
                item.reason = Some(Reason { name, text });
            }
        }
        items.sort_by(|one, other| (one.queued_at, &one.id).cmp(&(other.queued_at, &other.id)));
        items
    }

    /// A failed message that is named is tried again as well.
    async fn retry_failed(&mut self, ids: &BTreeSet<OutboxId>) -> Result<(), Failure> {
        for id in ids {
            if self.items.get(id).is_some_and(|item| item.phase == Phase::Failed) {
                self.change_one(id, Change::Retry).await?;
            }
        }
        Ok(())
    }

    /// Forgets all back-off for these messages and answers when they were tried.
    ///
    /// Only for a message that was named its delay is over as well: a flush of all, when the network
    /// came back, must not undo what the sender asked for.
    fn flush(
        &mut self,
        ids: BTreeSet<OutboxId>,
        named: bool,
        reply: tokio::sync::oneshot::Sender<Result<Vec<Item>, Failure>>,
    ) {
        let now = self.now();
        for id in &ids {
            if let Some(item) = self.items.get_mut(id)
                && item.phase == Phase::Queued
            {
                item.next_try = now;
                if named {
                    item.hold_until = 0;
                }
                if let Some(account) = &item.account {
                    let line = self.lines.entry(account.clone()).or_default();
                    let (busy, trouble) = (line.busy, line.trouble.take());
                    *line = Line { busy, trouble, ..Line::default() };
                }
            }
        }
        self.copies.retain(|_, at| *at == u64::MAX);
        self.dirty = true;
        self.flushes.push((ids, reply));
    }

    pub(super) fn answer_flushes(&mut self) {
        let now = self.now();
        let lines = &self.lines;
        let items = &self.items;
        let waits = |id: &OutboxId| {
            let Some(item) = items.get(id) else { return false };
            let line = item.account.as_ref().and_then(|account| lines.get(account));
            match item.phase {
                Phase::Sending | Phase::Dot => true,
                Phase::Queued => {
                    item.next_try.max(item.hold_until) <= now
                        && line.is_none_or(|line| line.not_before <= now)
                }
                Phase::Claimed
                | Phase::Held
                | Phase::Uncertain
                | Phase::Accepted
                | Phase::SentCopy
                | Phase::Failed => false,
            }
        };
        let paused = self.paused;
        let (done, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.flushes)
            .into_iter()
            .partition(|(ids, _)| paused || !ids.iter().any(waits));
        self.flushes = open;
        for (ids, reply) in done {
            let left = ids.iter().filter_map(|id| self.items.get(id).cloned()).collect();
            drop(reply.send(Ok(left)));
        }
    }

    /// The ids that are meant: all when none is named.
    fn chosen(&self, ids: &[OutboxId]) -> Result<BTreeSet<OutboxId>, Failure> {
        if let Some(unknown) = ids.iter().find(|id| !self.items.contains_key(*id)) {
            return Err(Failure::new(
                Scope::Message,
                Remedy::Never,
                Kind::NotFound,
                format!("find message {unknown} in the outbox"),
            )
            .cure("list the messages with `postrider outbox list`"));
        }
        let all = || self.items.keys().cloned().collect();
        Ok(if ids.is_empty() { all() } else { ids.iter().cloned().collect() })
    }

    async fn change(&mut self, ids: &[OutboxId], change: Change) -> Result<Vec<Item>, Failure> {
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
                (item.phase, item.reason, item.next_try) = (Phase::Queued, None, now);
                self.unflag(id).await?;
            }
            (Change::Release, Phase::Queued) => item.hold_until = 0,
            (Change::Retry, Phase::Queued) => item.next_try = now,
            (Change::Retry, Phase::Failed) => {
                return self.retry(id).await;
            }
            (Change::Cancel, Phase::Queued | Phase::Held | Phase::Uncertain | Phase::Failed)
            | (Change::Resolve(Decision::Drop), Phase::Uncertain) => {
                self.cancel(id).await;
                return Ok(());
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

    /// Takes a failed message up again. One that never had an envelope is read anew: its account or its
    /// recipients may be known by now.
    async fn retry(&mut self, id: &OutboxId) -> Result<(), Failure> {
        let now = self.now();
        let Some(mut item) = self.items.get(id).cloned() else { return Ok(()) };
        relay::retry(&mut item, now);
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let setup = Arc::clone(&self.setup);
        let taken = offload(move || {
            let kept = spool.unpark(&item.id)?;
            match kept {
                Some(kept) if item.account.is_none() => {
                    let fresh = Item::claimed(item.id, now);
                    intake::prepare(&*spool, &*ledger, &setup, fresh, kept)
                        .map(|(item, kept)| (item, Some(kept)))
                }
                kept => ledger.put(&item).map(|()| (item, kept)),
            }
        });
        let (item, kept) = taken.await?;
        self.files.extend(kept.map(|kept| (id.clone(), kept)));
        self.items.insert(id.clone(), item);
        // It may have failed again already.
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
    let (why, cure) = match phase {
        Phase::Claimed | Phase::Sending | Phase::Dot => {
            ("it is on its way to the server", "ask again in a moment")
        }
        Phase::Accepted | Phase::SentCopy => ("it was sent", "nothing is left to be done"),
        Phase::Queued => ("it waits to be sent", "hold or cancel it"),
        Phase::Held => ("it is held", "release it first, or cancel it"),
        Phase::Uncertain => ("nobody knows whether it was sent", "resolve it first"),
        Phase::Failed => ("it failed", "retry it, or cancel it"),
    };
    let what = format!("{verb} message {id}");
    Failure::new(Scope::Message, Remedy::Later, Kind::Busy, what).detail(why).cure(cure)
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Hold,
    Release,
    Retry,
    Cancel,
    Resolve(Decision),
}

const BATCH: usize = 32;
