//! The daemon. Floor 5.

mod queue;
mod rest;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::rest::Rest;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::daemon::beside::Beside;
use crate::daemon::bus::{Bus, BusContext, OutboxCall};
use crate::daemon::chronicle::{self, Fresh};
use crate::daemon::fleet::Fleet;
use crate::daemon::outbox::OutboxTask;
use crate::daemon::summary::Lost;
use crate::daemon::wake::Turn;
use crate::daemon::{found, last, network, paths, ready, settings, sleep, summary, wake, wiring};
use crate::engine::account::Order;
use crate::engine::board::{Board, micros_now};
use crate::engine::jobs::Jobs;
use crate::model::account::Settings;
use crate::model::event::Command;
use crate::model::failure::{Failure, Kind, Scope};
use crate::model::happening::Happening;
use crate::model::outbox::OutboxEvent;
use crate::model::status::{Status, Trouble};

/// The daemon: runs until SIGTERM or SIGINT, reads the configuration again on SIGHUP.
///
/// # Errors
/// It cannot start: another one runs, or the state directory, the socket or the outbox is not
/// usable.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let state_dir = paths::state_dir();
    let _lock = paths::StateLock::take(&state_dir)?;
    paths::make_private_dir(&paths::runtime_dir())?;
    let Signals { mut terminate, mut interrupt, mut hangup } = Signals::new()?;
    let (mut daemon, mut inbox) = Daemon::start(settings, &state_dir).await?;
    ready::ready(&daemon.summary());
    tracing::info!(event = Happening::Ready.as_str(), pid = std::process::id(), "ready");
    let mut heartbeat = interval(ready::heartbeat());
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut changes, mut tell_at) = (daemon.status.clone(), None);
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => daemon.reload().await,
            Some(command) = inbox.commands.recv() => daemon.obey(command).await,
            Some(call) = inbox.calls.recv() => daemon.call(call),
            Some(turn) = inbox.turns.recv() => daemon.turn(turn).await,
            _ = heartbeat.tick() => daemon.beat(),
            Ok(()) = changes.changed(), if tell_at.is_none() => {
                tell_at = Some(Instant::now() + TELL_EVERY);
            }
            () = sleep_until(tell_at.unwrap_or_else(Instant::now)), if tell_at.is_some() => {
                tell_at = None;
                found::show(&daemon.settings, &daemon.board);
                ready::status(&daemon.summary());
            }
        }
    }
    ready::stopping();
    tracing::info!("stopping");
    daemon.stop().await;
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|e| Failure::local_io("listen for signals", &e).scoped(Scope::Daemon))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

struct Daemon {
    settings: Settings,
    state_dir: std::path::PathBuf,
    board: Board,
    status: watch::Receiver<Arc<Status>>,
    jobs: Jobs,
    fleet: Fleet,
    outbox: Option<OutboxTask>,
    /// Why it does not run.
    no_outbox: Option<Failure>,
    events: broadcast::Sender<OutboxEvent>,
    commands: mpsc::Sender<Command>,
    shutdown: CancellationToken,
    beside: Beside,
    bus: JoinHandle<()>,
    /// Why mail rests, if it does.
    rest: Rest,
    /// What hangs.
    lost: Lost,
    /// The accounts whose first sync is not done.
    fresh: Fresh,
}

/// What comes from the bus.
struct Inbox {
    commands: mpsc::Receiver<Command>,
    calls: mpsc::Receiver<OutboxCall>,
    turns: mpsc::Receiver<Turn>,
}

impl Daemon {
    async fn start(settings: Settings, state_dir: &Path) -> Result<(Self, Inbox), Failure> {
        let (board, status) = Board::new(last::first(&settings, state_dir));
        let jobs = Jobs::default();
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (calls, called) = mpsc::channel(COMMANDS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let shutdown = CancellationToken::new();
        let bus = Bus::bind(BusContext {
            status: status.clone(),
            commands: commands.clone(),
            jobs: jobs.clone(),
            notices: board.notices(),
            outbox: events.clone(),
            calls,
            config_path: settings.path.clone(),
            find_mistake: |file| settings::load(file).err().map(|wrong| wrong.to_string()),
            session: settings.daemon.bus,
            session_address: None,
            socket: paths::socket(),
            shutdown: shutdown.clone(),
        })?;
        let bus = tokio::spawn(bus.serve());
        let (turn, turns) = mpsc::channel(1);
        tokio::spawn(wake::watch(turn.clone(), shutdown.clone()));
        tokio::spawn(sleep::watch(turn.clone(), shutdown.clone()));
        tokio::spawn(network::watch(turn, shutdown.clone()));
        let beside = Beside::start(&settings, &board.notices(), &status, &commands);
        let fleet = Fleet::new(state_dir, board.clone(), jobs.clone());
        let mut daemon = Self {
            settings: settings.clone(),
            state_dir: state_dir.to_path_buf(),
            board,
            status,
            jobs,
            fleet,
            outbox: None,
            no_outbox: None,
            events,
            commands,
            shutdown,
            beside,
            bus,
            rest: Rest::default(),
            lost: Lost::default(),
            fresh: Fresh::default(),
        };
        daemon.fresh.find(&settings, state_dir);
        tokio::spawn(chronicle::keep(daemon.status.clone(), daemon.fresh.clone()));
        daemon.start_outbox();
        daemon.fleet.apply(&settings).await;
        daemon.board.update(|status| status.starting = false);
        Ok((daemon, Inbox { commands: receiver, calls: called, turns }))
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Sync { job, account, mailboxes } => self.fleet.sync(job, &account, mailboxes),
            Command::Pause { account, seconds } => self.pause(account.as_ref(), seconds),
            Command::Resume { account } => self.resume(account.as_ref()),
            Command::Decide { account, mailbox, consent } => {
                self.fleet.order(Some(&account), &Order::Decide(mailbox, consent));
            }
            Command::Want { account, mailbox, uids } => {
                self.fleet.order(Some(&account), &Order::Want(mailbox, uids));
            }
            Command::Reload => self.reload().await,
            Command::Flush { job, ids } => self.flush(job, ids),
        }
    }

