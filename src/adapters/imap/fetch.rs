//! Bodies: pipelined batches of small ones, pieces of large ones. Floor 3.
//!
//! A message that the server cannot give, or that ends each connection, is set aside and stops no
//! other.

use super::ImapRemote;
use super::encode::{LfPieces, uid_sets};
use super::item::{FetchItem, Item, Next};
use super::suspects::Trust;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::Uid;
use crate::ports::remote::{FetchSink, Fetched, Header, Wanted};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Small messages on their way.
#[derive(Debug, Default)]
struct Job {
    queue: VecDeque<Vec<Uid>>,
    in_flight: BTreeMap<String, Vec<Uid>>,
    /// What did not arrive, and its size where that is known.
    missing: BTreeMap<Uid, Option<u32>>,
    /// What was answered for, but not with a whole body.
    odd: BTreeSet<Uid>,
    n_refused: u32,
    window: usize,
}

impl Job {
    fn new(wanted: &[Wanted], batch: usize, window: usize) -> Self {
        let uids: Vec<Uid> = wanted.iter().map(|w| w.uid).collect();
        let queue = uids.chunks(batch).map(<[Uid]>::to_vec).collect();
        let missing = wanted.iter().map(|w| (w.uid, w.size)).collect();
        Self { queue, missing, window, ..Self::default() }
    }

    /// The next command and its messages. Long sets are halved until they fit.
    fn next(&mut self) -> Option<(String, Vec<Uid>)> {
        while self.in_flight.len() < self.window {
            let batch = self.queue.pop_front()?;
            let set = uid_sets(&batch, usize::MAX).concat();
            if set.len() > SET_BYTES_MAX && batch.len() > 1 {
                halve(&batch, &mut self.queue);
                continue;
            }
            return Some((format!("UID FETCH {set} (UID FLAGS INTERNALDATE BODY.PEEK[])"), batch));
        }
        None
    }
}

impl ImapRemote {
    /// Fetches messages into the sink: small ones first, each kind in the order that was asked for.
    pub(super) async fn fetch_all<S: FetchSink>(
        &mut self,
        wanted: &[Wanted],
        sink: &mut S,
    ) -> Result<(), Failure> {
        let is_large = |w: &Wanted| w.size.is_some_and(|s| s > PIECE_BYTES);
        let (mut small, mut alone, mut large) = (Vec::new(), Vec::new(), Vec::new());
        for one in wanted {
            match self.trust(one.uid) {
                Trust::None => sink.put(Fetched::Failed(one.uid, killer(one.uid))).await?,
                _ if is_large(one) => large.push(one.uid),
                Trust::Full => small.push(*one),
                Trust::Alone => alone.push(*one),
            }
        }
        self.fetch_small(Job::new(&small, BATCH, WINDOW), sink).await?;
        for uid in large {
            let result = self.fetch_large(uid, sink).await;
            self.judge(&result, [uid]);
            result?;
        }
        self.fetch_small(Job::new(&alone, 1, 1), sink).await
    }

    fn trust(&self, uid: Uid) -> Trust {
        self.selected.as_ref().map_or(Trust::Full, |place| self.suspects.trust(place, uid))
    }

    /// Remembers what was asked for when the connection died.
    fn judge(&self, result: &Result<(), Failure>, uids: impl IntoIterator<Item = Uid>) {
        let Some(place) = &self.selected else { return };
        match result {
            Ok(()) => uids.into_iter().for_each(|uid| self.suspects.cleared(place, uid)),
            Err(f) if matches!(f.kind, Kind::Offline | Kind::Timeout | Kind::Protocol) => {
                self.suspects.died(place, uids);
            }
            Err(_) => {}
        }
    }

