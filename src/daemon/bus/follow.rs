//! Keeps the objects of one connection in step with the status, and sends its signals. Floor 5.
//!
//! One task per connection: a peer that does not read holds up itself alone. Snapshots are compared,
//! so what changed and changed back between two looks is not told. Nothing is queued here: the
//! snapshot is always the newest, and of events that come too fast for a peer the oldest are dropped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use zbus::connection::Builder;
use zbus::object_server::{Interface, SignalEmitter};
use zbus::{Connection, OwnedVariant, Variant};

use super::account::{Account, AccountSignals};
use super::desk::{Desk, View};
use super::manager::{Manager, ManagerSignals};
use super::outbox::{Outbox, OutboxSignals};
use super::values::{MANAGER, OUTBOX, account_path, job_values};
use crate::engine::jobs::JobResult;
use crate::model::event::{JobId, Notice};
use crate::model::ids::AccountName;
use crate::model::outbox::OutboxEvent;
use crate::model::status::Status;

/// What a connection begins with: its objects, and events from before the first look at the snapshot.
pub(super) struct Start {
    view: View,
    status: watch::Receiver<Arc<Status>>,
    accounts: BTreeMap<AccountName, Account>,
    jobs: broadcast::Receiver<(JobId, JobResult)>,
    notices: broadcast::Receiver<Notice>,
    outbox: broadcast::Receiver<OutboxEvent>,
}

impl Start {
    pub(super) fn new(desk: &Arc<Desk>) -> Self {
        let mut status = desk.status.clone();
        status.mark_unchanged();
        let view = View::new(Arc::clone(desk));
        let account = |name: &AccountName| Account { view: view.clone(), name: name.clone() };
        let names = view.now();
        Self {
            status,
            accounts: names.accounts.keys().map(|name| (name.clone(), account(name))).collect(),
            jobs: desk.jobs.subscribe(),
            notices: desk.notices.subscribe(),
            outbox: desk.outbox.subscribe(),
            view,
        }
    }

    /// Puts the objects in place before the first call can come.
    pub(super) fn furnish<'b>(&self, builder: Builder<'b>) -> Builder<'b> {
        let builder = builder
            .serve_at(MANAGER, zbus::fdo::ObjectManager)
            .serve_at(MANAGER, Manager(self.view.clone()))
            .serve_at(OUTBOX, Outbox(self.view.clone()));
        self.accounts.values().fold(builder, |builder, account| {
            builder.serve_at(account_path(&account.name), account.clone())
        })
    }
}

/// What a peer was told last.
struct Follower {
    view: View,
    connection: Connection,
    manager: Manager,
    outbox: Outbox,
    accounts: BTreeMap<AccountName, Account>,
    /// The properties by path.
    shown: BTreeMap<String, HashMap<String, OwnedVariant>>,
    /// When the progress of an account may be told again, by path.
    progress_due: BTreeMap<String, Instant>,
}

/// Serves one connection until it is closed or `stop` is cancelled.
pub(super) async fn follow(connection: Connection, start: Start, stop: CancellationToken) {
    let stopped = stop.cancelled();
    let closed = connection.clone();
    let told = Box::pin(tell(connection, start));
    tokio::select! {
        biased;
        () = closed.closed() => tracing::debug!("a client of the bus left"),
        ended = told => {
            if let Err(err) = ended {
                tracing::debug!(error = %err, "a connection of the bus ended");
            }
        }
        // Last, so that what is on its way goes out before the end.
        () = stopped => {}
    }
    if let Err(err) = closed.close().await {
        tracing::debug!(error = %err, "close a connection of the bus");
    }
}

