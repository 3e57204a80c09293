//! Fetches what is new into the Maildir, and shows what is there. Floor 4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::pass::PopWorker;
use crate::engine::board::micros_now;
use crate::engine::download::{FindTwin, Target, outcome, writer};
use crate::engine::execute::count;
use crate::engine::offload::offload;
use crate::engine::progress::on_batch;
use crate::engine::sight::seconds_now;
use crate::model::account::Leave;
use crate::model::failure::{Failure, Kind};
use crate::model::flags::Flags;
use crate::model::ids::{Base, Uid, UidValidity};
use crate::model::pop::PopState;
use crate::model::status::{Counters, MailboxStatus, Push};
use crate::model::view::{Cursor, Fingerprint};
use crate::ports::ledger::{Change, MailboxId, MailboxRow};
use crate::ports::local::{Local, Staging as _};
use crate::ports::pop::{PopChange, PopConnector, PopDrop, PopLedger, PopWanted};

/// Files that no row knows, by their bytes.
type Strangers = BTreeMap<[u8; 32], Vec<(Base, Flags, Fingerprint)>>;

impl<L: Local, G: PopLedger, C: PopConnector> PopWorker<L, G, C> {
    /// Fetches messages; what arrived before a failure is kept. With `adopts`, bytes that are here already
    /// are not stored again.
    pub(super) async fn fetch(
        &self,
        maildrop: &mut C::Drop,
        id: MailboxId,
        wanted: &[PopWanted],
        adopts: bool,
        counters: &mut Counters,
    ) -> Result<(), Failure> {
        if wanted.is_empty() {
            return Ok(());
        }
        let find_twin: FindTwin<L::Staging> =
            if adopts { self.adopter(id).await? } else { Box::new(|_, _| Ok(None)) };
        let target = Target {
            local: Arc::clone(&self.local),
            ledger: Arc::clone(&self.ledger),
            mailbox: self.pop.mailbox.clone(),
            id,
        };
        let octets = wanted.iter().map(|w| w.octets).fold(0, u64::saturating_add);
        let new = self.local.path(&self.pop.mailbox).join("new");
        let size = (wanted.len(), octets);
        let on_batch = on_batch((&self.board, &self.account.name), &self.pop.mailbox, new, size);
        let (mut sink, writing) = writer(target, find_twin, on_batch);
        let fetching = async {
            let fetched = maildrop.fetch(wanted, &mut sink).await;
            drop(sink);
            fetched
        };
        let (fetched, written) = tokio::join!(fetching, writing);
        let (done, result) = outcome(fetched, written);
        counters.downloaded = counters.downloaded.saturating_add(done.n_done);
        counters.failed = counters.failed.saturating_add(done.n_failed);
        result
    }

    /// Remembers which message was on its way when a session broke off; one that did it too often counts
    /// as failed, and waits, so that the others get their turn.
    pub(super) async fn suspect(
        &self,
        id: MailboxId,
        wanted: Vec<PopWanted>,
        failure: &Failure,
    ) -> Result<(), Failure> {
        if !matches!(failure.kind, Kind::Offline | Kind::Timeout | Kind::Protocol) {
            return Ok(());
        }
        let (ledger, reason) = (Arc::clone(&self.ledger), failure.to_string());
        offload(move || {
            let mut open = Vec::new();
            ledger.pop_each(id, &mut |known| {
                if known.state != PopState::Stored {
                    open.push((known.uid, known.state, known.cuts));
                }
            })?;
            open.sort_unstable_by_key(|(uid, ..)| *uid);
            let find = |uid: Uid| open.get(open.binary_search_by_key(&uid, |(of, ..)| *of).ok()?);
            // They come in order, so that the first that is not here was on its way.
            let first = wanted.iter().find_map(|w| find(w.uid));
            let Some(&(uid, state, cuts)) = first else { return Ok(()) };
            if state == PopState::Waiting {
                return Ok(());
            }
            let mut changes = vec![Change::Pop(PopChange::Cut(uid))];
            if cuts.saturating_add(1) >= CUTS_MAX {
                changes.push(Change::Failed { uid: Some(uid), base: None, reason });
            }
            ledger.apply(id, &changes)
        })
        .await
    }

