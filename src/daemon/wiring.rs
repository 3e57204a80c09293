//! Builds the parts of an account from the settings. Floor 5.

use crate::rules::schedule::message_backoff;
use std::path::Path;
use std::sync::Arc;

use crate::adapters::imap::{ImapConnector, Needs};
use crate::adapters::ledger::SqliteLedger;
use crate::adapters::maildir::MaildirStore;
use crate::adapters::net::Line;
use crate::adapters::pop3::Pop3Connector;
use crate::daemon::paths;
use crate::engine::board::Board;
use crate::engine::pass::Worker;
use crate::engine::pop::pass::PopWorker;
use crate::model::account::{Account, Settings};
use crate::model::failure::Failure;
use crate::model::status::{AccountState, AccountStatus, OutboxStatus, Status};

/// A worker over the real ports.
pub type RealWorker = Worker<MaildirStore, SqliteLedger, ImapConnector>;

/// A worker over the real ports, for POP3.
pub type RealPopWorker = PopWorker<MaildirStore, SqliteLedger, Pop3Connector>;

/// The Maildir of an account.
pub fn maildir(account: &Account) -> MaildirStore {
    MaildirStore::new(
        account.maildir.clone(),
        account.layout,
        account.info_separator,
        account.sync.quarantine,
    )
    .with_mbsync_states(paths::mbsync_states())
}

/// The way to the IMAP server of an account; `None` if it has none.
pub fn connector(account: &Account) -> Option<ImapConnector> {
    let imap = account.imap.as_ref()?;
    let connector = ImapConnector::new(imap.clone(), account.name.as_str());
    Some(connector.with(Needs {
        subscriptions: account.sync.subscribed_only,
        dates: account.sync.limits.max_age.is_some(),
    }))
}

/// Builds the worker of an account, whose connections hang on `line`; `None` if it has no IMAP.
///
/// # Errors
/// The ledger cannot be used.
pub fn worker(
    account: &Account,
    ledger: &Path,
    board: Board,
    line: &Line,
) -> Result<Option<RealWorker>, Failure> {
    let Some(connector) = connector(account) else { return Ok(None) };
    let connector = connector.on(line.clone());
    let ledger = SqliteLedger::open(ledger, message_backoff)?;
    ledger.leave_pop()?;
    Ok(Some(worker_on(account, connector, ledger, board)))
}

/// Builds a worker that only looks, beside a daemon that may be at work; `None` if the account has
/// no IMAP.
///
/// # Errors
/// The ledger cannot be read.
pub fn auditor(
    account: &Account,
    ledger: &Path,
    board: Board,
) -> Result<Option<RealWorker>, Failure> {
    let Some(connector) = connector(account) else { return Ok(None) };
    Ok(Some(worker_on(account, connector, SqliteLedger::read(ledger)?, board).dry()))
}

/// Builds the worker of an account that fetches by POP3; `None` if it does not.
///
/// # Errors
/// The ledger cannot be used.
pub fn pop_worker(
    account: &Account,
    ledger: &Path,
    board: Board,
    line: &Line,
) -> Result<Option<RealPopWorker>, Failure> {
    let Some(pop) = account.pop3.clone() else { return Ok(None) };
    let connector = Pop3Connector::new(pop.clone(), account.name.as_str()).on(line.clone());
    let ledger = SqliteLedger::open(ledger, message_backoff)?;
    let local = Arc::new(maildir(account));
    let account = (Arc::new(account.clone()), pop);
    Ok(Some(PopWorker::new(account, local, Arc::new(ledger), Arc::new(connector), board)))
}

fn worker_on(
    account: &Account,
    connector: ImapConnector,
    ledger: SqliteLedger,
    board: Board,
) -> RealWorker {
    let local = Arc::new(maildir(account));
    let account = Arc::new(account.clone());
    Worker::new(account, local, Arc::new(ledger), Arc::new(connector), board)
}

/// The status before anything happened.
pub fn first_status(settings: &Settings, since: u64) -> Status {
    let accounts = settings.accounts.iter().map(|(name, account)| {
        let protocol = match (&account.imap, &account.pop3) {
            (Some(_), _) => "imap",
            (None, Some(_)) => "pop3",
            (None, None) => "none",
        };
        let state = match (account.enabled, protocol) {
            (false, _) => AccountState::Disabled,
            (true, "none") => AccountState::Idle,
            (true, _) => AccountState::Connecting,
        };
        let status = AccountStatus {
            address: account.address.clone(),
            protocol: protocol.to_owned(),
            enabled: account.enabled,
            maildir: account.maildir.display().to_string(),
            state,
            ..AccountStatus::default()
        };
        (name.clone(), status)
    });
    Status {
        since,
        starting: true,
        accounts: accounts.collect(),
        outbox: OutboxStatus {
            directory: settings.outbox.dir.display().to_string(),
            ..OutboxStatus::default()
        },
        ..Status::default()
    }
}
