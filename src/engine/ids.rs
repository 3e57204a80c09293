//! The names that some servers give to messages (EMAILID, X-GM-MSGID): where they are told, a message is
//! known again wherever it goes, whatever else is like it. Floor 4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::model::failure::Failure;
use crate::model::ids::{Base, Uid};
use crate::ports::ledger::{Change, Kin, Ledger, MailboxId, MailboxRow};
use crate::ports::local::Local;
use crate::ports::remote::{Connector, Remote};

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Asks for the names of what is new in the selected mailbox, and remembers them.
    pub(super) async fn learn_ids(
        &self,
        remote: &mut C::Remote,
        row: &MailboxRow,
    ) -> Result<(), Failure> {
        if !remote.has_ids() {
            return Ok(());
        }
        let (ledger, id) = (Arc::clone(&self.ledger), row.id);
        let first = row.cursor.map_or(1, |cursor| cursor.uidnext);
        let nameless = offload(move || ledger.nameless(id, first)).await?;
        for some in nameless.chunks(NAMED_TOGETHER) {
            let names = remote.ids(some).await?;
            let ledger = Arc::clone(&self.ledger);
            offload(move || ledger.apply(id, &[Change::Named(names)])).await?;
        }
        Ok(())
    }

    /// Messages of other mailboxes that have the names of these new ones; a message can be in several.
    pub(super) async fn kin_by_ids(
        &self,
        remote: &mut C::Remote,
        id: MailboxId,
        unknown: &[Uid],
    ) -> Result<Vec<(Uid, Kin)>, Failure> {
        self.by_ids(remote, unknown, move |ledger, name| ledger.kin_by_id(id, name)).await
    }

    /// Files that lost their UID, and the messages that have their names.
    pub(super) async fn halves_by_ids(
        &self,
        remote: &mut C::Remote,
        id: MailboxId,
        strangers: &[Uid],
    ) -> Result<Vec<(Base, Uid)>, Failure> {
        let halves = move |ledger: &G, name: &str| ledger.halves_by_id(id, name);
        let found = self.by_ids(remote, strangers, halves).await?;
        Ok(found.into_iter().map(|(uid, base)| (base, uid)).collect())
    }

    /// What the ledger knows by the names of these messages.
    async fn by_ids<T: Send + 'static>(
        &self,
        remote: &mut C::Remote,
        uids: &[Uid],
        find: impl Fn(&G, &str) -> Result<Vec<T>, Failure> + Send + 'static,
    ) -> Result<Vec<(Uid, T)>, Failure> {
        if !remote.has_ids() {
            return Ok(Vec::new());
        }
        let names = remote.ids(uids).await?;
        let ledger = Arc::clone(&self.ledger);
        offload(move || {
            let mut found = Vec::new();
            for (uid, name) in names {
                found.extend(find(&ledger, &name)?.into_iter().map(|one| (uid, one)));
            }
            Ok(found)
        })
        .await
    }
}

/// One of each: a message that came goes with one that left, and no more.
pub(super) fn each_once(found: &mut Vec<(Uid, Kin)>) {
    let (mut uids, mut rows) = (BTreeSet::new(), BTreeSet::new());
    found.retain(|(uid, kin)| {
        let is_first = !uids.contains(uid) && !rows.contains(&kin.row);
        if is_first {
            uids.insert(*uid);
            rows.insert(kin.row);
        }
        is_first
    });
}

/// Which of them are unique on both sides.
pub(super) fn unique(found: Vec<(Base, Uid)>) -> Vec<(Base, Uid)> {
    let (mut bases, mut uids) = (BTreeMap::new(), BTreeMap::new());
    for (base, uid) in &found {
        *bases.entry(base.clone()).or_insert(0_u32) += 1;
        *uids.entry(*uid).or_insert(0_u32) += 1;
    }
    let is_alone =
        |(base, uid): &(Base, Uid)| bases.get(base) == Some(&1) && uids.get(uid) == Some(&1);
    found.into_iter().filter(is_alone).collect()
}

/// Names that are asked for and recorded at one time.
const NAMED_TOGETHER: usize = 5000;
