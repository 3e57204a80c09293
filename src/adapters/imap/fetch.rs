//! Bodies: pipelined batches of small ones, pieces of large ones. Floor 3.

use super::ImapRemote;
use super::encode::{LfPieces, uid_sets};
use super::item::{FetchItem, Item, Next};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::Uid;
use crate::ports::remote::{FetchSink, Fetched, Header, Wanted};
use std::collections::{BTreeSet, VecDeque};

impl ImapRemote {
    /// Fetches messages into the sink: small ones first, each kind in the order that was asked for.
    pub(super) async fn fetch_all<S: FetchSink>(
        &mut self,
        wanted: &[Wanted],
        sink: &mut S,
    ) -> Result<(), Failure> {
        let is_large = |w: &&Wanted| w.size.is_some_and(|s| s > PIECE_BYTES);
        let small: Vec<Uid> = wanted.iter().filter(|w| !is_large(w)).map(|w| w.uid).collect();
        let mut commands = Vec::new();
        for batch in small.chunks(BATCH) {
            for set in uid_sets(batch, SET_BYTES_MAX) {
                commands.push(format!("UID FETCH {set} (UID FLAGS INTERNALDATE BODY.PEEK[])"));
            }
        }
        self.fetch_small(&commands, &small.into_iter().collect(), sink).await?;
        for large in wanted.iter().filter(is_large) {
            self.fetch_large(large.uid, sink).await?;
        }
        Ok(())
    }

    async fn fetch_small<S: FetchSink>(
        &mut self,
        commands: &[String],
        wanted: &BTreeSet<Uid>,
        sink: &mut S,
    ) -> Result<(), Failure> {
        let mut queue: VecDeque<&String> = commands.iter().collect();
        let mut in_flight: BTreeSet<String> = BTreeSet::new();
        loop {
            while in_flight.len() < WINDOW {
                let Some(command) = queue.pop_front() else { break };
                in_flight.insert(self.wire.send(command).await?);
            }
            if in_flight.is_empty() {
                return Ok(());
            }
            match self.wire.next().await? {
                Next::Done(tag, verdict) => {
                    // A refused batch spoils the mailbox's pass, not the connection: what came is
                    // kept, the rest is asked for again.
                    if in_flight.remove(&tag)
                        && let Err(failure) = verdict
                    {
                        self.drain(in_flight).await?;
                        return Err(failure);
                    }
                }
                Next::Item(Item::Fetch(mut fetch)) => {
                    if let Some((header, body)) = whole(&mut fetch, wanted) {
                        sink.put(Fetched::Whole(header, body)).await?;
                    }
                }
                Next::Item(_) => {}
            }
        }
    }

    /// Reads on until the commands in flight have ended, so that the next one starts clean.
    async fn drain(&mut self, mut in_flight: BTreeSet<String>) -> Result<(), Failure> {
        while !in_flight.is_empty() {
            if let Next::Done(tag, _) = self.wire.next().await? {
                in_flight.remove(&tag);
            }
        }
        Ok(())
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
