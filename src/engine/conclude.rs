//! The end of a pass over a mailbox: how far it came, and what the board shows. Floor 4.

use std::sync::Arc;

use crate::engine::board::micros_now;
use crate::engine::compare::{Compared, compare};
use crate::engine::execute::count;
use crate::engine::lists::Candidate;
use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::engine::sight::{Sight, seconds_now};
use crate::model::account::Limits;
use crate::model::event::Notice;
use crate::model::failure::Failure;
use crate::model::flags::Flag;
use crate::model::happening::Happening;
use crate::model::ids::MailboxName;
use crate::model::status::{MailboxStatus, Push};
use crate::model::view::{Cursor, Stamp};
use crate::ports::ledger::{Change, Ledger, LimitChange, MailboxRow};
use crate::ports::local::{Local, Scan};
use crate::ports::remote::Connector;

/// How a pass over a mailbox ended.
pub(super) enum End {
    /// Nothing changed here: the Maildir is as it was seen.
    Quiet(Sight),
    /// Something did, or is left to be done. What was seen of the directory is of use while it stands still.
    Changed(MailboxRow, Option<Arc<Scan>>),
}

impl End {
    /// Keeps no more of what was seen than it needs.
    pub(super) fn changed(sight: Sight) -> Self {
        let scan = sight.scan.still().is_some().then_some(sight.scan);
        Self::Changed(sight.row, scan)
    }
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Records how far this pass came, and shows the mailbox on the board. Answers how many messages
    /// a limit leaves on the server.
    pub(super) async fn conclude(
        &mut self,
        name: &MailboxName,
        end: End,
        (cursor, held, is_open): (Cursor, u32, bool),
        result: &Result<(), Failure>,
    ) -> Result<u32, Failure> {
        if result.is_err() {
            return Ok(0);
        }
        let (ledger, local, mailbox) =
            (Arc::clone(&self.ledger), Arc::clone(&self.local), name.clone());
        let row = match &end {
            End::Quiet(sight) => sight.row.clone(),
            End::Changed(row, _) => row.clone(),
        };
        if matches!(end, End::Changed(..)) {
            self.counted.remove(name);
        }
        let has_news = held > 0 || row.held > 0 || row.unsettled > 0;
        // A word is followed once nothing is left to be proven.
        let is_followed = row.consent.is_some() && !is_open;
        if held > 0 && row.held == 0 {
            self.tell_held(name, held);
        }
        let limits = limits_text(self.account.sync.limits, seconds_now());
        let (sight, left) = offload(move || {
            let id = row.id;
            let (sight, is_known) = match end {
                // A difference can be there that may not be carried over: it waits.
                End::Quiet(sight) => {
                    let is_known = !sight.compared.is_different;
                    (sight, is_known)
                }
                End::Changed(row, scan) => {
                    let sight = changed((&*local, &*ledger), &mailbox, row, scan)?;
                    // The state to resume from is one where the Maildir is what the ledger says; a
                    // change that came meanwhile is then a difference that the next pass sees.
                    let is_known = !sight.compared.is_different;
                    (sight, is_known)
                }
            };
            let stamp = if sight.is_untouched { sight.row.stamp } else { sight.scan.still() };
            // With something left to do, a pass that finds both sides unchanged must not be skipped.
            let stamp: Option<Stamp> = stamp.filter(|_| is_known && !is_open);
            let mut changes = vec![Change::Cursor(Some(cursor), stamp)];
            if row.limits.as_ref() != Some(&limits) {
                changes.push(Change::Limit(LimitChange::Kept(limits)));
            }
            if has_news {
                changes.push(Change::Held(held));
            }
            if is_followed {
                changes.extend([Change::Consent(None), Change::Held(0)]);
            }
            ledger.apply(id, &changes)?;
            let row = ledger.mailbox(&mailbox)?;
            Ok((sight, (held, row.failed, row.skipped)))
        })
        .await?;
        let numbers = self.numbers(name, &sight).await?;
        self.count(name, numbers, left);
        Ok(left.2)
    }

