//! Files that turned up in a mailbox and were elsewhere before, as far as their names go. Floor 4.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::offload::offload;
use crate::engine::pass::{Pass, Worker};
use crate::model::failure::Failure;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName};
use crate::model::view::{Fingerprint, LocalMessage};
use crate::ports::ledger::{Kin, Ledger, MailboxId};
use crate::ports::local::{Local, Scan, Seen};
use crate::ports::remote::Connector;

/// A file that turned up, and where it was.
pub(super) struct Arrival {
    pub(super) base: Base,
    pub(super) at: LocalMessage,
    pub(super) print: Fingerprint,
    pub(super) kin: Kin,
}

/// What following them changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Followed {
    /// The ledger.
    pub(super) is_changed: bool,
    /// Names of files: what was seen of them is old.
    pub(super) is_renamed: bool,
}

/// A move that a dry run would carry over.
#[derive(Debug, Clone)]
pub(super) struct Foreseen {
    pub(super) from: MailboxName,
    pub(super) to: MailboxName,
    pub(super) by: Mover,
}

/// On which side a message was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mover {
    Here,
    Server,
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Takes note of the moves among arrivals: what is not where it was any more.
    pub(super) fn foresee(
        &mut self,
        name: &MailboxName,
        id: MailboxId,
        arrivals: &[Arrival],
        scans: &BTreeMap<MailboxName, Arc<Scan>>,
    ) {
        let has_left = |a: &&Arrival| {
            let there = scans.get(&a.kin.name);
            a.kin.mailbox != id && there.is_some_and(|scan| !scan.messages.contains(&a.kin.base))
        };
        let left = arrivals.iter().filter(has_left).map(|a| a.kin.name.clone());
        self.foreseen.extend(left.map(|from| Foreseen { from, to: name.clone(), by: Mover::Here }));
    }

    /// Tells the moves of a dry run as what they are: each was counted as new in one mailbox and as removed
    /// in another.
    pub(super) fn foretell_moves(&mut self, pass: &mut Pass) {
        for Foreseen { from, to, by } in std::mem::take(&mut self.foreseen) {
            let mailboxes = &mut pass.report.mailboxes;
            let Some(source) = mailboxes.get_mut(&from) else { continue };
            let removed = match by {
                Mover::Here => &mut source.deleted_remote,
                Mover::Server => &mut source.deleted_local,
            };
            if let Some(less) = removed.checked_sub(1) {
                *removed = less;
            } else if let Some(less) = source.held.checked_sub(1) {
                source.held = less;
            }
            let Some(target) = mailboxes.get_mut(&to) else { continue };
            let (new, moved) = match by {
                Mover::Here => (&mut target.uploaded, &mut target.moved_remote),
                Mover::Server => (&mut target.downloaded, &mut target.moved_local),
            };
            if let Some(less) = new.checked_sub(1) {
                (*new, *moved) = (less, moved.saturating_add(1));
            }
        }
    }

    /// Has the keywords of arrivals spelled in the letters of this mailbox, before anything is made of
    /// them. Answers whether files were renamed for that.
    pub(super) async fn translate(
        &self,
        name: &MailboxName,
        id: MailboxId,
        arrivals: &[Arrival],
    ) -> Result<bool, Failure> {
        let mut origins: BTreeMap<MailboxName, Vec<(Seen, Flags)>> = BTreeMap::new();
        for one in arrivals.iter().filter(|one| one.kin.mailbox != id) {
            let file = ((one.base.clone(), one.at.clone()), one.kin.flags.clone());
            origins.entry(one.kin.name.clone()).or_default().push(file);
        }
        let (local, name) = (Arc::clone(&self.local), name.clone());
        offload(move || {
            let mut is_renamed = false;
            for (from, files) in origins {
                is_renamed |= !local.translate(&from, &name, &files)?.is_empty();
            }
            Ok(is_renamed)
        })
        .await
    }
}

/// More than this at once is a new mailbox or an import, and is not searched one by one.
pub(super) const ARRIVALS_MAX: usize = 5000;
