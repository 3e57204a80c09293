//! The outbox task: scan, claim, submit, settle, file the copy, forget. Floor 4.
//!
//! One task owns the queue; at most one attempt per account runs beside it, so that a server that fails
//! delays nobody else. Every step is in the ledger before the next begins, and after a crash the ledger
//! decides. It never deletes what was not accepted or cancelled.

mod attempt;
mod closing;
mod copies;
mod desk;
mod intake;
mod outlook;
mod renew;
mod reread;
mod resume;
mod steer;
mod stop;
mod terms;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::engine::board::trouble;
use crate::engine::offload::offload;
use crate::model::failure::{Failure, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Broken, Item, OutboxEvent, Outcome, Phase};
use crate::model::status::{Micros, Trouble};
use crate::ports::outbox::{Kept, OutboxLedger, SentFiler, Spool, Submit};
use crate::rules::relay::{self, Jitter};

use wire::{Gate, Pass, Wire};

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
    /// The accounts whose copies are being filed.
    copying: BTreeSet<AccountName>,
    /// Accepted, filed, and not forgotten yet.
    done: Vec<OutboxId>,
    /// No forgetting before this; never while one runs.
    finish_at: Micros,
    flushes: Vec<Flush>,
    /// Whether more old mail turned up than anybody drops on purpose.
    flooded: bool,
    /// Messages during which a connection broke, and whether another got through since: then it is theirs.
    suspects: BTreeMap<OutboxId, bool>,
    /// Whose delay is in the log.
    late: BTreeSet<OutboxId>,
    /// Why nothing works, or some of it does not.
    trouble: Option<Trouble>,
    /// Whether a message could not be completed.
    stuck: bool,
    looked: Option<Instant>,
    /// When it was last looked whether somebody took messages out of `failed/`.
    removed_looked: Option<Instant>,
    tasks: JoinSet<Ended>,
    wire: Arc<Wire>,
    dirty: bool,
    more: bool,
    unfinished: bool,
    paused: bool,
}

/// Says that there is nothing to do, as long as it lives.
struct AtRest(Arc<AtomicBool>);

impl AtRest {
    fn begin(rests: &Arc<AtomicBool>) -> Self {
        rests.store(true, Ordering::Relaxed);
        Self(Arc::clone(rests))
    }
}

impl Drop for AtRest {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A person waits for these attempts; some could not be taken up again.
type Flush = (BTreeSet<OutboxId>, (oneshot::Sender<Result<Vec<Item>, Failure>>, Option<Failure>));

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
    Attempt(OutboxId, AccountName, Attempted, Arc<Pass>),
    Copies(AccountName, Vec<(OutboxId, Result<(), Failure>)>),
    /// These were removed and forgotten, or were not.
    Finished(Vec<OutboxId>, Result<(), Failure>),
    /// Whether Sent has a message of unknown fate; its tries say whether that is still asked.
    Probe(OutboxId, u32, Result<bool, Failure>),
}

/// What a message answers or forwards.
struct Answers {
    originals: Vec<String>,
    is_forward: bool,
}

