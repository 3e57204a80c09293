//! The outbox task: scan, claim, submit, settle, file the copy, forget. Floor 4.
//!
//! One task owns the queue; at most one attempt per account runs beside it, so that a server that fails
//! delays nobody else. Every step is in the ledger before the next begins, and after a crash the ledger
//! decides. It never deletes what was not accepted or cancelled.

mod attempt;
mod copies;
mod desk;
mod intake;
mod outlook;
mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::engine::board::trouble;
use crate::engine::offload::offload;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{
    Broken, CopyState, Item, OutboxEvent, Outcome, Phase, RecipientState, Verdict,
};
use crate::model::status::{Micros, Trouble};
use crate::ports::outbox::{Kept, OutboxLedger, SentFiler, Spool, Submit};
use crate::rules::relay::{self, Jitter};

pub use terms::{Ask, RelayLinks, RelaySetup, Request};

/// The outbox task.
pub struct Relay<P, L, S, F> {
    spool: Arc<P>,
    ledger: Arc<L>,
    submit: Arc<S>,
    filer: Arc<F>,
    setup: Arc<RelaySetup>,
    links: RelayLinks,
    items: BTreeMap<OutboxId, Item>,
    files: BTreeMap<OutboxId, Kept>,
    lines: BTreeMap<AccountName, Line>,
    copies: BTreeMap<OutboxId, Micros>,
    flushes: Vec<Flush>,
    tasks: JoinSet<Ended>,
    dirty: bool,
    more: bool,
    paused: bool,
}

/// A person waits for these attempts.
type Flush = (BTreeSet<OutboxId>, oneshot::Sender<Result<Vec<Item>, Failure>>);

/// An account's way out.
#[derive(Debug, Default)]
struct Line {
    busy: bool,
    failures: u32,
    not_before: Micros,
    /// Why, until something was sent.
    trouble: Option<Trouble>,
}

/// What a task came back with.
enum Ended {
    Attempt(OutboxId, AccountName, Attempted),
    Copy(OutboxId, Result<(), Failure>),
    /// Whether Sent has a message of unknown fate; its tries say whether that is still asked.
    Probe(OutboxId, u32, Result<bool, Failure>),
}