    async fn fetch_small<S: FetchSink>(&mut self, job: Job, sink: &mut S) -> Result<(), Failure> {
        let mut job = job;
        let result = self.fetch_job(&mut job, sink).await;
        if result.is_err() {
            let asked = job.in_flight.values().flatten().copied();
            self.judge(&result, asked.filter(|uid| job.missing.contains_key(uid)));
        }
        result?;
        for uid in std::mem::take(&mut job.odd) {
            let result = self.fetch_again(uid, sink).await;
            self.judge(&result, [uid]);
            result?;
        }
        Ok(())
    }

    /// Batches in flight; one that is refused is halved until the message is found that the server
    /// cannot give, so that it does not stop the others.
    async fn fetch_job<S: FetchSink>(
        &mut self,
        job: &mut Job,
        sink: &mut S,
    ) -> Result<(), Failure> {
        loop {
            while let Some((command, batch)) = job.next() {
                let tag = self.wire.send(&command).await?;
                job.in_flight.insert(tag, batch);
            }
            if job.in_flight.is_empty() {
                return Ok(());
            }
            match self.wire.next().await? {
                Next::Done(tag, verdict) => {
                    let Some(batch) = job.in_flight.remove(&tag) else { continue };
                    if let Err(failure) = verdict {
                        let failure = self.wire.refused(failure, "UID FETCH");
                        refused(job, batch, failure, sink).await?;
                    }
                }
                Next::Item(Item::Fetch(fetch)) => self.take(job, fetch, sink).await?,
                Next::Item(_) => {}
            }
        }
    }

    /// Takes what a response says of a message that is missing.
    async fn take<S: FetchSink>(
        &mut self,
        job: &mut Job,
        mut fetch: FetchItem,
        sink: &mut S,
    ) -> Result<(), Failure> {
        let Some(uid) = fetch.uid.and_then(Uid::new) else { return Ok(()) };
        let Some(size) = job.missing.get(&uid).copied() else { return Ok(()) };
        let Some(body) = fetch.body.take() else {
            job.odd.insert(uid);
            return Ok(());
        };
        let is_short = size.is_some_and(|size| fetch.wire_bytes < u64::from(size));
        if is_short && self.n_short < SHORT_MAX {
            job.odd.insert(uid);
            return Ok(());
        }
        job.missing.remove(&uid);
        job.odd.remove(&uid);
        job.n_refused = 0;
        if let Some(place) = &self.selected {
            self.suspects.cleared(place, uid);
        }
        sink.put(Fetched::Whole(header_of(uid, &fetch), body)).await
    }

    /// Asks once more for a message that came without its body, or with less of it than its size
    /// promised. What comes now is what the server has.
    async fn fetch_again<S: FetchSink>(&mut self, uid: Uid, sink: &mut S) -> Result<(), Failure> {
        let mut answer: Option<FetchItem> = None;
        let whole = [
            format!("UID FETCH {uid} (UID FLAGS INTERNALDATE)"),
            format!("UID FETCH {uid} (BODY.PEEK[])"),
        ];
        let verdicts = self
            .wire
            .exec_all(&whole, 1, |item| {
                if let Item::Fetch(fetch) = item
                    && fetch.uid == Some(uid.get())
                {
                    let known = answer.get_or_insert_default();
                    known.flags = fetch.flags.or_else(|| known.flags.take());
                    known.date = fetch.date.or(known.date);
                    known.body = fetch.body.or_else(|| known.body.take());
                }
            })
            .await?;
        if let Some(failure) = verdicts.into_iter().find_map(Result::err) {
            if failure.scope == Scope::Account {
                return Err(failure);
            }
            return sink.put(Fetched::Failed(uid, failure.scoped(Scope::Message))).await;
        }
        // Without an answer it is gone.
        let Some(mut fetch) = answer else { return Ok(()) };
        match fetch.body.take() {
            Some(body) => {
                tracing::warn!(%uid, "the server gave a message only when it was asked twice, or less of it than its size says");
                self.n_short = self.n_short.saturating_add(1);
                sink.put(Fetched::Whole(header_of(uid, &fetch), body)).await
            }
            None => {
                let failure =
                    unfetched(uid).detail("the server answers without the message's text");
                sink.put(Fetched::Failed(uid, failure)).await
            }
        }
    }

