//! A Maildir or a ledger that came back from an old backup: everything is paired again, and nothing
//! is deleted or uploaded because of it. Floor 4.
//!
//! Both carry an epoch, a number that grows with every pass that changed something: the Maildir
//! first, then the ledger. They differ by more than a crash can explain only if one of them was
//! restored.

use std::collections::BTreeSet;

use crate::model::failure::{Failure, Scope};
use crate::model::ids::{Base, MailboxName};
use crate::ports::ledger::{Change, Ledger};
use crate::ports::local::Local;

/// Makes the epochs agree; answers the mailboxes that have to be paired again because one of the two
/// was restored.
pub(super) fn settle_epoch<L: Local, G: Ledger>(
    local: &L,
    ledger: &G,
) -> Result<Vec<MailboxName>, Failure> {
    let Some(epoch) = restored(local, ledger)? else { return Ok(Vec::new()) };
    let mut reset = Vec::new();
    for row in ledger.mailboxes()?.into_iter().filter(|row| row.is_known) {
        let mut known: BTreeSet<Base> = BTreeSet::new();
        ledger.each(row.id, &mut |row| known.extend(row.base))?;
        let scan = match local.scan(&row.name) {
            Ok(scan) => scan,
            Err(failure) if failure.scope == Scope::Mailbox => continue,
            Err(failure) => return Err(failure),
        };
        let mut sieve = scan.messages.sieve();
        for base in &known {
            sieve.take(base);
        }
        // A file that was deleted before the backup was restored is no new mail.
        let strays = sieve.rest().into_iter().map(|(base, _)| Change::Stray(base));
        let changes: Vec<Change> = [Change::Void].into_iter().chain(strays).collect();
        ledger.apply(row.id, &changes)?;
        reset.push(row.name);
    }
    local.set_epoch(epoch)?;
    ledger.set_epoch(epoch)?;
    Ok(reset)
}

/// The epoch to begin once all is paired again, if one of the two was restored; else they agree now.
pub(super) fn restored<L: Local, G: Ledger>(local: &L, ledger: &G) -> Result<Option<u64>, Failure> {
    let here = local.epoch()?;
    let Some(known) = ledger.epoch()? else {
        // A new ledger pairs everything by itself.
        ledger.set_epoch(here)?;
        return Ok(None);
    };
    // One ahead: the process died after the one and before the other.
    if here == known || here == known.saturating_add(1) {
        if here != known {
            ledger.set_epoch(here)?;
        }
        return Ok(None);
    }
    Ok(Some(here.max(known).saturating_add(1)))
}

/// Begins a new epoch, after a pass that changed something.
pub(super) fn advance_epoch<L: Local, G: Ledger>(local: &L, ledger: &G) -> Result<(), Failure> {
    let epoch = ledger.epoch()?.unwrap_or(0).saturating_add(1);
    local.set_epoch(epoch)?;
    ledger.set_epoch(epoch)
}
