//! Messages that turn up in a mailbox and were somewhere else before: moved, never transferred
//! again. Floor 4.
//!
//! A message that was moved here is recognised by base name or bytes, one that was moved on the
//! server by a Message-ID and size that are unique on both sides, and only if it is gone where it
//! was. Whatever is not clear is transferred, which loses nothing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::arrivals::{ARRIVALS_MAX, Arrival, Followed, Foreseen, Mover};
use crate::engine::execute::count;
use crate::engine::ids::each_once;
use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::engine::sight::Sight;
use crate::model::account::{DeletePolicy, Direction};
use crate::model::failure::{Failure, Scope};
use crate::model::ids::{Base, MailboxName, Uid, UidValidity};
use crate::model::status::Counters;
use crate::model::view::{Evidence, Fingerprint, RemoteView};
use crate::ports::ledger::{Change, Kin, Ledger, MailboxId, MailboxRow, OneSide, Way};
use crate::ports::local::{Local, Scan, Seen};
use crate::ports::remote::{Connector, Relocation, Remote, Removal, Removed};

/// Where messages were: the mailbox, and the UIDVALIDITY of their UIDs.
type Origin = (MailboxId, MailboxName, UidValidity);

/// Arrivals that one command can take along.
type Batch = (Origin, Vec<Arrival>);

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Files that were moved, copied or renamed here: the server is told to do the same. Answers
    /// what changed.
    pub(super) async fn follow_local(
        &mut self,
        remote: &mut C::Remote,
        name: &MailboxName,
        sight: &Sight,
        counters: &mut Counters,
    ) -> Result<Followed, Failure> {
        if self.account.sync.direction == Direction::Pull {
            return Ok(Followed::default());
        }
        let arrivals = self.local_arrivals(name, sight).await?;
        if arrivals.is_empty() {
            return Ok(Followed::default());
        }
        let scans = self.scans_of(&arrivals, name, sight).await?;
        if self.is_dry {
            self.foresee(name, sight.row.id, &arrivals, &scans);
            return Ok(Followed::default());
        }
        let is_renamed = self.translate(name, sight.row.id, &arrivals).await?;
        let (mut renames, mut moves, mut copies) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for arrival in arrivals {
            // Of what cannot be listed nobody knows whether the message left: it is uploaded.
            let Some(scan) = scans.get(&arrival.kin.name) else { continue };
            let is_there = scan.messages.contains(&arrival.kin.base);
            let from = (arrival.kin.mailbox, arrival.kin.name.clone(), arrival.kin.validity);
            match (arrival.kin.mailbox == sight.row.id, is_there) {
                (true, false) => renames.push(Change::Rebase(arrival.kin.row, arrival.base)),
                // A second copy beside the first: the server gets its own.
                (true, true) => {}
                (false, false) => moves.entry(from).or_insert_with(Vec::new).push(arrival),
                (false, true) => copies.entry(from).or_insert_with(Vec::new).push(arrival),
            }
        }
        let is_changed = !renames.is_empty() || !moves.is_empty() || !copies.is_empty();
        self.apply_to(sight.row.id, renames).await?;
        for batch in moves {
            counters.moved_remote += count(batch.1.len());
            self.relocate(remote, (name, &sight.row), batch, Relocation::Move).await?;
        }
        self.all_came(remote, &sight.row).await?;
        for batch in self.not_yet_copied(remote, name, sight, copies).await? {
            counters.uploaded += count(batch.1.len());
            self.relocate(remote, (name, &sight.row), batch, Relocation::Copy).await?;
        }
        Ok(Followed { is_changed, is_renamed })
    }

    /// Leaves out what the server may have copied before the answer was lost: looking at the
    /// mailbox pairs it. A copy that is made twice is a message too many.
    async fn not_yet_copied(
        &mut self,
        remote: &mut C::Remote,
        name: &MailboxName,
        sight: &Sight,
        mut copies: BTreeMap<Origin, Vec<Arrival>>,
    ) -> Result<BTreeMap<Origin, Vec<Arrival>>, Failure> {
        if copies.is_empty() {
            return Ok(copies);
        }
        let view = self.look_there(remote, name, sight).await?;
        let unknown: BTreeSet<Uid> =
            sight.compared.strangers(&view, &sight.scan).uids.into_iter().collect();
        let Some(first) = unknown.first() else { return Ok(copies) };
        let mut there = remote.evidence(first.get()).await?;
        there.retain(|(uid, _)| unknown.contains(uid));
        for arrivals in copies.values_mut() {
            arrivals.retain(|a| there.iter().all(|(_, e)| *e != a.print.evidence));
        }
        copies.retain(|_, arrivals| !arrivals.is_empty());
        Ok(copies)
    }

    /// Files that no row knows and whose bytes some row does.
    async fn local_arrivals(
        &self,
        name: &MailboxName,
        sight: &Sight,
    ) -> Result<Vec<Arrival>, Failure> {
        let seen = sight.compared.unknown.clone();
        let has_missing = !sight.compared.missing.is_empty();
        if seen.is_empty() || seen.len() > ARRIVALS_MAX {
            return Ok(Vec::new());
        }
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (name, id) = (name.clone(), sight.row.id);
        offload(move || {
            if !has_missing && !ledger.has_others(id)? {
                return Ok(Vec::new());
            }
            let mut arrivals = Vec::new();
            let mut taken = BTreeSet::new();
            for (base, print) in local.fingerprints(&name, &seen)? {
                let mut kin = ledger.kin_by_digest(&print.digest)?;
                kin.retain(|k| !taken.contains(&k.row));
                // The one that kept its name is the one; then one that was here.
                kin.sort_by_key(|k| (k.base != base, k.mailbox != id, k.row));
                if let Some(kin) = kin.into_iter().next() {
                    taken.insert(kin.row);
                    let at = seen.iter().find(|(one, _)| *one == base).map(|(_, at)| at.clone());
                    arrivals.extend(at.map(|at| Arrival { base, at, print, kin }));
                }
            }
            Ok(arrivals)
        })
        .await
    }

    /// What is now where the arrivals were. A mailbox that cannot be listed is left out: its own
    /// pass tells what is wrong with it.
    async fn scans_of(
        &self,
        arrivals: &[Arrival],
        name: &MailboxName,
        sight: &Sight,
    ) -> Result<BTreeMap<MailboxName, Arc<Scan>>, Failure> {
        let names: BTreeSet<MailboxName> = arrivals.iter().map(|a| a.kin.name.clone()).collect();
        let local = Arc::clone(&self.local);
        let here = (name.clone(), Arc::clone(&sight.scan));
        offload(move || {
            let mut scans = BTreeMap::from([here]);
            for name in names {
                if let Entry::Vacant(entry) = scans.entry(name) {
                    match local.scan(entry.key()) {
                        Ok(scan) => {
                            entry.insert(Arc::new(scan));
                        }
                        Err(failure) if failure.scope == Scope::Mailbox => {}
                        Err(failure) => return Err(failure),
                    }
                }
            }
            Ok(scans)
        })
        .await
    }

    async fn relocate(
        &self,
        remote: &mut C::Remote,
        (name, row): (&MailboxName, &MailboxRow),
        ((from_id, from, validity), arrivals): Batch,
        how: Relocation,
    ) -> Result<(), Failure> {
        // A copy is all that may happen where nothing may be deleted.
        let is_kept = self.account.sync.delete == DeletePolicy::Keep;
        let how = if is_kept { Relocation::Copy } else { how };
        let uids: Vec<Uid> = arrivals.iter().map(|a| a.kin.uid).collect();
        let moved = match how {
            Relocation::Move if !remote.can_move() => {
                self.move_by_copy(remote, (name, row), (&from, validity), &uids).await
            }
            Relocation::Move | Relocation::Copy => {
                remote.relocate((&from, validity), &uids, name, how).await
            }
        };
        let told = match moved {
            Ok(told) => told,
            Err(failure) if failure.scope == Scope::Account => return Err(failure),
            Err(failure) => {
                // Then it is uploaded, and removed there when its absence is proven.
                tracing::debug!(%from, to = %name, %failure, "a move was refused");
                return Ok(());
            }
        };
        let new: BTreeMap<Uid, Uid> = told.into_iter().collect();
        let (mut pairs, mut left) = (Vec::new(), Vec::new());
        for arrival in arrivals {
            let Some(uid) = new.get(&arrival.kin.uid) else {
                // It left, or is marked where nothing better is safe: no deletion is to follow.
                if how == Relocation::Move {
                    left.push(Change::Orphan(arrival.kin.row, OneSide::Remote));
                }
                continue;
            };
            pairs.push(Change::Pair {
                uid: *uid,
                base: arrival.base,
                flags: arrival.kin.flags,
                print: Some(arrival.print),
                date: None,
            });
            if how == Relocation::Move {
                left.push(Change::Forget(arrival.kin.row));
            }
        }
        // What the server did not tell is found by its evidence when the mailbox is looked at.
        self.apply_to(row.id, pairs).await?;
        self.apply_to(from_id, left).await
    }

    /// All moves to a mailbox are whole.
    async fn all_came(&self, remote: &C::Remote, row: &MailboxRow) -> Result<(), Failure> {
        if remote.can_move() {
            return Ok(());
        }
        self.apply_to(row.id, vec![Change::Whole(Way::Come)]).await
    }

    /// Where a move is a copy and a removal, the ledger knows before it begins, and what an earlier try
    /// copied is not copied again.
    async fn move_by_copy(
        &self,
        remote: &mut C::Remote,
        (name, row): (&MailboxName, &MailboxRow),
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
    ) -> Result<Vec<(Uid, Uid)>, Failure> {
        if !row.halves.contains(&Way::Come) {
            self.apply_to(row.id, vec![Change::Halved(Way::Come)]).await?;
            return remote.relocate(from, uids, name, Relocation::Move).await;
        }
        let mut told = remote.copies(from, uids, name).await?;
        let is_copied: BTreeSet<Uid> = told.iter().map(|(uid, _)| *uid).collect();
        let (copied, rest): (Vec<Uid>, Vec<Uid>) =
            uids.iter().partition(|uid| is_copied.contains(uid));
        let gone = |removed| removed == Removed::Gone;
        if !copied.is_empty() && !gone(remote.remove(from.1, &copied, &Removal::Expunge).await?) {
            // As for what is moved now: it is still there.
            told.clear();
        }
        if !rest.is_empty() {
            told.extend(remote.relocate(from, &rest, name, Relocation::Move).await?);
        }
        Ok(told)
    }

    async fn apply_to(&self, id: MailboxId, changes: Vec<Change>) -> Result<(), Failure> {
        let ledger = Arc::clone(&self.ledger);
        offload(move || ledger.apply(id, &changes)).await
    }

    /// Messages that were moved on the server: their files move here. Answers whether another
    /// mailbox was selected, so that this one has to be looked at again.
    pub(super) async fn follow_remote(
        &mut self,
        remote: &mut C::Remote,
        name: &MailboxName,
        sight: &Sight,
        view: &RemoteView,
        counters: &mut Counters,
    ) -> Result<bool, Failure> {
        if self.account.sync.direction == Direction::Push {
            return Ok(false);
        }
        let unknown = sight.compared.strangers(view, &sight.scan).uids;
        if unknown.is_empty() || unknown.len() > ARRIVALS_MAX {
            return Ok(false);
        }
        let found = self.remote_arrivals(remote, sight.row.id, view, &unknown).await?;
        if found.is_empty() {
            return Ok(false);
        }
        let mut by_mailbox: BTreeMap<(MailboxName, UidValidity), Vec<(Uid, Kin)>> = BTreeMap::new();
        for (uid, kin) in found {
            by_mailbox.entry((kin.name.clone(), kin.validity)).or_default().push((uid, kin));
        }
        let mut taken = BTreeSet::new();
        for ((from, validity), mut batch) in by_mailbox {
            let uids: Vec<Uid> = batch.iter().map(|(_, kin)| kin.uid).collect();
            let gone = match remote.gone((&from, validity), &uids).await {
                Ok(gone) => gone,
                Err(failure) if failure.scope == Scope::Account => return Err(failure),
                Err(_) => continue,
            };
            batch.retain(|(uid, kin)| gone.contains(&kin.uid) && !taken.contains(uid));
            each_once(&mut batch);
            taken.extend(batch.iter().map(|(uid, _)| *uid));
            if self.is_dry {
                let one = Foreseen { from, to: name.clone(), by: Mover::Server };
                self.foreseen.extend(vec![one; batch.len()]);
                continue;
            }
            counters.moved_local += self.take_over(name, sight.row.id, &from, batch).await?;
        }
        Ok(true)
    }

    /// New messages whose evidence is that of one message elsewhere, and of no other new one.
    async fn remote_arrivals(
        &self,
        remote: &mut C::Remote,
        id: MailboxId,
        view: &RemoteView,
        unknown: &[Uid],
    ) -> Result<Vec<(Uid, Kin)>, Failure> {
        let sizes: BTreeSet<u64> =
            unknown.iter().filter_map(|uid| view.listed().get(*uid)?.size.map(u64::from)).collect();
        let ledger = Arc::clone(&self.ledger);
        let mut found = self.kin_by_ids(remote, id, unknown).await?;
        let known = offload(move || {
            for size in sizes {
                if !ledger.kin_by_evidence(id, size, None)?.is_empty() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await?;
        let named: BTreeSet<Uid> = found.iter().map(|(uid, _)| *uid).collect();
        let wanted: BTreeSet<Uid> =
            unknown.iter().copied().filter(|u| !named.contains(u)).collect();
        let Some(first) = wanted.first().filter(|_| known) else { return Ok(found) };
        let mut by_evidence: BTreeMap<Evidence, Vec<Uid>> = BTreeMap::new();
        for (uid, evidence) in remote.evidence(first.get()).await? {
            if wanted.contains(&uid) && !evidence.message_id.is_empty() {
                by_evidence.entry(evidence).or_default().push(uid);
            }
        }
        let ledger = Arc::clone(&self.ledger);
        offload(move || {
            for (evidence, uids) in by_evidence {
                let message_id = Some(evidence.message_id.as_str());
                let mut kin = ledger.kin_by_evidence(id, evidence.size, message_id)?;
                if let ([uid], 1, Some(kin)) = (uids.as_slice(), kin.len(), kin.pop()) {
                    found.push((*uid, kin));
                }
            }
            Ok(found)
        })
        .await
    }

    /// Renames files of messages that left another mailbox on the server. Answers how many.
    async fn take_over(
        &self,
        name: &MailboxName,
        id: MailboxId,
        from: &MailboxName,
        batch: Vec<(Uid, Kin)>,
    ) -> Result<u32, Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (name, from) = (name.clone(), from.clone());
        offload(move || {
            let scan = match local.scan(&from) {
                Ok(scan) => scan,
                // Its own pass tells; the messages are fetched.
                Err(failure) if failure.scope == Scope::Mailbox => return Ok(0),
                Err(failure) => return Err(failure),
            };
            let seen: Vec<Seen> = batch
                .iter()
                .filter_map(|(_, kin)| Some((kin.base.clone(), scan.messages.get(&kin.base)?)))
                .collect();
            let mut prints: BTreeMap<Base, Fingerprint> =
                local.fingerprints(&from, &seen)?.into_iter().collect();
            let moved: BTreeSet<Base> = local.relocate(&from, &name, &seen)?.into_iter().collect();
            let (mut pairs, mut left, mut from_id) = (Vec::new(), Vec::new(), None);
            for (uid, kin) in batch.into_iter().filter(|(_, kin)| moved.contains(&kin.base)) {
                let print = prints.remove(&kin.base);
                left.push(Change::Forget(kin.row));
                from_id = Some(kin.mailbox);
                let (base, flags) = (kin.base, kin.flags);
                pairs.push(Change::Pair { uid, base, flags, print, date: None });
            }
            let n = count(pairs.len());
            ledger.apply(id, &pairs)?;
            if let Some(from_id) = from_id {
                ledger.apply(from_id, &left)?;
            }
            Ok(n)
        })
        .await
    }
}
