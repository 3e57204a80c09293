//! How a message ends, and what is said when that, or the whole outbox, takes long. Floor 4.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Ask, AtRest, Ended, Relay, intake};
use crate::engine::board::trouble;
use crate::engine::offload::offload;
use crate::model::failure::Failure;
use crate::model::happening::Happening;
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{CopyState, Item, OutboxEvent, Phase, RecipientState};
use crate::model::status::Micros;
use crate::ports::outbox::{Kept, OutboxLedger, SentFiler, Spool, Submit};
use crate::rules::relay;

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// Shows why the outbox cannot start, and waits until it is tried again; false when the daemon stops.
    pub(super) async fn wait_for_repair(&mut self, failure: &Failure) -> bool {
        error!(%failure, "the outbox does not work");
        let next = relay::after(self.now(), REPAIR_PAUSE);
        self.trouble = Some(trouble(failure, self.trouble.as_ref(), next));
        self.publish();
        let _rests = AtRest::begin(&self.links.rests);
        let until = Instant::now() + REPAIR_PAUSE;
        loop {
            tokio::select! {
                biased;
                stopped = self.links.stop.changed() => {
                    if stopped.is_err() || *self.links.stop.borrow() {
                        return false;
                    }
                }
                Some(request) = self.links.requests.recv() => match request.what {
                    Ask::Pause | Ask::Resume => self.serve(request).await,
                    Ask::List
                    | Ask::Flush(_)
                    | Ask::Hold(_)
                    | Ask::Release(_)
                    | Ask::Retry(_)
                    | Ask::Cancel(_)
                    | Ask::Resolve(..) => drop(request.reply.send(Err(failure.clone()))),
                },
                () = tokio::time::sleep_until(until) => return true,
            }
        }
    }

    /// Ends what is settled: the file goes, or moves to `failed/`, where the copy for Sent finds it as well.
    pub(super) async fn close(&mut self, id: &OutboxId) {
        let Some(item) = self.items.get(id) else { return };
        match item.phase {
            Phase::Accepted if item.copy == CopyState::Due => {}
            Phase::Accepted => self.done.push(id.clone()),
            Phase::Queued | Phase::Held if item.has(RecipientState::Failed) => {
                self.part(id).await;
            }
            Phase::Failed if self.files.contains_key(id) => {
                let (spool, item) = (Arc::clone(&self.spool), item.clone());
                let now = self.now();
                match offload(move || intake::park(&*spool, &item, now)).await {
                    Ok(()) => drop(self.files.remove(id)),
                    Err(failure) => {
                        warn!(queue_id = %id, %failure, "the message stays in cur/ until this works");
                    }
                }
            }
            Phase::Claimed
            | Phase::Queued
            | Phase::Held
            | Phase::Sending
            | Phase::Dot
            | Phase::Uncertain
            | Phase::SentCopy
            | Phase::Failed => {}
        }
    }

    /// Parks a copy for those who were refused for good, while the message goes on for the others.
    async fn part(&mut self, id: &OutboxId) {
        let Some(mut whole) = self.items.get(id).cloned() else { return };
        // The first that is free: after a crash it is the same again.
        let name = |n: u32| OutboxId(format!("{id}-{n}"));
        let Some(free) = (1..).map(name).find(|id| !self.items.contains_key(id)) else { return };
        let Some(part) = relay::part(&mut whole, free) else { return };
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let (ours, now) = ((whole.clone(), part.clone()), self.now());
        let parked = move || intake::park_part(&*spool, &*ledger, (&ours.0, &ours.1), now);
        match offload(parked).await {
            Ok(true) => {}
            // It is being cancelled.
            Ok(false) => return,
            Err(failure) => {
                warn!(queue_id = %id, %failure, "whom it was refused for is not parked yet");
                return;
            }
        }
        let (event, code) = (Happening::MessageFailed.as_str(), why(&part));
        let (message_id, parked_as) = (part.message_id.as_str(), part.id.to_string());
        warn!(event, queue_id = %id, message_id, parked_as, code, "refused for some, and parked for them");
        self.tell(OutboxEvent::Failed { id: id.clone(), recipients: failed_recipients(&part) });
        self.items.insert(id.clone(), whole);
        self.items.insert(part.id.clone(), part);
    }

    /// Parks what could not be parked when its time was.
    pub(super) async fn park_rest(&mut self) {
        let waits = |item: &&Item| {
            let goes_on = matches!(item.phase, Phase::Queued | Phase::Held);
            goes_on && item.has(RecipientState::Failed)
                || item.phase == Phase::Failed && self.files.contains_key(&item.id)
        };
        let ids: Vec<OutboxId> =
            self.items.values().filter(waits).map(|item| item.id.clone()).collect();
        for id in ids {
            self.close(&id).await;
        }
    }

    /// Removes and forgets what is done, all of it together, beside the next attempt.
    pub(super) fn start_finish(&mut self) {
        if self.done.is_empty() || self.finish_at > self.now() {
            return;
        }
        self.finish_at = Micros::MAX;
        let ids = std::mem::take(&mut self.done);
        let files = ids.iter().filter_map(|id| Some((id.clone(), self.files.get(id)?.clone())));
        let files: BTreeMap<OutboxId, Kept> = files.collect();
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        self.tasks.spawn(async move {
            let ours = ids.clone();
            let done = offload(move || intake::finish(&*spool, &*ledger, &ours, &files)).await;
            Ended::Finished(ids, done)
        });
    }

    pub(super) fn finished(&mut self, ids: Vec<OutboxId>, result: Result<(), Failure>) {
        match result {
            Ok(()) => {
                self.finish_at = 0;
                for id in ids {
                    self.files.remove(&id);
                    self.items.remove(&id);
                    self.late.remove(&id);
                }
            }
            Err(failure) => {
                warn!(%failure, "sent messages stay in cur/ until they can be removed");
                self.finish_at = relay::after(self.now(), FINISH_PAUSE);
                self.done.extend(ids);
            }
        }
    }

    /// Says that a message was taken in, or could not be.
    pub(super) fn announce_taken(&self, item: &Item) {
        let (id, message_id) = (item.id.clone(), item.message_id.as_str());
        if let Some(account) = item.account.clone().filter(|_| item.phase != Phase::Failed) {
            let (event, phase) = (Happening::MessageQueued.as_str(), item.phase.as_str());
            info!(event, queue_id = %id, message_id, %account, phase, "taken into the outbox");
            self.tell(OutboxEvent::Queued { id, account });
        } else {
            let (event, code) = (Happening::MessageFailed.as_str(), why(item));
            warn!(event, queue_id = %id, message_id, code, "it cannot be sent, and is parked");
            self.tell(OutboxEvent::Failed { id, recipients: failed_recipients(item) });
        }
    }

    /// Says how far an attempt brought a message.
    /// `trouble` names what broke it off.
    pub(super) fn announce(
        &self,
        item: &Item,
        account: &AccountName,
        reply: String,
        trouble: Option<&str>,
    ) {
        let id = item.id.clone();
        let (message_id, phase) = (item.message_id.as_str(), item.phase.as_str());
        let event = match item.phase {
            Phase::Accepted => {
                let (account, message_id) = (account.clone(), item.message_id.clone());
                let event = Happening::MessageSent.as_str();
                info!(event, queue_id = %id, message_id, %account, phase, reply, "sent");
                OutboxEvent::Sent { id, account, message_id, reply }
            }
            Phase::Failed => {
                let (event, code) = (Happening::MessageFailed.as_str(), why(item));
                warn!(event, queue_id = %id, message_id, %account, phase, code, "not sent to everybody");
                OutboxEvent::Failed { id, recipients: failed_recipients(item) }
            }
            Phase::Uncertain => {
                let (event, code) = (Happening::MessageUncertain.as_str(), why(item));
                warn!(event, queue_id = %id, message_id, %account, phase, code, "the server may have it");
                OutboxEvent::Uncertain { id }
            }
            Phase::Queued => {
                let line = self.lines.get(account).map_or(0, |line| line.not_before);
                let next_attempt = item.next_try.max(item.hold_until).max(line);
                let code = trouble.unwrap_or_else(|| why(item));
                let event = Happening::MessageDeferred.as_str();
                info!(event, queue_id = %id, message_id, %account, phase, code, "tried again later");
                OutboxEvent::Deferred { id, error_name: code.to_owned(), next_attempt }
            }
            Phase::Claimed | Phase::Held | Phase::Sending | Phase::Dot | Phase::SentCopy => return,
        };
        self.tell(event);
    }

    /// Logs once of each message that it is late; the status says so as long as it is.
    pub(super) fn tell_delays(&mut self) {
        let now = self.now();
        let late = self.items.values().filter(|item| relay::is_late(item, now));
        for item in late {
            if self.late.insert(item.id.clone()) {
                let why = item.reason.as_ref().map(|why| why.text.as_str()).unwrap_or_default();
                warn!(queue_id = %item.id, why, "not sent after 4 hours; it is tried on");
            }
        }
    }
}

fn failed_recipients(item: &Item) -> Vec<(String, String)> {
    let failed = item.recipients.iter().filter(|one| one.state == RecipientState::Failed);
    failed
        .map(|one| (one.address.as_str().to_owned(), one.reply.clone().unwrap_or_default()))
        .collect()
}

/// The name of why a message waits or failed.
fn why(item: &Item) -> &str {
    item.reason.as_ref().map_or("Protocol", |reason| reason.name.as_str())
}

const REPAIR_PAUSE: Duration = Duration::from_secs(30);
const FINISH_PAUSE: Duration = Duration::from_secs(60);
