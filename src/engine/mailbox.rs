//! One pass over one mailbox: observe, plan, guard, execute. Floor 4.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use crate::engine::conclude::End;
use crate::engine::crew::Crew;
use crate::engine::deferred::Deferred;
use crate::engine::download::{OnBatch, Target, Twins, download};
use crate::engine::execute::{Site, count};
use crate::engine::observe::{self, Adopted};
use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::engine::progress::on_batch;
use crate::engine::sight::{Sight, horizon, seconds_now};
use crate::engine::upload::upload;
use crate::model::account::{DeletePolicy, Direction, Role};
use crate::model::event::Consent;
use crate::model::failure::Failure;
use crate::model::ids::{Base, MailboxName};
use crate::model::status::Counters;
use crate::model::view::{Cursor, RemoteView, RowId};
use crate::ports::ledger::{Change, Ledger, MailboxRow, Way};
use crate::ports::local::Local;
use crate::ports::remote::{Connector, Remote, Removal, Wanted};
use crate::rules::guard::guard;
use crate::rules::limits::Horizon;
use crate::rules::plan::{Plan, Policy, plan};

/// Why a mailbox is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its directory may have changed, and nothing else.
    Local,
    /// Anything may have changed.
    Any,
}

/// What a pass over a mailbox came to.
#[derive(Debug, Clone, Default)]
pub(super) struct MailboxPass {
    pub(super) counters: Counters,
    /// Look again then: something is missing and not yet proven gone.
    pub(super) recheck: Option<Instant>,
    /// Files that wait to be removed until every mailbox had the chance to recognise them.
    pub(super) deferred: Option<Deferred>,
    /// Where messages of this one were moved to: there is something new for the Maildir.
    pub(super) filled: Option<MailboxName>,
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Makes both sides of one mailbox agree.
    pub(super) async fn mailbox_pass(
        &mut self,
        remote: &mut C::Remote,
        name: &MailboxName,
        reason: Reason,
    ) -> Result<MailboxPass, Failure> {
        let edits = self.mark_edits(name).await?;
        let sight = self.sight(name).await?;
        if reason == Reason::Local && !sight.compared.is_different && edits.recheck.is_none() {
            let numbers = self.numbers(name, &sight).await?;
            self.count(name, numbers, (sight.row.held, sight.row.failed, sight.row.skipped));
            let counters = Counters { skipped: sight.row.skipped, ..Counters::default() };
            return Ok(MailboxPass { counters, ..MailboxPass::default() });
        }
        let mut counters = Counters::default();
        let (mut sight, view, adopted) = self.observe(remote, name, sight, &mut counters).await?;
        let (absent, recheck) = self.proven(name, &mut sight);
        let recheck = recheck.or(edits.recheck);
        let local = sight.compared.local_view(&sight.scan, absent);
        let uids = &sight.compared.base.uids;
        let limits = (self.account.sync.limits, &sight.row);
        let horizon = horizon(limits, uids, &view, seconds_now());
        let policy = self.policy(remote, horizon);
        let mut plan = plan(&sight.compared.base, &view, &local, &policy);
        let n_consented = self.consented(&mut sight.row, &plan).await?;
        let deferred = self.defer(&sight, view.cursor(), &mut plan);
        let held = match sight.row.consent {
            Some(Consent::Confirm) => 0,
            Some(Consent::Reject) => plan.bring_back(),
            None => {
                let brake = self.account.sync.brake;
                guard(&mut plan, sight.compared.base.n_known, brake, sight.row.held).total()
            }
        };
        // Their bytes decide once they are fetched; where nothing is fetched, nothing can decide.
        if self.account.sync.direction != Direction::Push {
            for bases in adopted.twins.values() {
                plan.upload.retain(|base| !bases.contains(base));
            }
        }
        // What is brought back counts as new from the next look on.
        let is_returning = sight.row.consent == Some(Consent::Reject) && !plan.forget.is_empty();
        let recheck = if is_returning { Some(Instant::now()) } else { recheck };
        counters.held = held;
        let mut pass = MailboxPass { counters, recheck, deferred, filled: None };
        if self.is_dry {
            self.foretell(name, &plan, &mut pass);
            return Ok(pass);
        }
        let is_quiet =
            plan.is_quiet() && adopted.pairs.is_empty() && counters == Counters::default();
        // While something is only suspected, nothing is known about what was held before.
        let held = recheck.map_or(held, |_| held.max(sight.row.held.saturating_sub(n_consented)));
        self.attest(name, &sight).await?;
        let result = self.execute(remote, (name, &sight, &view), &plan, adopted, &mut pass).await;
        let is_open = pass.recheck.is_some();
        if let (Some(deferred), true) = (&mut pass.deferred, result.is_ok()) {
            // The end of this pass comes with them.
            (deferred.held, deferred.is_open) = (held, is_open);
            return Ok(pass);
        }
        let cursor = view.cursor();
        // The end may list the directory again: no more than it needs stays in memory until then.
        drop((view, plan, local));
        let end = if is_quiet && !is_open { End::Quiet(sight) } else { End::changed(sight) };
        pass.counters.skipped = self.conclude(name, end, (cursor, held, is_open), &result).await?;
        result.map(|()| pass)
    }

