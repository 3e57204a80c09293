//! Where the mail of a maildrop comes into: that the mailbox is there, and is the one of the setting. Floor 4.

use super::fetch::COMPLETE;
use crate::model::account::Leave;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::MailboxName;
use crate::ports::ledger::{Change, MailboxRow};
use crate::ports::local::Local;
use crate::ports::pop::{PopChange, PopLedger};

/// Makes the mailbox where it is not there. One that was there is missing, not empty, where its file system
/// is not mounted, or where its absence would mean that mail goes from the server.
pub(super) fn make_sure<L: Local>(
    local: &L,
    row: &MailboxRow,
    leave: Leave,
) -> Result<(), Failure> {
    if local.mailboxes()?.contains(&row.name) {
        return Ok(());
    }
    let is_unmounted = local.stamp(&row.name).is_ok();
    if row.cursor == Some(COMPLETE) && (is_unmounted || leave == Leave::UntilMoved) {
        let what = format!("open mailbox {:?}", row.name.as_str());
        return Err(Failure::new(Scope::Account, Remedy::Later, Kind::StoreMissing, what)
            .at(local.path(&row.name).display().to_string())
            .cure("bring the directory back; nothing is deleted on the server meanwhile"));
    }
    local.create(&row.name)
}

/// What is known of the maildrop goes with the setting that says where its mail comes into.
pub(super) fn follow_setting<L: Local, G: PopLedger>(
    local: &L,
    ledger: &G,
    mailbox: &MailboxName,
) -> Result<(), Failure> {
    let is_pop = |row: &MailboxRow| row.cursor == Some(COMPLETE);
    let rows = ledger.mailboxes()?;
    if rows.iter().any(|row| row.name == *mailbox && is_pop(row)) {
        return Ok(());
    }
    let Some(before) = rows.into_iter().find(|row| row.name != *mailbox && is_pop(row)) else {
        return Ok(());
    };
    local.create(mailbox)?;
    ledger.apply(before.id, &[Change::Pop(PopChange::Detached)])?;
    ledger.rename(before.id, mailbox)
}
