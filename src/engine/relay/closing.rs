//! How a message ends, and what is said when that, or the whole outbox, takes long. Floor 4.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use super::{Ask, Ended, Relay, intake};
use crate::engine::board::trouble;
use crate::engine::offload::offload;
use crate::model::failure::Failure;
use crate::model::ids::OutboxId;
use crate::model::outbox::{CopyState, Phase};
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

    /// Ends what is settled: the file goes, or moves to `failed/`.
    pub(super) async fn close(&mut self, id: &OutboxId) {
        let Some(item) = self.items.get(id) else { return };
        if item.copy == CopyState::Due {
            return;
        }
        match item.phase {
            Phase::Accepted => self.done.push(id.clone()),
            Phase::Failed if self.files.contains_key(id) => {
                let (spool, item) = (Arc::clone(&self.spool), item.clone());
                let now = self.now();
                match offload(move || intake::park(&*spool, &item, now)).await {
                    Ok(()) => drop(self.files.remove(id)),
                    Err(failure) => {
                        warn!(%id, %failure, "the message stays in cur/ until this works");
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

    /// Logs once of each message that it is late; the status says so as long as it is.
    pub(super) fn tell_delays(&mut self) {
        let now = self.now();
        let late = self.items.values().filter(|item| relay::is_late(item, now));
        for item in late {
            if self.late.insert(item.id.clone()) {
                let why = item.reason.as_ref().map(|why| why.text.as_str()).unwrap_or_default();
                warn!(id = %item.id, why, "not sent after 4 hours; it is tried on");
            }
        }
    }
}

const REPAIR_PAUSE: Duration = Duration::from_secs(30);
const FINISH_PAUSE: Duration = Duration::from_secs(60);