    async fn fetch_large<S: FetchSink>(&mut self, uid: Uid, sink: &mut S) -> Result<(), Failure> {
        let mut pieces = LfPieces::default();
        let mut offset = 0_u64;
        loop {
            let command = format!(
                "UID FETCH {uid} (UID FLAGS INTERNALDATE BODY.PEEK[]<{offset}.{PIECE_BYTES}>)"
            );
            let mut answer = None;
            self.wire
                .exec(&command, |item| {
                    if let Item::Fetch(fetch) = item
                        && fetch.uid == Some(uid.get())
                        && (fetch.part.is_some() || fetch.body.is_some())
                    {
                        answer = Some(fetch);
                    }
                })
                .await?;
            let Some(fetch) = answer else {
                // Gone, if it is the first piece; cut short, if it is a later one.
                return if offset == 0 { Ok(()) } else { sink.put(cut_short(uid)).await };
            };
            let header = header_of(uid, &fetch);
            if let Some(body) = fetch.body {
                // The server ignores the range and sends all of it.
                return sink.put(Fetched::Whole(header, body)).await;
            }
            if offset == 0 {
                sink.put(Fetched::Begin(header)).await?;
            }
            let part = fetch.part.unwrap_or_default();
            offset = offset.saturating_add(part.len() as u64);
            sink.put(Fetched::Chunk(pieces.next(&part))).await?;
            if part.len() < PIECE_BYTES as usize {
                sink.put(Fetched::Chunk(pieces.rest())).await?;
                return sink.put(Fetched::End).await;
            }
        }
    }
}

/// Puts both halves of a batch first in the queue.
fn halve(batch: &[Uid], queue: &mut VecDeque<Vec<Uid>>) {
    let (one, other) = batch.split_at(batch.len() / 2);
    queue.push_front(other.to_vec());
    queue.push_front(one.to_vec());
}

/// A batch was refused: its halves are tried, down to the message that the server cannot give.
async fn refused<S: FetchSink>(
    job: &mut Job,
    batch: Vec<Uid>,
    failure: Failure,
    sink: &mut S,
) -> Result<(), Failure> {
    job.n_refused += 1;
    if failure.scope == Scope::Account || job.n_refused > REFUSED_MAX {
        return Err(failure);
    }
    let left: Vec<Uid> = batch.into_iter().filter(|uid| job.missing.contains_key(uid)).collect();
    match left.as_slice() {
        [] => Ok(()),
        [one] => {
            job.odd.remove(one);
            sink.put(Fetched::Failed(*one, failure.scoped(Scope::Message))).await
        }
        many => {
            halve(many, &mut job.queue);
            Ok(())
        }
    }
}

fn unfetched(uid: Uid) -> Failure {
    Failure::new(Scope::Message, Remedy::Later, Kind::Protocol, format!("fetch message {uid}"))
}

fn killer(uid: Uid) -> Failure {
    unfetched(uid).detail("the connection ended each time it was asked for")
}

fn header_of(uid: Uid, fetch: &FetchItem) -> Header {
    Header { uid, flags: fetch.flags.clone(), date: fetch.date }
}

fn cut_short(uid: Uid) -> Fetched {
    Fetched::Failed(uid, unfetched(uid).detail("the server stopped in the middle of it"))
}

/// Messages in one command.
const BATCH: usize = 250;
/// Commands in flight.
const WINDOW: usize = 4;
/// Larger bodies come in pieces of this size, straight to disk.
const PIECE_BYTES: u32 = 1024 * 1024;
/// Longest sequence set; servers without CONDSTORE may not take more than 1000 bytes.
const SET_BYTES_MAX: usize = 900;
/// So many refusals without a message between them: it is the mailbox, not a message.
const REFUSED_MAX: u32 = 32;
/// So many messages shorter than their size: it is the sizes that are wrong.
const SHORT_MAX: u32 = 8;
