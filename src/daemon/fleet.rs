//! The accounts that run: started, restarted, stopped. Floor 5.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::adapters::net::Line;
use crate::daemon::pulse::{Pulse, felt};
use crate::daemon::{paths, wiring};
use crate::engine::account::{self, Drive, Order};
use crate::engine::board::{Board, trouble};
use crate::engine::jobs::{Jobs, report_error};
use crate::engine::pop;
use crate::model::account::{Account, Settings};
use crate::model::event::{AccountReport, JobId};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, MailboxName};
use crate::model::status::AccountState;

/// The accounts that run.
pub(super) struct Fleet {
    state_dir: PathBuf,
    board: Board,
    jobs: Jobs,
    running: BTreeMap<AccountName, Running>,
    /// The accounts that are paused, and until when: one that is started again stays so.
    paused: BTreeMap<AccountName, Option<Instant>>,
}

struct Running {
    settings: Account,
    poll_interval: Duration,
    orders: mpsc::Sender<Order>,
    line: Line,
    redial: Arc<Notify>,
    stop: CancellationToken,
    pulse: Arc<Pulse>,
    join: JoinHandle<()>,
}

impl Fleet {
    /// An empty fleet.
    pub(super) fn new(state_dir: &Path, board: Board, jobs: Jobs) -> Self {
        let (running, paused) = (BTreeMap::new(), BTreeMap::new());
        Self { state_dir: state_dir.to_path_buf(), board, jobs, running, paused }
    }