    /// What is proven to be gone here, and when to look again for the rest. One look is enough to foretell
    /// what two would prove.
    fn proven(
        &mut self,
        name: &MailboxName,
        sight: &mut Sight,
    ) -> (BTreeSet<Base>, Option<Instant>) {
        let missing = std::mem::take(&mut sight.compared.missing);
        match self.is_dry {
            true => (missing, None),
            false => self.looks.look(name, &sight.scan, missing, Instant::now()),
        }
    }

    /// How many deletions a person's word covers: those that were held when it was given. Where there are
    /// more by now it covers none, and is forgotten: nobody was asked about these.
    async fn consented(&self, row: &mut MailboxRow, plan: &Plan) -> Result<u32, Failure> {
        if row.consent != Some(Consent::Confirm) {
            return Ok(0);
        }
        let n = count(plan.remove_remote.len().saturating_add(plan.remove_local.len()));
        if n <= row.held {
            return Ok(n);
        }
        row.consent = None;
        if !self.is_dry {
            let (ledger, id) = (Arc::clone(&self.ledger), row.id);
            offload(move || ledger.apply(id, &[Change::Consent(None)])).await?;
        }
        Ok(0)
    }

    /// Puts aside what is to be removed here: a message that left may have come to a mailbox that
    /// was not looked at yet, and then its file moves.
    fn defer(&self, sight: &Sight, cursor: Cursor, plan: &mut Plan) -> Option<Deferred> {
        let waits = self.defers_removals && sight.row.consent != Some(Consent::Reject);
        if !waits || plan.remove_local.is_empty() {
            return None;
        }
        let rows: BTreeSet<RowId> = plan.remove_local.drain(..).map(|(row, _)| row).collect();
        let known = &sight.compared.base;
        let uids = known.rows.iter().filter(|r| rows.contains(&r.row)).filter_map(|r| r.uid);
        Some(Deferred {
            uids: uids.collect(),
            rows,
            row: sight.row.clone(),
            n_known: known.n_known,
            cursor,
            held: 0,
            is_open: false,
        })
    }

    /// Looks at both sides; what moved between mailboxes is followed on the way.
    async fn observe(
        &mut self,
        remote: &mut C::Remote,
        name: &MailboxName,
        mut sight: Sight,
        counters: &mut Counters,
    ) -> Result<(Sight, Arc<RemoteView>, Adopted), Failure> {
        let followed = self.follow_local(remote, name, &sight, counters).await?;
        if followed.is_renamed {
            sight = self.sight(name).await?;
        } else if followed.is_changed {
            sight = self.compared(sight.row, sight.scan, None).await?;
        }
        let view = self.look_there(remote, name, &sight).await?;
        let sight = self.check_validity(name, sight, &view).await?;
        let mut sight = self.with_remote(name, sight, &view).await?;
        let adopted = self.adopt(remote, name, &mut sight, &view).await?;
        if !self.follow_remote(remote, name, &sight, &view, counters).await? {
            return Ok((sight, view, adopted));
        }
        let sight = self.sight(name).await?;
        let view = self.look_there(remote, name, &sight).await?;
        let sight = self.with_remote(name, sight, &view).await?;
        Ok((sight, view, adopted))
    }

    fn policy(&self, remote: &C::Remote, horizon: Horizon) -> Policy {
        Policy {
            direction: self.account.sync.direction,
            delete: self.account.sync.delete,
            permanent: remote.permanent().clone(),
            marks_only: !remote.can_expunge(),
            horizon,
        }
    }

    async fn adopt(
        &self,
        remote: &mut C::Remote,
        name: &MailboxName,
        sight: &mut Sight,
        view: &Arc<RemoteView>,
    ) -> Result<Adopted, Failure> {
        let strangers = sight.compared.strangers(view, &sight.scan);
        let told = self.halves_by_ids(remote, sight.row.id, &strangers).await?;
        let seen = (&**view, &*sight.scan);
        let adopted = observe::adopt(&self.local, remote, name, seen, &strangers, told).await?;
        if self.is_dry {
            let base = std::mem::take(&mut sight.compared.base);
            sight.compared.base = observe::with_pairs(base, &adopted);
            return Ok(adopted);
        }
        let (ledger, id) = (Arc::clone(&self.ledger), sight.row.id);
        let changes = observe::pair_changes(&adopted);
        if !changes.is_empty() {
            offload(move || ledger.apply(id, &changes)).await?;
            *sight = self.again(name, sight, view).await?;
        }
        Ok(adopted)
    }

