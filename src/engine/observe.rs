//! Looks at both sides and at the ledger, and pairs what has no agreed past. Floor 4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::compare::Strangers;
use crate::engine::offload::offload;
use crate::model::failure::Failure;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName, Uid};
use crate::model::view::{BaseRow, BaseView, Evidence, Fingerprint, RemoteView};
use crate::ports::ledger::{Change, Ledger, MailboxId};
use crate::ports::local::{Local, Scan, Settled};
use crate::ports::remote::Remote;
use crate::rules::pair::{Pairing, TUID_LINE_BYTES, pair, pair_marked, pair_told};

/// What is in the way of an honest plan after a crash: settled before anything else.
pub(super) async fn settle_landings<L: Local, G: Ledger>(
    local: &Arc<L>,
    ledger: &Arc<G>,
    mailbox: &MailboxName,
    id: MailboxId,
) -> Result<(), Failure> {
    let (local, ledger, mailbox) = (Arc::clone(local), Arc::clone(ledger), mailbox.clone());
    offload(move || {
        let landings = ledger.landings(id)?;
        if landings.is_empty() {
            return Ok(());
        }
        let settled = local.settle(&mailbox, &landings)?;
        let mut landed = Vec::new();
        let mut changes = Vec::new();
        for (landing, settled) in landings.into_iter().zip(settled) {
            match settled {
                Settled::Visible => landed.push(landing.uid),
                Settled::Nowhere => changes.push(Change::Unland(landing.uid)),
            }
        }
        changes.push(Change::Landed(landed));
        ledger.apply(id, &changes)
    })
    .await
}

/// What pairing found.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    /// Pairs, with the flags that both sides agree on.
    pub(super) pairs: Vec<(Uid, Base, Flags, Option<Fingerprint>)>,
    /// Messages that may be one of several files: their bytes decide when they are fetched.
    pub(super) twins: BTreeMap<Uid, Vec<Base>>,
}

/// Pairs strangers by evidence; asks for it only where both sides have some.
pub(super) async fn adopt<L: Local, R: Remote>(
    local: &Arc<L>,
    remote: &mut R,
    mailbox: &MailboxName,
    view: &RemoteView,
    scan: &Scan,
    strangers: &Strangers,
) -> Result<Adopted, Failure> {
    let Some(first) = strangers.uids.iter().min() else { return Ok(Adopted::default()) };
    if strangers.files.is_empty() {
        return Ok(Adopted::default());
    }
    let wanted: BTreeSet<Uid> = strangers.uids.iter().copied().collect();
    let mut theirs = remote.evidence(first.get()).await?;
    theirs.retain(|(uid, _)| wanted.contains(uid));
    let sizes: BTreeSet<u64> = theirs.iter().map(|(_, e)| e.size).collect();
    let (seen, validity) = (strangers.files.clone(), view.cursor().uidvalidity);
    let (local, name) = (Arc::clone(local), mailbox.clone());
    let (mut prints, told) = offload(move || {
        let bases: Vec<Base> = seen.iter().map(|(base, _)| base.clone()).collect();
        let told = local.known_elsewhere(&name, validity, &bases);
        Ok((local.fingerprints(&name, &seen)?, told))
    })
    .await?;
    let is_told: BTreeSet<&Base> = told.iter().map(|(base, _)| base).collect();
    prints.retain(|(base, p)| {
        let size = p.evidence.size;
        let marked = [size.saturating_sub(TUID_LINE_BYTES), size.saturating_add(TUID_LINE_BYTES)];
        let is_there = sizes.contains(&size) || marked.iter().any(|size| sizes.contains(size));
        is_there || is_told.contains(base)
    });
    let mut ours: Vec<_> = prints.iter().map(|(b, p)| (b.clone(), p.evidence.clone())).collect();
    let mut prints: BTreeMap<Base, Fingerprint> = prints.into_iter().collect();
    let told = pair_told(&mut theirs, &mut ours, &told);
    let pairing = pair(&theirs, &ours);
    let marked = marked(theirs, ours, &pairing);
    let mut adopted = Adopted::default();
    for (uid, base) in told.into_iter().chain(pairing.pairs).chain(marked) {
        let flags = agreed(view, scan, uid, &base);
        let print = prints.remove(&base);
        adopted.pairs.push((uid, base, flags, print));
    }
    for (uids, bases) in pairing.unclear {
        adopted.twins.extend(uids.into_iter().map(|uid| (uid, bases.clone())));
    }
    Ok(adopted)
}

/// Pairs of what is left over, where mbsync marked one of the two.
fn marked(
    mut theirs: Vec<(Uid, Evidence)>,
    mut ours: Vec<(Base, Evidence)>,
    pairing: &Pairing,
) -> Vec<(Uid, Base)> {
    let mut uids: BTreeSet<Uid> = pairing.pairs.iter().map(|(uid, _)| *uid).collect();
    let mut bases: BTreeSet<&Base> = pairing.pairs.iter().map(|(_, base)| base).collect();
    for (of_uids, of_bases) in &pairing.unclear {
        uids.extend(of_uids);
        bases.extend(of_bases);
    }
    theirs.retain(|(uid, _)| !uids.contains(uid));
    ours.retain(|(base, _)| !bases.contains(base));
    pair_marked(&theirs, &ours)
}

/// What both sides have in common: the next merge then unites the rest.
pub(super) fn agreed(view: &RemoteView, scan: &Scan, uid: Uid, base: &Base) -> Flags {
    let theirs = view.listed().get(uid).and_then(|m| m.flags).unwrap_or_default();
    let mine = scan.messages.get(base).map(|m| m.flags).unwrap_or_default();
    let only_theirs = theirs.minus(&mine);
    theirs.minus(&only_theirs)
}

/// Puts pairs into the view of the base, as the ledger does.
pub(super) fn with_pairs(mut base: BaseView, adopted: &Adopted) -> BaseView {
    let uids: BTreeSet<Uid> = adopted.pairs.iter().map(|(uid, ..)| *uid).collect();
    let bases: BTreeSet<&Base> = adopted.pairs.iter().map(|(_, base, ..)| base).collect();
    base.rows.retain(|r| {
        !r.uid.is_some_and(|u| uids.contains(&u))
            && !r.base.as_ref().is_some_and(|b| bases.contains(b))
    });
    for (uid, name, flags, _) in &adopted.pairs {
        base.uids.insert(*uid);
        base.rows.push(BaseRow::pair(0, *uid, name.clone(), flags.clone()));
    }
    base
}

/// The changes that record pairs.
pub(super) fn pair_changes(adopted: &Adopted) -> Vec<Change> {
    let pairs = adopted.pairs.iter();
    pairs
        .map(|(uid, base, flags, print)| Change::Pair {
            uid: *uid,
            base: base.clone(),
            flags: flags.clone(),
            print: print.clone(),
            date: None,
        })
        .collect()
}
