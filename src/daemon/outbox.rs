//! Wires the outbox: directory, ledger, SMTP, Sent Maildirs. Floor 5.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::adapters::outbox::OutboxDir;
use crate::adapters::outbox::sent::{SentMaildir, SentMaildirs};
use crate::adapters::outbox::watch::OutboxWatch;
use crate::adapters::outbox_ledger::SqliteOutbox;
use crate::adapters::smtp::SmtpRelay;
use crate::daemon::answered::mark_originals;
use crate::daemon::place;
use crate::daemon::pulse::{Pulse, felt};
use crate::daemon::wiring::maildir;
use crate::engine::board::{Board, micros_now};
use crate::engine::relay::{Ask, Relay, RelayLinks, RelaySetup, Request};
use crate::model::account::{Account, Role, Settings};
use crate::model::failure::Failure;
use crate::model::ids::MailboxName;
use crate::model::outbox::{Item, OutboxEvent};
use crate::model::status::{OutboxStatus, Status};
use crate::ports::local::Local as _;

/// The outbox task, and how to talk to it.
pub(super) struct OutboxTask {
    requests: mpsc::Sender<Request>,
    stop: watch::Sender<bool>,
    join: JoinHandle<()>,
    pulse: Arc<Pulse>,
    /// Whether it has nothing to do.
    rests: Arc<AtomicBool>,
    /// Carry its status, and where the Sent mailboxes are.
    helpers: Vec<JoinHandle<()>>,
    /// Marks what was answered.
    answers: JoinHandle<()>,
    _watch: Option<OutboxWatch>,
}

impl OutboxTask {
    /// Starts the outbox; a paused one sends nothing until it is told to.
    ///
    /// # Errors
    /// The directory or the ledger cannot be used.
    pub(super) fn start(
        settings: &Settings,
        state_dir: &Path,
        board: &Board,
        status: watch::Receiver<Arc<Status>>,
        events: broadcast::Sender<OutboxEvent>,
        paused: bool,
    ) -> Result<Self, Failure> {
        place::keep(&settings.outbox.dir, state_dir)?;
        let dir = OutboxDir::open(&settings.outbox.dir)?;
        let ledger = Arc::new(SqliteOutbox::open(state_dir)?);
        let wake = Arc::new(Notify::new());
        let watching = match OutboxWatch::begin(dir.root(), Arc::clone(&wake)) {
            Ok(watching) => Some(watching),
            Err(failure) => {
                tracing::warn!(%failure, "the outbox is looked at from time to time instead");
                None
            }
        };
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let (stop, stopped) = watch::channel(false);
        let first = OutboxStatus {
            directory: settings.outbox.dir.display().to_string(),
            ..OutboxStatus::default()
        };
        let (shown, changes) = watch::channel(first);
        let answers =
            mark_originals(events.subscribe(), settings.accounts.clone(), state_dir.to_owned());
        let (pulse, rests) = (Arc::new(Pulse::default()), Arc::new(AtomicBool::new(false)));
        let links = RelayLinks {
            wake: Arc::clone(&wake),
            requests: receiver,
            status: shown,
            events,
            stop: stopped,
            rests: Arc::clone(&rests),
        };
        let sent = SentMaildirs::default();
        let accounts: Vec<Account> = sending(settings).cloned().collect();
        let answers = tokio::spawn(answers);
        let helpers = vec![
            tokio::spawn(show(changes, board.clone())),
            tokio::spawn(find_sent(accounts, status, sent.clone(), Arc::clone(&wake))),
        ];
        let endpoints = sending(settings)
            .filter_map(|a| a.smtp.as_ref().map(|s| (a.name.clone(), s.endpoint.clone())));
        let setup = RelaySetup::new(settings, micros_now, || fastrand::u32(..));
        let ports = (dir, ledger, SmtpRelay::new(endpoints.collect()), sent);
        let mut relay = Relay::new(ports, setup, links);
        relay.set_paused(paused);
        let join = tokio::spawn(felt(Arc::clone(&pulse), relay.run()));
        Ok(Self { requests, stop, join, pulse, rests, helpers, answers, _watch: watching })
    }

