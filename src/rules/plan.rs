//! The heart: decides what must happen so that both sides of a mailbox agree. Floor 1.
//!
//! Per message one exhaustive match over what was agreed, what the server shows and what the Maildir
//! shows. Operations come in the one safe order: add first, destroy last, forget at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::account::{DeletePolicy, Direction};
use crate::model::flags::{Flag, FlagDelta, Flags, Permanent};
use crate::model::ids::{Base, Uid};
use crate::model::view::{
    BaseRow, BaseView, LocalView, RemoteMessage, RemoteState, RemoteView, RowId, RowState,
};
use crate::rules::limits::{Horizon, Measure, Skip};

/// What the user allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which way changes travel.
    pub direction: Direction,
    /// What a local deletion becomes on the server.
    pub delete: DeletePolicy,
    /// Which flags the server keeps; others stay here, without a quarrel about them.
    pub permanent: Permanent,
    /// Whether a removal on the server is only a mark there.
    pub marks_only: bool,
    /// What stays on the server because of a limit.
    pub horizon: Horizon,
}

/// Everything that has to be done in one mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Fetch these, newest first; the size where it is known.
    pub download: Vec<(Uid, Option<u32>)>,
    /// Stay on the server because of a limit.
    pub skip: Vec<(RemoteMessage, Skip)>,
    /// The local copies go because of a limit.
    pub expire: Vec<(RowId, Base, Skip)>,
    /// The local copies went because of a limit.
    pub expired: Vec<RowId>,
    /// Old drafts: they go once the new text is there.
    pub replaced: Vec<(RowId, Uid)>,
    /// Append these.
    pub upload: Vec<Base>,
    /// Both sides changed to the same: only the ledger has to learn it.
    pub agree: Vec<(RowId, Flags)>,
    /// Change flags in the Maildir; the flags are what both sides then agree on.
    pub flags_local: Vec<(RowId, Base, FlagDelta, Flags)>,
    /// Change flags on the server, equal changes together.
    pub flags_remote: BTreeMap<FlagDelta, Vec<(RowId, Uid, Flags)>>,
    /// Remove from the server.
    pub remove_remote: Vec<(RowId, Uid)>,
    /// Remove from the Maildir, into the quarantine.
    pub remove_local: Vec<(RowId, Base)>,
    /// Gone on the server, stays in the Maildir on purpose.
    pub orphan_local: Vec<RowId>,
    /// Gone in the Maildir, stays on the server on purpose.
    pub orphan_remote: Vec<RowId>,
    /// Gone on both sides.
    pub forget: Vec<RowId>,
    /// Not seen in the Maildir, but not proven gone: look again.
    pub suspects: Vec<Base>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Turns deletions into their opposite: the rows are forgotten, so that the message that is left
    /// counts as new and comes back on the other side. Answers 0: nothing is held any more.
    pub fn bring_back(&mut self) -> u32 {
        self.forget.extend(self.remove_remote.drain(..).map(|(row, _)| row));
        self.forget.extend(self.remove_local.drain(..).map(|(row, _)| row));
        0
    }

    /// Whether nothing on either side would change; the ledger may.
    pub fn is_quiet(&self) -> bool {
        self.download.is_empty()
            && self.expire.is_empty()
            && self.replaced.is_empty()
            && self.upload.is_empty()
            && self.flags_local.is_empty()
            && self.flags_remote.is_empty()
            && self.remove_remote.is_empty()
            && self.remove_local.is_empty()
    }
}

/// Decides what must happen so that both sides agree. Total and deterministic.
///
/// Invariant: nothing is removed on one side unless the other side dropped it, and that absence is
/// explicit in a view that is complete.
pub fn plan(base: &BaseView, remote: &RemoteView, local: &LocalView, policy: &Policy) -> Plan {
    let mut plan = Plan::default();
    let mut known_bases = BTreeSet::new();
    for row in &base.rows {
        known_bases.extend(row.base.as_ref());
        known_message(&mut plan, row, remote, local, policy);
    }
    for message in remote.listed().iter().rev() {
        let is_new = !base.uids.contains(message.uid) && policy.direction != Direction::Push;
        // Where deletions are expunged it would go at once, and where they are only marked it may be
        // one of ours; elsewhere it is mail that others still see.
        let is_final = policy.marks_only || policy.delete == DeletePolicy::Expunge;
        let is_doomed = is_final && is_doomed(&message);
        if is_new && !is_doomed {
            match policy.horizon.skips(measure(&message)) {
                None => plan.download.push((message.uid, message.size)),
                Some(why) => plan.skip.push((message, why)),
            }
        }
    }
    for (base, message) in &local.messages {
        let is_doomed = message.flags.has(Flag::Trashed);
        if !known_bases.contains(base) && !is_doomed && policy.direction != Direction::Pull {
            plan.upload.push(base.clone());
        }
    }
    plan.download.sort_by_key(|(uid, _)| std::cmp::Reverse(*uid));
    plan
}

