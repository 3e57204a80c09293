//! The loop of one account: one task, one select. Floor 4.

mod polling;
pub(in crate::engine) mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::polling::Polling;
use crate::engine::board::{micros_now, trouble};
use crate::engine::jobs::Jobs;
use crate::engine::mailbox::Reason;
use crate::engine::pass::{Pass, Worker};
use crate::engine::push::{Waiter, Watching};
use crate::model::event::{Consent, Hint, JobId};
use crate::model::failure::Failure;
use crate::model::ids::{MailboxName, Uid};
use crate::model::status::{AccountState, Push};
use crate::ports::hints::HintBox;
use crate::ports::ledger::Ledger;
use crate::ports::local::Local;
use crate::ports::remote::{Connector, Remote};

/// What a person asks of an account's loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Sync these mailboxes now; none means all.
    Sync(JobId, Vec<MailboxName>),
    /// Stop working; 0 seconds means until resumed.
    Pause(u64),
    /// Go on.
    Resume,
    /// A person's word about held deletions.
    Decide(MailboxName, Consent),
    /// Messages that are to be fetched in the next sync, whatever a limit says.
    Want(MailboxName, Vec<Uid>),
}

/// What drives a loop from outside.
pub struct Drive {
    /// Orders.
    pub orders: mpsc::Receiver<Order>,
    /// Where results go.
    pub jobs: Jobs,
    /// How often mailboxes are looked at that push does not cover.
    pub poll_interval: Duration,
    /// The mailboxes that are waited for; none means polling only.
    pub push: Vec<MailboxName>,
    /// Most connections at one time.
    pub max_connections: u32,
    /// Told once the connections were hung up, since they were dead and did not know it: the machine
    /// slept, or the network changed.
    pub redial: Arc<Notify>,
    /// Ends the loop.
    pub stop: CancellationToken,
}

/// Why a stretch of work ended.
enum Ended {
    Stop,
    /// Its connections are not to be trusted any more.
    Redial,
    Pause(u64),
    /// The connection is spoilt.
    Failed(Failure),
}

/// The loop's own state.
struct Loop<L: Local, G: Ledger, C: Connector> {
    worker: Worker<L, G, C>,
    drive: Drive,
    hints: Arc<HintBox>,
    waiting: Vec<(JobId, Vec<MailboxName>)>,
    n_failures: u32,
    n_refused: u32,
    polling: Polling,
}

/// Runs an account until it is told to stop.
pub async fn run<L: Local, G: Ledger, C: Connector>(mut worker: Worker<L, G, C>, drive: Drive) {
    let hints = Arc::new(HintBox::default());
    worker.watcher = Some(worker.local.watch(Arc::clone(&hints)));
    let (waiting, polling) = (Vec::new(), Polling::default());
    let mut this = Loop { worker, drive, hints, waiting, n_failures: 0, n_refused: 0, polling };
    loop {
        let stop = this.drive.stop.clone();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ended::Stop,
            ended = this.work() => ended,
        };
        match ended {
            Ended::Stop => return,
            Ended::Redial => this.n_failures = 0,
            Ended::Pause(seconds) => {
                if this.paused(seconds).await.is_none() {
                    return;
                }
            }
            Ended::Failed(failure) => {
                if this.failed(failure).await.is_none() {
                    return;
                }
            }
        }
    }
}

impl<L: Local, G: Ledger, C: Connector> Loop<L, G, C> {
    fn set_state(&self, state: AccountState) {
        self.worker.board.account(&self.worker.account.name, |a| a.state = state);
    }

    /// From connecting to the end of the connection.
    async fn work(&mut self) -> Ended {
        self.set_state(AccountState::Connecting);
        if let Some(seconds) = self.ordered().await {
            return Ended::Pause(seconds);
        }
        let connected = tokio::select! {
            biased;
            () = self.drive.redial.notified() => return Ended::Redial,
            connected = self.worker.connector.connect() => connected,
        };
        let mut remote = match connected {
            Ok(remote) => remote,
            Err(failure) => return Ended::Failed(failure),
        };
        self.n_refused = 0;
        let push_stop = CancellationToken::new();
        let guard = push_stop.clone().drop_guard();
        self.start_push(&remote, &push_stop);
        self.worker.show_push();
        let ended = self.connected(&mut remote).await;
        drop(guard);
        if !matches!(ended, Ended::Failed(_) | Ended::Redial) {
            remote.logout().await;
        }
        ended
    }

