//! Bodies: pipelined batches of small ones, pieces of large ones. Floor 3.

use super::ImapRemote;
use super::encode::{LfPieces, uid_sets};
use super::item::{FetchItem, Item, Next};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::Uid;
use crate::ports::remote::{FetchSink, Fetched, Header, Wanted};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

impl ImapRemote {
    /// Fetches messages into the sink: small ones first, each kind in the order that was asked for.
    pub(super) async fn fetch_all<S: FetchSink>(
        &mut self,
        wanted: &[Wanted],
        sink: &mut S,
    ) -> Result<(), Failure> {
        let is_large = |w: &&Wanted| w.size.is_some_and(|s| s > PIECE_BYTES);
        let small: Vec<Uid> = wanted.iter().filter(|w| !is_large(w)).map(|w| w.uid).collect();
        self.fetch_small(&small, sink).await?;
        for large in wanted.iter().filter(is_large) {
            self.fetch_large(large.uid, sink).await?;
        }
        Ok(())
    }

    /// Batches in flight; one that is refused is halved until the message is found that the server
    /// cannot give, so that it does not stop the others.
    async fn fetch_small<S: FetchSink>(
        &mut self,
        wanted: &[Uid],
        sink: &mut S,
    ) -> Result<(), Failure> {
        let mut queue: VecDeque<Vec<Uid>> = wanted.chunks(BATCH).map(<[Uid]>::to_vec).collect();
        let mut missing: BTreeSet<Uid> = wanted.iter().copied().collect();
        let mut in_flight: BTreeMap<String, Vec<Uid>> = BTreeMap::new();
        let mut n_refused = 0;
        loop {
            while in_flight.len() < WINDOW {
                let Some(batch) = queue.pop_front() else { break };
                let set = uid_sets(&batch, usize::MAX).concat();
                if set.len() > SET_BYTES_MAX && batch.len() > 1 {
                    halve(&batch, &mut queue);
                    continue;
                }
                let command = format!("UID FETCH {set} (UID FLAGS INTERNALDATE BODY.PEEK[])");
                in_flight.insert(self.wire.send(&command).await?, batch);
            }
            if in_flight.is_empty() {
                return Ok(());
            }
            match self.wire.next().await? {
                Next::Done(tag, verdict) => {
                    let Some(batch) = in_flight.remove(&tag) else { continue };
                    let Err(failure) = verdict else { continue };
                    n_refused += 1;
                    if failure.scope == Scope::Account || n_refused > REFUSED_MAX {
                        return Err(failure);
                    }
                    let left: Vec<Uid> =
                        batch.into_iter().filter(|u| missing.contains(u)).collect();
                    match left.as_slice() {
                        [] => {}
                        [one] => {
                            let failure = Failure { scope: Scope::Message, ..failure };
                            sink.put(Fetched::Failed(*one, failure)).await?;
                        }
                        many => halve(many, &mut queue),
                    }
                }
                Next::Item(Item::Fetch(mut fetch)) => {
                    if let Some((header, body)) = whole(&mut fetch, &missing) {
                        missing.remove(&header.uid);
                        n_refused = 0;
                        sink.put(Fetched::Whole(header, body)).await?;
                    }
                }
                Next::Item(_) => {}
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

fn whole(fetch: &mut FetchItem, wanted: &BTreeSet<Uid>) -> Option<(Header, Vec<u8>)> {
    let uid = Uid::new(fetch.uid?).filter(|u| wanted.contains(u))?;
    let body = fetch.body.take()?;
    Some((header_of(uid, fetch), body))
}

fn header_of(uid: Uid, fetch: &FetchItem) -> Header {
    Header { uid, flags: fetch.flags.clone(), date: fetch.date }
}

fn cut_short(uid: Uid) -> Fetched {
    let failure =
        Failure::new(Scope::Message, Remedy::Later, Kind::Protocol, format!("fetch message {uid}"));
    Fetched::Failed(uid, failure.detail("the server stopped in the middle of it"))
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
