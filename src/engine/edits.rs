//! Drafts that were rewritten in place: the server gets the new text, and then loses the old one.
//! Floor 4.
//!
//! Mail does not change, drafts do: only in the mailbox of that role files are looked at beyond their
//! names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::execute::Site;
use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::engine::sight::seconds_now;
use crate::model::account::{Direction, Role};
use crate::model::failure::Failure;
use crate::model::ids::{Base, MailboxName, Uid};
use crate::model::view::{BaseRow, RowId, RowState};
use crate::ports::ledger::{Change, Ledger, MailboxId};
use crate::ports::local::{Local, Seen};
use crate::ports::remote::{Connector, Remote, Removal};

/// What a look for edits came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Edits {
    /// Whether the ledger learned of one.
    pub(super) is_any: bool,
    /// A file is still being written: look again then.
    pub(super) recheck: Option<Instant>,
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Finds drafts whose content is not what both sides agreed on. Their rows become replaced ones:
    /// the file counts as new, and the old message goes once the new one is there.
    pub(super) async fn mark_edits(&self, name: &MailboxName) -> Result<Edits, Failure> {
        let is_drafts = self.roles.get(&Role::Drafts) == Some(name);
        if !is_drafts || self.is_dry || self.account.sync.direction == Direction::Pull {
            return Ok(Edits::default());
        }
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (name, now) = (name.clone(), seconds_now());
        let is_open = offload(move || {
            let id = ledger.mailbox(&name)?.id;
            mark(&*local, &*ledger, (&name, id), now)
        })
        .await?;
        let (is_any, is_busy) = is_open;
        Ok(Edits { is_any, recheck: is_busy.then(|| Instant::now() + QUIET) })
    }
}

fn mark<L: Local, G: Ledger>(
    local: &L,
    ledger: &G,
    (name, id): (&MailboxName, MailboxId),
    now: i64,
) -> Result<(bool, bool), Failure> {
    let mut rows: BTreeMap<Base, BaseRow> = BTreeMap::new();
    ledger.each(id, &mut |row| {
        if let (Some(base), RowState::Paired) = (&row.base, row.state) {
            rows.insert(base.clone(), row);
        }
    })?;
    let replaced = ledger.replaced(id)?;
    if (rows.is_empty() && replaced.is_empty()) || rows.len() > EDITABLE_MAX {
        return Ok((false, false));
    }
    let files = local.dates(name)?;
    let there: BTreeSet<&Base> = files.iter().map(|((base, _), _)| base).collect();
    let (mut changes, mut is_busy) = (Vec::new(), false);
    // What was removed before its new text reached the server is an ordinary deletion.
    for (row, base) in replaced {
        if !there.contains(&base) && !rows.contains_key(&base) {
            changes.push(Change::Restore(row));
        }
    }
    let touched = files
        .iter()
        .filter(|((base, _), date)| rows.get(base).is_some_and(|row| row.date != Some(*date)));
    let touched: Vec<(Seen, i64)> = touched.cloned().collect();
    let seen: Vec<Seen> = touched.iter().map(|(seen, _)| seen.clone()).collect();
    let dates: BTreeMap<Base, i64> =
        touched.into_iter().map(|((base, _), date)| (base, date)).collect();
    for (base, print) in local.fingerprints(name, &seen)? {
        let (Some(row), Some(date)) = (rows.get(&base), dates.get(&base)) else { continue };
        match ledger.digest(row.row)? {
            Some(digest) if digest != print.digest => {
                if now.saturating_sub(*date) < QUIET_SECONDS && *date <= now {
                    is_busy = true;
                } else {
                    changes.push(Change::Replace(row.row));
                }
            }
            Some(_) | None => {}
        }
    }
    let is_any = !changes.is_empty();
    ledger.apply(id, &changes)?;
    Ok((is_any, is_busy))
}

impl<L: Local, G: Ledger> Site<'_, L, G> {
    /// Expunges old drafts whose new text is on the server.
    pub(super) async fn replaced<R: Remote>(
        &self,
        remote: &mut R,
        old: &[(RowId, Uid)],
    ) -> Result<(), Failure> {
        if old.is_empty() {
            return Ok(());
        }
        let (ledger, id) = (Arc::clone(self.ledger), self.id);
        let ready: BTreeSet<RowId> = offload(move || {
            let mut paired = BTreeSet::new();
            ledger.each(id, &mut |row| {
                if row.state == RowState::Paired && row.uid.is_some() {
                    paired.extend(row.base);
                }
            })?;
            let replaced = ledger.replaced(id)?.into_iter();
            Ok(replaced.filter(|(_, base)| paired.contains(base)).map(|(row, _)| row).collect())
        })
        .await?;
        let done: Vec<_> = old.iter().filter(|(row, _)| ready.contains(row)).collect();
        let uids: Vec<Uid> = done.iter().map(|(_, uid)| *uid).collect();
        if uids.is_empty() {
            return Ok(());
        }
        remote.remove(self.validity, &uids, &Removal::Expunge).await?;
        self.apply(done.iter().map(|(row, _)| Change::Forget(*row)).collect()).await
    }
}

/// Editors write a file in several steps.
const QUIET: Duration = Duration::from_secs(2);
const QUIET_SECONDS: i64 = 2;
/// More are no drafts.
const EDITABLE_MAX: usize = 5000;
