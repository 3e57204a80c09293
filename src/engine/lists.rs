//! Which mailboxes there are: on the server, here, and in the ledger. Floor 4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::engine::repair::settle_epoch;
use crate::model::event::Notice;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::MailboxName;
use crate::model::view::{RemoteMailbox, Stamp};
use crate::ports::ledger::{Ledger, MailboxRow};
use crate::ports::local::Local;
use crate::ports::remote::{Connector, Remote};
use crate::rules::mailboxes::{roles, takes_part};

/// A mailbox that exists on either side, before it is looked into.
pub(super) struct Candidate {
    pub(super) name: MailboxName,
    pub(super) remote: Option<RemoteMailbox>,
    pub(super) is_local: bool,
    pub(super) row: Option<MailboxRow>,
    pub(super) stamp: Option<Stamp>,
}

/// What the Maildir and the ledger know of mailboxes.
#[derive(Default)]
struct Here {
    on_disk: BTreeSet<MailboxName>,
    rows: Vec<MailboxRow>,
    stamps: BTreeMap<MailboxName, Stamp>,
    /// Mailboxes that are paired again: one side was restored from a backup.
    reset: Vec<MailboxName>,
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// The mailboxes, once those that were renamed or removed on one side are so on the other.
    pub(super) async fn settled_candidates(
        &mut self,
        remote: &mut C::Remote,
        targets: &[MailboxName],
    ) -> Result<Vec<Candidate>, Failure> {
        for _ in 0..RENAMES_MAX {
            let candidates = self.candidates(remote, targets).await?;
            let is_whole = targets.is_empty();
            if !is_whole || !self.follow_rename(remote, &candidates).await? {
                return Ok(candidates);
            }
        }
        self.candidates(remote, targets).await
    }

    /// All mailboxes of both sides that are chosen, INBOX first. The targets have to be among those that exist.
    pub(super) async fn candidates(
        &mut self,
        remote: &mut C::Remote,
        targets: &[MailboxName],
    ) -> Result<Vec<Candidate>, Failure> {
        // The server lists its mailboxes while we list ours.
        let (here, listed) = tokio::join!(self.here(), remote.mailboxes());
        let (Here { on_disk, rows, stamps, reset }, listed) = (here?, listed?);
        self.tell_reset(reset);
        self.roles = roles(&self.account.roles, &listed);
        let mut by_name: BTreeMap<MailboxName, Option<RemoteMailbox>> = BTreeMap::new();
        by_name.extend(on_disk.iter().map(|name| (name.clone(), None)));
        by_name.extend(listed.into_iter().map(|m| (m.name.clone(), Some(m))));
        by_name.entry(MailboxName::inbox()).or_default();
        for row in &rows {
            by_name.entry(row.name.clone()).or_default();
        }
        if let Some(unknown) = targets.iter().find(|t| !by_name.contains_key(*t)) {
            let what = format!("find mailbox {:?}", unknown.as_str());
            return Err(Failure::new(Scope::Mailbox, Remedy::Never, Kind::NotFound, what)
                .cure(format!("postrider mailboxes {}", self.account.name)));
        }
        let mut candidates: Vec<Candidate> = by_name
            .into_iter()
            .filter(|(name, remote)| takes_part(&self.account.sync, name, remote.as_ref()))
            .map(|(name, remote)| Candidate {
                is_local: on_disk.contains(&name),
                row: rows.iter().find(|r| r.name == name).cloned(),
                stamp: stamps.get(&name).copied(),
                name,
                remote,
            })
            .collect();
        candidates.sort_by_key(|c| !c.name.is_inbox());
        Ok(candidates)
    }

    fn tell_reset(&self, mailboxes: Vec<MailboxName>) {
        for mailbox in mailboxes {
            tracing::warn!(
                account = %self.account.name, %mailbox,
                "the Maildir or the ledger was restored from a backup; messages are paired again, and \
                 files that nobody knows stay here (copy one under another name to upload it)"
            );
            let account = self.account.name.clone();
            self.board.notice(Notice::MailboxReset { account, mailbox });
        }
    }

    /// What is here, once the Maildir has shown that it is the one that the ledger belongs to.
    async fn here(&mut self) -> Result<Here, Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let is_dry = self.is_dry;
        let sweeps = !is_dry && self.swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY);
        if sweeps {
            self.swept = Some(Instant::now());
        }
        offload(move || {
            let expected = ledger.root()?;
            if is_dry && expected.is_none() {
                return Ok(Here::default());
            }
            let id = local.open_root(expected.as_deref())?;
            if sweeps && let Err(failure) = local.sweep() {
                tracing::warn!(%failure, "old files were not swept; it is tried again tomorrow");
            }
            if expected.is_none() {
                ledger.set_root(&id)?;
            }
            let reset = if is_dry { Vec::new() } else { settle_epoch(&*local, &*ledger)? };
            let on_disk: BTreeSet<MailboxName> = local.mailboxes()?.into_iter().collect();
            let stamps = on_disk
                .iter()
                .filter_map(|name| local.stamp(name).ok().map(|stamp| (name.clone(), stamp)))
                .collect();
            Ok(Here { on_disk, rows: ledger.mailboxes()?, stamps, reset })
        })
        .await
    }
}

/// How often the quarantine and `tmp/` are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(86_400);
/// Mailboxes that are renamed or removed in one pass; the next one goes on.
const RENAMES_MAX: u32 = 200;
