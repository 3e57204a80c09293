//! Mailboxes that were renamed or removed on one side. Floor 4.
//!
//! A mailbox that is gone and one that is new are the same if four fifths of the messages are: then
//! it was renamed, and nothing is transferred. What is gone otherwise is removed on the other side
//! only if it is empty there, and only where the configuration says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::lists::Candidate;
use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::model::account::Direction;
use crate::model::failure::{Failure, Scope};
use crate::model::ids::{Base, MailboxName};
use crate::model::view::RemoteView;
use crate::ports::ledger::{Ledger, MailboxRow};
use crate::ports::local::Local;
use crate::ports::remote::{Connector, Remote};

/// Where a mailbox that is known is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Renamed or removed on the server.
    GoneThere,
    /// Renamed or removed here.
    GoneHere,
    /// Neither side has it.
    Gone,
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Follows one mailbox that was renamed or removed; answers whether there was one, so that the
    /// lists have to be read anew: with a mailbox go those below it.
    pub(super) async fn follow_rename(
        &mut self,
        remote: &mut C::Remote,
        candidates: &[Candidate],
    ) -> Result<bool, Failure> {
        if self.is_dry {
            return Ok(false);
        }
        for old in candidates.iter().filter(|c| !c.name.is_inbox()) {
            let (Some(row), Some(fate)) = (&old.row, fate(old)) else { continue };
            let new = match row.is_known {
                true => self.new_name(remote, row, fate, candidates).await?,
                false => None,
            };
            let is_done = match new {
                Some(new) => self.rename(remote, row, fate, &new).await?,
                None => self.removed(remote, row, fate).await?,
            };
            if is_done {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The mailbox that turned up with the messages of one that is gone.
    async fn new_name(
        &self,
        remote: &mut C::Remote,
        old: &MailboxRow,
        fate: Fate,
        candidates: &[Candidate],
    ) -> Result<Option<MailboxName>, Failure> {
        let is_unknown = |c: &&Candidate| c.row.as_ref().is_none_or(|r| !r.is_known);
        for new in candidates.iter().filter(is_unknown) {
            let is_there = new.remote.as_ref().is_some_and(|m| m.selectable);
            let is_same = match fate {
                Fate::GoneThere => {
                    let status = new.remote.as_ref().and_then(|m| m.status);
                    let validity = old.cursor.map(|c| c.uidvalidity);
                    let is_other = status.is_some_and(|s| Some(s.uidvalidity) != validity);
                    is_there
                        && !new.is_local
                        && !is_other
                        && self.has_messages_of(remote, &new.name, old).await?
                }
                Fate::GoneHere => {
                    new.is_local && !is_there && self.has_files_of(&new.name, old).await?
                }
                Fate::Gone => new.is_local && is_there && self.has_files_of(&new.name, old).await?,
            };
            if is_same {
                return Ok(Some(new.name.clone()));
            }
        }
        Ok(None)
    }

    /// Whether a mailbox on the server holds the messages of a known one: UIDs and sizes.
    async fn has_messages_of(
        &self,
        remote: &mut C::Remote,
        name: &MailboxName,
        old: &MailboxRow,
    ) -> Result<bool, Failure> {
        let view = match remote.changes(name, None).await {
            Ok(view) => view,
            Err(failure) if failure.scope == Scope::Mailbox => return Ok(false),
            Err(failure) => return Err(failure),
        };
        if Some(view.cursor().uidvalidity) != old.cursor.map(|c| c.uidvalidity) {
            return Ok(false);
        }
        let RemoteView::Complete { messages, .. } = view else { return Ok(false) };
        let (ledger, id) = (Arc::clone(&self.ledger), old.id);
        offload(move || {
            let (mut n_known, mut n_same) = (0_u64, 0_u64);
            ledger.each(id, &mut |row| {
                let Some(uid) = row.uid else { return };
                n_known = n_known.saturating_add(1);
                let size = messages.get(uid).map(|m| m.size.map(u64::from));
                let is_same = size.is_some_and(|size| size == row.size || row.size.is_none());
                n_same = n_same.saturating_add(u64::from(is_same));
            })?;
            Ok(is_most(n_same, n_known))
        })
        .await
    }

    /// Whether a directory holds the files of a known mailbox.
    async fn has_files_of(&self, name: &MailboxName, old: &MailboxRow) -> Result<bool, Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (name, id) = (name.clone(), old.id);
        offload(move || {
            let scan = match local.scan(&name) {
                Ok(scan) => scan,
                Err(failure) if failure.scope == Scope::Mailbox => return Ok(false),
                Err(failure) => return Err(failure),
            };
            let (mut n_known, mut n_same) = (0_u64, 0_u64);
            let mut seen: BTreeSet<Base> = BTreeSet::new();
            ledger.each(id, &mut |row| {
                let Some(base) = row.base else { return };
                n_known = n_known.saturating_add(1);
                if scan.messages.contains(&base) && seen.insert(base) {
                    n_same = n_same.saturating_add(1);
                }
            })?;
            Ok(is_most(n_same, n_known))
        })
        .await
    }

    async fn rename(
        &mut self,
        remote: &mut C::Remote,
        old: &MailboxRow,
        fate: Fate,
        new: &MailboxName,
    ) -> Result<bool, Failure> {
        let direction = self.account.sync.direction;
        match fate {
            Fate::GoneThere if direction == Direction::Push => return Ok(false),
            Fate::GoneHere if direction == Direction::Pull => return Ok(false),
            Fate::GoneHere => match remote.rename(&old.name, new).await {
                Ok(()) => {}
                Err(failure) if failure.scope == Scope::Mailbox => {
                    tracing::warn!(from = %old.name, to = %new, %failure, "a mailbox was not renamed");
                    return Ok(false);
                }
                Err(failure) => return Err(failure),
            },
            Fate::GoneThere | Fate::Gone => {}
        }
        tracing::info!(account = %self.account.name, from = %old.name, to = %new, "mailbox renamed");
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (from, to, id) = (old.name.clone(), new.clone(), old.id);
        let moves_here = fate == Fate::GoneThere;
        offload(move || {
            // Directory first: a ledger that is behind finds the pair again by its files.
            if moves_here {
                local.rename(&from, &to)?;
            }
            ledger.rename(id, &to)
        })
        .await?;
        self.forget_shown(&old.name);
        Ok(true)
    }

    /// A mailbox that is gone, and was not renamed.
    async fn removed(
        &mut self,
        remote: &mut C::Remote,
        old: &MailboxRow,
        fate: Fate,
    ) -> Result<bool, Failure> {
        let removes = self.account.sync.remove_mailboxes && old.cursor.is_some();
        let direction = self.account.sync.direction;
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (name, id) = (old.name.clone(), old.id);
        let is_gone = match fate {
            Fate::Gone => true,
            Fate::GoneThere if removes && direction != Direction::Push => {
                offload(move || local.remove(&name)).await?
            }
            Fate::GoneHere if removes && direction != Direction::Pull => {
                match remote.delete(&old.name).await {
                    Ok(()) => true,
                    Err(failure) if failure.scope == Scope::Mailbox => false,
                    Err(failure) => return Err(failure),
                }
            }
            Fate::GoneThere | Fate::GoneHere => false,
        };
        if is_gone {
            tracing::info!(account = %self.account.name, mailbox = %old.name, "mailbox removed");
            offload(move || ledger.forget(id)).await?;
            self.forget_shown(&old.name);
        }
        Ok(is_gone)
    }

    fn forget_shown(&mut self, name: &MailboxName) {
        self.counted.remove(name);
        self.board.account(&self.account.name, |a| {
            a.mailboxes.remove(name);
        });
    }
}

fn fate(candidate: &Candidate) -> Option<Fate> {
    match (candidate.remote.is_some(), candidate.is_local) {
        (true, true) => None,
        (false, true) => Some(Fate::GoneThere),
        (true, false) => Some(Fate::GoneHere),
        (false, false) => Some(Fate::Gone),
    }
}

/// Four fifths: mail came and went meanwhile.
fn is_most(n_same: u64, n_known: u64) -> bool {
    n_known > 0 && n_same.saturating_mul(5) >= n_known.saturating_mul(4)
}
