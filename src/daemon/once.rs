//! The pass without a daemon. Floor 5.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinSet;

use crate::adapters::net::Line;
use crate::daemon::hooks::{self, Arrivals};
use crate::daemon::{errand, last, paths, wiring};
use crate::engine::board::{Board, micros_now};
use crate::engine::jobs::{JobResult, report_error};
use crate::model::account::Settings;
use crate::model::event::{AccountReport, Notice, Target};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, MailboxName};
use crate::model::status::{Status, Trouble};
use crate::ports::remote::Connector as _;

/// One complete pass in this process: what `sync` does where no daemon runs.
///
/// # Errors
/// The state directory is in use, or an account does not exist; what fails within an account is in
/// the result.
pub async fn sync_once(
    settings: Settings,
    targets: Vec<Target>,
    dry_run: bool,
    onlooker: Option<oneshot::Sender<watch::Receiver<Arc<Status>>>>,
) -> Result<JobResult, Failure> {
    let state_dir = paths::state_dir();
    let _lock = paths::StateLock::take(&state_dir)?;
    // Whoever names what he wants does not want the rest.
    let sends = targets.is_empty() && !dry_run;
    let wanted = wanted(&settings, targets)?;
    let begin = Instant::now();
    let (board, status) = Board::new(wiring::first_status(&settings, micros_now()));
    if let Some(onlooker) = onlooker {
        // Whoever looked has gone: fine.
        drop(onlooker.send(status.clone()));
    }
    let notices = board.notices().subscribe();
    let mut passes = JoinSet::new();
    let mut result = JobResult::default();
    for (name, mailboxes) in wanted {
        let Some(account) = settings.accounts.get(&name) else { continue };
        let ledger = paths::ledger(&state_dir, &name);
        if account.pop3.is_some() {
            match wiring::pop_worker(account, &ledger, board.clone(), &Line::default()) {
                Ok(Some(worker)) => {
                    let mut worker = if dry_run { worker.dry() } else { worker };
                    passes.spawn(async move { (name, worker.once(&mailboxes).await) });
                }
                Ok(None) => {}
                Err(failure) => drop(result.accounts.insert(name, failed(&failure))),
            }
            continue;
        }
        // Dialled while the ledger is being opened: a pass with nothing to do is mostly this.
        let connecting =
            wiring::connector(account).map(|c| tokio::spawn(async move { c.connect().await }));
        match wiring::worker(account, &ledger, board.clone(), &Line::default()) {
            Ok(Some(worker)) => {
                let mut worker = if dry_run { worker.dry() } else { worker };
                passes.spawn(async move {
                    let report = match connecting {
                        Some(connecting) => match connecting.await {
                            Ok(connected) => worker.once_on(connected, &mailboxes).await,
                            Err(_) => worker.once(&mailboxes).await,
                        },
                        None => worker.once(&mailboxes).await,
                    };
                    (name, report)
                });
            }
            Ok(None) => {}
            Err(failure) => drop(result.accounts.insert(name, failed(&failure))),
        }
    }
    let arrivals = finish(passes, notices, &mut result).await;
    if sends {
        result.outbox = errand::send_due(&settings, &state_dir, &board, status.clone()).await;
    }
    result.elapsed = begin.elapsed();
    if !dry_run {
        keep(&state_dir, &status.borrow(), &result);
    }
    if let Some(hook) = settings.new_mail.as_ref().filter(|_| !arrivals.is_empty()) {
        hooks::run(hook, &arrivals).await;
    }
    Ok(result)
}

/// Keeps how each account's pass ended.
fn keep(state_dir: &Path, status: &Status, result: &JobResult) {
    for (name, report) in &result.accounts {
        let Some(mut account) = status.accounts.get(name).cloned() else { continue };
        account.trouble = report.error.as_ref().map(|error| Trouble {
            name: error.code.clone(),
            text: error.text.clone(),
            since: micros_now(),
            next_retry: 0,
        });
        last::keep(state_dir, name, &account);
    }
}

/// Waits for all passes, and hears of what they bring.
async fn finish(
    mut passes: JoinSet<(AccountName, AccountReport)>,
    mut notices: broadcast::Receiver<Notice>,
    result: &mut JobResult,
) -> Arrivals {
    let mut arrivals = Arrivals::default();
    loop {
        tokio::select! {
            biased;
            Ok(notice) = notices.recv() => drop(arrivals.add(&notice)),
            done = passes.join_next() => match done {
                Some(Ok((name, report))) => drop(result.accounts.insert(name, report)),
                Some(Err(_)) => {}
                None => return arrivals,
            },
        }
    }
}

fn failed(failure: &Failure) -> AccountReport {
    AccountReport { error: Some(report_error(failure)), ..AccountReport::default() }
}

/// The mailboxes of each account that are asked for; an empty list means all.
fn wanted(
    settings: &Settings,
    targets: Vec<Target>,
) -> Result<BTreeMap<AccountName, Vec<MailboxName>>, Failure> {
    let mut wanted: BTreeMap<AccountName, Vec<MailboxName>> = BTreeMap::new();
    if targets.is_empty() {
        let enabled = settings.accounts.values().filter(|a| a.enabled);
        return Ok(enabled.map(|a| (a.name.clone(), Vec::new())).collect());
    }
    let whole: Vec<AccountName> =
        targets.iter().filter(|t| t.mailbox.is_none()).map(|t| t.account.clone()).collect();
    for target in targets {
        if !settings.accounts.contains_key(&target.account) {
            let what = format!("find account {:?}", target.account.as_str());
            let names: Vec<&str> = settings.accounts.keys().map(AccountName::as_str).collect();
            return Err(Failure::new(Scope::Daemon, Remedy::Never, Kind::NotFound, what)
                .cure(format!("the configuration has: {}", names.join(", "))));
        }
        let mailboxes = wanted.entry(target.account.clone()).or_default();
        if !whole.contains(&target.account) {
            mailboxes.extend(target.mailbox);
        }
    }
    Ok(wanted)
}
