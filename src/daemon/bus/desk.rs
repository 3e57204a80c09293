//! What all objects of all connections share: the snapshot, the way to the engine, the jobs. Floor 5.
//!
//! Nothing here waits for the engine but [`Desk::wait`]. Each queue is bounded, and a full one is the
//! error `Busy`: a caller that floods delays nobody but itself.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::error::Error;
use super::{OutboxCall, Submission};
use crate::engine::jobs::{JobResult, Jobs, Manner};
use crate::engine::relay::{Ask, Request};
use crate::model::event::{Command, JobId, Notice, Target};
use crate::model::ids::{AccountName, MailboxName, OutboxId};
use crate::model::outbox::{Item, OutboxEvent};
use crate::model::status::{AccountState, AccountStatus, Status};

pub(super) struct Desk {
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) jobs: Jobs,
    pub(super) config_path: String,
    pub(super) find_mistake: fn(&Path) -> Option<String>,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) outbox: broadcast::Sender<OutboxEvent>,
    pub(super) calls: mpsc::Sender<OutboxCall>,
    pub(super) submissions: Semaphore,
    /// Fewer than the jobs that are remembered, so that none that runs is ever forgotten.
    pub(super) open_jobs: Arc<Semaphore>,
    pub(super) waits: Semaphore,
}

impl Desk {
    /// The newest snapshot.
    pub(super) fn newest(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// Sends a command, unless too many wait.
    pub(super) fn order(&self, command: Command) -> Result<(), Error> {
        self.commands.try_send(command).map_err(|_| busy())
    }

    /// Begins to sync these targets; none means all accounts that are enabled and receive mail.
    pub(super) fn sync(&self, targets: Vec<Target>, manner: Manner) -> Result<JobId, Error> {
        let status = self.newest();
        if status.paused {
            return Err(paused("everything"));
        }
        let wanted = if targets.is_empty() { all(&status)? } else { named(&status, targets)? };
        let open = Arc::clone(&self.open_jobs).try_acquire_owned().map_err(|_| busy())?;
        let places = self.commands.try_reserve_many(wanted.len()).map_err(|_| busy())?;
        let accounts = wanted.keys().cloned().collect();
        let job = self.jobs.begin_as(accounts, manner);
        for (place, (account, mailboxes)) in places.zip(wanted) {
            place.send(Command::Sync { job, account, mailboxes });
        }
        self.watch_over(job, open);
        Ok(job)
    }

    /// Begins to send what is queued; no id means all.
    pub(super) fn flush(&self, ids: Vec<OutboxId>) -> Result<JobId, Error> {
        if self.newest().paused {
            return Err(paused("the outbox"));
        }
        let open = Arc::clone(&self.open_jobs).try_acquire_owned().map_err(|_| busy())?;
        let place = self.commands.try_reserve().map_err(|_| busy())?;
        let job = self.jobs.begin(vec![AccountName(OUTBOX_JOB.to_owned())]);
        place.send(Command::Flush { job, ids });
        self.watch_over(job, open);
        Ok(job)
    }

    fn watch_over(&self, job: JobId, open: tokio::sync::OwnedSemaphorePermit) {
        let jobs = self.jobs.clone();
        tokio::spawn(async move {
            drop(jobs.wait(job).await);
            drop(open);
        });
    }

    /// Asks the outbox and waits for its answer; it answers between two steps of its own.
    pub(super) async fn ask(&self, what: Ask) -> Result<Vec<Item>, Error> {
        let _place = self.waits.try_acquire().map_err(|_| busy())?;
        let (reply, answer) = oneshot::channel();
        let call = OutboxCall::Ask(Request { what, reply });
        self.calls.try_send(call).map_err(|_| busy())?;
        // Nobody answers while the outbox starts anew with another configuration.
        let answer = answer.await.map_err(|_| busy())?;
        answer.map_err(|failure| Error::of_outbox(&failure))
    }

    /// Hands a message over and waits until it is safe in the outbox.
    pub(super) async fn submit(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<OutboxId, (String, String)>>) -> Submission,
    ) -> Result<OutboxId, Error> {
        let _place = self.submissions.try_acquire().map_err(|_| busy())?;
        let (reply, answer) = oneshot::channel();
        let call = OutboxCall::Submit(make(reply));
        self.calls.try_send(call).map_err(|_| busy())?;
        let answer = answer.await.map_err(|_| busy())?;
        answer.map_err(|(name, text)| Error::named(&name, text))
    }

