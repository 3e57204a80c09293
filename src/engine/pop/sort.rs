//! Holds what a session lists against what is known: what comes, what stays, what goes. Floor 4.

use std::collections::BTreeMap;

use crate::model::account::Leave;
use crate::model::failure::Failure;
use crate::model::ids::Uid;
use crate::model::pop::{PopKnown, PopListing, PopMessage, PopState};
use crate::model::view::RemoteMessage;
use crate::ports::ledger::{Change, LimitChange, MailboxId};
use crate::ports::pop::{PopChange, PopLedger, PopWanted};
use crate::rules::limits::Skip;
use crate::rules::pop::{PopPolicy, Verdict, decide, is_reused};

/// What is to be done in a session.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Messages to fetch, in the order of their numbers.
    pub(super) fetch: Vec<PopWanted>,
    /// Messages to remove, with the ledger's numbers.
    pub(super) remove: Vec<(u32, Uid)>,
    /// Messages that stay there because of a limit.
    pub(super) n_skipped: u32,
    /// Messages that wait for a network where traffic is not counted.
    pub(super) n_waiting: u32,
    /// Whether none of the messages that were there the last time is there now, and there are others:
    /// the server may have named them anew.
    pub(super) is_renamed: bool,
}

struct Sorter<'a> {
    policy: &'a PopPolicy,
    shown: &'a PopListing,
    sorted: Sorted,
    skips: Vec<Change>,
    fresh: Vec<&'a PopMessage>,
    begun: Vec<Uid>,
    listed: Vec<Uid>,
    unlisted: Vec<Uid>,
    forgotten: Vec<Uid>,
    n_met: usize,
    /// Messages that were listed the last time and are not now, although nobody here asked for it.
    n_lost: usize,
    /// Messages that ended sessions, and how many.
    cuts: BTreeMap<Uid, u32>,
}

/// Sorts the messages of a session, and records their keys, in pieces: what a dry run does not.
pub(super) fn sort<G: PopLedger>(
    (ledger, id): (&G, MailboxId),
    shown: &PopListing,
    policy: &PopPolicy,
    is_dry: bool,
) -> Result<Sorted, Failure> {
    let record = |changes: &[Change]| if is_dry { Ok(()) } else { ledger.apply(id, changes) };
    let mut sorter = Sorter {
        policy,
        shown,
        sorted: Sorted::default(),
        skips: Vec::new(),
        fresh: Vec::new(),
        begun: Vec::new(),
        listed: Vec::new(),
        unlisted: Vec::new(),
        forgotten: Vec::new(),
        n_met: 0,
        n_lost: 0,
        cuts: BTreeMap::new(),
    };
    let mut listed = shown.messages.iter().peekable();
    ledger.pop_each(id, &mut |known| {
        let key = Some(known.key.as_str());
        while let Some(new) = listed.next_if(|m| shown.key(m) < key) {
            sorter.fresh.push(new);
        }
        match listed.next_if(|m| shown.key(m) == key) {
            Some(message) => sorter.meet(message, &known),
            None if shown.is_sound => sorter.miss(&known),
            None => {}
        }
    })?;
    sorter.fresh.extend(listed);
    record(&sorter.about_known())?;
    let mut fresh = std::mem::take(&mut sorter.fresh);
    fresh.sort_unstable_by_key(|message| message.number);
    let mut next = ledger.pop_next(id)?;
    for some in fresh.chunks(RECORDED_TOGETHER) {
        record(&sorter.about_fresh(some, &mut next))?;
    }
    // What ended a session comes last: it stops no other.
    let Sorter { sorted, cuts, .. } = &mut sorter;
    sorted.fetch.sort_unstable_by_key(|w| (cuts.get(&w.uid).copied().unwrap_or(0), w.number));
    Ok(sorter.sorted)
}

