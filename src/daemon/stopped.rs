//! The status while no daemon runs, read from the ledgers and the outbox. Floor 5.
//!
//! Nothing is written and no server is asked: it is what the last pass left behind.

use std::collections::BTreeMap;
use std::path::Path;

use crate::adapters::ledger::SqliteLedger;
use crate::adapters::outbox::OutboxDir;
use crate::daemon::{found, last, paths, queued, wiring};
use crate::engine::board::{micros_now, trouble};
use crate::model::account::{Account, Role, Settings};
use crate::model::failure::Failure;
use crate::model::ids::{AccountName, MailboxName};
use crate::model::outbox::Phase;
use crate::model::status::{MailboxStatus, OutboxStatus, Status};
use crate::model::view::RemoteMailbox;
use crate::ports::ledger::{Ledger as _, MailboxRow};
use crate::ports::local::Local as _;
use crate::ports::outbox::Spool as _;
use crate::rules::mailboxes::roles;
use crate::rules::relay::is_late;

/// What the ledgers know, the mailboxes with their numbers and the queue, and how the last pass ended. A ledger
/// that cannot be read is the trouble of its account.
///
/// # Errors
/// The outbox cannot be read.
pub fn status(settings: &Settings, state_dir: &Path) -> Result<Status, Failure> {
    let mut status = Status { starting: false, ..wiring::first_status(settings, 0) };
    for (name, account) in &settings.accounts {
        let Some(shown) = status.accounts.get_mut(name) else { continue };
        shown.servers = found::servers(account);
        let path = paths::ledger(state_dir, name);
        if !path.exists() {
            continue;
        }
        match of_account(account, &path) {
            Ok(mailboxes) => shown.mailboxes = mailboxes,
            Err(failure) => shown.trouble = Some(trouble(&failure, None, 0)),
        }
    }
    last::recall(state_dir, &mut status);
    status.outbox = outbox(settings, state_dir)?;
    Ok(status)
}

/// The mailboxes that the ledgers know.
///
/// # Errors
/// A ledger cannot be read.
pub fn mailboxes(
    settings: &Settings,
    state_dir: &Path,
) -> Result<Vec<(AccountName, MailboxName)>, Failure> {
    let mut found = Vec::new();
    for name in settings.accounts.keys() {
        let path = paths::ledger(state_dir, name);
        if path.exists() {
            let rows = SqliteLedger::read(&path)?.mailboxes()?;
            found.extend(rows.into_iter().map(|row| (name.clone(), row.name)));
        }
    }
    Ok(found)
}

fn of_account(
    account: &Account,
    ledger: &Path,
) -> Result<BTreeMap<MailboxName, MailboxStatus>, Failure> {
    let ledger = SqliteLedger::read(ledger)?;
    let rows = ledger.mailboxes()?;
    // What the server says about roles is not in the ledger: well-known names have to do.
    let listed: Vec<RemoteMailbox> = rows.iter().map(|row| listed(&row.name)).collect();
    let (roles, maildir) = (roles(&account.roles, &listed), wiring::maildir(account));
    let mailboxes = rows.iter().map(|row| {
        let role = roles.iter().find(|(_, name)| **name == row.name).map(|(role, _)| *role);
        let path = maildir.path(&row.name).display().to_string();
        Ok((row.name.clone(), mailbox(row, path, role, ledger.tally(row.id)?)))
    });
    mailboxes.collect()
}

fn mailbox(
    row: &MailboxRow,
    path: String,
    role: Option<Role>,
    (total, unread): (u32, u32),
) -> MailboxStatus {
    MailboxStatus {
        path,
        role: role.map_or("", Role::as_str).to_owned(),
        total,
        unread,
        held: row.held,
        skipped: row.skipped,
        failed: row.failed,
        ..MailboxStatus::default()
    }
}

fn listed(name: &MailboxName) -> RemoteMailbox {
    RemoteMailbox {
        name: name.clone(),
        role: None,
        is_subscribed: true,
        selectable: true,
        status: None,
    }
}

/// The queue, with what was dropped and waits for a daemon to take it in.
fn outbox(settings: &Settings, state_dir: &Path) -> Result<OutboxStatus, Failure> {
    let items = queued::items(state_dir)?;
    let count = |wanted: &[Phase]| {
        let found = items.iter().filter(|item| wanted.contains(&item.phase));
        u32::try_from(found.count()).unwrap_or(u32::MAX)
    };
    let now = micros_now();
    let late = items.iter().filter(|item| is_late(item, now)).count();
    let waiting = [Phase::Claimed, Phase::Queued, Phase::Sending, Phase::Dot];
    Ok(OutboxStatus {
        queued: count(&waiting).saturating_add(dropped(settings)?),
        held: count(&[Phase::Held]),
        uncertain: count(&[Phase::Uncertain]),
        failed: count(&[Phase::Failed]),
        late: u32::try_from(late).unwrap_or(u32::MAX),
        directory: settings.outbox.dir.display().to_string(),
        ..OutboxStatus::default()
    })
}

/// Files in the outbox that no daemon has taken in.
///
/// # Errors
/// The outbox cannot be listed.
pub fn dropped(settings: &Settings) -> Result<u32, Failure> {
    let dir = &settings.outbox.dir;
    if !dir.join("new").is_dir() {
        return Ok(0);
    }
    let ready = OutboxDir::open(dir)?.scan()?.ready.len();
    Ok(u32::try_from(ready).unwrap_or(u32::MAX))
}
