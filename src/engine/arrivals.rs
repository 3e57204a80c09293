//! Files that turned up in a mailbox and were elsewhere before, as far as their names go. Floor 4.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::model::failure::Failure;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName};
use crate::model::view::{Fingerprint, LocalMessage};
use crate::ports::ledger::{Kin, Ledger, MailboxId};
use crate::ports::local::{Local, Seen};
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

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
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
