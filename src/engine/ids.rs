//! The names that some servers give to messages (EMAILID, X-GM-MSGID): where they are told, a message is
//! known again wherever it goes, whatever else is like it. Floor 4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::compare::Strangers;
use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::model::failure::{Failure, Kind, Scope};
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
            let names = names(remote, some).await?;
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
        let names = names(remote, unknown).await?;
        let ledger = Arc::clone(&self.ledger);
        offload(move || {
            let mut found = Vec::new();
            for (uid, name) in names {
                found.extend(ledger.kin_by_id(id, &name)?.into_iter().map(|kin| (uid, kin)));
            }
            Ok(found)
        })
        .await
    }

    /// Files that lost their UID, and the messages that have their names, where that is clear.
    pub(super) async fn halves_by_ids(
        &self,
        remote: &mut C::Remote,
        id: MailboxId,
        strangers: &Strangers,
    ) -> Result<Vec<(Base, Uid)>, Failure> {
        if strangers.files.is_empty() || strangers.uids.is_empty() || !remote.has_ids() {
            return Ok(Vec::new());
        }
        let ledger = Arc::clone(&self.ledger);
        let halves = offload(move || ledger.named_halves(id)).await?;
        if halves.is_empty() {
            return Ok(Vec::new());
        }
        let mut there = BTreeMap::new();
        for (uid, name) in names(remote, &strangers.uids).await? {
            there.entry(name).or_insert_with(Vec::new).push(uid);
        }
        let mut here = BTreeMap::new();
        for (name, base) in halves {
            here.entry(name).or_insert_with(Vec::new).push(base);
        }
        let pair = |(name, bases): (String, Vec<Base>)| match (bases.as_slice(), there.get(&name)?)
        {
            ([base], uids) if uids.len() == 1 => Some((base.clone(), *uids.first()?)),
            _ => None,
        };
        Ok(here.into_iter().filter_map(pair).collect())
    }
}

/// The names of messages of the selected mailbox; none where the server has none, or refuses: they are a
/// help, and nothing depends on them.
async fn names<R: Remote>(remote: &mut R, uids: &[Uid]) -> Result<Vec<(Uid, String)>, Failure> {
    if !remote.has_ids() {
        return Ok(Vec::new());
    }
    match remote.ids(uids).await {
        // A server that claims to have them and knows no such word is refused by itself, not by the line.
        Err(failure)
            if failure.scope != Scope::Account
                || (failure.kind == Kind::Protocol && failure.server_said.is_some()) =>
        {
            tracing::debug!(%failure, "the server tells no names of messages");
            Ok(Vec::new())
        }
        told => told,
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

/// Names that are asked for and recorded at one time.
const NAMED_TOGETHER: usize = 5000;