    /// Waits for a job.
    pub(super) async fn wait(&self, job: JobId) -> Result<JobResult, Error> {
        let _place = self.waits.try_acquire().map_err(|_| busy())?;
        let result = self.jobs.wait(job).await;
        result.ok_or_else(|| Error::NoSuchJob(format!("there is no job {job}")))
    }
}

/// The desk as one connection sees it: its properties are those of the snapshot that it was last told
/// of, so that a value that was read is never older or newer than the signals that came before.
#[derive(Clone)]
pub(super) struct View {
    desk: Arc<Desk>,
    shown: watch::Sender<Arc<Status>>,
}

impl View {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        let (shown, _) = watch::channel(desk.newest());
        Self { desk, shown }
    }

    /// The snapshot that the connection knows.
    pub(super) fn now(&self) -> Arc<Status> {
        Arc::clone(&self.shown.borrow())
    }

    /// Goes on to the newest snapshot; the caller tells what changed.
    pub(super) fn advance(&self) {
        self.shown.send_replace(self.desk.newest());
    }

    /// Waits until what is true now is shown, so that who was told of the end of a job also reads
    /// what came of it.
    pub(super) async fn catch_up(&self) {
        let mut shown = self.shown.subscribe();
        let is_behind = !Arc::ptr_eq(&shown.borrow_and_update(), &self.desk.newest());
        if is_behind {
            // Only a peer that does not read takes longer.
            drop(timeout(CATCH_UP_LIMIT, shown.changed()).await);
        }
    }
}

impl Deref for View {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

/// The accounts that a sync of everything covers: not those that are paused, unless all are.
fn all(status: &Status) -> Result<BTreeMap<AccountName, Vec<MailboxName>>, Error> {
    let is_syncable = |a: &AccountStatus| a.enabled && a.protocol != "none";
    let (idle, chosen): (Vec<_>, Vec<_>) =
        status.accounts.iter().filter(|(_, a)| is_syncable(a)).partition(|(_, a)| is_paused(a));
    if chosen.is_empty() && !idle.is_empty() {
        return Err(paused("every account"));
    }
    Ok(chosen.into_iter().map(|(name, _)| (name.clone(), Vec::new())).collect())
}

fn is_paused(account: &AccountStatus) -> bool {
    account.state == AccountState::Paused
}

/// The accounts of the targets, each with its mailboxes; no mailbox means all. One that is paused says so in its
/// report, unless all are.
fn named(
    status: &Status,
    targets: Vec<Target>,
) -> Result<BTreeMap<AccountName, Vec<MailboxName>>, Error> {
    let mut wanted: BTreeMap<AccountName, Option<Vec<MailboxName>>> = BTreeMap::new();
    for target in targets {
        check_account(status, &target.account)?;
        let entry = wanted.entry(target.account).or_insert_with(|| Some(Vec::new()));
        match (target.mailbox, entry.as_mut()) {
            (Some(mailbox), Some(mailboxes)) if mailboxes.contains(&mailbox) => {}
            (Some(mailbox), Some(mailboxes)) => mailboxes.push(mailbox),
            (None, _) => *entry = None,
            (Some(_), None) => {}
        }
    }
    let of = |name: &AccountName| status.accounts.get(name);
    if wanted.keys().all(|name| of(name).is_some_and(is_paused)) {
        let names: Vec<&str> = wanted.keys().map(AccountName::as_str).collect();
        return Err(paused(&format!("account {}", names.join(", "))));
    }
    Ok(wanted.into_iter().map(|(name, boxes)| (name, boxes.unwrap_or_default())).collect())
}

fn check_account(status: &Status, name: &AccountName) -> Result<(), Error> {
    let Some(account) = status.accounts.get(name) else {
        // What was asked for is not quoted at length: it may be anything.
        let shown: String = name.as_str().chars().take(64).collect();
        return Err(Error::NoSuchAccount(format!("there is no account {shown:?}")));
    };
    if !account.enabled {
        Err(Error::ConfigInvalid(format!("account {name} is not enabled in the configuration")))
    } else if account.protocol == "none" {
        Err(Error::ConfigInvalid(format!("account {name} only sends; it has nothing to sync")))
    } else {
        Ok(())
    }
}

fn busy() -> Error {
    Error::Busy("too many requests wait already; try again later".to_owned())
}

fn paused(what: &str) -> Error {
    Error::Paused(format!("{what} is paused; to go on: postrider resume"))
}

/// The name under which the outbox reports to its jobs.
pub const OUTBOX_JOB: &str = "outbox";

const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);
