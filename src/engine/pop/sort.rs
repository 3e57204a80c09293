//! Holds what a session lists against what is known: what comes, what stays, what goes. Floor 4.

use crate::model::account::Leave;
use crate::model::failure::Failure;
use crate::model::ids::Uid;
use crate::model::pop::{PopKnown, PopState};
use crate::model::view::RemoteMessage;
use crate::ports::ledger::{Change, LimitChange, MailboxId};
use crate::ports::pop::{PopChange, PopLedger, PopWanted};
use crate::rules::limits::Skip;
use crate::rules::pop::{Named, PopPolicy, Verdict, decide, is_reused};

/// What is to be done in a session.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Messages to fetch, in the order of their numbers.
    pub(super) fetch: Vec<PopWanted>,
    /// Messages to remove, with the ledger's numbers.
    pub(super) remove: Vec<(u32, Uid)>,
    /// Messages that stay there because of a limit.
    pub(super) n_skipped: u32,
    /// What the ledger learns before anything is fetched.
    pub(super) changes: Vec<Change>,
    /// Whether none of the messages that were there the last time is there now, and there are others:
    /// the server may have named them anew.
    pub(super) is_renamed: bool,
}

/// What a session shows.
#[derive(Debug)]
pub(super) struct Shown {
    /// All messages, in the order of their keys.
    pub(super) named: Vec<Named>,
    /// Whether the server's answers agreed with each other.
    pub(super) is_sound: bool,
}

struct Sorter<'a> {
    policy: &'a PopPolicy,
    sorted: Sorted,
    fresh: Vec<&'a Named>,
    begun: Vec<Uid>,
    listed: Vec<Uid>,
    unlisted: Vec<Uid>,
    forgotten: Vec<Uid>,
    n_met: usize,
}

/// Sorts the messages of a session.
pub(super) fn sort<G: PopLedger>(
    ledger: &G,
    id: MailboxId,
    shown: &Shown,
    policy: &PopPolicy,
) -> Result<Sorted, Failure> {
    let mut sorter = Sorter {
        policy,
        sorted: Sorted::default(),
        fresh: Vec::new(),
        begun: Vec::new(),
        listed: Vec::new(),
        unlisted: Vec::new(),
        forgotten: Vec::new(),
        n_met: 0,
    };
    let mut named = shown.named.iter().peekable();
    ledger.pop_each(id, &mut |known| {
        while let Some(new) = named.next_if(|n| n.key < known.key) {
            sorter.fresh.push(new);
        }
        match named.next_if(|n| n.key == known.key) {
            Some(message) => sorter.meet(message, &known),
            None if shown.is_sound => sorter.miss(&known),
            None => {}
        }
    })?;
    sorter.fresh.extend(named);
    let next = ledger.pop_next(id)?;
    Ok(sorter.finish(next))
}

impl<'a> Sorter<'a> {
    /// A message that is known.
    fn meet(&mut self, message: &'a Named, known: &PopKnown) {
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
        }
        if verdict != Verdict::Skip || known.state == PopState::Named {
            self.act(message, known.uid, verdict);
        } else {
            self.sorted.n_skipped += 1;
        }
    }

    /// A message that is known and was not listed. What never came is nothing to remember.
    fn miss(&mut self, known: &PopKnown) {
        if known.state != PopState::Stored {
            self.forgotten.push(known.uid);
        } else if known.is_listed {
            self.unlisted.push(known.uid);
        }
    }

    fn act(&mut self, message: &Named, uid: Uid, verdict: Verdict) {
        let (number, octets) = (message.number, message.octets);
        match verdict {
            Verdict::Fetch => self.sorted.fetch.push(PopWanted { number, uid, octets }),
            Verdict::Skip => {
                self.sorted.n_skipped += 1;
                let size = Some(u32::try_from(octets).unwrap_or(u32::MAX));
                let message = RemoteMessage { uid, flags: None, size, date: None };
                let skip = LimitChange::Skip(message, Skip::Size.key());
                self.sorted.changes.push(Change::Limit(skip));
            }
            Verdict::Remove => self.sorted.remove.push((number, uid)),
            Verdict::Wait | Verdict::Keep => {}
        }
    }

    fn finish(mut self, mut next: u32) -> Sorted {
        let (at, fresh) = (self.policy.now, std::mem::take(&mut self.fresh));
        let mut pop = vec![
            PopChange::Forget(self.forgotten.clone()),
            PopChange::Listed(self.listed.clone()),
            PopChange::Unlisted(self.unlisted.clone(), at),
            PopChange::Begun(self.begun.clone(), at),
        ];
        pop.retain(|change| !is_empty(change));
        self.sorted.changes.extend(pop.into_iter().map(Change::Pop));
        self.sorted.is_renamed =
            self.n_met == 0 && !fresh.is_empty() && self.unlisted.len() >= RENAMED_MIN;
        let mut fresh = fresh;
        fresh.sort_by_key(|message| message.number);
        for message in fresh {
            let Some(uid) = Uid::new(next) else { break };
            next = next.saturating_add(1);
            let (key, octets) = (message.key.clone(), message.octets);
            self.sorted.changes.push(Change::Pop(PopChange::Known { uid, key, octets, at }));
            let verdict = decide(self.policy, message, None);
            self.act(message, uid, verdict);
        }
        self.sorted.fetch.sort_by_key(|wanted| wanted.number);
        self.sorted
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
        PopChange::Known { .. } | PopChange::Rekeyed { .. } | PopChange::Prune(_) => false,
    }
}

/// Whether a policy ever removes anything.
pub(super) fn may_remove(leave: Leave) -> bool {
    match leave {
        Leave::Forever => false,
        Leave::For(_) | Leave::UntilMoved => true,
    }
}

/// Fewer messages than this can be gone at once for other reasons.
const RENAMED_MIN: usize = 10;