    /// Reads the configuration again. One with a mistake changes nothing.
    async fn reload(&mut self) {
        ready::reloading();
        match settings::load(&self.settings.path) {
            Ok(new) => self.adopt(new).await,
            Err(err) => self.refuse(&err),
        }
        ready::ready(&self.summary());
    }

    /// The old configuration goes on, and everybody who looks is told.
    fn refuse(&self, err: &settings::ConfigError) {
        let event = Happening::ConfigRefused.as_str();
        tracing::error!(event, "the configuration was not taken over:\n{err}");
        let now = micros_now();
        self.board.update(|status| {
            let since = status.config_error.as_ref().map_or(now, |before| before.since);
            let (name, text) = (Kind::Config.error_name().to_owned(), err.to_string());
            status.config_error = Some(Trouble { name, text, since, next_retry: 0 });
        });
    }

    async fn adopt(&mut self, new: Settings) {
        let fresh = wiring::first_status(&new, micros_now()).accounts;
        self.board.update(|status| {
            status.config_error = None;
            status.accounts.retain(|name, _| fresh.contains_key(name));
            for (name, account) in fresh {
                let changed = self.settings.accounts.get(&name) != new.accounts.get(&name);
                if changed || !status.accounts.contains_key(&name) {
                    status.accounts.insert(name, account);
                }
            }
        });
        self.settings = new;
        let notices = self.board.notices();
        self.beside = Beside::start(&self.settings, &notices, &self.status, &self.commands);
        if let Some(outbox) = self.outbox.take() {
            outbox.stop().await;
        }
        self.start_outbox();
        self.fresh.find(&self.settings, &self.state_dir);
        self.fleet.apply(&self.fitting()).await;
        if self.board.now().paused {
            self.fleet.order(None, &Order::Pause(0));
        }
        if self.rest.is_resting() {
            // An account that is new rests as well.
            self.lie_down(None);
        }
        tracing::info!(accounts = self.settings.accounts.len(), "the configuration was taken over");
    }

    /// Tells the service manager that all is well, if it is: a loop that hangs stops that.
    fn beat(&mut self) {
        self.fleet.revive();
        self.mend_outbox();
        self.keep_last();
        let lost = Lost {
            accounts: self.fleet.lost(ready::patience()),
            outbox: self.outbox.as_ref().is_some_and(|outbox| outbox.is_lost(ready::patience())),
        };
        let (event, before) = (Happening::Hangs.as_str(), std::mem::take(&mut self.lost));
        for account in lost.accounts.iter().filter(|name| !before.accounts.contains(name)) {
            tracing::error!(event, %account, "the account's work hangs; the watchdog is not fed any more");
        }
        if lost.outbox && !before.outbox {
            tracing::error!(event, "the outbox hangs; the watchdog is not fed any more");
        }
        self.lost = lost;
        if self.lost == Lost::default() {
            ready::alive(&self.summary());
        } else {
            ready::status(&self.summary());
        }
    }

    /// Keeps how the accounts are, for whoever asks when nothing runs.
    fn keep_last(&self) {
        let (state_dir, now) = (self.state_dir.clone(), self.board.now());
        drop(spawn_blocking(move || last::keep_all(&state_dir, &now)));
    }

    /// One line for the service manager.
    fn summary(&self) -> String {
        summary::line(&self.board.now(), &self.lost, &chrono::Local)
    }

    async fn stop(mut self) {
        self.board.update(|status| status.stopping = true);
        let outbox = self.outbox.take();
        let all = async {
            let outbox = async {
                if let Some(outbox) = outbox {
                    outbox.stop().await;
                }
            };
            tokio::join!(self.fleet.stop(), outbox);
        };
        // What does not end in time is interrupted; the ledgers know what to do about it.
        if timeout(STOP_MAX, all).await.is_err() {
            tracing::warn!("some work was interrupted; the next start settles it");
        }
        last::keep_all(&self.state_dir, &self.board.now());
        self.shutdown.cancel();
        // It removes its socket, and says goodbye to whoever still waits.
        drop(timeout(BUS_STOP_MAX, self.bus).await);
    }
}

/// How often the line for the service manager may change.
const TELL_EVERY: Duration = Duration::from_secs(1);
const COMMANDS_MAX: usize = 256;
const EVENTS_MAX: usize = 256;
const STOP_MAX: Duration = Duration::from_millis(3500);
const BUS_STOP_MAX: Duration = Duration::from_millis(500);