impl<'a> Sorter<'a> {
    /// A message that is known.
    fn meet(&mut self, message: &'a PopMessage, known: &PopKnown) {
        if is_reused(known, message.octets) {
            self.forgotten.push(known.uid);
            self.fresh.push(message);
            return;
        }
        self.n_met += 1;
        if !known.is_listed {
            self.listed.push(known.uid);
        }
        let verdict = decide(self.policy, message, Some(known));
        if verdict == Verdict::Fetch {
            self.begun.push(known.uid);
            if known.cuts > 0 {
                self.cuts.insert(known.uid, known.cuts);
            }
        }
        if let Verdict::Skip(why) = verdict
            && known.state == PopState::Skipped
        {
            // It is on record already.
            self.skipped(why);
        } else {
            self.act(message, known.uid, verdict);
        }
    }

    /// A message that is known and was not listed. What never came is nothing to remember.
    fn miss(&mut self, known: &PopKnown) {
        if known.state != PopState::Stored {
            self.forgotten.push(known.uid);
        } else if known.is_listed {
            self.n_lost += usize::from(!known.is_asked);
            self.unlisted.push(known.uid);
        }
    }

    fn skipped(&mut self, why: Skip) {
        self.sorted.n_skipped += 1;
        self.sorted.n_waiting += u32::from(why == Skip::Metered);
    }

    fn act(&mut self, message: &PopMessage, uid: Uid, verdict: Verdict) {
        let (number, octets) = (message.number, message.octets);
        match verdict {
            Verdict::Fetch => self.sorted.fetch.push(PopWanted { number, uid, octets }),
            Verdict::Skip(why) => {
                self.skipped(why);
                let size = Some(u32::try_from(octets).unwrap_or(u32::MAX));
                let message = RemoteMessage { uid, flags: None, size, date: None };
                let skip = LimitChange::Skip(message, why.key());
                self.skips.push(Change::Limit(skip));
            }
            Verdict::Remove => self.sorted.remove.push((number, uid)),
            Verdict::Wait | Verdict::Keep => {}
        }
    }

    /// What the ledger learns about messages that are known.
    fn about_known(&mut self) -> Vec<Change> {
        let at = self.policy.now;
        self.sorted.is_renamed = self.n_met == 0 && !self.fresh.is_empty() && self.n_lost > 0;
        let mut pop = vec![
            PopChange::Forget(std::mem::take(&mut self.forgotten)),
            PopChange::Listed(std::mem::take(&mut self.listed)),
            PopChange::Unlisted(std::mem::take(&mut self.unlisted), at),
            PopChange::Begun(std::mem::take(&mut self.begun), at),
        ];
        pop.retain(|change| !is_empty(change));
        let mut changes: Vec<Change> = pop.into_iter().map(Change::Pop).collect();
        if self.sorted.is_renamed {
            // Until a pass was complete, bytes are compared before anything counts as new.
            changes.push(Change::Cursor(None, None));
        }
        changes.append(&mut self.skips);
        changes
    }

    /// What it learns about messages that are new.
    fn about_fresh(&mut self, fresh: &[&PopMessage], next: &mut u32) -> Vec<Change> {
        let mut changes = Vec::with_capacity(fresh.len());
        for message in fresh {
            let Some(uid) = Uid::new(*next) else { break };
            *next = next.saturating_add(1);
            let key = self.shown.key(message).unwrap_or_default().to_owned();
            let (octets, at) = (message.octets, self.policy.now);
            changes.push(Change::Pop(PopChange::Known { uid, key, octets, at }));
            let verdict = decide(self.policy, message, None);
            self.act(message, uid, verdict);
            changes.append(&mut self.skips);
        }
        changes
    }
}

fn is_empty(change: &PopChange) -> bool {
    match change {
        PopChange::Forget(uids)
        | PopChange::Listed(uids)
        | PopChange::Unlisted(uids, _)
        | PopChange::Begun(uids, _)
        | PopChange::Moved(uids)
        | PopChange::Asked(uids) => uids.is_empty(),
        PopChange::Known { .. }
        | PopChange::Cut(_)
        | PopChange::Rekeyed { .. }
        | PopChange::Detached
        | PopChange::Prune(_) => false,
    }
}

/// Whether a policy ever removes anything.
pub(super) fn may_remove(leave: Leave) -> bool {
    match leave {
        Leave::Forever => false,
        Leave::For(_) | Leave::UntilMoved => true,
    }
}

/// Keys that are recorded in one transaction.
const RECORDED_TOGETHER: usize = 5000;