    fn start_push(&mut self, remote: &C::Remote, stop: &CancellationToken) {
        // One connection is for work; the mailboxes that find no place are polled.
        let places = usize::try_from(self.drive.max_connections).unwrap_or(1).saturating_sub(1);
        let mailboxes: Vec<MailboxName> = if remote.can_push() {
            self.drive.push.iter().take(places).cloned().collect()
        } else {
            Vec::new()
        };
        let has_notify = remote.can_notify() && places > 0 && !self.drive.push.is_empty();
        let is_idle = !has_notify && !mailboxes.is_empty();
        let watching = Arc::new(Watching::new(if is_idle { Push::Idle } else { Push::Poll }));
        let n_waiting = if has_notify { 1 } else { mailboxes.len() };
        self.worker.places = places.saturating_sub(n_waiting);
        self.worker.pushed = mailboxes.iter().cloned().collect();
        self.worker.watching = Arc::clone(&watching);
        let connector = Arc::clone(&self.worker.connector);
        let (hints, stop) = (Arc::clone(&self.hints), stop.clone());
        let waiter = Waiter { connector, mailboxes, hints, watching, stop };
        if has_notify {
            tokio::spawn(waiter.wait_for_all());
        } else if is_idle {
            tokio::spawn(waiter.wait_for_each());
        }
    }

    /// Works on one connection: a full pass, then whatever hints, orders and the clock ask for.
    async fn connected(&mut self, remote: &mut C::Remote) -> Ended {
        let mut rechecks: BTreeMap<MailboxName, Instant> = BTreeMap::new();
        self.polling.next = Instant::now();
        self.worker.depths.may_be_shallow = false;
        loop {
            if Instant::now() >= self.polling.next || !self.waiting.is_empty() {
                if let Some(ended) = self.scheduled(remote, &mut rechecks).await {
                    return ended;
                }
                continue;
            }
            let next_poll = self.polling.next;
            let due = rechecks.values().min().copied().unwrap_or(next_poll).min(next_poll);
            tokio::select! {
                biased;
                () = self.drive.redial.notified() => return Ended::Redial,
                order = self.drive.orders.recv() => match order {
                    None => return Ended::Stop,
                    Some(Order::Pause(seconds)) => return Ended::Pause(seconds),
                    Some(Order::Resume) => {}
                    Some(Order::Decide(mailbox, consent)) => {
                        let pass = self.decided(remote, &mailbox, consent).await;
                        if let Some(ended) = self.after(pass, &[], &mut rechecks) {
                            return ended;
                        }
                    }
                    Some(Order::Want(mailbox, uids)) => self.want(&mailbox, uids).await,
                    Some(Order::Sync(job, mailboxes)) => self.waiting.push((job, mailboxes)),
                },
                () = self.hints.rung() => {
                    let pass = self.hinted(remote).await;
                    if let Some(ended) = self.after(pass, &[], &mut rechecks) {
                        return ended;
                    }
                }
                () = sleep_until(due) => {
                    let pass = self.due(remote, &mut rechecks).await;
                    if let Some(ended) = self.after(pass, &[], &mut rechecks) {
                        return ended;
                    }
                }
            }
        }
    }

    /// A pass that only tells what it would do.
    async fn rehearsed(&mut self, remote: &mut C::Remote, targets: &[MailboxName]) -> Pass {
        self.worker.is_dry = true;
        let mut pass = self.worker.full_pass(remote, targets).await;
        self.worker.is_dry = false;
        pass.recheck.clear();
        pass
    }

