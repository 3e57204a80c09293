//! The end of a pass over a mailbox: how far it came, and what the board shows. Floor 4.

use std::sync::Arc;

use crate::engine::board::micros_now;
use crate::engine::execute::count;
use crate::engine::mailbox::Sight;
use crate::engine::observe;
use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::model::event::Notice;
use crate::model::failure::Failure;
use crate::model::flags::Flag;
use crate::model::ids::MailboxName;
use crate::model::status::MailboxStatus;
use crate::model::view::{RemoteView, Stamp};
use crate::ports::local::{Change, Ledger, Local, Scan};
use crate::ports::remote::Connector;

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Records how far this pass came, and shows the mailbox on the board.
    pub(super) async fn conclude(
        &mut self,
        name: &MailboxName,
        sight: &Sight,
        view: &RemoteView,
        (held, is_quiet, is_open): (u32, bool, bool),
        result: &Result<(), Failure>,
    ) -> Result<(), Failure> {
        if result.is_err() {
            return Ok(());
        }
        let (ledger, local) = (Arc::clone(&self.ledger), Arc::clone(&self.local));
        let (id, mailbox, scan) = (sight.row.id, name.clone(), Arc::clone(&sight.scan));
        let cursor = view.cursor();
        let has_news = held > 0 || sight.row.unsettled > 0;
        // A word is followed once nothing is left to be proven.
        let is_followed = sight.row.consent.is_some() && !is_open;
        if held > 0 && sight.row.held == 0 {
            let (account, mailbox) = (self.account.name.clone(), name.clone());
            tracing::warn!(
                %account, %mailbox, held,
                "so many deletions look like an accident; they wait for: postrider held"
            );
            self.board.notice(Notice::DeletesHeld { account, mailbox, count: held });
        }
        let (now, failed) = offload(move || {
            let base = ledger.base(id)?;
            let now = if is_quiet {
                scan
            } else {
                Arc::new(observe::with_inexpressible(&base, local.scan(&mailbox)?))
            };
            // The state to resume from is one where the Maildir is what the ledger says; a change
            // that came meanwhile is then a difference that the next pass sees.
            let is_known = !observe::differs(&base, &now);
            // With something left to do, a pass that finds both sides unchanged must not be skipped.
            let is_done = is_known && now.steady && !is_open;
            let stamp: Option<Stamp> = is_done.then_some(now.stamp);
            let mut changes = vec![Change::Cursor(Some(cursor), stamp)];
            if has_news {
                changes.push(Change::Held(held));
            }
            if is_followed {
                changes.extend([Change::Consent(None), Change::Held(0)]);
            }
            ledger.apply(id, &changes)?;
            Ok((now, ledger.mailbox(&mailbox)?.failed))
        })
        .await?;
        self.count(name, &now, (held, failed));
        Ok(())
    }

    /// Shows a mailbox's numbers on the board.
    pub(super) fn count(&mut self, name: &MailboxName, scan: &Scan, (held, failed): (u32, u32)) {
        let unread = scan.messages.values().filter(|m| !m.flags.has(Flag::Seen)).count();
        let role = self.roles.iter().find(|(_, n)| *n == name).map(|(r, _)| r.as_str());
        let status = MailboxStatus {
            path: self.local.path(name).display().to_string(),
            role: role.unwrap_or_default().to_owned(),
            total: count(scan.messages.len()),
            unread: count(unread),
            last_sync: micros_now(),
            push: self.push_of(name),
            held,
            skipped: 0,
            failed,
        };
        self.counted.insert(name.clone());
        self.board.account(&self.account.name, |a| {
            a.mailboxes.insert(name.clone(), status);
        });
    }
}