/// Sends what happens until sending fails; never ends otherwise. Not cancel safe, and need not be: a
/// signal that was cut off ends the connection.
async fn tell(connection: Connection, mut start: Start) -> zbus::Result<()> {
    let mut this = Follower {
        manager: Manager(start.view.clone()),
        outbox: Outbox(start.view.clone()),
        accounts: std::mem::take(&mut start.accounts),
        shown: BTreeMap::new(),
        progress_due: BTreeMap::new(),
        view: start.view.clone(),
        connection,
    };
    // What the objects show is what the peer may have read already; from here on it is told.
    let mut due = this.look(Told::Nothing).await?;
    let (mut is_stale, mut is_final) = (false, false);
    let mut soonest = Instant::now();
    loop {
        let job = tokio::select! {
            changed = start.status.changed(), if !is_stale && !is_final => {
                // Without a writer the last snapshot stays what is shown.
                is_final = changed.is_err();
                is_stale = true;
                due = Some(soonest);
                continue;
            }
            () = sleep_until(due.unwrap_or(soonest)), if due.is_some() => None,
            job = start.jobs.recv() => Some(job),
            notice = start.notices.recv() => {
                this.notice(notice).await?;
                continue;
            }
            event = start.outbox.recv() => {
                this.message(event).await?;
                continue;
            }
        };
        is_stale = false;
        this.view.advance();
        due = this.look(Told::Changes).await?;
        soonest = Instant::now() + LOOKS_APART;
        // Who hears of the end of a job has heard before what came of it.
        if let Some(job) = job {
            this.job(job).await?;
        }
    }
}

/// What a look at the snapshot tells.
#[derive(Clone, Copy)]
enum Told {
    Nothing,
    /// A new object is left out: it was told by `InterfacesAdded`.
    Changes,
}

impl Follower {
    /// Compares the snapshot with what was shown; answers when to look again for progress that was
    /// held back.
    async fn look(&mut self, told: Told) -> zbus::Result<Option<Instant>> {
        self.come_and_go().await?;
        let manager = self.properties(MANAGER, &self.manager).await?;
        self.show(MANAGER.to_owned(), &<Manager as Interface>::name(), manager, told).await?;
        let outbox = self.properties(OUTBOX, &self.outbox).await?;
        self.show(OUTBOX.to_owned(), &<Outbox as Interface>::name(), outbox, told).await?;
        let now = Instant::now();
        let mut again: Option<Instant> = None;
        for account in self.accounts.values().cloned().collect::<Vec<_>>() {
            let path = account_path(&account.name);
            let mut properties = self.properties(&path, &account).await?;
            if let Some(due) = self.hold_progress(&path, &mut properties, now) {
                again = Some(again.map_or(due, |again| again.min(due)));
            }
            self.show(path, &<Account as Interface>::name(), properties, told).await?;
        }
        Ok(again)
    }