/// Whether somebody marked it for deletion.
fn is_doomed(message: &RemoteMessage) -> bool {
    message.flags.as_ref().is_some_and(|flags| flags.has(Flag::Trashed))
}

fn known_message(
    plan: &mut Plan,
    row: &BaseRow,
    remote: &RemoteView,
    local: &LocalView,
    policy: &Policy,
) {
    match (row.uid, row.base.as_ref()) {
        (Some(uid), Some(base)) => paired(plan, row, (uid, base), (remote, local), policy),
        (Some(uid), None) => match remote.state(uid) {
            RemoteState::Gone => plan.forget.push(row.row),
            RemoteState::Seen(message) => only_there(plan, row, (uid, message.flags), policy),
            RemoteState::Unchanged => only_there(plan, row, (uid, None), policy),
        },
        (None, Some(base)) => {
            if local.absent.contains(base) {
                plan.forget.push(row.row);
            } else if row.state == RowState::Failed
                && local.messages.contains_key(base)
                && policy.direction != Direction::Pull
            {
                plan.upload.push(base.clone());
            }
        }
        (None, None) => plan.forget.push(row.row),
    }
}

/// A message that is on the server, and known not to be here.
fn only_there(plan: &mut Plan, row: &BaseRow, (uid, said): (Uid, Option<Flags>), policy: &Policy) {
    let flags = said.unwrap_or_else(|| row.flags.clone());
    let measure = Measure { uid, size: row.size, date: row.date, flags: Some(&flags) };
    let is_due = match row.state {
        RowState::Failed | RowState::Wanted => true,
        RowState::Skipped => policy.horizon.skips(measure).is_none(),
        RowState::Replaced => {
            plan.replaced.push((row.row, uid));
            return;
        }
        RowState::Paired | RowState::Orphan | RowState::Waiting | RowState::Expiring => false,
    };
    if is_due && policy.direction != Direction::Push {
        plan.download.push((uid, row.size.and_then(|size| u32::try_from(size).ok())));
    } else if flags != row.flags && row.state == RowState::Skipped {
        plan.agree.push((row.row, flags));
    }
}

fn measure(message: &RemoteMessage) -> Measure<'_> {
    Measure {
        uid: message.uid,
        size: message.size.map(u64::from),
        date: message.date,
        flags: message.flags.as_ref(),
    }
}

/// A message that both sides had.
fn paired(
    plan: &mut Plan,
    row: &BaseRow,
    (uid, base): (Uid, &Base),
    (remote, local): (&RemoteView, &LocalView),
    policy: &Policy,
) {
    let is_absent = local.absent.contains(base);
    if row.state == RowState::Expiring {
        return expiring(plan, row, (uid, base), (remote, local));
    }
    match (remote.state(uid), local.messages.get(base)) {
        // Both have it: merge the flags, bit by bit.
        (RemoteState::Seen(message), Some(mine)) => {
            let theirs = message.flags.as_ref().unwrap_or(&row.flags);
            merge(plan, row, (uid, base), (theirs, &mine.flags), policy);
        }
        (RemoteState::Unchanged, Some(mine)) => {
            merge(plan, row, (uid, base), (&row.flags, &mine.flags), policy);
        }
        // The server dropped it, whatever happened to the flags here: deleting wins.
        (RemoteState::Gone, Some(_)) => {
            if policy.direction == Direction::Push {
                plan.orphan_local.push(row.row);
            } else {
                plan.remove_local.push((row.row, base.clone()));
            }
        }
        // Dropped here, and proven: deleting wins over a flag change there.
        (RemoteState::Seen(_) | RemoteState::Unchanged, None) if is_absent => {
            if policy.direction == Direction::Pull || policy.delete == DeletePolicy::Keep {
                plan.orphan_remote.push(row.row);
            } else {
                plan.remove_remote.push((row.row, uid));
            }
        }
        // Not seen here, but that is a question, not an answer.
        (RemoteState::Seen(_) | RemoteState::Unchanged, None) => plan.suspects.push(base.clone()),
        // Gone there. If it is gone here too, nobody needs the row; if it is not proven, a file
        // that comes back belongs to a row that is still known.
        (RemoteState::Gone, None) if is_absent => plan.forget.push(row.row),
        (RemoteState::Gone, None) => plan.suspects.push(base.clone()),
    }
}

