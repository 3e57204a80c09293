//! What an account's loop does while it does not work: paused, or after a failure. Floor 4.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Loop, Order};
use crate::engine::board::{micros_now, trouble};
use crate::engine::jobs::report_error;
use crate::model::event::{AccountReport, Consent};
use crate::model::failure::{Failure, Kind, Remedy};
use crate::model::ids::{MailboxName, Uid};
use crate::model::status::AccountState;
use crate::ports::ledger::Ledger;
use crate::ports::local::Local;
use crate::ports::remote::Connector;
use crate::rules::schedule::{LOGIN_ATTEMPTS_MAX, retry_delay};

impl<L: Local, G: Ledger, C: Connector> Loop<L, G, C> {
    /// Waits until resumed, or until the time is over; `None` means stop.
    pub(super) async fn paused(&mut self, seconds: u64) -> Option<()> {
        self.set_state(AccountState::Paused);
        let until = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds));
        loop {
            tokio::select! {
                biased;
                () = self.drive.stop.cancelled() => return None,
                () = sleep_until(until.unwrap_or_else(far_away)), if until.is_some() => {
                    return Some(());
                }
                order = self.drive.orders.recv() => match order? {
                    Order::Resume => return Some(()),
                    Order::Pause(seconds) => return Box::pin(self.paused(seconds)).await,
                    Order::Sync(job, _) => {
                        self.drive.jobs.refuse_paused(job, &self.worker.account.name);
                    }
                    Order::Decide(mailbox, consent) => self.note(&mailbox, consent).await,
                    Order::Want(mailbox, uids) => self.want(&mailbox, uids).await,
                },
            }
        }
    }

    /// Heeds what was ordered while there was no connection; answers how long to pause, if that was it.
    pub(super) async fn ordered(&mut self) -> Option<u64> {
        while let Ok(order) = self.drive.orders.try_recv() {
            match order {
                Order::Pause(seconds) => return Some(seconds),
                Order::Resume => {}
                Order::Decide(mailbox, consent) => self.note(&mailbox, consent).await,
                Order::Want(mailbox, uids) => self.want(&mailbox, uids).await,
                Order::Sync(job, mailboxes) => self.waiting.push((job, mailboxes)),
            }
        }
        None
    }

    /// Records a word that is followed by the next pass.
    async fn note(&self, mailbox: &MailboxName, consent: Consent) {
        if let Err(failure) = self.worker.decide(mailbox, consent).await {
            tracing::warn!(%mailbox, %failure, "a word about held deletions was not recorded");
        }
    }

    /// Records a wish that the next pass follows.
    pub(super) async fn want(&self, mailbox: &MailboxName, uids: Vec<Uid>) {
        if let Err(failure) = self.worker.want(mailbox, uids).await {
            tracing::warn!(%mailbox, %failure, "a wish for messages was not recorded");
        }
    }

    /// Shows the failure and waits for the next try; `None` means stop.
    pub(super) async fn failed(&mut self, failure: Failure) -> Option<()> {
        for (job, _) in std::mem::take(&mut self.waiting) {
            let error = Some(report_error(&failure));
            let report = AccountReport { error, ..AccountReport::default() };
            self.drive.jobs.report(job, &self.worker.account.name, report);
        }
        if failure.kind == Kind::AuthFailed {
            self.n_refused = self.n_refused.saturating_add(1);
        }
        let is_parked = failure.remedy == Remedy::Never || self.n_refused >= LOGIN_ATTEMPTS_MAX;
        let delay = retry_delay(failure.remedy, self.n_failures, fastrand::f64());
        self.n_failures = self.n_failures.saturating_add(1);
        let next =
            if is_parked { 0 } else { micros_now().saturating_add(delay.as_micros() as u64) };
        if failure.kind == Kind::StoreMissing {
            // What comes back may be another directory under the same path.
            self.worker.watcher = Some(self.worker.local.watch(Arc::clone(&self.hints)));
        }
        // The log has each change of this from the board, once.
        tracing::debug!(
            account = %self.worker.account.name, %failure, is_parked, ?delay, "sync failed"
        );
        self.worker.board.account(&self.worker.account.name, |a| {
            a.state = state_of(&failure);
            a.progress = None;
            a.trouble = Some(trouble(&failure, a.trouble.as_ref(), next));
        });
        self.wait_out((!is_parked).then(|| Instant::now() + delay)).await
    }

    /// Waits for the time, or for a person.
    async fn wait_out(&mut self, until: Option<Instant>) -> Option<()> {
        tokio::select! {
            biased;
            () = self.drive.stop.cancelled() => None,
            () = sleep_until(until.unwrap_or_else(far_away)), if until.is_some() => Some(()),
            // One that waits for a person waits for no network.
            () = self.drive.redial.notified(), if until.is_some() => {
                self.n_failures = 0;
                Some(())
            }
            order = self.drive.orders.recv() => match order? {
                Order::Pause(seconds) => Box::pin(self.paused(seconds)).await,
                Order::Resume => {
                    self.n_refused = 0;
                    Some(())
                }
                Order::Decide(mailbox, consent) => {
                    self.note(&mailbox, consent).await;
                    Some(())
                }
                Order::Want(mailbox, uids) => {
                    self.want(&mailbox, uids).await;
                    Some(())
                }
                Order::Sync(job, mailboxes) => {
                    self.n_refused = 0;
                    self.waiting.push((job, mailboxes));
                    Some(())
                }
            },
        }
    }
}

pub(in crate::engine) fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

/// The state that a failure of account scope leads to.
pub(in crate::engine) fn state_of(failure: &Failure) -> AccountState {
    match failure.kind {
        Kind::Offline | Kind::Timeout => AccountState::Offline,
        Kind::TlsUntrusted | Kind::NotEncrypted => AccountState::CertProblem,
        Kind::AuthFailed | Kind::NeedsLogin => AccountState::NeedsLogin,
        Kind::KeyringLocked => AccountState::KeyringLocked,
        Kind::StoreMissing => AccountState::StoreMissing,
        Kind::Throttled | Kind::Refused | Kind::Protocol | Kind::Busy => AccountState::Backoff,
        Kind::LocalIo
        | Kind::Config
        | Kind::NotFound
        | Kind::Address
        | Kind::TooBig
        | Kind::NotSupported => AccountState::Error,
    }
}