    /// Adds the objects of new accounts and removes those of accounts that are gone.
    async fn come_and_go(&mut self) -> zbus::Result<()> {
        let status = self.view.now();
        let names: BTreeSet<&AccountName> = status.accounts.keys().collect();
        let gone: Vec<AccountName> =
            self.accounts.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            let path = account_path(&name);
            self.connection.object_server().remove::<Account, _>(path.as_str()).await?;
            self.accounts.remove(&name);
            self.shown.remove(&path);
            self.progress_due.remove(&path);
        }
        for name in names {
            if !self.accounts.contains_key(name) {
                let account = Account { view: self.view.clone(), name: name.clone() };
                let server = self.connection.object_server();
                server.at(account_path(name), account.clone()).await?;
                self.accounts.insert(name.clone(), account);
            }
        }
        Ok(())
    }

    async fn properties<I: Interface>(
        &self,
        path: &str,
        object: &I,
    ) -> zbus::Result<HashMap<String, OwnedVariant>> {
        let emitter = SignalEmitter::new(&self.connection, path)?;
        let server = self.connection.object_server();
        Ok(object.get_all(server, &self.connection, None, &emitter).await?)
    }

    /// Keeps the progress as it was shown while its time has not come; answers when it comes.
    fn hold_progress(
        &mut self,
        path: &str,
        properties: &mut HashMap<String, OwnedVariant>,
        now: Instant,
    ) -> Option<Instant> {
        let shown = self.shown.get(path)?.get(PROGRESS)?;
        if properties.get(PROGRESS) == Some(shown) {
            return None;
        }
        if let Some(due) = self.progress_due.get(path).filter(|due| now < **due) {
            properties.insert(PROGRESS.to_owned(), shown.clone());
            return Some(*due);
        }
        self.progress_due.insert(path.to_owned(), now + PROGRESS_APART);
        None
    }

    /// Tells what changed of one object in one signal.
    async fn show(
        &mut self,
        path: String,
        interface: &str,
        properties: HashMap<String, OwnedVariant>,
        told: Told,
    ) -> zbus::Result<()> {
        let shown = self.shown.get(&path);
        let is_new = |key: &str, value| shown.and_then(|shown| shown.get(key)) != Some(value);
        let changed: HashMap<&str, &Variant<'_>> = properties
            .iter()
            .filter(|(key, value)| is_new(key, value))
            .map(|(key, value)| (key.as_str(), &**value))
            .collect();
        let is_told = match told {
            Told::Nothing => false,
            Told::Changes => shown.is_some(),
        };
        if is_told && !changed.is_empty() {
            let invalidated: [&str; 0] = [];
            let body = (interface, &changed, invalidated.as_slice());
            let emitter = SignalEmitter::new(&self.connection, path.as_str())?;
            emitter.emit("org.freedesktop.DBus.Properties", "PropertiesChanged", &body).await?;
        }
        self.shown.insert(path, properties);
        Ok(())
    }

    async fn job(&self, job: Result<(JobId, JobResult), RecvError>) -> zbus::Result<()> {
        let Some((job, result)) = heard(job).await else { return Ok(()) };
        let emitter = SignalEmitter::new(&self.connection, MANAGER)?;
        emitter.job_done(job, result.is_ok(), job_values(&result)).await
    }

    async fn notice(&self, notice: Result<Notice, RecvError>) -> zbus::Result<()> {
        let Some(notice) = heard(notice).await else { return Ok(()) };
        match notice {
            Notice::NewMessages { account, mailbox, paths } => {
                let emitter = SignalEmitter::new(&self.connection, account_path(&account))?;
                emitter.new_messages(mailbox.as_str(), &paths).await
            }
            Notice::DeletesHeld { account, mailbox, count } => {
                let emitter = SignalEmitter::new(&self.connection, account_path(&account))?;
                emitter.deletes_held(mailbox.as_str(), count).await
            }
            Notice::MailboxReset { account, mailbox } => {
                let emitter = SignalEmitter::new(&self.connection, account_path(&account))?;
                emitter.mailbox_reset(mailbox.as_str()).await
            }
        }
    }

    async fn message(&self, event: Result<OutboxEvent, RecvError>) -> zbus::Result<()> {
        let Some(event) = heard(event).await else { return Ok(()) };
        let emitter = SignalEmitter::new(&self.connection, OUTBOX)?;
        match event {
            OutboxEvent::Queued { id, account } => {
                emitter.message_queued(&id.0, account.as_str()).await
            }
            OutboxEvent::Sent { id, account, message_id, reply } => {
                emitter.message_sent(&id.0, account.as_str(), &message_id, &reply).await
            }
            OutboxEvent::Deferred { id, error_name, next_attempt } => {
                emitter.message_deferred(&id.0, &error_name, next_attempt).await
            }
            OutboxEvent::Failed { id, recipients } => {
                let recipients = recipients.iter().map(|(address, reply)| {
                    HashMap::from([
                        ("address", Variant::from(address.as_str())),
                        ("reply", Variant::from(reply.as_str())),
                    ])
                });
                emitter.message_failed(&id.0, recipients.collect()).await
            }
            OutboxEvent::Uncertain { id } => emitter.message_uncertain(&id.0).await,
            OutboxEvent::Answers { .. } => Ok(()),
        }
    }
}

/// The event; none when some were missed, or when there will never be one again.
async fn heard<T>(event: Result<T, RecvError>) -> Option<T> {
    match event {
        Ok(event) => Some(event),
        Err(RecvError::Lagged(missed)) => {
            tracing::debug!(missed, "a client of the bus is too slow for its signals");
            None
        }
        // The desk holds a sender of its own, so this cannot come; it must not spin if it does.
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

const PROGRESS: &str = "Progress";

/// Progress at most twice a second.
const PROGRESS_APART: Duration = Duration::from_millis(500);

/// The rest at most a hundred times.
const LOOKS_APART: Duration = Duration::from_millis(10);
