//! Looks a second time where something was missing. Floor 4.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::mailbox::Reason;
use crate::engine::offload::offload;
use crate::engine::pass::{Pass, Worker};
use crate::model::failure::Failure;
use crate::model::ids::MailboxName;
use crate::ports::ledger::Ledger;
use crate::ports::local::Local;
use crate::ports::remote::Connector;

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Looks again into these mailboxes, but first into others that changed here meanwhile: what is missing
    /// in the one may have come to the other, and then it was moved and not deleted.
    pub(super) async fn look_again(
        &mut self,
        remote: &mut C::Remote,
        names: BTreeSet<MailboxName>,
        pass: &mut Pass,
    ) {
        let changed = match self.changed_here(&names).await {
            Ok(changed) => changed,
            Err(failure) => return pass.fail(failure),
        };
        let changed = changed.into_iter().map(|name| (name, Reason::Local));
        for (name, reason) in changed.chain(names.into_iter().map(|name| (name, Reason::Any))) {
            if pass.is_spoilt() {
                return;
            }
            self.look_into(remote, &name, reason, pass).await;
        }
    }

    /// Mailboxes that are synced, and whose directory is not as the last complete pass left it.
    async fn changed_here(
        &self,
        besides: &BTreeSet<MailboxName>,
    ) -> Result<Vec<MailboxName>, Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let synced: BTreeSet<MailboxName> = self.within.difference(besides).cloned().collect();
        offload(move || {
            let mut rows = ledger.mailboxes()?;
            rows.retain(|row| synced.contains(&row.name) && row.cursor.is_some());
            rows.retain(|row| local.stamp(&row.name).is_ok_and(|now| row.stamp != Some(now)));
            Ok(rows.into_iter().map(|row| row.name).collect())
        })
        .await
    }
}
