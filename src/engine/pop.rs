//! The loop of an account that fetches by POP3: no connection is held between two passes. Floor 4.

mod fetch;
mod moved;
pub mod pass;
mod place;
mod sort;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use self::pass::PopWorker;
use crate::engine::account::waiting::{far_away, state_of};
use crate::engine::account::{Drive, Order};
use crate::engine::board::{micros_now, trouble};
use crate::model::account::Leave;
use crate::model::event::JobId;
use crate::model::failure::{Failure, Kind, Remedy};
use crate::model::ids::MailboxName;
use crate::model::status::AccountState;
use crate::ports::hints::HintBox;
use crate::ports::local::Local;
use crate::ports::pop::{PopConnector, PopLedger};
use crate::rules::schedule::{LOGIN_ATTEMPTS_MAX, retry_delay};

/// Why the loop waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// All is fetched.
    Idle,
    /// A pass failed.
    Failed,
    /// A person said so.
    Paused,
}

struct Loop<L: Local, G: PopLedger, C: PopConnector> {
    worker: PopWorker<L, G, C>,
    drive: Drive,
    hints: Arc<HintBox>,
    jobs: Vec<(JobId, Vec<MailboxName>)>,
    n_failures: u32,
    n_refused: u32,
    last_pass: Instant,
}

/// Runs an account until it is told to stop.
pub async fn run<L: Local, G: PopLedger, C: PopConnector>(
    mut worker: PopWorker<L, G, C>,
    drive: Drive,
) {
    let hints = Arc::new(HintBox::default());
    if worker.pop.leave == Leave::UntilMoved {
        worker.watcher = Some(worker.local.watch(Arc::clone(&hints)));
    }
    let (jobs, last_pass) = (Vec::new(), Instant::now());
    let mut this = Loop { worker, drive, hints, jobs, n_failures: 0, n_refused: 0, last_pass };
    let stop = this.drive.stop.clone();
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = this.work() => {}
    }
}

impl<L: Local, G: PopLedger, C: PopConnector> Loop<L, G, C> {
    async fn work(&mut self) {
        self.set_state(AccountState::Connecting);
        loop {
            let (waiting, until) = match self.ordered().await {
                Some(until) => (Waiting::Paused, until),
                None => self.pass().await,
            };
            if self.wait(waiting, until).await.is_none() {
                return;
            }
        }
    }

    fn set_state(&self, state: AccountState) {
        self.worker.board.account(&self.worker.account.name, |a| a.state = state);
    }

    /// One pass, reported to whoever waits for it; answers how to wait for the next.
    async fn pass(&mut self) -> (Waiting, Option<Instant>) {
        let jobs = std::mem::take(&mut self.jobs);
        self.set_state(AccountState::Syncing);
        // Each is told of a mailbox that is not there; what is there is looked at once.
        let (mut wrong, mut right) = (Vec::new(), Vec::new());
        for (job, names) in jobs {
            let is_wrong = names.iter().any(|name| *name != self.worker.pop.mailbox);
            if is_wrong { wrong.push((job, names)) } else { right.push(job) }
        }
        for (job, names) in wrong {
            let report = self.worker.refuse_targets(&names);
            self.drive.jobs.report(job, &self.worker.account.name, report);
        }
        let (dry, right): (Vec<_>, Vec<_>) =
            right.into_iter().partition(|job| self.drive.jobs.manner(*job).is_dry);
        if !dry.is_empty() {
            self.worker.is_dry = true;
            let pass = self.worker.pass(&[]).await;
            self.worker.is_dry = false;
            for job in dry {
                self.drive.jobs.report(job, &self.worker.account.name, pass.report.clone());
            }
            if right.is_empty() {
                return self.passed(pass.failure);
            }
        }
        let is_wish = |job: &JobId| self.drive.jobs.manner(*job).is_unmetered;
        self.worker.is_unmetered = right.iter().any(is_wish);
        let pass = self.worker.pass(&[]).await;
        self.worker.is_unmetered = false;
        for job in right {
            self.drive.jobs.report(job, &self.worker.account.name, pass.report.clone());
        }
        self.last_pass = Instant::now();
        if let Some(watcher) = &mut self.worker.watcher {
            watcher.add(&self.worker.pop.mailbox);
            let watch = watcher.state();
            self.worker.board.account(&self.worker.account.name, |a| a.watch = watch);
        }
        self.passed(pass.failure)
    }

    /// How to wait for the next pass after one that ended like this.
    fn passed(&mut self, failure: Option<Failure>) -> (Waiting, Option<Instant>) {
        match failure {
            None => (Waiting::Idle, Some(self.succeeded())),
            Some(failure) => (Waiting::Failed, self.failed(&failure)),
        }
    }