/// How an attempt ended.
enum Attempted {
    Submitted(Result<Outcome, Broken>, Option<Answers>),
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
            copying: BTreeSet::new(),
            done: Vec::new(),
            finish_at: 0,
            flushes: Vec::new(),
            flooded: false,
            suspects: BTreeMap::new(),
            late: BTreeSet::new(),
            trouble: None,
            stuck: false,
            looked: None,
            removed_looked: None,
            tasks: JoinSet::new(),
            wire: Arc::default(),
            dirty: true,
            more: false,
            unfinished: false,
            paused: false,
        }
    }

    /// Whether it begins without sending, until somebody says [`Ask::Resume`].
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Runs until the daemon stops. Attempts on the wire get a moment to end then.
    ///
    /// A ledger or a directory that cannot be read is tried again; until then the status says so, and
    /// whoever asks is told.
    pub async fn run(mut self) {
        while let Err(failure) = self.restore().await {
            if !self.wait_for_repair(&failure).await {
                return;
            }
        }
        self.trouble = None;
        while !*self.links.stop.borrow() {
            let rests = self.rest_before_look();
            if (self.dirty || self.more) && rests.is_zero() {
                self.looked = Some(Instant::now());
                self.look().await;
            }
            self.heed_clock();
            self.start_due();
            self.start_copies();
            self.start_finish();
            self.tell_delays();
            self.publish();
            self.answer_flushes();
            let pause = if self.dirty { self.pause().min(rests) } else { self.pause() };
            let at_rest = AtRest::begin(&self.links.rests);
            tokio::select! {
                biased;
                stopped = self.links.stop.changed() => if stopped.is_err() { break },
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    drop(at_rest);
                    if let Ok(ended) = ended {
                        self.ended(ended).await;
                    }
                }
                Some(request) = self.links.requests.recv() => {
                    drop(at_rest);
                    self.serve(request).await;
                }
                () = self.links.wake.notified() => {
                    self.dirty = true;
                    // What the waiting copies lacked may be there now.
                    self.copies.retain(|_, at| *at == Micros::MAX);
                }
                () = sleep(pause) => self.dirty = true,
            }
        }
        self.wind_up().await;
    }

    /// How long the directory is left alone: each file that goes is an event as well, and a look reads the
    /// whole directory.
    fn rest_before_look(&self) -> Duration {
        match self.looked {
            Some(at) if !self.more => LOOK_GAP.saturating_sub(at.elapsed()),
            _ => Duration::ZERO,
        }
    }

    fn now(&self) -> Micros {
        (self.setup.clock)()
    }

    fn jitter(&self) -> Jitter {
        (self.setup.random)() % 1001
    }

    /// Starts one attempt for each account that is free and has one due.
    fn start_due(&mut self) {
        if self.paused || *self.links.stop.borrow() {
            return;
        }
        let now = self.now();
        let mut due: BTreeMap<AccountName, (bool, Micros, OutboxId)> = BTreeMap::new();
        for item in self.items.values().filter(|item| item.phase == Phase::Queued) {
            let Some(account) = &item.account else { continue };
            if self.setup.rests(account) {
                continue;
            }
            let line = self.lines.entry(account.clone()).or_default();
            let ready = !line.busy && now >= line.not_before;
            if ready && now >= item.next_try && now >= item.hold_until {
                let suspected = self.suspects.contains_key(&item.id);
                let mine = (suspected, item.queued_at, item.id.clone());
                let first = due.entry(account.clone()).or_insert_with(|| mine.clone());
                if mine < *first {
                    *first = mine;
                }
            }
        }
        for (account, (_, _, id)) in due {
            let Some(item) = self.items.get_mut(&id) else { continue };
            item.phase = Phase::Sending;
            let item = item.clone();
            self.lines.entry(account.clone()).or_default().busy = true;
            let (spool, ledger) = (Arc::clone(&self.spool), Arc::clone(&self.ledger));
            let (submit, pass) = (Arc::clone(&self.submit), Pass::new(&self.wire));
            self.tasks.spawn(async move {
                let gate = Gate::new(ledger, Arc::clone(&pass), item.clone());
                let attempt = AssertUnwindSafe(attempt::attempt(spool, submit, gate, item));
                // A panic may have come at any point, so nobody knows what the server has.
                let ended = attempt.catch_unwind().await.unwrap_or_else(|_| attempt::panicked());
                Ended::Attempt(id, account, ended, pass)
            });
        }
    }

    async fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Attempt(id, account, ended, pass) => {
                self.lines.entry(account.clone()).or_default().busy = false;
                match ended {
                    Attempted::Submitted(result, answers) => {
                        if let (Err(Broken { after_dot: true, .. }), Some(item), Some(said)) =
                            (&result, self.items.get_mut(&id), pass.at_dot())
                        {
                            item.recipients = said;
                        }
                        self.tell_answers(&id, &account, &result, answers);
                        self.submitted(&id, &account, result).await;
                    }
                    Attempted::Changed => {
                        if let Some(item) = self.items.get_mut(&id) {
                            item.phase = Phase::Queued;
                        }
                        self.changed(&id).await;
                        self.dirty = true;
                    }
                }
            }
            Ended::Copies(account, filed) => self.copied(&account, filed).await,
            Ended::Finished(ids, result) => self.finished(ids, result),
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
        let result = self.judged(id, account, result);
        let (now, jitter) = (self.now(), self.jitter());
        let Some(item) = self.items.get_mut(id) else { return };
        let line = self.lines.entry(account.clone()).or_default();
        let mut change = relay::Change::default();
        match &result {
            Ok(outcome) => {
                *line = Line::default();
                attempt::tell_refusals(id, account, outcome);
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
                warn!(queue_id = %id, %account, failure = %broken.failure, after_dot = broken.after_dot, "not sent");
                relay::broke(item, broken, now, jitter, &self.setup.policy);
                if broken.after_dot && item.phase == Phase::Queued {
                    warn!(queue_id = %id, "it is sent again as on_uncertain says: it may be delivered twice");
                }
            }
        }
        let item = item.clone();
        // The next one is on its way while this one becomes durable.
        self.start_due();
        // A claim that cannot be kept is not made: without the ledger the message stays as it is there.
        self.save(item.clone(), change.accepted).await;
        let trouble = result.as_ref().err().map(|broken| broken.failure.kind.error_name());
        self.announce(&item, account, change.reply, trouble);
        if result.is_err_and(|broken| broken.after_dot) {
            self.start_probe(id);
        }
        self.close(id).await;
    }

    fn tell(&self, event: OutboxEvent) {
        // Nobody listening is fine.
        drop(self.links.events.send(event));
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

    async fn save_all(&self, items: Vec<Item>) {
        let ledger = Arc::clone(&self.ledger);
        if let Err(failure) = offload(move || ledger.put_all(&items)).await {
            warn!(%failure, "the outbox ledger is behind");
        }
    }
}

const LOOK_GAP: Duration = Duration::from_millis(50);
