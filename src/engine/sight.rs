//! Looks at one mailbox: ledger, Maildir, and what the server says. Floor 4.

use std::sync::Arc;

use tokio::time::Instant;

use crate::engine::board::micros_now;
use crate::engine::compare::{Compared, compare, unchanged, with_files, with_remote};
use crate::engine::observe;
use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::model::account::Limits;
use crate::model::event::Notice;
use crate::model::failure::Failure;
use crate::model::happening::Happening;
use crate::model::ids::{MailboxName, Uid};
use crate::model::uids::UidSet;
use crate::model::view::RemoteView;
use crate::ports::ledger::{Change, Ledger, MailboxRow};
use crate::ports::local::{Local, Scan};
use crate::ports::remote::{Connector, Known, Remote};
use crate::rules::limits::Horizon;

/// What was seen of a mailbox.
pub(super) struct Sight {
    pub(super) row: MailboxRow,
    pub(super) compared: Compared,
    /// All files; of an untouched directory only those that matter.
    pub(super) scan: Arc<Scan>,
    /// Whether the directory is as it was when both sides last agreed: then it was not listed.
    pub(super) is_untouched: bool,
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Asks the server what is there, or what changed.
    pub(super) async fn look_there(
        &mut self,
        remote: &mut C::Remote,
        name: &MailboxName,
        sight: &Sight,
    ) -> Result<Arc<RemoteView>, Failure> {
        let uids = &sight.compared.base.uids;
        let depth = self.depths.next(name, Instant::now());
        let known = sight.row.cursor.map(|cursor| Known { cursor, uids, depth });
        let quirks = remote.quirks().clone();
        let view = remote.changes(name, known).await;
        self.remember(remote, &quirks).await?;
        let view = view?;
        self.depths.looked(name, depth, Instant::now());
        Ok(Arc::new(view))
    }

    /// Holds the ledger against a complete scan, and against the server's answer if there is one.
    pub(super) async fn compared(
        &self,
        row: MailboxRow,
        scan: Arc<Scan>,
        view: Option<&Arc<RemoteView>>,
    ) -> Result<Sight, Failure> {
        let (ledger, view) = (Arc::clone(&self.ledger), view.cloned());
        let (limits, now) = (self.account.sync.limits, seconds_now());
        offload(move || {
            let horizon = match &view {
                Some(view) => {
                    let known = ledger.known(row.id)?.uids;
                    horizon((limits, &row), &known, view, now)
                }
                None => Horizon::default(),
            };
            let there = view.as_deref().map(|view| (view, &horizon));
            let compared = compare(&*ledger, row.id, &scan, there)?;
            Ok(Sight { row, compared, scan, is_untouched: false })
        })
        .await
    }

    /// Looks at the ledger again, after it learned something.
    pub(super) async fn again(
        &self,
        name: &MailboxName,
        sight: &Sight,
        view: &Arc<RemoteView>,
    ) -> Result<Sight, Failure> {
        let (row, scan) = (sight.row.clone(), Arc::clone(&sight.scan));
        if !sight.is_untouched {
            return self.compared(row, scan, Some(view)).await;
        }
        let (ledger, id) = (Arc::clone(&self.ledger), row.id);
        let compared = offload(move || unchanged(&*ledger, id)).await?;
        self.with_remote(name, Sight { row, compared, scan, is_untouched: true }, view).await
    }

