//! The outbox for one command, where no daemon runs. Floor 5.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::daemon::outbox::OutboxTask;
use crate::daemon::{paths, place, queued, stopped, wiring};
use crate::engine::board::{Board, micros_now};
use crate::engine::jobs::Sendings;
use crate::engine::relay::Ask;
use crate::model::account::Settings;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Decision, Item, OutboxEvent, Phase};
use crate::model::status::Status;
use crate::rules::senders::sending;

/// What a person wants of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// Keep these here.
    Hold(Vec<OutboxId>),
    /// Let these go when their time comes.
    Release(Vec<OutboxId>),
    /// Forget these.
    Cancel(Vec<OutboxId>),
    /// Say what became of one.
    Resolve(OutboxId, Decision),
    /// Only take in what lies in the directory.
    Look,
    /// Try these now, failed ones as well; all that wait where none is named.
    Send(Vec<OutboxId>),
    /// Try all that wait or failed.
    Retry,
}

/// Runs an errand in this process.
///
/// # Errors
/// A daemon runs, the outbox cannot be used, or a message is not there.
pub async fn run(settings: &Settings, errand: Errand) -> Result<Sendings, Failure> {
    let state_dir = paths::state_dir();
    let _lock = paths::StateLock::take(&state_dir)?;
    let (board, status) = Board::new(wiring::first_status(settings, micros_now()));
    let sends = matches!(errand, Errand::Send(_) | Errand::Retry);
    let desk = Desk::open(settings, &state_dir, &board, status, sends)?;
    // What lies in the directory has to be taken in before it can be meant.
    let done = match desk.settled().await {
        Ok(items) => desk.obey(errand, items).await,
        Err(failure) => Err(failure),
    };
    desk.close(done).await
}

/// Sends what is due after a pass, whose status says where the Sent mailboxes are; none when there is nothing
/// in the outbox.
pub(super) async fn send_due(
    settings: &Settings,
    state_dir: &Path,
    board: &Board,
    status: watch::Receiver<Arc<Status>>,
) -> Option<Result<Sendings, Failure>> {
    // Where the outbox was somewhere else before, mail may wait there.
    let looked = place::keep(&settings.outbox.dir, state_dir);
    match looked.and_then(|()| is_empty(settings, state_dir)) {
        Ok(true) => return None,
        Ok(false) => {}
        Err(failure) => return Some(Err(failure)),
    }
    let desk = match Desk::open(settings, state_dir, board, status, true) {
        Ok(desk) => desk,
        Err(failure) => return Some(Err(failure)),
    };
    let settled = desk.settled().await;
    Some(desk.close(settled).await)
}

fn is_empty(settings: &Settings, state_dir: &Path) -> Result<bool, Failure> {
    Ok(stopped::dropped(settings)? == 0 && queued::items(state_dir)?.is_empty())
}

/// The outbox at work in this process.
struct Desk {
    task: OutboxTask,
    /// Counts what was sent and what failed.
    counted: JoinHandle<(usize, usize)>,
    /// The accounts that send; none when nothing is to be sent.
    able: Vec<AccountName>,
}

impl Desk {
    fn open(
        settings: &Settings,
        state_dir: &Path,
        board: &Board,
        status: watch::Receiver<Arc<Status>>,
        sends: bool,
    ) -> Result<Self, Failure> {
        let (events, heard) = broadcast::channel(EVENTS_MAX);
        let task = OutboxTask::start(settings, state_dir, board, status, events, !sends)?;
        let able = sending(settings).into_iter().filter(|_| sends).map(|one| one.name).collect();
        Ok(Self { task, counted: tokio::spawn(count(heard)), able })
    }

    async fn ask(&self, what: Ask) -> Result<Vec<Item>, Failure> {
        let died = || {
            Failure::new(Scope::Daemon, Remedy::Later, Kind::LocalIo, "use the outbox")
                .detail("its task ended")
                .cure("postrider doctor")
        };
        self.task.ask(what).await.map_err(|_| died())?
    }

    /// Does what a person wants; `items` are those that there are.
    async fn obey(&self, errand: Errand, items: Vec<Item>) -> Result<Vec<Item>, Failure> {
        let ask = match errand {
            Errand::Hold(ids) => Ask::Hold(ids),
            Errand::Release(ids) => Ask::Release(ids),
            Errand::Cancel(ids) => Ask::Cancel(ids),
            Errand::Resolve(id, decision) => Ask::Resolve(id, decision),
            Errand::Look => return Ok(items),
            Errand::Send(ids) => Ask::Flush(ids),
            Errand::Retry => {
                let now = micros_now();
                // What its writer wants later is not what waits.
                let some = |item: &Item| {
                    item.phase == Phase::Failed
                        || item.phase == Phase::Queued && item.hold_until <= now
                };
                Ask::Flush(items.into_iter().filter(some).map(|item| item.id).collect())
            }
        };
        self.ask(ask).await?;
        self.settled().await
    }

    /// Waits until nothing is on its way and nothing due, and all in the directory was taken in.
    async fn settled(&self) -> Result<Vec<Item>, Failure> {
        let (mut before, mut patience) = (None, COPY_PATIENCE);
        loop {
            // No answer comes before the first look at the directory, nor while there is more to take in.
            let items = self.ask(Ask::List).await?;
            let now = micros_now();
            let is_moving = items.iter().any(|item| is_moving(item, now, &self.able));
            // The copy for Sent of what was just sent; where the server may file it, that is for the next time.
            let copies =
                !self.able.is_empty() && items.iter().any(|item| item.phase == Phase::Accepted);
            if copies && !is_moving {
                patience = patience.saturating_sub(BETWEEN_LOOKS);
            }
            if before == Some(items.len()) && !is_moving && (!copies || patience.is_zero()) {
                return Ok(items);
            }
            before = Some(items.len());
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Ends the task, and counts what it did.
    async fn close(self, done: Result<Vec<Item>, Failure>) -> Result<Sendings, Failure> {
        let left = match &done {
            Ok(_) => self.ask(Ask::List).await,
            Err(failure) => Err(failure.clone()),
        };
        self.task.finish().await;
        let (sent, failed) = self.counted.await.unwrap_or_default();
        let (rests, now) = ([Phase::Held, Phase::Failed, Phase::Accepted], micros_now());
        let waits = |item: &Item| !rests.contains(&item.phase) && item.hold_until <= now;
        Ok(Sendings { sent, failed, left: left?.into_iter().filter(waits).collect() })
    }
}

async fn count(mut heard: broadcast::Receiver<OutboxEvent>) -> (usize, usize) {
    let (mut sent, mut failed) = (0, 0);
    loop {
        match heard.recv().await {
            Ok(OutboxEvent::Sent { .. }) => sent += 1,
            Ok(OutboxEvent::Failed { .. }) => failed += 1,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return (sent, failed),
        }
    }
}

/// Whether something becomes of a message by itself; `able` are the accounts that send.
fn is_moving(item: &Item, now: u64, able: &[AccountName]) -> bool {
    match item.phase {
        // With a reason, it cannot be completed for now.
        Phase::Claimed => item.reason.is_none(),
        Phase::Sending | Phase::Dot => true,
        Phase::Queued => {
            item.account.as_ref().is_some_and(|name| able.contains(name))
                && item.next_try.max(item.hold_until) <= now
        }
        Phase::Held | Phase::Accepted | Phase::SentCopy | Phase::Uncertain | Phase::Failed => false,
    }
}

const COPY_PATIENCE: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const EVENTS_MAX: usize = 256;
