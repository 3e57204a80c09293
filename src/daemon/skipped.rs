//! Messages that a limit left on the server, for whoever looks at them or asks for them. Floor 5.

use std::collections::BTreeMap;
use std::path::Path;

use crate::adapters::ledger::SqliteLedger;
use crate::daemon::paths;
use crate::model::event::Target;
use crate::model::failure::Failure;
use crate::model::ids::{AccountName, MailboxName, Uid};
use crate::model::view::SkippedMessage;
use crate::ports::ledger::{Change, Ledger as _, LimitChange};
use crate::rules::schedule::message_backoff;

/// The messages that a limit left on the server: of one mailbox, or of all of an account.
///
/// # Errors
/// The ledger cannot be read.
pub fn skipped(
    state_dir: &Path,
    target: &Target,
) -> Result<Vec<(MailboxName, Vec<SkippedMessage>)>, Failure> {
    let path = paths::ledger(state_dir, &target.account);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let ledger = SqliteLedger::read(&path)?;
    let mut found = Vec::new();
    for row in ledger.mailboxes()? {
        if target.mailbox.as_ref().is_none_or(|name| *name == row.name) {
            found.push((row.name, ledger.skipped(row.id)?));
        }
    }
    Ok(found)
}

/// How many messages each limit left on the server, by mailbox, of an account.
///
/// # Errors
/// The ledger cannot be read.
pub fn counts(
    state_dir: &Path,
    account: &AccountName,
) -> Result<BTreeMap<MailboxName, Vec<(String, u32)>>, Failure> {
    let path = paths::ledger(state_dir, account);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let ledger = SqliteLedger::read(&path)?;
    let rows = ledger.mailboxes()?.into_iter().filter(|row| row.skipped > 0);
    rows.map(|row| Ok((row.name, ledger.skipped_by(row.id)?))).collect()
}

/// Records that the next sync fetches these messages, whatever a limit says. The caller holds the
/// state lock.
///
/// # Errors
/// The ledger cannot be written.
pub fn want(
    state_dir: &Path,
    target: &Target,
    mailbox: &MailboxName,
    uids: Vec<Uid>,
) -> Result<(), Failure> {
    let ledger = SqliteLedger::open(&paths::ledger(state_dir, &target.account), message_backoff)?;
    let id = ledger.mailbox(mailbox)?.id;
    ledger.apply(id, &[Change::Limit(LimitChange::Want(uids))])
}
