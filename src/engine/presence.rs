//! Whether a mailbox exists on both sides, may be made, and needs a look. Floor 4.

use std::sync::Arc;

use crate::engine::conclude::limits_text;
use crate::engine::lists::Candidate;
use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::engine::sight::seconds_now;
use crate::model::account::{CreatePolicy, Direction};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::MailboxName;
use crate::ports::ledger::Ledger;
use crate::ports::local::Local;
use crate::ports::remote::{Connector, Remote};
use crate::rules::mailboxes::is_chosen;

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Makes the mailbox exist on both sides where the policy says so; whether it can be synced.
    pub(super) async fn prepare(
        &self,
        remote: &mut C::Remote,
        candidate: &Candidate,
    ) -> Result<bool, Failure> {
        let (name, policy) = (&candidate.name, self.account.sync.create);
        let was_synced = candidate.row.as_ref().is_some_and(|r| r.is_known);
        let was_complete = candidate.row.as_ref().is_some_and(|r| r.cursor.is_some());
        let is_remote = match &candidate.remote {
            Some(mailbox) if !mailbox.selectable => return Ok(false),
            Some(_) => true,
            None => name.is_inbox(),
        };
        if !candidate.is_local {
            let had_files = candidate.row.as_ref().is_some_and(|r| r.has_files);
            if had_files && !self.is_dry {
                return Err(Failure::new(
                    Scope::Mailbox,
                    Remedy::Later,
                    Kind::StoreMissing,
                    format!("open mailbox {:?}", name.as_str()),
                )
                .at(self.local.path(name).display().to_string())
                .detail("its directory is gone; nothing is deleted on the server because of that")
                .cure("bring the directory back, or exclude the mailbox with \"mailboxes\""));
            }
            let may = matches!(policy, CreatePolicy::Both | CreatePolicy::Local);
            if !(may || name.is_inbox()) {
                return Ok(false);
            }
            if !self.is_dry {
                let (local, name) = (Arc::clone(&self.local), name.clone());
                offload(move || local.create(&name)).await?;
            }
        }
        if !is_remote {
            let may = matches!(policy, CreatePolicy::Both | CreatePolicy::Remote)
                && self.account.sync.direction != Direction::Pull;
            // One that was there and is gone was removed by somebody: it is kept here, and left.
            if !may || was_synced || was_complete || self.is_dry {
                return Ok(false);
            }
            remote.create(name).await?;
        }
        Ok(true)
    }

    /// The mailbox, if it is one of those that are synced; made here where that is to be.
    pub(super) async fn synced(
        &self,
        name: Option<MailboxName>,
    ) -> Result<Option<MailboxName>, Failure> {
        let Some(name) = name.filter(|n| is_chosen(&self.account.sync.mailboxes, n)) else {
            return Ok(None);
        };
        let may = matches!(self.account.sync.create, CreatePolicy::Both | CreatePolicy::Local);
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        offload(move || {
            if local.stamp(&name).is_ok() {
                return Ok(Some(name));
            }
            // One whose directory is gone is not made again: its own pass tells.
            if !may || ledger.mailbox(&name)?.has_files {
                return Ok(None);
            }
            local.create(&name)?;
            Ok(Some(name))
        })
        .await
    }

    /// Whether a mailbox has news since its last complete pass. One that only the server has, and that was
    /// never complete, has none that a move could need: its mail is not here.
    pub(super) fn is_changed(&self, candidate: &Candidate) -> bool {
        let was_complete = candidate.row.as_ref().is_some_and(|r| r.cursor.is_some());
        let is_new_here = candidate.is_local && candidate.remote.is_none();
        (was_complete || is_new_here) && !self.is_unchanged(candidate)
    }

    /// Whether neither side moved since the last complete pass.
    pub(super) fn is_unchanged(&self, candidate: &Candidate) -> bool {
        let Some(row) = &candidate.row else { return false };
        let status = candidate.remote.as_ref().and_then(|r| r.status);
        // Without a MODSEQ a flag change would not show.
        let is_remote_same = status.is_some_and(|s| s.modseq.0 > 0) && status == row.cursor;
        let is_local_same = row.stamp.is_some() && row.stamp == candidate.stamp;
        let limits = limits_text(self.account.sync.limits, seconds_now());
        let is_within = row.limits.as_ref() == Some(&limits);
        let is_shown = self.watcher.is_none() || self.counted.contains(&candidate.name);
        is_remote_same && is_local_same && row.unsettled == 0 && is_within && is_shown
    }
}