    fn foretell(&self, name: &MailboxName, plan: &Plan, pass: &mut MailboxPass) {
        let n_deferred = pass.deferred.take().map_or(0, |d| d.rows.len());
        let counters = &mut pass.counters;
        counters.downloaded = count(plan.download.len());
        counters.skipped = count(plan.skip.len());
        counters.uploaded = count(plan.upload.len());
        counters.flags_local = count(plan.flags_local.len());
        counters.flags_remote = count(plan.flags_remote.values().map(Vec::len).sum());
        counters.deleted_local = count(plan.remove_local.len().saturating_add(n_deferred));
        counters.deleted_remote = count(plan.remove_remote.len());
        for line in plan.to_string().lines() {
            tracing::info!(account = %self.account.name, mailbox = %name, "would {line}");
        }
    }

    /// The one safe order: add first, destroy last.
    async fn execute(
        &mut self,
        remote: &mut C::Remote,
        (name, sight, view): (&MailboxName, &Sight, &Arc<RemoteView>),
        plan: &Plan,
        adopted: Adopted,
        pass: &mut MailboxPass,
    ) -> Result<(), Failure> {
        let site = Site {
            local: &Arc::clone(&self.local),
            ledger: &Arc::clone(&self.ledger),
            mailbox: name,
            id: sight.row.id,
            validity: view.cursor().uidvalidity,
            is_halved: sight.row.halves.contains(&Way::Leave),
            scan: &sight.scan,
        };
        self.download(remote, (name, sight, view), plan, adopted, pass).await?;
        if !plan.upload.is_empty() {
            let seen = site.seen(plan.upload.iter());
            let sides = (site.local, site.ledger);
            let (uploaded, result) = upload(remote, sides, (name, site.id), seen).await;
            pass.counters.uploaded += uploaded.n_done + uploaded.n_unknown;
            pass.counters.failed += uploaded.n_failed;
            if uploaded.n_unknown > 0 {
                // The server keeps their UIDs to itself: the next look pairs them.
                pass.recheck = Some(Instant::now());
            }
            result?;
        }
        site.limits(plan).await?;
        site.flags(remote, plan, &mut pass.counters).await?;
        site.replaced(remote, &plan.replaced).await?;
        self.learn_ids(remote, &sight.row).await?;
        let removal = self.removal(remote, name, plan).await?;
        site.removals(remote, plan, &removal, &mut pass.counters).await?;
        if let Removal::MoveTo(trash) = removal {
            pass.filled = Some(trash);
        }
        Ok(())
    }

    async fn download(
        &self,
        remote: &mut C::Remote,
        (name, sight, view): (&MailboxName, &Sight, &Arc<RemoteView>),
        plan: &Plan,
        adopted: Adopted,
        pass: &mut MailboxPass,
    ) -> Result<(), Failure> {
        if plan.download.is_empty() {
            return Ok(());
        }
        let wanted: Vec<Wanted> =
            plan.download.iter().map(|(uid, size)| Wanted { uid: *uid, size: *size }).collect();
        let target = Target {
            local: Arc::clone(&self.local),
            ledger: Arc::clone(&self.ledger),
            mailbox: name.clone(),
            id: sight.row.id,
        };
        let twins =
            Twins { by_uid: adopted.twins, scan: Arc::clone(&sight.scan), view: Arc::clone(view) };
        let on_batch = self.progress(name, &wanted);
        let crew = Crew {
            connector: Arc::clone(&self.connector),
            places: self.places,
            mailbox: name.clone(),
            validity: view.cursor().uidvalidity,
        };
        let (done, result) = download((remote, &crew), target, &wanted, twins, on_batch).await;
        pass.counters.downloaded = done.n_done;
        pass.counters.failed += done.n_failed;
        if done.n_twins > 0 {
            pass.recheck = Some(Instant::now());
        }
        self.board.account(&self.account.name, |a| a.progress = None);
        result
    }

    /// Reports progress and new mail to the board, batch by batch.
    fn progress(&self, name: &MailboxName, wanted: &[Wanted]) -> OnBatch {
        let bytes = wanted.iter().map(|w| u64::from(w.size.unwrap_or(0))).sum();
        let new = self.local.path(name).join("new");
        on_batch((&self.board, &self.account.name), name, new, (wanted.len(), bytes))
    }

    /// How a local deletion reaches the server; makes sure that there is a Trash when it is needed.
    async fn removal(
        &mut self,
        remote: &mut C::Remote,
        name: &MailboxName,
        plan: &Plan,
    ) -> Result<Removal, Failure> {
        let trash = self.roles.get(&Role::Trash).cloned();
        let wants_trash = self.account.sync.delete == DeletePolicy::Trash;
        if plan.remove_remote.is_empty() || !wants_trash || trash.as_ref() == Some(name) {
            return Ok(Removal::Expunge);
        }
        let trash = match trash {
            Some(trash) => trash,
            None => {
                let trash = MailboxName("Trash".to_owned());
                remote.create(&trash).await?;
                self.roles.insert(Role::Trash, trash.clone());
                trash
            }
        };
        Ok(Removal::MoveTo(trash))
    }
}
