//! Jobs that a person waits for: a number now, a result later. Floor 4.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast};

use crate::model::event::{AccountReport, JobId, ReportError};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::AccountName;
use crate::model::outbox::Item;

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobResult {
    /// The report of each account.
    pub accounts: BTreeMap<AccountName, AccountReport>,
    /// How long it took.
    pub elapsed: Duration,
    /// What became of the outbox, where the pass looked after it.
    pub outbox: Option<Result<Sendings, Failure>>,
}

/// What became of the outbox while one command looked after it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sendings {
    /// Messages that were sent.
    pub sent: usize,
    /// Messages that were refused for good.
    pub failed: usize,
    /// Those that wait, but for what a person holds or wants to be sent later.
    pub left: Vec<Item>,
}

impl JobResult {
    /// Whether nothing failed.
    pub fn is_ok(&self) -> bool {
        let is_sound = !matches!(self.outbox, Some(Err(_)));
        is_sound && self.accounts.values().all(|a| a.error.is_none())
    }
}

/// How a job differs from what the loops do by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// It changes nothing, and reports what it would change.
    pub is_dry: bool,
    /// It brings what waits because traffic is counted.
    pub is_unmetered: bool,
}

#[derive(Debug)]
struct Job {
    missing: Vec<AccountName>,
    result: JobResult,
    since: Instant,
    manner: Manner,
}

/// All jobs of this daemon; the results of the newest ones are kept.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<(JobId, BTreeMap<JobId, Job>)>,
    bell: Notify,
    done: broadcast::Sender<(JobId, JobResult)>,
}

impl Default for Inner {
    fn default() -> Self {
        let (done, _) = broadcast::channel(64);
        Self { state: Mutex::default(), bell: Notify::new(), done }
    }
}

impl Jobs {
    fn state(&self) -> MutexGuard<'_, (JobId, BTreeMap<JobId, Job>)> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job that is done when each of the accounts has reported.
    pub fn begin(&self, accounts: Vec<AccountName>) -> JobId {
        self.begin_as(accounts, Manner::default())
    }

    /// How a job is to be done.
    pub fn manner(&self, id: JobId) -> Manner {
        self.state().1.get(&id).map(|job| job.manner).unwrap_or_default()
    }

    /// [`Jobs::begin`] for one that is to be done in a manner of its own.
    pub fn begin_as(&self, accounts: Vec<AccountName>, manner: Manner) -> JobId {
        let mut state = self.state();
        let (last, jobs) = &mut *state;
        *last = last.wrapping_add(1).max(1);
        let id = *last;
        jobs.insert(
            id,
            Job { missing: accounts, result: JobResult::default(), since: Instant::now(), manner },
        );
        while jobs.len() > JOBS_MAX {
            jobs.pop_first();
        }
        drop(state);
        self.settle(id);
        id
    }

    /// An account's part is done.
    pub fn report(&self, id: JobId, account: &AccountName, report: AccountReport) {
        if let Some(job) = self.state().1.get_mut(&id) {
            job.missing.retain(|a| a != account);
            job.result.accounts.insert(account.clone(), report);
            job.result.elapsed = job.since.elapsed();
        }
        self.settle(id);
    }

    /// An account that is paused does nothing for a job.
    pub fn refuse_paused(&self, id: JobId, account: &AccountName) {
        let failure =
            Failure::new(Scope::Account, Remedy::Later, Kind::Busy, "sync a paused account")
                .cure("postrider resume");
        let error = Some(report_error(&failure));
        self.report(id, account, AccountReport { error, ..AccountReport::default() });
    }

    fn settle(&self, id: JobId) {
        let done =
            self.state().1.get(&id).filter(|j| j.missing.is_empty()).map(|j| j.result.clone());
        if let Some(result) = done {
            // Nobody listening is fine.
            drop(self.inner.done.send((id, result)));
            self.inner.bell.notify_waiters();
        }
    }

    /// The jobs as they end.
    pub fn subscribe(&self) -> broadcast::Receiver<(JobId, JobResult)> {
        self.inner.done.subscribe()
    }

    /// Waits for a job; `None` if there is no such job, or its result was forgotten.
    pub async fn wait(&self, id: JobId) -> Option<JobResult> {
        loop {
            let rung = self.inner.bell.notified();
            tokio::pin!(rung);
            // Registered before the look, so that a job that ends in between is not missed.
            rung.as_mut().enable();
            match self.state().1.get(&id) {
                None => return None,
                Some(job) if job.missing.is_empty() => return Some(job.result.clone()),
                Some(_) => {}
            }
            rung.await;
        }
    }
}

/// A failure in the form of a report.
pub fn report_error(failure: &Failure) -> ReportError {
    ReportError {
        code: failure.kind.error_name().to_owned(),
        text: failure.to_string(),
        exit: failure.kind.exit_code(),
    }
}

const JOBS_MAX: usize = 256;
