//! Deletions that the brake holds back, for whoever decides about them while no daemon runs. Floor 5.

use crate::rules::schedule::message_backoff;
use std::path::Path;

use crate::adapters::ledger::SqliteLedger;
use crate::daemon::paths;
use crate::model::account::Settings;
use crate::model::event::{Consent, Target};
use crate::model::failure::Failure;
use crate::model::ids::{AccountName, MailboxName};
use crate::ports::ledger::{Change, Ledger as _};

/// A mailbox where deletions are held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldMailbox {
    /// The account.
    pub account: AccountName,
    /// The mailbox.
    pub mailbox: MailboxName,
    /// How many.
    pub count: u32,
}

/// The mailboxes among the targets (none means all) where deletions are held back. With a word, it
/// is recorded for the next pass; then the caller holds the state lock.
///
/// # Errors
/// A ledger cannot be read or written.
pub fn held(
    settings: &Settings,
    state_dir: &Path,
    targets: &[Target],
    consent: Option<Consent>,
) -> Result<Vec<HeldMailbox>, Failure> {
    let mut found = Vec::new();
    for account in settings.accounts.keys() {
        let path = paths::ledger(state_dir, account);
        if !path.exists() {
            continue;
        }
        let ledger = match consent {
            None => SqliteLedger::read(&path)?,
            Some(_) => SqliteLedger::open(&path, message_backoff)?,
        };
        for row in ledger.mailboxes()?.into_iter().filter(|row| row.held > 0) {
            if !is_meant(targets, account, &row.name) {
                continue;
            }
            if let Some(consent) = consent {
                ledger.apply(row.id, &[Change::Consent(Some(consent))])?;
            }
            let (account, mailbox) = (account.clone(), row.name);
            found.push(HeldMailbox { account, mailbox, count: row.held });
        }
    }
    Ok(found)
}

/// Whether the targets name a mailbox; none means all.
pub fn is_meant(targets: &[Target], account: &AccountName, mailbox: &MailboxName) -> bool {
    let named = |target: &Target| {
        target.account == *account && target.mailbox.as_ref().is_none_or(|m| m == mailbox)
    };
    targets.is_empty() || targets.iter().any(named)
}