    /// Shows a mailbox that is gone on the server and kept here.
    pub(super) async fn show_orphan(&mut self, candidate: &Candidate) -> Result<(), Failure> {
        let Some(row) = candidate.row.as_ref().filter(|row| row.cursor.is_some()) else {
            return Ok(());
        };
        if candidate.remote.is_some() || !candidate.is_local || self.is_dry {
            return Ok(());
        }
        let name = &candidate.name;
        if !self.counted.contains(name) {
            tracing::warn!(
                account = %self.account.name, mailbox = %name,
                "gone on the server; it is kept here and not synced"
            );
        }
        let (ledger, id) = (Arc::clone(&self.ledger), row.id);
        let numbers = offload(move || ledger.tally(id)).await?;
        self.count(name, Some(numbers), (row.held, row.failed, 0));
        self.board.account(&self.account.name, |a| {
            if let Some(mailbox) = a.mailboxes.get_mut(name) {
                mailbox.push = Push::None;
            }
        });
        Ok(())
    }

    fn tell_held(&self, name: &MailboxName, held: u32) {
        let (account, mailbox) = (self.account.name.clone(), name.clone());
        tracing::warn!(
            event = Happening::DeletesHeld.as_str(), %account, %mailbox, held,
            "so many deletions look like an accident; they wait for: postrider held"
        );
        self.board.notice(Notice::DeletesHeld { account, mailbox, count: held });
    }

    /// How many messages are here, and how many of them are not seen; nothing where the board
    /// knows that already.
    pub(super) async fn numbers(
        &self,
        name: &MailboxName,
        sight: &Sight,
    ) -> Result<Option<(u32, u32)>, Failure> {
        if !sight.is_untouched {
            let unread = sight.scan.messages.flags().filter(|f| !f.has(Flag::Seen)).count();
            return Ok(Some((count(sight.scan.messages.len()), count(unread))));
        }
        if self.counted.contains(name) {
            return Ok(None);
        }
        let (ledger, id) = (Arc::clone(&self.ledger), sight.row.id);
        offload(move || ledger.tally(id)).await.map(Some)
    }

    /// Shows a mailbox's numbers on the board.
    pub(super) fn count(
        &mut self,
        name: &MailboxName,
        numbers: Option<(u32, u32)>,
        (held, failed, skipped): (u32, u32, u32),
    ) {
        let role = self.roles.iter().find(|(_, n)| *n == name).map(|(r, _)| r.as_str());
        let status = MailboxStatus {
            path: self.local.path(name).display().to_string(),
            role: role.unwrap_or_default().to_owned(),
            total: 0,
            unread: 0,
            last_sync: micros_now(),
            push: self.push_of(name),
            held,
            skipped,
            failed,
        };
        self.counted.insert(name.clone());
        self.board.account(&self.account.name, |a| {
            let before = a.mailboxes.get(name).map_or((0, 0), |m| (m.total, m.unread));
            let (total, unread) = numbers.unwrap_or(before);
            a.mailboxes.insert(name.clone(), MailboxStatus { total, unread, ..status });
        });
    }
}

/// What a mailbox is like after this program changed it.
fn changed<L: Local, G: Ledger>(
    (local, ledger): (&L, &G),
    name: &MailboxName,
    row: MailboxRow,
    seen: Option<Arc<Scan>>,
) -> Result<Sight, Failure> {
    if let Some(stamp) = local.attested(name)? {
        // Nobody else was there: the Maildir is what the ledger says.
        let row = MailboxRow { stamp: Some(stamp), ..row };
        return Ok(Sight {
            row,
            compared: Compared::default(),
            scan: Arc::default(),
            is_untouched: true,
        });
    }
    let now = local.stamp(name)?;
    let scan = match seen.filter(|seen| seen.stamp == now) {
        Some(seen) => seen,
        None => Arc::new(local.scan(name)?),
    };
    let compared = compare(ledger, row.id, &scan, None)?;
    Ok(Sight { row, compared, scan, is_untouched: false })
}

/// The limits in words that change when they have to be looked at again: with an age, once a day.
pub(super) fn limits_text(limits: Limits, now: i64) -> String {
    let day = limits.max_age.map(|_| now.div_euclid(86_400));
    let metered = if limits.is_metered { " metered" } else { "" };
    format!("{:?} {:?} {:?} {day:?}{metered}", limits.max_size, limits.max_age, limits.max_messages)
}