    /// Heeds what was ordered before a pass; answers until when to pause, if that was it.
    async fn ordered(&mut self) -> Option<Option<Instant>> {
        while let Ok(order) = self.drive.orders.try_recv() {
            match order {
                Order::Pause(seconds) => {
                    self.set_state(AccountState::Paused);
                    let until = Instant::now() + Duration::from_secs(seconds);
                    return Some((seconds > 0).then_some(until));
                }
                Order::Resume => {}
                Order::Sync(job, mailboxes) => self.jobs.push((job, mailboxes)),
                Order::Decide(mailbox, consent) => {
                    self.note(&mailbox, self.worker.decide(consent).await);
                }
                Order::Want(mailbox, uids) => self.note(&mailbox, self.worker.want(uids).await),
            }
        }
        None
    }

    /// When the next poll is due.
    fn succeeded(&mut self) -> Instant {
        (self.n_failures, self.n_refused) = (0, 0);
        self.worker.board.account(&self.worker.account.name, |a| {
            a.state = AccountState::Idle;
            a.trouble = None;
        });
        let next = Instant::now() + self.drive.poll_interval;
        self.worker.not_before.map_or(next, |at| next.max(at))
    }

    /// Shows the failure; answers when the next try is due, if it is worth one by itself.
    fn failed(&mut self, failure: &Failure) -> Option<Instant> {
        if failure.kind == Kind::AuthFailed {
            self.n_refused = self.n_refused.saturating_add(1);
        }
        let is_parked = failure.remedy == Remedy::Never || self.n_refused >= LOGIN_ATTEMPTS_MAX;
        let delay = retry_delay(failure.remedy, self.n_failures, fastrand::f64());
        self.n_failures = self.n_failures.saturating_add(1);
        // A server that wants its logins far apart wants that of those that failed too.
        let due = Instant::now() + delay;
        let due = self.worker.not_before.map_or(due, |at| due.max(at));
        let wait = due.saturating_duration_since(Instant::now());
        let next = if is_parked { 0 } else { micros_now().saturating_add(wait.as_micros() as u64) };
        // The log has each change of this from the board, once.
        tracing::debug!(
            account = %self.worker.account.name, %failure, is_parked, ?wait, "fetching failed"
        );
        self.worker.board.account(&self.worker.account.name, |a| {
            a.state = state_of(failure);
            a.trouble = Some(trouble(failure, a.trouble.as_ref(), next));
        });
        (!is_parked).then_some(due)
    }

    /// Waits until a pass is due, or wanted; `None` means stop.
    async fn wait(&mut self, mut waiting: Waiting, mut until: Option<Instant>) -> Option<()> {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until.unwrap_or_else(far_away)), if until.is_some() => {
                    return Some(());
                }
                () = self.drive.redial.notified(), if waiting != Waiting::Paused && until.is_some() => {
                    if self.worker.not_before.is_none_or(|at| at <= Instant::now()) {
                        return Some(());
                    }
                }
                order = self.drive.orders.recv() => match order? {
                    Order::Pause(seconds) => {
                        self.set_state(AccountState::Paused);
                        waiting = Waiting::Paused;
                        until = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds));
                    }
                    Order::Resume if waiting == Waiting::Idle => {}
                    Order::Resume => {
                        self.n_refused = 0;
                        return Some(());
                    }
                    Order::Sync(job, _) if waiting == Waiting::Paused => {
                        self.drive.jobs.refuse_paused(job, &self.worker.account.name);
                    }
                    Order::Sync(job, mailboxes) => {
                        self.n_refused = 0;
                        self.jobs.push((job, mailboxes));
                        return Some(());
                    }
                    Order::Decide(mailbox, consent) => {
                        self.note(&mailbox, self.worker.decide(consent).await);
                        if waiting != Waiting::Paused {
                            return Some(());
                        }
                    }
                    Order::Want(mailbox, uids) => {
                        self.note(&mailbox, self.worker.want(uids).await);
                    }
                },
                () = self.hints.rung(), if waiting == Waiting::Idle => {
                    if self.has_moved().await {
                        // A directory that never rests must not become a login per change.
                        let at = self.last_pass + HINT_PAUSE;
                        until = Some(until.map_or(at, |until| until.min(at)));
                    }
                }
            }
        }
    }

    /// Whether what changed in the Maildir is worth a session.
    async fn has_moved(&mut self) -> bool {
        // Writers touch a file several times; one look serves them all.
        sleep(DEBOUNCE).await;
        drop(self.hints.take());
        let is_early = self.worker.not_before.is_some_and(|at| at > Instant::now());
        // What cannot be looked at now is looked at by the next poll, which tells why.
        !is_early && self.worker.has_moved().await.unwrap_or(false)
    }

    /// A word or a wish that the next pass follows.
    fn note(&self, mailbox: &MailboxName, recorded: Result<(), Failure>) {
        if let Err(failure) = recorded {
            tracing::warn!(%mailbox, %failure, "what was asked for was not recorded");
        }
    }
}

const DEBOUNCE: Duration = Duration::from_millis(100);
/// How long after a pass a change in the Maildir may cause the next one.
const HINT_PAUSE: Duration = Duration::from_secs(3);