/// A message whose local copy began to go: it goes on until it is gone, and is no deletion.
fn expiring(
    plan: &mut Plan,
    row: &BaseRow,
    (uid, base): (Uid, &Base),
    (remote, local): (&RemoteView, &LocalView),
) {
    let is_gone = remote.state(uid) == RemoteState::Gone;
    match (local.messages.contains_key(base), local.absent.contains(base)) {
        (true, _) if is_gone => plan.remove_local.push((row.row, base.clone())),
        (true, _) => plan.expire.push((row.row, base.clone(), Skip::Age)),
        (false, true) if is_gone => plan.forget.push(row.row),
        (false, true) => plan.expired.push(row.row),
        (false, false) => plan.suspects.push(base.clone()),
    }
}

fn merge(
    plan: &mut Plan,
    row: &BaseRow,
    (uid, base): (Uid, &Base),
    (theirs, mine): (&Flags, &Flags),
    policy: &Policy,
) {
    if *theirs == row.flags && *mine == row.flags {
        // Only what both sides agree on can go: a change that waits would be lost with it.
        let measure = Measure { uid, size: None, date: row.date, flags: Some(theirs) };
        if let Some(why) = policy.horizon.outgrew(measure).filter(|_| !row.is_pinned) {
            plan.expire.push((row.row, base.clone(), why));
        }
        return;
    }
    let merged = Flags::merge(&row.flags, theirs, mine);
    let to_local = merged.delta_from(mine);
    let to_remote = merged.delta_from(theirs);
    let to_remote = FlagDelta {
        add: policy.permanent.keeps(&to_remote.add),
        remove: policy.permanent.keeps(&to_remote.remove),
    };
    let write_local = !to_local.is_empty() && policy.direction != Direction::Push;
    let write_remote = !to_remote.is_empty() && policy.direction != Direction::Pull;
    // Both can be due at once; the ledger learns the merged state only when the last one is done,
    // and either of them can be computed again from the base.
    if write_local {
        let agreed = if write_remote { row.flags.apply(&to_local) } else { merged.clone() };
        plan.flags_local.push((row.row, base.clone(), to_local, agreed));
    }
    if write_remote {
        let agreed = theirs.apply(&to_remote);
        plan.flags_remote.entry(to_remote).or_default().push((row.row, uid, agreed));
    } else if !write_local && *theirs == *mine {
        plan.agree.push((row.row, merged));
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (uid, _) in &self.download {
            writeln!(f, "download {uid}")?;
        }
        for (message, why) in &self.skip {
            writeln!(f, "skip {} {}", message.uid, why.key())?;
        }
        for (_, uid) in &self.replaced {
            writeln!(f, "replaced {uid}")?;
        }
        for (_, base, why) in &self.expire {
            writeln!(f, "expire {base} {}", why.key())?;
        }
        for row in &self.expired {
            writeln!(f, "expired {row}")?;
        }
        for base in &self.upload {
            writeln!(f, "upload {base}")?;
        }
        for (row, flags) in &self.agree {
            writeln!(f, "agree {row} {flags}")?;
        }
        for (_, base, delta, _) in &self.flags_local {
            writeln!(f, "flags-local {base} +{} -{}", delta.add, delta.remove)?;
        }
        for (delta, rows) in &self.flags_remote {
            for (_, uid, _) in rows {
                writeln!(f, "flags-remote {uid} +{} -{}", delta.add, delta.remove)?;
            }
        }
        for (_, uid) in &self.remove_remote {
            writeln!(f, "remove-remote {uid}")?;
        }
        for (_, base) in &self.remove_local {
            writeln!(f, "remove-local {base}")?;
        }
        for row in &self.orphan_local {
            writeln!(f, "orphan-local {row}")?;
        }
        for row in &self.orphan_remote {
            writeln!(f, "orphan-remote {row}")?;
        }
        for row in &self.forget {
            writeln!(f, "forget {row}")?;
        }
        for base in &self.suspects {
            writeln!(f, "suspect {base}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
