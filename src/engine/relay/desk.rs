//! Looking at the directory, and serving what persons ask. Floor 4.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::warn;

use super::intake::{self, FLAGGED, HELD};
use super::steer::Change;
use super::{Ask, Line, Relay, Request, resume};
use crate::engine::offload::offload;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{CopyState, Item, Phase, Reason};
use crate::ports::outbox::{OutboxLedger, SentFiler, Spool, Submit};

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// Takes up what the last run left.
    pub(super) async fn restore(&mut self) -> Result<(), Failure> {
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let setup = Arc::clone(&self.setup);
        let found = offload(move || resume::restore(&*spool, &*ledger, &setup)).await?;
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
        let (setup, flooded) = (Arc::clone(&self.setup), self.flooded);
        let looked = offload(move || {
            let scan = spool.scan()?;
            let taken = intake::take_in(&*spool, &*ledger, &setup, &scan, flooded)?;
            Ok((taken, scan.unfinished, spool.kept()?))
        })
        .await;
        let (taken, unfinished, files) = match looked {
            Ok(looked) => looked,
            Err(failure) => {
                warn!(%failure, "the outbox cannot be read");
                return;
            }
        };
        (self.more, self.unfinished) = (taken.more, unfinished);
        let before = std::mem::replace(&mut self.files, files);
        self.renew_changed(&before).await;
        self.complete_claims().await;
        self.flooded = taken.flooded && taken.more;
        for (item, failure) in taken.stuck {
            let id = item.id.clone();
            self.items.insert(id.clone(), item);
            self.keep_trying(&id, &failure);
        }
        // Nothing tells when there is room again.
        self.unfinished |= self.items.values().any(|item| item.phase == Phase::Claimed);
        for item in taken.items {
            let id = item.id.clone();
            self.announce_taken(&item);
            self.items.insert(id.clone(), item);
            self.close(&id).await;
        }
        self.heed_flags().await;
        self.park_rest().await;
        self.forget_removed().await;
    }

    /// A file that is gone or carries T is cancelled; D holds, and its removal releases.
    async fn heed_flags(&mut self) {
        let ids: Vec<OutboxId> = self.items.keys().cloned().collect();
        for id in ids {
            let Some(item) = self.items.get_mut(&id) else { continue };
            let file = self.files.get(&id);
            let waits = matches!(item.phase, Phase::Queued | Phase::Held | Phase::Uncertain);
            let is_draft = item.reason.as_ref().is_some_and(|reason| reason.text == FLAGGED);
            match file {
                _ if !waits => {}
                None => {
                    if !self.park_replaced(&id).await {
                        self.cancel_or_warn(&id).await;
                    }
                }
                Some(kept) if kept.trashed => self.cancel_or_warn(&id).await,
                Some(kept) if kept.draft && item.phase == Phase::Queued => {
                    intake::hold(item, HELD, FLAGGED);
                    let item = item.clone();
                    self.save(item, Vec::new()).await;
                }
                Some(kept) if !kept.draft && item.phase == Phase::Held && is_draft => {
                    if let Err(failure) = self.reread(&id).await {
                        warn!(queue_id = %id, %failure, "not released");
                    }
                }
                Some(_) => {}
            }
        }
    }

    pub(super) async fn cancel_or_warn(&mut self, id: &OutboxId) {
        if let Err(failure) = self.cancel(id).await {
            warn!(queue_id = %id, %failure, "not cancelled");
        }
    }

    pub(super) async fn cancel(&mut self, id: &OutboxId) -> Result<(), Failure> {
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let (ours, kept) = (id.clone(), self.files.get(id).cloned());
        let parked = self.items.get(id).is_some_and(|item| item.phase == Phase::Failed);
        let cancelled = offload(move || {
            if parked {
                spool.discard(&ours)?;
            }
            intake::cancel(&*spool, &*ledger, &ours, kept.as_ref())
        });
        cancelled.await?;
        self.items.remove(id);
        self.files.remove(id);
        Ok(())
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
                        let unable = if named { self.retry_failed(&ids).await.err() } else { None };
                        self.flush(ids, named, (reply, unable));
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
        // What is sent and filed is history, though its file may lie here for another moment.
        let open = self.items.values().filter(|item| !is_over(item));
        let mut items: Vec<Item> = open.cloned().collect();
        for item in items.iter_mut().filter(|item| item.phase == Phase::Queued) {
            let line = item.account.as_ref().and_then(|account| self.lines.get(account));
            item.next_try = item.next_try.max(line.map_or(0, |line| line.not_before));
            if let Some(name) = item.account.clone().filter(|name| self.setup.rests(name)) {
                let text = format!(
                    "account {name} is not enabled (to mend it: enabled = true in [account.{name}])"
                );
                item.reason = Some(Reason { name: "ConfigInvalid".to_owned(), text });
                item.next_try = 0;
                continue;
            }
            // What a server said about the message itself stays.
            if let Some(trouble) = line.and_then(|line| line.trouble.as_ref())
                && item.tries == 0
            {
                let text = format!("its account waits: {}", trouble.text);
                item.reason = Some(Reason { name: trouble.name.clone(), text });
            }
        }
        items.sort_by(|one, other| (one.queued_at, &one.id).cmp(&(other.queued_at, &other.id)));
        items
    }

    /// Forgets all back-off for these messages and answers when they were tried.
    ///
    /// Only for a message that was named its delay is over as well: a flush of all, when the network
    /// came back, must not undo what the sender asked for.
    fn flush(
        &mut self,
        ids: BTreeSet<OutboxId>,
        named: bool,
        answer: (oneshot::Sender<Result<Vec<Item>, Failure>>, Option<Failure>),
    ) {
        let now = self.now();
        for id in &ids {
            if let Some(item) = self.items.get_mut(id)
                && item.phase == Phase::Queued
            {
                item.next_try = now;
                if named {
                    item.hold_until = item.hold_until.min(now);
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
        self.flushes.push((ids, answer));
    }

    pub(super) fn answer_flushes(&mut self) {
        let now = self.now();
        let lines = &self.lines;
        let (items, setup) = (&self.items, &self.setup);
        let rests = |name: &AccountName| setup.rests(name);
        let waits = |id: &OutboxId| {
            let Some(item) = items.get(id) else { return false };
            let line = item.account.as_ref().and_then(|account| lines.get(account));
            match item.phase {
                Phase::Sending | Phase::Dot => true,
                Phase::Queued => {
                    !item.account.as_ref().is_some_and(rests)
                        && item.next_try.max(item.hold_until) <= now
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
        for (ids, (reply, unable)) in done {
            if let Some(failure) = unable {
                drop(reply.send(Err(failure)));
                continue;
            }
            let left = ids.iter().filter_map(|id| self.items.get(id));
            let left = left.filter(|item| !is_over(item)).cloned().collect();
            drop(reply.send(Ok(left)));
        }
    }

    /// The ids that are meant: all when none is named.
    pub(super) fn chosen(&self, ids: &[OutboxId]) -> Result<BTreeSet<OutboxId>, Failure> {
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
}

/// Whether nothing is left to be done but to tidy up.
fn is_over(item: &Item) -> bool {
    item.phase == Phase::Accepted && item.copy != CopyState::Due
}