/// How an attempt ended.
enum Attempted {
    Submitted(Result<Outcome, Broken>),
    /// The file is gone, or its flags changed: look again.
    Changed,
}

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// Makes the task; nothing is read yet.
    pub fn new(ports: (P, Arc<L>, S, F), setup: RelaySetup, links: RelayLinks) -> Self {
        let (spool, ledger, submit, filer) = ports;
        Self {
            spool: Arc::new(spool),
            ledger,
            submit: Arc::new(submit),
            filer: Arc::new(filer),
            setup: Arc::new(setup),
            links,
            items: BTreeMap::new(),
            files: BTreeMap::new(),
            lines: BTreeMap::new(),
            copies: BTreeMap::new(),
            flushes: Vec::new(),
            tasks: JoinSet::new(),
            dirty: true,
            more: false,
            paused: false,
        }
    }

    /// Runs until the daemon stops. Attempts on the wire get a moment to end then.
    ///
    /// # Errors
    ///
    /// When the ledger or the directory cannot be read at the start.
    pub async fn run(mut self) -> Result<(), Failure> {
        self.restore().await?;
        while !*self.links.stop.borrow() {
            if self.dirty || self.more {
                self.look().await;
            }
            self.start_due();
            self.start_copies();
            self.publish();
            self.answer_flushes();
            let pause = self.pause();
            tokio::select! {
                biased;
                stopped = self.links.stop.changed() => if stopped.is_err() { break },
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Ok(ended) = ended {
                        self.ended(ended).await;
                    }
                }
                Some(request) = self.links.requests.recv() => self.serve(request).await,
                () = self.links.wake.notified() => {
                    self.dirty = true;
                    // What the waiting copies lacked may be there now.
                    self.copies.retain(|_, at| *at == Micros::MAX);
                }
                () = sleep(pause) => self.dirty = true,
            }
        }
        let rest = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok(ended) = ended {
                    self.ended(ended).await;
                }
            }
        };
        if tokio::time::timeout(LAST_MOMENT, rest).await.is_err() {
            info!("stopped while a message was on the wire; the next start settles it");
        }
        Ok(())
    }

    fn now(&self) -> Micros {
        (self.setup.clock)()
    }

    fn jitter(&self) -> Jitter {
        (self.setup.random)() % 1001
    }

    /// Starts one attempt for each account that is free and has one due.
    fn start_due(&mut self) {
        if self.paused {
            return;
        }
        let now = self.now();
        let mut due: BTreeMap<AccountName, (Micros, OutboxId)> = BTreeMap::new();
        for item in self.items.values().filter(|item| item.phase == Phase::Queued) {
            let Some(account) = &item.account else { continue };
            let line = self.lines.entry(account.clone()).or_default();
            let ready = !line.busy && now >= line.not_before;
            if ready && now >= item.next_try && now >= item.hold_until {
                let mine = (item.queued_at, item.id.clone());
                let first = due.entry(account.clone()).or_insert_with(|| mine.clone());
                if mine < *first {
                    *first = mine;
                }
            }
        }
        for (account, (_, id)) in due {
            let Some(item) = self.items.get_mut(&id) else { continue };
            item.phase = Phase::Sending;
            let item = item.clone();
            self.lines.entry(account.clone()).or_default().busy = true;
            let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
            let submit = Arc::clone(&self.submit);
            self.tasks.spawn(async move {
                let attempt = AssertUnwindSafe(attempt::attempt(spool, ledger, submit, item));
                // A panic may have come at any point, so nobody knows what the server has.
                let ended = attempt.catch_unwind().await.unwrap_or_else(|_| panicked());
                Ended::Attempt(id, account, ended)
            });
        }
    }

    async fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Attempt(id, account, ended) => {
                self.lines.entry(account.clone()).or_default().busy = false;
                match ended {
                    Attempted::Submitted(result) => self.submitted(&id, &account, result).await,
                    Attempted::Changed => {
                        if let Some(item) = self.items.get_mut(&id) {
                            item.phase = Phase::Queued;
                        }
                        self.dirty = true;
                    }
                }
            }
            Ended::Copy(id, filed) => self.copied(id, filed).await,
            Ended::Probe(id, tries, found) => self.probed(&id, tries, found).await,
        }
    }

    /// An attempt came back: verdicts, or trouble.
    async fn submitted(
        &mut self,
        id: &OutboxId,
        account: &AccountName,
        result: Result<Outcome, Broken>,
    ) {
        let (now, jitter) = (self.now(), self.jitter());
        let Some(item) = self.items.get_mut(id) else { return };
        let line = self.lines.entry(account.clone()).or_default();
        let mut change = relay::Change::default();
        match &result {
            Ok(outcome) => {
                *line = Line::default();
                tell_refusals(id, account, outcome);
                change = relay::settle(item, outcome, now, jitter, &self.setup.policy);
            }
            Err(broken) => {
                if broken.failure.scope != Scope::Message {
                    line.failures = line.failures.saturating_add(1);
                    let pause = relay::account_pause(&broken.failure, line.failures, jitter);
                    line.not_before = relay::after(now, pause);
                    let before = line.trouble.take();
                    line.trouble = Some(trouble(&broken.failure, before.as_ref(), line.not_before));
                }
                warn!(%id, %account, failure = %broken.failure, after_dot = broken.after_dot, "not sent");
                relay::broke(item, broken, now, jitter, &self.setup.policy);
                if broken.after_dot && item.phase == Phase::Queued {
                    warn!(%id, "it is sent again as on_uncertain says: it may be delivered twice");
                }
            }
        }
        let item = item.clone();
        // A claim that cannot be kept is not made: without the ledger the message stays as it is there.
        self.save(item.clone(), change.accepted).await;
        self.announce(&item, account, change.reply);
        if result.is_err_and(|broken| broken.after_dot) {
            self.start_probe(id);
        }
        self.close(id).await;
    }

    fn announce(&self, item: &Item, account: &AccountName, reply: String) {
        let id = item.id.clone();
        let name =
            || item.reason.as_ref().map_or_else(|| "Protocol".to_owned(), |r| r.name.clone());
        let event = match item.phase {
            Phase::Accepted => {
                info!(%id, %account, reply, "sent");
                let (account, message_id) = (account.clone(), item.message_id.clone());
                OutboxEvent::Sent { id, account, message_id, reply }
            }
            Phase::Failed => OutboxEvent::Failed { id, recipients: failed_recipients(item) },
            Phase::Uncertain => OutboxEvent::Uncertain { id },
            Phase::Queued => {
                let line = self.lines.get(account).map_or(0, |line| line.not_before);
                let next_attempt = item.next_try.max(item.hold_until).max(line);
                OutboxEvent::Deferred { id, error_name: name(), next_attempt }
            }
            Phase::Claimed | Phase::Held | Phase::Sending | Phase::Dot | Phase::SentCopy => return,
        };
        self.tell(event);
    }

    fn tell(&self, event: OutboxEvent) {
        // Nobody listening is fine.
        drop(self.links.events.send(event));
    }

    /// Ends what is settled: the file goes, or moves to `failed/`.
    async fn close(&mut self, id: &OutboxId) {
        let Some(item) = self.items.get(id).cloned() else { return };
        if item.copy == CopyState::Due {
            return;
        }
        let file = self.files.get(id).cloned();
        let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
        let closed = match item.phase {
            Phase::Accepted => {
                offload(move || intake::finish(&*spool, &*ledger, &item)).await.map(|()| true)
            }
            Phase::Failed if file.is_some() => {
                offload(move || intake::park(&*spool, &item)).await.map(|()| false)
            }
            Phase::Claimed
            | Phase::Queued
            | Phase::Held
            | Phase::Sending
            | Phase::Dot
            | Phase::Uncertain
            | Phase::SentCopy
            | Phase::Failed => return,
        };
        match closed {
            Ok(gone) => {
                self.files.remove(id);
                if gone {
                    self.items.remove(id);
                }
            }
            Err(failure) => warn!(%id, %failure, "the message stays in cur/ until this works"),
        }
    }

    /// Writes an item, and who just got it.
    async fn save(&self, item: Item, accepted: Vec<crate::model::outbox::Address>) {
        let (ledger, now) = (Arc::clone(&self.ledger), self.now());
        let saved = offload(move || {
            if accepted.is_empty() {
                ledger.put(&item)
            } else {
                ledger.put_accepted(&item, &accepted, now)
            }
        });
        if let Err(failure) = saved.await {
            warn!(%failure, "the outbox ledger is behind");
        }
    }
}

fn panicked() -> Attempted {
    let failure = Failure::new(Scope::Account, Remedy::Later, Kind::Protocol, "send the message")
        .detail("the attempt panicked")
        .cure("report this, with the log");
    Attempted::Submitted(Err(Broken { failure, after_dot: true }))
}

fn tell_refusals(id: &OutboxId, account: &AccountName, outcome: &Outcome) {
    for (_, verdict) in &outcome.verdicts {
        match verdict {
            Verdict::Accepted(_) => {}
            Verdict::Deferred(reply) => warn!(%id, %account, %reply, "refused for now"),
            Verdict::Refused(reply) => warn!(%id, %account, %reply, "refused"),
        }
    }
}

fn failed_recipients(item: &Item) -> Vec<(String, String)> {
    let failed = item.recipients.iter().filter(|one| one.state == RecipientState::Failed);
    failed
        .map(|one| (one.address.as_str().to_owned(), one.reply.clone().unwrap_or_default()))
        .collect()
}

const LAST_MOMENT: Duration = Duration::from_secs(3);