    /// What is due, and what somebody waits for.
    async fn scheduled(
        &mut self,
        remote: &mut C::Remote,
        rechecks: &mut BTreeMap<MailboxName, Instant>,
    ) -> Option<Ended> {
        let jobs = std::mem::take(&mut self.waiting);
        let (dry, jobs): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|(job, _)| self.drive.jobs.manner(*job).is_dry);
        for job in dry {
            let pass = self.rehearsed(remote, &job.1).await;
            if let Some(ended) = self.after(pass, &[job], rechecks) {
                self.waiting.extend(jobs);
                return Some(ended);
            }
        }
        if jobs.is_empty() && Instant::now() < self.polling.next {
            return None;
        }
        let (pass, is_full) = self.asked_for(remote, &jobs).await;
        if is_full {
            let interval = self.poll_interval();
            self.polling.polled(interval, pass.report.is_quiet() || self.is_told_all());
        }
        self.after(pass, &jobs, rechecks)
    }

    /// A poll, or a pass that somebody waits for.
    async fn asked_for(
        &mut self,
        remote: &mut C::Remote,
        jobs: &[(JobId, Vec<MailboxName>)],
    ) -> (Pass, bool) {
        self.set_state(AccountState::Syncing);
        let is_full = jobs.is_empty() || jobs.iter().any(|(_, names)| names.is_empty());
        let mut targets = Vec::new();
        if !is_full {
            targets = jobs.iter().flat_map(|(_, names)| names.iter().cloned()).collect();
        }
        self.worker.depths.may_be_shallow &= jobs.is_empty();
        let is_unmetered = jobs.iter().any(|(job, _)| self.drive.jobs.manner(*job).is_unmetered);
        let before = is_unmetered.then(|| self.worker.lift_meter());
        let mut pass = self.worker.full_pass(remote, &targets).await;
        // Whoever waits for a sync wants the deletions as well.
        while !jobs.is_empty() && !pass.is_spoilt() && !pass.recheck.is_empty() {
            let until = pass.recheck.values().max().copied().unwrap_or_else(Instant::now);
            sleep_until(until).await;
            let names = std::mem::take(&mut pass.recheck).into_keys().collect();
            self.worker.look_again(remote, names, &mut pass).await;
            if Instant::now() > until + RECHECK_PATIENCE {
                break;
            }
        }
        self.worker.depths.may_be_shallow = true;
        if let Some(before) = before {
            self.worker.account = before;
        }
        (pass, is_full)
    }

    /// A pass over what hints point at.
    async fn hinted(&mut self, remote: &mut C::Remote) -> Pass {
        // Writers touch a file several times; one look serves them all.
        sleep(DEBOUNCE).await;
        let hints = self.worker.relevant(self.hints.take());
        if hints.contains(&Hint::Everything) {
            self.set_state(AccountState::Syncing);
            return self.worker.full_pass(remote, &[]).await;
        }
        let remote_names: BTreeSet<MailboxName> = hints
            .iter()
            .filter_map(|h| match h {
                Hint::Remote(name) => Some(name.clone()),
                Hint::Local(_) | Hint::Everything => None,
            })
            .collect();
        let mut pass = Pass::default();
        self.worker.defers_removals = true;
        for hint in hints {
            let (name, reason) = match hint {
                Hint::Remote(name) => (name, Reason::Any),
                Hint::Local(name) if remote_names.contains(&name) => continue,
                Hint::Local(name) => (name, Reason::Local),
                Hint::Everything => continue,
            };
            self.worker.look_into(remote, &name, reason, &mut pass).await;
            if pass.is_spoilt() {
                break;
            }
        }
        self.worker.defers_removals = false;
        self.worker.advance(&mut pass).await;
        if pass.deferred.is_empty() || pass.is_spoilt() {
            return pass;
        }
        // What left one mailbox may have come to another that nobody hinted at.
        self.worker.full_pass(remote, &[]).await
    }

    /// Records a word about held deletions and follows it.
    async fn decided(
        &mut self,
        remote: &mut C::Remote,
        mailbox: &MailboxName,
        consent: Consent,
    ) -> Pass {
        let mut pass = Pass::default();
        match self.worker.decide(mailbox, consent).await {
            Ok(()) => self.worker.look_into(remote, mailbox, Reason::Any, &mut pass).await,
            Err(failure) => pass.fail(failure),
        }
        pass
    }

    /// Looks again where something was missing.
    async fn due(
        &mut self,
        remote: &mut C::Remote,
        rechecks: &mut BTreeMap<MailboxName, Instant>,
    ) -> Pass {
        let now = Instant::now();
        let due = rechecks.extract_if(.., |_, at| *at <= now).map(|(name, _)| name).collect();
        let mut pass = Pass::default();
        self.worker.look_again(remote, due, &mut pass).await;
        pass
    }

    /// Reports a pass and decides whether the connection goes on.
    fn after(
        &mut self,
        pass: Pass,
        jobs: &[(JobId, Vec<MailboxName>)],
        rechecks: &mut BTreeMap<MailboxName, Instant>,
    ) -> Option<Ended> {
        let is_spoilt = pass.is_spoilt();
        // The connection was hung up under the pass: whoever waits for it waits for the next one.
        if is_spoilt && self.drive.redial.notified().now_or_never().is_some() {
            self.waiting.extend_from_slice(jobs);
            return Some(Ended::Redial);
        }
        for (job, _) in jobs {
            self.drive.jobs.report(*job, &self.worker.account.name, pass.report.clone());
        }
        rechecks.extend(pass.recheck);
        if !pass.report.is_quiet() && !self.is_told_all() {
            self.polling.moved();
        }
        if is_spoilt {
            return pass.failure.map(Ended::Failed);
        }
        self.n_failures = 0;
        self.worker.show_push();
        let next_retry = micros_now().saturating_add(self.drive.poll_interval.as_micros() as u64);
        self.worker.board.account(&self.worker.account.name, |a| {
            a.state = AccountState::Idle;
            a.trouble = pass.failure.as_ref().map(|f| trouble(f, a.trouble.as_ref(), next_retry));
        });
        if let Some(failure) = &pass.failure {
            tracing::debug!(account = %self.worker.account.name, %failure, "a mailbox failed");
        }
        None
    }
}

const DEBOUNCE: Duration = Duration::from_millis(25);
const RECHECK_PATIENCE: Duration = Duration::from_secs(10);
