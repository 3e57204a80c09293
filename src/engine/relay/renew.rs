//! Messages that are not what was taken in: their file was changed, their account is gone, or they could not be
//! completed at first. Floor 4.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{Relay, intake, reread};
use crate::engine::board::trouble;
use crate::engine::offload::offload;
use crate::model::failure::{Failure, Kind, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Broken, Item, Outcome, Phase};
use crate::ports::outbox::{Kept, OutboxLedger, SentFiler, Spool, Submit};
use crate::rules::relay;

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// A message that breaks every connection stops no other: the next attempt begins with another one, and
    /// when that gets through, what breaks it again is the message's own trouble, and ages it.
    pub(super) fn judged(
        &mut self,
        id: &OutboxId,
        account: &AccountName,
        result: Result<Outcome, Broken>,
    ) -> Result<Outcome, Broken> {
        match result {
            Ok(outcome) => {
                self.suspects.remove(id);
                let items = &self.items;
                let theirs = |id: &OutboxId| {
                    items.get(id).is_some_and(|item| item.account.as_ref() == Some(account))
                };
                self.suspects.retain(|id, _| items.contains_key(id));
                for (_, proven) in self.suspects.iter_mut().filter(|(id, _)| theirs(id)) {
                    *proven = true;
                }
                Ok(outcome)
            }
            Err(broken) => {
                let is_odd = matches!(
                    broken.failure.kind,
                    Kind::Offline | Kind::Timeout | Kind::Protocol | Kind::Refused
                );
                if !broken.in_mail || !is_odd || broken.failure.scope == Scope::Message {
                    return Err(broken);
                }
                let proven = self.suspects.entry(id.clone()).or_insert(false);
                let Broken { failure, after_dot, in_mail } = broken;
                let failure = if *proven { failure.scoped(Scope::Message) } else { failure };
                Err(Broken { failure, after_dot, in_mail })
            }
        }
    }

    /// Whoever waits longer than the longest pause waits for a clock that was set back.
    pub(super) fn heed_clock(&mut self) {
        let now = self.now();
        let limit = relay::after(now, relay::PAUSE_MAX);
        let queued = self.items.values_mut().filter(|item| item.phase == Phase::Queued);
        for item in queued.filter(|item| item.next_try > limit) {
            item.next_try = now;
        }
        let limit = relay::after(now, LINE_PAUSE_MAX);
        for line in self.lines.values_mut().filter(|line| line.not_before > limit) {
            line.not_before = now;
        }
    }

    /// Reads those anew whose file is another than at the last look, or whose account has another name now or is
    /// gone.
    pub(super) async fn renew_changed(&mut self, before: &BTreeMap<OutboxId, Kept>) {
        let now = self.now();
        let is_other = |item: &&Item| {
            let (old, new) = (before.get(&item.id), self.files.get(&item.id));
            let written = old.zip(new).is_some_and(|(old, new)| old.stamp != new.stamp);
            let homeless = item.account.as_ref().is_some_and(|name| self.setup.lacks(name));
            written || homeless && item.phase == Phase::Queued && item.next_try <= now
        };
        let changed: Vec<OutboxId> =
            self.items.values().filter(is_other).map(|item| item.id.clone()).collect();
        for id in changed {
            self.renew(&id).await;
        }
    }

    /// An attempt found another file than was taken in.
    pub(super) async fn changed(&mut self, id: &OutboxId) {
        let (spool, ours) = (Arc::clone(&self.spool), id.clone());
        let Ok(Some(kept)) = offload(move || spool.find(&ours)).await else { return };
        let flagged = kept.draft || kept.trashed;
        self.files.insert(id.clone(), kept);
        // What its name says is heeded by the next look.
        if !flagged {
            self.renew(id).await;
        }
    }

    /// Makes the envelope of a message that waits anew from its file as it is now.
    pub(super) async fn renew(&mut self, id: &OutboxId) {
        let (Some(item), Some(kept)) = (self.items.get(id), self.files.get(id)) else { return };
        if !matches!(item.phase, Phase::Queued | Phase::Held) {
            return;
        }
        let (old, kept) = (item.clone(), kept.clone());
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let setup = Arc::clone(&self.setup);
        match offload(move || reread::renew(&*spool, &*ledger, &setup, &old, kept)).await {
            Ok((item, kept)) => {
                info!(queue_id = %id, "its file or its account is another, and it is read anew");
                self.files.insert(id.clone(), kept);
                if item.phase == Phase::Failed {
                    self.announce_taken(&item);
                }
                self.items.insert(id.clone(), item);
                self.close(id).await;
            }
            Err(failure) => self.keep_trying(id, &failure),
        }
    }

    /// Completes what could not be completed when it was taken in.
    pub(super) async fn complete_claims(&mut self) {
        let now = self.now();
        let claimed = self.items.values().filter(|item| item.phase == Phase::Claimed);
        let (due, waiting): (Vec<Item>, Vec<Item>) =
            claimed.cloned().partition(|item| item.next_try <= now);
        if due.is_empty() && (!self.stuck || !waiting.is_empty()) {
            return;
        }
        let before = self.trouble.take();
        self.stuck = !waiting.is_empty();
        self.trouble = before.clone().filter(|_| self.stuck);
        for item in due {
            let id = item.id.clone();
            let Some(kept) = self.files.get(&id).cloned() else {
                self.cancel_or_warn(&id).await;
                continue;
            };
            let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
            let setup = Arc::clone(&self.setup);
            let fresh = Item::claimed(id.clone(), item.queued_at);
            let done = offload(move || intake::prepare(&*spool, &*ledger, &setup, fresh, kept));
            match done.await {
                Ok((item, kept)) => {
                    self.files.insert(id.clone(), kept);
                    self.announce_taken(&item);
                    self.items.insert(id.clone(), item);
                    self.close(&id).await;
                }
                Err(failure) => {
                    self.trouble = self.trouble.take().or_else(|| before.clone());
                    self.keep_trying(&id, &failure);
                }
            }
        }
    }

    /// Shows why a message cannot be read or completed, until it is tried again.
    pub(super) fn keep_trying(&mut self, id: &OutboxId, failure: &Failure) {
        let next = relay::after(self.now(), AGAIN);
        let why = relay::reason(failure);
        self.stuck = true;
        self.trouble = Some(trouble(failure, self.trouble.as_ref(), next));
        let Some(item) = self.items.get_mut(id) else { return };
        item.next_try = next;
        if item.reason.as_ref() != Some(&why) {
            warn!(queue_id = %id, %failure, "it cannot be read or completed, and is tried again");
            item.reason = Some(why);
        }
    }

    /// Parks what is no file of ours any more but still has its name: a link, a pipe, a directory. False where
    /// nothing is there.
    pub(super) async fn park_replaced(&mut self, id: &OutboxId) -> bool {
        let Some(item) = self.items.get(id).cloned() else { return false };
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let now = self.now();
        match offload(move || reread::park_replaced(&*spool, &*ledger, item, now)).await {
            Ok(None) => false,
            Ok(Some(item)) => {
                self.announce_taken(&item);
                self.items.insert(id.clone(), item);
                true
            }
            Err(failure) => {
                warn!(queue_id = %id, %failure, "what is in its place cannot be moved");
                true
            }
        }
    }
}

/// No provider closes an account's way out for longer.
const LINE_PAUSE_MAX: Duration = Duration::from_secs(26 * 3600);
const AGAIN: Duration = Duration::from_secs(2);