    /// Adds to what was seen the rows that the server's answer is about.
    pub(super) async fn with_remote(
        &self,
        name: &MailboxName,
        sight: Sight,
        view: &Arc<RemoteView>,
    ) -> Result<Sight, Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (name, view) = (name.clone(), Arc::clone(view));
        let (limits, now) = (self.account.sync.limits, seconds_now());
        offload(move || {
            let Sight { row, compared, scan, is_untouched } = sight;
            let id = row.id;
            let horizon = horizon((limits, &row), &compared.base.uids, &view, now);
            let compared = with_remote(&*ledger, id, compared, &view, &horizon)?;
            if !is_untouched {
                return Ok(Sight { row, compared, scan, is_untouched });
            }
            let (compared, scan) = with_files(&*local, &name, compared)?;
            Ok(Sight { row, compared, scan: Arc::new(scan), is_untouched })
        })
        .await
    }

    /// Has it noted what others change in a mailbox, where this program is going to change something and
    /// ledger and Maildir agree so far.
    pub(super) async fn attest(&self, name: &MailboxName, sight: &Sight) -> Result<(), Failure> {
        let since = if sight.is_untouched { sight.row.stamp } else { sight.scan.still() };
        let Some(since) = since.filter(|_| !sight.compared.is_different) else { return Ok(()) };
        let (local, name) = (Arc::clone(&self.local), name.clone());
        offload(move || {
            local.attest(&name, since);
            Ok(())
        })
        .await
    }

    /// Settles what a crash left, then looks at ledger and Maildir.
    pub(super) async fn sight(&self, name: &MailboxName) -> Result<Sight, Failure> {
        let row = {
            let (ledger, name) = (Arc::clone(&self.ledger), name.clone());
            offload(move || ledger.mailbox(&name)).await?
        };
        observe::settle_landings(&self.local, &self.ledger, name, row.id).await?;
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (name, is_dry) = (name.clone(), self.is_dry);
        offload(move || {
            let is_settled = row.unsettled == 0 && row.consent.is_none();
            if is_settled && row.stamp.is_some() && local.stamp(&name).ok() == row.stamp {
                let compared = unchanged(&*ledger, row.id)?;
                return Ok(Sight { row, compared, scan: Arc::default(), is_untouched: true });
            }
            // In a dry run the directory may not have been made.
            let scan = match local.scan(&name) {
                Err(_) if is_dry && !row.is_known => Scan::default(),
                scan => scan?,
            };
            let compared = compare(&*ledger, row.id, &scan, None)?;
            Ok(Sight { row, compared, scan: Arc::new(scan), is_untouched: false })
        })
        .await
    }

    /// A new UIDVALIDITY voids what the ledger knows of the server: this pass pairs again, adds,
    /// and removes nothing.
    pub(super) async fn check_validity(
        &self,
        name: &MailboxName,
        sight: Sight,
        view: &RemoteView,
    ) -> Result<Sight, Failure> {
        let now = view.cursor().uidvalidity;
        let before = sight.compared.base.uidvalidity;
        if before == Some(now) || self.is_dry {
            return Ok(sight);
        }
        let mut changes = vec![Change::Validity(now)];
        if let Some(before) = before {
            tracing::warn!(
                event = Happening::MailboxReset.as_str(),
                account = %self.account.name, mailbox = %name, before = %before, now = %now,
                "the server numbered this mailbox anew (UIDVALIDITY); messages are paired again"
            );
            let (account, mailbox) = (self.account.name.clone(), name.clone());
            self.board.notice(Notice::MailboxReset { account, mailbox });
            changes.insert(0, Change::Void);
        }
        let (ledger, id) = (Arc::clone(&self.ledger), sight.row.id);
        offload(move || ledger.apply(id, &changes)).await?;
        // Every file may be paired anew, so that all of them are looked at.
        let local = Arc::clone(&self.local);
        let mailbox = name.clone();
        let scan = if sight.is_untouched {
            Arc::new(offload(move || local.scan(&mailbox)).await?)
        } else {
            sight.scan
        };
        self.compared(sight.row, scan, None).await
    }
}

/// How far the limits reach in a mailbox that holds what is known and what the server said.
pub(super) fn horizon(
    (limits, row): (Limits, &MailboxRow),
    known: &UidSet,
    view: &RemoteView,
    now: i64,
) -> Horizon {
    if limits.max_messages.is_none() && !limits.is_metered {
        return Horizon::of(limits, &UidSet::default(), now);
    }
    let uids: UidSet = match view {
        RemoteView::Complete { messages, .. } => messages.uids().collect(),
        RemoteView::Delta { changed, vanished, .. } => {
            known.iter().chain(changed.uids()).filter(|uid| !vanished.contains(*uid)).collect()
        }
    };
    let horizon = Horizon::of(limits, &uids, now);
    if !limits.is_metered {
        return horizon;
    }
    let cursor = row.cursor.filter(|cursor| cursor.uidvalidity == view.cursor().uidvalidity);
    let seen = known.ranges().last().map(|range| range.end().saturating_add(1));
    let next = cursor.map(|cursor| cursor.uidnext).max(seen).and_then(Uid::new);
    horizon.metered(row.name.is_inbox(), next, &uids)
}

/// The wall clock in seconds since the epoch.
pub(super) fn seconds_now() -> i64 {
    i64::try_from(micros_now() / 1_000_000).unwrap_or(i64::MAX)
}