    /// Makes the running accounts be those of the settings: those that changed start anew, the
    /// others are not disturbed.
    pub(super) async fn apply(&mut self, settings: &Settings) {
        let poll_interval = settings.daemon.poll_interval;
        let stale: Vec<AccountName> = self
            .running
            .iter()
            .filter(|(name, running)| {
                running.poll_interval != poll_interval
                    || settings.accounts.get(*name) != Some(&running.settings)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            if let Some(running) = self.running.remove(&name) {
                running.stop().await;
            }
        }
        for (name, account) in &settings.accounts {
            if account.enabled && receives(account) && !self.running.contains_key(name) {
                self.start(account, poll_interval);
            }
        }
    }

    fn start(&mut self, account: &Account, poll_interval: Duration) {
        let ledger = paths::ledger(&self.state_dir, &account.name);
        let board = self.board.clone();
        let line = Line::default();
        let worker = match account.pop3 {
            Some(_) => {
                wiring::pop_worker(account, &ledger, board, &line).map(|w| w.map(AnyWorker::Pop))
            }
            None => wiring::worker(account, &ledger, board, &line).map(|w| w.map(AnyWorker::Imap)),
        };
        let worker = match worker {
            Ok(Some(worker)) => worker,
            Ok(None) => return,
            Err(failure) => {
                tracing::error!(account = %account.name, %failure, "the account cannot start");
                self.board.account(&account.name, |a| {
                    a.state = AccountState::Error;
                    a.trouble = Some(trouble(&failure, a.trouble.as_ref(), 0));
                });
                return;
            }
        };
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        if let Some(seconds) = self.paused.get(&account.name).and_then(|until| seconds_to(*until)) {
            // There is room: nobody else has it yet.
            drop(orders.try_send(Order::Pause(seconds)));
        }
        let (stop, redial) = (CancellationToken::new(), Arc::new(Notify::new()));
        let (push, max_connections) = account
            .imap
            .as_ref()
            .map(|imap| (imap.push.clone(), imap.max_connections))
            .unwrap_or_default();
        let drive = Drive {
            orders: receiver,
            jobs: self.jobs.clone(),
            poll_interval,
            push,
            max_connections,
            redial: Arc::clone(&redial),
            stop: stop.clone(),
        };
        let pulse = Arc::new(Pulse::default());
        let felt_by = Arc::clone(&pulse);
        let join = match worker {
            AnyWorker::Imap(worker) => tokio::spawn(felt(felt_by, account::run(worker, drive))),
            AnyWorker::Pop(worker) => tokio::spawn(felt(felt_by, pop::run(worker, drive))),
        };
        let settings = account.clone();
        let running = Running { settings, poll_interval, orders, line, redial, stop, pulse, join };
        self.running.insert(account.name.clone(), running);
    }

    /// Starts accounts again whose task died: a bug in one must not silence it.
    pub(super) fn revive(&mut self) {
        let dead: Vec<AccountName> = self
            .running
            .iter()
            .filter(|(_, running)| running.join.is_finished() && !running.stop.is_cancelled())
            .map(|(name, _)| name.clone())
            .collect();
        for name in dead {
            if let Some(running) = self.running.remove(&name) {
                tracing::error!(account = %name, "an account's task died; it is started again");
                self.start(&running.settings, running.poll_interval);
            }
        }
    }

    /// The accounts whose loop hangs: it should have moved, and did not for longer than `patience`, or
    /// twice the time that its server is given.
    pub(super) fn lost(&self, patience: Duration) -> Vec<AccountName> {
        let status = self.board.now();
        let is_lost = |(name, running): &(&AccountName, &Running)| {
            let state = status.accounts.get(*name).map(|account| account.state);
            // One that is idle looks around at every poll.
            let (is_working, pause) = match state {
                Some(AccountState::Connecting | AccountState::Syncing) => (true, Duration::ZERO),
                Some(AccountState::Idle) => (true, running.poll_interval),
                _ => (false, Duration::ZERO),
            };
            let account = &running.settings;
            let imap = account.imap.as_ref().map(|imap| imap.endpoint.timeout);
            let pop = account.pop3.as_ref().map(|pop| pop.endpoint.timeout);
            let of_server = imap.or(pop).unwrap_or_default() * 2;
            running.pulse.is_lost(is_working, patience.max(of_server) + pause)
        };
        self.running.iter().filter(is_lost).map(|(name, _)| name.clone()).collect()
    }

    /// What the connections of an account hang on.
    pub(super) fn line(&self, account: &AccountName) -> Option<Line> {
        self.running.get(account).map(|running| running.line.clone())
    }

    /// Has all connections dialled again: they are dead, and may not know it. What is at work on one
    /// meets an error, as it would if the server had cut it.
    pub(super) fn redial(&self) {
        for running in self.running.values() {
            // In this order: whoever loses its connection has heard why.
            running.redial.notify_one();
            running.line.hang_up();
        }
    }

    /// Gives an order to an account, or to all.
    pub(super) fn order(&mut self, account: Option<&AccountName>, order: &Order) {
        for (name, running) in &self.running {
            if account.is_none_or(|a| a == name) {
                match order {
                    Order::Pause(seconds) => {
                        let until = Instant::now() + Duration::from_secs(*seconds);
                        self.paused.insert(name.clone(), (*seconds > 0).then_some(until));
                    }
                    Order::Resume => drop(self.paused.remove(name)),
                    Order::Sync(..) | Order::Decide(..) | Order::Want(..) => {}
                }
                // A full queue means that the same was asked for many times already.
                drop(running.orders.try_send(order.clone()));
            }
        }
    }

    /// Asks an account for a sync that somebody waits for.
    pub(super) fn sync(&self, job: JobId, account: &AccountName, mailboxes: Vec<MailboxName>) {
        let sent = match self.running.get(account) {
            Some(running) => running.orders.try_send(Order::Sync(job, mailboxes)).is_ok(),
            // Nothing to sync: an account that only sends.
            None => {
                self.jobs.report(job, account, AccountReport::default());
                return;
            }
        };
        if !sent {
            let failure = Failure::new(Scope::Account, Remedy::Later, Kind::Busy, "queue a sync");
            let error = Some(report_error(&failure));
            self.jobs.report(job, account, AccountReport { error, ..AccountReport::default() });
        }
    }

    /// Stops all accounts.
    pub(super) async fn stop(self) {
        for running in self.running.values() {
            running.stop.cancel();
        }
        for running in self.running.into_values() {
            running.stop().await;
        }
    }
}

#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
enum AnyWorker {
    Imap(wiring::RealWorker),
    Pop(wiring::RealPopWorker),
}

/// The seconds that a pause still has: 0 where it has no end, and none where it is over.
fn seconds_to(until: Option<Instant>) -> Option<u64> {
    match until {
        None => Some(0),
        Some(until) => {
            Some(until.saturating_duration_since(Instant::now()).as_secs()).filter(|n| *n > 0)
        }
    }
}

/// Whether mail comes to an account.
fn receives(account: &Account) -> bool {
    account.imap.is_some() || account.pop3.is_some()
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        let abort = self.join.abort_handle();
        if tokio::time::timeout(STOP_MAX, self.join).await.is_err() {
            abort.abort();
        }
    }
}

const ORDERS_MAX: usize = 64;
const STOP_MAX: Duration = Duration::from_secs(2);
