//! What the server removed, and no other mailbox recognised: it leaves the Maildir at the end of a
//! pass. Floor 4.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::compare::{Compared, with_files};
use crate::engine::conclude::End;
use crate::engine::execute::count;
use crate::engine::offload::offload;
use crate::engine::pass::{Pass, Worker};
use crate::model::event::Consent;
use crate::model::failure::Failure;
use crate::model::ids::{Base, MailboxName};
use crate::model::status::Counters;
use crate::model::uids::UidSet;
use crate::model::view::{BaseView, Cursor, RowId};
use crate::ports::ledger::{Change, Ledger, MailboxRow};
use crate::ports::local::{Local, Seen};
use crate::ports::remote::Connector;
use crate::rules::guard::guard;
use crate::rules::plan::Plan;

/// Messages of one mailbox that are gone on the server, and the end of its pass that waits for them.
#[derive(Debug, Clone)]
pub(super) struct Deferred {
    pub(super) uids: UidSet,
    pub(super) rows: BTreeSet<RowId>,
    pub(super) row: MailboxRow,
    pub(super) n_known: usize,
    pub(super) cursor: Cursor,
    pub(super) held: u32,
    pub(super) is_open: bool,
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Every mailbox had its chance: what nobody recognised is removed now.
    pub(super) async fn remove_deferred(&mut self, pass: &mut Pass) {
        for (name, deferred) in std::mem::take(&mut pass.deferred) {
            if pass.is_spoilt() {
                break;
            }
            match self.remove_left(&name, deferred).await {
                Ok(counters) => pass.add(&name, counters),
                Err(failure) => pass.fail_in(&name, failure),
            }
        }
    }

    async fn remove_left(
        &mut self,
        name: &MailboxName,
        deferred: Deferred,
    ) -> Result<Counters, Failure> {
        let Deferred { uids, rows, row, n_known, cursor, held, is_open } = deferred;
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (mailbox, id) = (name.clone(), row.id);
        // A row that another mailbox took over is not there any more.
        let (left, files) = offload(move || {
            let mut left = ledger.rows(id, &uids)?;
            left.retain(|r| rows.contains(&r.row));
            let base = BaseView::of(left.clone(), None);
            let (_, scan) =
                with_files(&*local, &mailbox, Compared { base, ..Compared::default() })?;
            Ok((left, scan))
        })
        .await?;
        let doomed = left.iter().filter_map(|r| Some((r.row, r.base.clone()?)));
        let mut plan = Plan { remove_local: doomed.collect(), ..Plan::default() };
        let refused = match row.consent {
            Some(Consent::Confirm) => 0,
            Some(Consent::Reject) | None => {
                guard(&mut plan, n_known, self.account.sync.brake, row.held).total()
            }
        };
        let removed = count(plan.remove_local.len());
        let seen = |base: &Base| files.messages.get(base).map(|m| (base.clone(), m));
        let seen: Vec<Seen> = plan.remove_local.iter().filter_map(|(_, base)| seen(base)).collect();
        let forget: Vec<Change> =
            plan.remove_local.iter().map(|(row, _)| Change::Forget(*row)).collect();
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let mailbox = name.clone();
        offload(move || {
            local.quarantine(&mailbox, &seen)?;
            ledger.apply(id, &forget)
        })
        .await?;
        let held = held.saturating_add(refused);
        let skipped =
            self.conclude(name, End::Changed(row, None), (cursor, held, is_open), &Ok(())).await?;
        Ok(Counters { deleted_local: removed, held, skipped, ..Counters::default() })
    }
}
