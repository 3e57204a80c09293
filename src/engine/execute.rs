//! Carries out what a plan says about flags and removals: effect, then ledger. Floor 4.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::offload::offload;
use crate::model::failure::Failure;
use crate::model::ids::{Base, MailboxName, Uid, UidValidity};
use crate::model::status::Counters;
use crate::ports::ledger::{Change, Ledger, LimitChange, MailboxId, OneSide, Way};
use crate::ports::local::{Local, Scan, Seen};
use crate::ports::remote::{Remote, Removal, Removed};
use crate::rules::plan::Plan;

/// Where a plan is carried out.
pub(super) struct Site<'a, L, G> {
    pub(super) local: &'a Arc<L>,
    pub(super) ledger: &'a Arc<G>,
    pub(super) mailbox: &'a MailboxName,
    pub(super) id: MailboxId,
    pub(super) validity: UidValidity,
    /// Whether an earlier pass may have left copies in Trash of what is here.
    pub(super) is_halved: bool,
    pub(super) scan: &'a Scan,
}

impl<L: Local, G: Ledger> Site<'_, L, G> {
    /// Applies changes of the ledger.
    pub(super) async fn apply(&self, changes: Vec<Change>) -> Result<(), Failure> {
        let (ledger, id) = (Arc::clone(self.ledger), self.id);
        offload(move || ledger.apply(id, &changes)).await
    }

    /// Where files were seen; those that were not are left out.
    pub(super) fn seen<'b>(&self, bases: impl Iterator<Item = &'b Base>) -> Vec<Seen> {
        bases.filter_map(|b| self.scan.messages.get(b).map(|m| (b.clone(), m))).collect()
    }

    /// What limits leave on the server, and what they take out of the Maildir: the ledger says that a
    /// copy goes before it goes, so that its absence is never a deletion.
    pub(super) async fn limits(&self, plan: &Plan) -> Result<(), Failure> {
        let mut changes: Vec<Change> = Vec::new();
        changes.extend(
            plan.skip.iter().map(|(m, why)| Change::Limit(LimitChange::Skip(m.clone(), why.key()))),
        );
        changes.extend(plan.expired.iter().map(|row| Change::Limit(LimitChange::Expired(*row))));
        changes.extend(
            plan.expire
                .iter()
                .map(|(row, _, why)| Change::Limit(LimitChange::Expire(*row, why.key()))),
        );
        self.apply(changes).await?;
        if plan.expire.is_empty() {
            return Ok(());
        }
        let seen = self.seen(plan.expire.iter().map(|(_, base, _)| base));
        let (local, mailbox) = (Arc::clone(self.local), self.mailbox.clone());
        offload(move || local.quarantine(&mailbox, &seen)).await?;
        self.apply(
            plan.expire.iter().map(|(row, ..)| Change::Limit(LimitChange::Expired(*row))).collect(),
        )
        .await
    }

    /// Flags: local renames first, then STORE, each followed by the ledger.
    pub(super) async fn flags<R: Remote>(
        &self,
        remote: &mut R,
        plan: &Plan,
        counters: &mut Counters,
    ) -> Result<(), Failure> {
        let agree = plan.agree.iter().map(|(row, flags)| Change::Agree(*row, flags.clone()));
        self.apply(agree.collect()).await?;
        self.flags_local(plan, counters).await?;
        for (delta, rows) in &plan.flags_remote {
            let uids: Vec<Uid> = rows.iter().map(|(_, uid, _)| *uid).collect();
            remote.set_flags(self.validity, &uids, delta).await?;
            counters.flags_remote += count(rows.len());
            let agree = rows.iter().map(|(row, _, flags)| Change::Agree(*row, flags.clone()));
            self.apply(agree.collect()).await?;
        }
        Ok(())
    }

    async fn flags_local(&self, plan: &Plan, counters: &mut Counters) -> Result<(), Failure> {
        if plan.flags_local.is_empty() {
            return Ok(());
        }
        let mut changes = Vec::new();
        for (_, base, delta, _) in &plan.flags_local {
            if let Some(message) = self.scan.messages.get(base) {
                changes.push(((base.clone(), message), delta.clone()));
            }
        }
        let (local, mailbox) = (Arc::clone(self.local), self.mailbox.clone());
        let done = offload(move || local.set_flags(&mailbox, &changes)).await?;
        counters.flags_local += count(done.len());
        let done: BTreeSet<Base> = done.into_iter().map(|(b, _)| b).collect();
        let agree = plan.flags_local.iter().filter(|(_, base, ..)| done.contains(base));
        self.apply(agree.map(|(row, _, _, flags)| Change::Agree(*row, flags.clone())).collect())
            .await
    }

    /// Removes messages from the server. Where a move to Trash is a copy and a removal, the ledger knows
    /// before it begins, and what an earlier try copied is not copied again.
    async fn remove_remote<R: Remote>(
        &self,
        remote: &mut R,
        uids: &[Uid],
        removal: &Removal,
    ) -> Result<Removed, Failure> {
        let Removal::MoveTo(trash) = removal else {
            return remote.remove(self.validity, uids, removal).await;
        };
        if remote.can_move() {
            return remote.remove(self.validity, uids, removal).await;
        }
        let mut copied = BTreeSet::new();
        if self.is_halved {
            let copies = remote.copies((self.mailbox, self.validity), uids, trash).await?;
            copied.extend(copies.into_iter().map(|(uid, _)| uid));
        } else {
            self.apply(vec![Change::Halved(Way::Leave)]).await?;
        }
        let (copied, whole): (Vec<Uid>, Vec<Uid>) = uids.iter().partition(|u| copied.contains(u));
        let mut removed = Removed::Gone;
        if !copied.is_empty() {
            removed = remote.remove(self.validity, &copied, &Removal::Expunge).await?;
        }
        if !whole.is_empty() {
            removed = remote.remove(self.validity, &whole, removal).await?;
        }
        Ok(removed)
    }

    /// Removals, the last thing of a pass. Repeating one after a crash is harmless: a UID that is
    /// gone is gone, and a file that is gone is gone.
    pub(super) async fn removals<R: Remote>(
        &self,
        remote: &mut R,
        plan: &Plan,
        removal: &Removal,
        counters: &mut Counters,
    ) -> Result<(), Failure> {
        if !plan.remove_remote.is_empty() {
            let uids: Vec<Uid> = plan.remove_remote.iter().map(|(_, uid)| *uid).collect();
            let removed = self.remove_remote(remote, &uids, removal).await?;
            counters.deleted_remote += count(uids.len());
            let rows = plan.remove_remote.iter().map(|(row, _)| match removed {
                Removed::Gone => Change::Forget(*row),
                Removed::Marked => Change::Orphan(*row, OneSide::Remote),
            });
            self.apply(rows.chain([Change::Whole(Way::Leave)]).collect()).await?;
        }
        if !plan.remove_local.is_empty() {
            let seen = self.seen(plan.remove_local.iter().map(|(_, base)| base));
            let (local, mailbox) = (Arc::clone(self.local), self.mailbox.clone());
            offload(move || local.quarantine(&mailbox, &seen)).await?;
            counters.deleted_local += count(plan.remove_local.len());
            self.apply(plan.remove_local.iter().map(|(row, _)| Change::Forget(*row)).collect())
                .await?;
        }
        let mut changes: Vec<Change> = Vec::new();
        changes.extend(plan.orphan_local.iter().map(|r| Change::Orphan(*r, OneSide::Local)));
        changes.extend(plan.orphan_remote.iter().map(|r| Change::Orphan(*r, OneSide::Remote)));
        changes.extend(plan.forget.iter().map(|r| Change::Forget(*r)));
        self.apply(changes).await
    }
}

/// A count for a report.
pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