    /// Keeps a task for as long as the outbox.
    pub(super) fn help(&mut self, helper: JoinHandle<()>) {
        self.helpers.push(helper);
    }

    /// Whether it ended by itself, which only a mistake of ours does.
    pub(super) fn is_dead(&self) -> bool {
        self.join.is_finished()
    }

    /// Whether it hangs: it is at work and was silent for longer than `patience`.
    pub(super) fn is_lost(&self, patience: Duration) -> bool {
        self.pulse.is_lost(!self.rests.load(Ordering::Relaxed), patience)
    }

    /// Asks the outbox; the answer comes when it is done.
    pub(super) fn ask(&self, what: Ask) -> oneshot::Receiver<Result<Vec<Item>, Failure>> {
        let (reply, answer) = oneshot::channel();
        // A full queue drops the sender, which the asker sees as an answer that never comes.
        drop(self.requests.try_send(Request { what, reply }));
        answer
    }

    /// Hands on what somebody else asks; with a full queue it is dropped, which its asker notices.
    pub(super) fn pass(&self, request: Request) {
        drop(self.requests.try_send(request));
    }

    /// Stops after the attempt on the wire, which gets a moment to end.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        drop(self.join.await);
        for helper in self.helpers.into_iter().chain([self.answers]) {
            helper.abort();
        }
    }

    /// Stops, where this was all that spoke of what happens: the originals of what was sent are marked to the end.
    pub(super) async fn finish(self) {
        self.stop.send_replace(true);
        drop(self.join.await);
        for helper in self.helpers {
            helper.abort();
        }
        drop(self.answers.await);
    }
}

/// The accounts that send.
fn sending(settings: &Settings) -> impl Iterator<Item = &Account> {
    settings.accounts.values().filter(|a| a.enabled && a.smtp.is_some())
}

/// Puts the outbox's status on the board.
async fn show(mut changes: watch::Receiver<OutboxStatus>, board: Board) {
    while changes.changed().await.is_ok() {
        let now = changes.borrow_and_update().clone();
        board.update(|status| status.outbox = now);
    }
}

/// Tells the filer where the Sent mailboxes are, as soon as a sync has shown them, and wakes the
/// outbox, whose copies may wait for that.
async fn find_sent(
    accounts: Vec<Account>,
    mut status: watch::Receiver<Arc<Status>>,
    sent: SentMaildirs,
    wake: Arc<Notify>,
) {
    loop {
        let now = Arc::clone(&status.borrow_and_update());
        for account in &accounts {
            if let Some(place) = sent_place(account, &now)
                && sent.set(account.name.clone(), place)
            {
                wake.notify_one();
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

fn sent_place(account: &Account, status: &Status) -> Option<SentMaildir> {
    let place = |path: PathBuf| SentMaildir { path, info_separator: account.info_separator };
    if account.imap.is_none() {
        // No server files a copy: it stays here.
        let name = account.roles.get(&Role::Sent).cloned();
        let name = name.unwrap_or_else(|| MailboxName("Sent".to_owned()));
        return Some(place(maildir(account).path(&name)));
    }
    let store = maildir(account);
    if let Some(name) = account.roles.get(&Role::Sent) {
        return Some(place(store.path(name)));
    }
    let shown = status.accounts.get(&account.name)?;
    let known = shown.mailboxes.values().find(|m| m.role == Role::Sent.as_str());
    match known {
        Some(mailbox) => Some(place(mailbox.path.clone().into())),
        // The server has none: a new one is made here, and the sync makes it there.
        None if shown.last_success > 0 => Some(place(store.path(&MailboxName("Sent".to_owned())))),
        None => None,
    }
}

const REQUESTS_MAX: usize = 64;