    /// Recognises messages that are here: of a ledger that was lost, or of a server that gives them other
    /// names now.
    async fn adopter(&self, id: MailboxId) -> Result<FindTwin<L::Staging>, Failure> {
        let (mut strangers, has_unlisted) = self.strangers(id).await?;
        let (ledger, mut claimed) = (Arc::clone(&self.ledger), BTreeSet::new());
        Ok(Box::new(move |header, file: &L::Staging| {
            let (digest, stand_in) = (file.digest(), header.uid);
            let known: Option<(Uid, Base)> =
                if has_unlisted { ledger.pop_unlisted(id, &digest)? } else { None };
            if let Some((known, _)) = known.filter(|(uid, _)| claimed.insert(*uid)) {
                return Ok(Some(Change::Pop(PopChange::Rekeyed { known, stand_in })));
            }
            let stranger = strangers.get_mut(&digest).and_then(Vec::pop);
            Ok(stranger.map(|(base, flags, print)| Change::Pair {
                uid: stand_in,
                base,
                flags,
                print: Some(print),
                date: None,
            }))
        }))
    }

    /// Files that no row knows, and whether the server no longer lists any message that is known.
    async fn strangers(&self, id: MailboxId) -> Result<(Strangers, bool), Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let mailbox = self.pop.mailbox.clone();
        offload(move || {
            let scan = local.scan(&mailbox)?;
            let mut sieve = scan.messages.sieve();
            let mut has_unlisted = false;
            ledger.pop_each(id, &mut |known| {
                has_unlisted |= !known.is_listed;
                if let Some(base) = known.base {
                    sieve.take(&base);
                }
            })?;
            let strangers = sieve.rest();
            let mut found = Strangers::new();
            for (base, print) in local.fingerprints(&mailbox, &strangers)? {
                let flags = scan.messages.get(&base).map(|m| m.flags).unwrap_or_default();
                found.entry(print.digest).or_default().push((base, flags, print));
            }
            Ok((found, has_unlisted))
        })
        .await
    }

    /// Looks at the mailbox, records the state that it was seen in, and shows it on the board.
    pub(super) async fn show(&mut self, row: &MailboxRow, is_whole: bool) -> Result<(), Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (mailbox, is_dry) = (self.pop.mailbox.clone(), self.is_dry);
        let is_first = !std::mem::replace(&mut self.is_counted, true);
        let (before, is_known) = (row.stamp, row.cursor == Some(COMPLETE));
        // What left since it was looked for must be looked for again.
        let (looked, must_look) = (self.looked, self.pop.leave == Leave::UntilMoved);
        let (numbers, row) = offload(move || {
            if is_dry {
                return Ok((None, ledger.mailbox(&mailbox)?));
            }
            let stamp = local.stamp(&mailbox)?;
            let mut changes = Vec::new();
            let mut numbers = None;
            let mut still = before;
            if before != Some(stamp) || is_first {
                let tally = local.tally(&mailbox)?;
                numbers = Some((count(tally.total), count(tally.unread)));
                still = tally.still;
            }
            still = still.filter(|still| !must_look || looked == Some(*still));
            let id = ledger.mailbox(&mailbox)?.id;
            if is_whole && !is_first && (!is_known || still != before) {
                changes.push(Change::Cursor(Some(COMPLETE), still));
            }
            changes.push(Change::Pop(PopChange::Prune(seconds_now().saturating_sub(PRUNE_AFTER))));
            ledger.apply(id, &changes)?;
            Ok((numbers, ledger.mailbox(&mailbox)?))
        })
        .await?;
        self.put_on_board(&row, numbers);
        Ok(())
    }

    fn put_on_board(&self, row: &MailboxRow, numbers: Option<(u32, u32)>) {
        let name = &self.pop.mailbox;
        let role = if name.is_inbox() { "inbox" } else { "" };
        let status = MailboxStatus {
            path: self.local.path(name).display().to_string(),
            role: role.to_owned(),
            total: 0,
            unread: 0,
            last_sync: micros_now(),
            push: Push::Poll,
            held: row.held,
            skipped: row.skipped,
            failed: row.failed,
        };
        self.board.account(&self.account.name, |a| {
            let before = a.mailboxes.get(name).map_or((0, 0), |m| (m.total, m.unread));
            let (total, unread) = numbers.unwrap_or(before);
            a.push = Push::Poll;
            a.mailboxes.insert(name.clone(), MailboxStatus { total, unread, ..status });
        });
    }
}

/// A maildrop has no state of its own to come back to: that a pass was complete is all there is to say.
pub(super) const COMPLETE: Cursor = Cursor {
    uidvalidity: UidValidity(std::num::NonZeroU32::MIN),
    uidnext: 0,
    modseq: crate::model::ids::ModSeq(0),
    exists: 0,
};
/// A message that ended so many sessions is set aside.
const CUTS_MAX: u32 = 3;
/// How long it is remembered what was removed on our word, in seconds.
const PRUNE_AFTER: i64 = 30 * 86_400;
