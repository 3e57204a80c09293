//! What is in a mailbox, or what changed since a cursor. Floor 3.
//!
//! Whatever the server says is counted against EXISTS before anybody may call a message gone.

use super::ImapRemote;
use super::encode::uid_sets;
use super::item::{FetchItem, Item};
use super::select::{Opened, Resync};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{MailboxName, ModSeq, Uid};
use crate::model::remote_list::{RemoteList, RemoteListBuilder};
use crate::model::uids::UidSet;
use crate::model::view::{Cursor, Evidence, RemoteView};
use crate::ports::remote::{Depth, Known};
use crate::rules::header::message_id;

/// Follows EXISTS through untagged responses.
#[derive(Debug, Default)]
struct Count {
    exists: u32,
}

impl Count {
    fn see(&mut self, item: &Item) {
        match item {
            Item::Exists(n) => self.exists = *n,
            Item::Expunge => self.exists = self.exists.saturating_sub(1),
            // What vanished earlier is not in EXISTS any more.
            Item::Vanished { uids, is_earlier: false } => {
                let n = uids.iter().map(|r| r.end().saturating_sub(*r.start()).saturating_add(1));
                self.exists = self.exists.saturating_sub(n.fold(0, u32::saturating_add));
            }
            _ => {}
        }
    }
}

impl ImapRemote {
    /// Selects a mailbox and tells what is there, or what changed since `known`.
    pub(super) async fn view(
        &mut self,
        mailbox: &MailboxName,
        known: Option<Known<'_>>,
    ) -> Result<RemoteView, Failure> {
        let Opened { cursor, resync } = self.open_with(mailbox, known.as_ref()).await?;
        let same = known.filter(|k| k.cursor.uidvalidity == cursor.uidvalidity);
        let is_rewound = same.is_some_and(|k| self.is_rewound(cursor, k.cursor));
        if let Some(known) = same.filter(|k| !is_rewound && k.cursor.uidnext > 0)
            && let Some(delta) = self.delta(cursor, known, resync).await?
        {
            return Ok(delta);
        }
        for _ in 0..LISTING_ATTEMPTS {
            if let Some((cursor, messages)) = self.listing(cursor).await? {
                return Ok(if let Some(known) = same.filter(|_| is_rewound) {
                    // A server that was set back may be missing what comes again: nothing counts as
                    // gone by this look alone, and then the next one starts from nothing.
                    let is_whole = known.uids.iter().all(|uid| messages.contains(uid));
                    let modseq = if is_whole { cursor.modseq } else { ModSeq(0) };
                    let cursor = Cursor { modseq, ..cursor };
                    RemoteView::Delta { cursor, changed: messages, vanished: UidSet::default() }
                } else {
                    RemoteView::Complete { cursor, messages }
                });
            }
        }
        Err(Failure::new(
            Scope::Mailbox,
            Remedy::Later,
            Kind::Protocol,
            format!("list mailbox {:?}", mailbox.as_str()),
        )
        .detail("the listing and the server's message count disagree; nothing was believed"))
    }

    /// Whether numbers that only ever grow are smaller than they were.
    fn is_rewound(&mut self, now: Cursor, then: Cursor) -> bool {
        let is_modseq_back = now.modseq.0 > 0 && now.modseq < then.modseq;
        if is_modseq_back {
            self.went_back();
        }
        is_modseq_back || (now.uidnext > 0 && now.uidnext < then.uidnext)
    }

    /// Everything that is there; `None` if the count does not add up.
    async fn listing(&mut self, cursor: Cursor) -> Result<Option<(Cursor, RemoteList)>, Failure> {
        let mut messages = RemoteListBuilder::default();
        let mut count = Count { exists: cursor.exists };
        let commands: Vec<String> = slices(cursor)
            .into_iter()
            .map(|set| format!("UID FETCH {set} ({})", self.listed()))
            .collect();
        self.fetched(&commands, &mut count, |fetch| note(&mut messages, &fetch)).await?;
        let messages = messages.finish();
        if messages.len() != count.exists as usize {
            return Ok(None);
        }
        Ok(Some((Cursor { exists: count.exists, ..cursor }, messages)))
    }

    /// Runs FETCH commands, a few in flight, and counts what happens meanwhile.
    async fn fetched(
        &mut self,
        commands: &[String],
        count: &mut Count,
        mut each: impl FnMut(FetchItem),
    ) -> Result<(), Failure> {
        let verdicts = self
            .wire
            .exec_all(commands, WINDOW, |item| {
                count.see(&item);
                if let Item::Fetch(fetch) = item {
                    each(fetch);
                }
            })
            .await?;
        verdicts.into_iter().try_for_each(|verdict| verdict.map(drop))
    }

    /// What changed by QRESYNC or CONDSTORE (RFC 7162), or as far as a look at some messages shows
    /// it; `None` if only a complete listing can tell.
    async fn delta(
        &mut self,
        cursor: Cursor,
        known: Known<'_>,
        resync: Option<Resync>,
    ) -> Result<Option<RemoteView>, Failure> {
        let mut changed = RemoteListBuilder::default();
        let mut count = Count { exists: cursor.exists };
        let then = known.cursor;
        let has_modseq = then.modseq.0 > 0 && cursor.modseq >= then.modseq;
        let is_counted = known.uids.len() == cursor.exists as usize;
        if has_modseq && cursor == then && is_counted {
            let (changed, vanished) = (changed.finish(), UidSet::default());
            return Ok(Some(RemoteView::Delta { cursor, changed, vanished }));
        }
        let Some(commands) =
            questions(cursor, &known, has_modseq && resync.is_some(), self.listed())
        else {
            return Ok(None);
        };
        let is_resync = resync.is_some();
        let resync = resync.unwrap_or_default();
        resync.changed.iter().for_each(|fetch| note(&mut changed, fetch));
        self.fetched(&commands, &mut count, |fetch| note(&mut changed, &fetch)).await?;
        let mut changed = changed.finish();
        let n_new = changed.uids().filter(|uid| !known.uids.contains(*uid)).count();
        let mut vanished = known.uids.within(&resync.vanished);
        let n_known = known.uids.len().saturating_sub(vanished.len());
        if n_known + n_new != count.exists as usize {
            if !has_modseq {
                return Ok(None);
            }
            let Some(gone) = self.gone_by_listing(&known, &mut changed, &mut count).await? else {
                return Ok(None);
            };
            let is_wrong = !vanished.minus(&gone).is_empty();
            // What was not complete before, or changed while it was counted, is nobody's lie.
            let was_complete = known.uids.len() == then.exists as usize;
            let is_short = was_complete && count.exists == cursor.exists;
            if is_resync && (is_wrong || is_short) {
                self.caught(is_wrong);
            }
            vanished = gone;
        }
        let cursor = Cursor { exists: count.exists, ..cursor };
        Ok(Some(RemoteView::Delta { cursor, changed, vanished }))
    }

    /// What is asked about a message that is listed.
    fn listed(&self) -> &'static str {
        if self.needs.dates {
            "UID FLAGS RFC822.SIZE INTERNALDATE"
        } else {
            "UID FLAGS RFC822.SIZE"
        }
    }

    /// The truth about what is gone: all UIDs that are there. `None` if that does not add up.
    async fn gone_by_listing(
        &mut self,
        known: &Known<'_>,
        changed: &mut RemoteList,
        count: &mut Count,
    ) -> Result<Option<UidSet>, Failure> {
        let mut uids = Vec::new();
        if count.exists > 0 {
            let command = ["UID FETCH 1:* (UID)".to_owned()];
            self.fetched(&command, count, |fetch| uids.extend(fetch.uid.and_then(Uid::new)))
                .await?;
        }
        let listed = UidSet::of(uids);
        // A UID that nobody knew and nobody announced: only a full listing can tell.
        let is_unannounced = |uid: Uid| !known.uids.contains(uid) && !changed.contains(uid);
        if listed.len() != count.exists as usize || listed.iter().any(is_unannounced) {
            return Ok(None);
        }
        changed.retain(|uid| listed.contains(uid));
        Ok(Some(known.uids.minus(&listed)))
    }

    /// Message-ID and size of messages from a UID on. A range that ends in `*` always returns the
    /// last message, even below its beginning (RFC 9051 §6.4.9), so those are filtered.
    pub(super) async fn evidence_from(
        &mut self,
        first: u32,
    ) -> Result<Vec<(Uid, Evidence)>, Failure> {
        let mut found = Vec::new();
        let command = format!(
            "UID FETCH {}:* (UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])",
            first.max(1)
        );
        self.wire
            .exec(&command, |item| {
                let Item::Fetch(fetch) = item else { return };
                let uid = fetch.uid.filter(|u| *u >= first).and_then(Uid::new);
                if let (Some(uid), Some(size), Some(header)) = (uid, fetch.size, fetch.part) {
                    let evidence =
                        Evidence { message_id: message_id(&header), size: u64::from(size) };
                    found.push((uid, evidence));
                }
            })
            .await?;
        Ok(found)
    }
}

impl ImapRemote {
    /// The names that the server gave to messages: EMAILID (RFC 8474 §5.1), else X-GM-MSGID.
    pub(super) async fn ids_of(&mut self, uids: &[Uid]) -> Result<Vec<(Uid, String)>, Failure> {
        let item = if self.has("OBJECTID") { "EMAILID" } else { "X-GM-MSGID" };
        let sets = uid_sets(uids, SET_BYTES_MAX);
        let commands: Vec<String> =
            sets.iter().map(|set| format!("UID FETCH {set} (UID {item})")).collect();
        let mut found = Vec::new();
        let verdicts = self.wire.exec_all(&commands, WINDOW, |item| {
            let Item::Fetch(FetchItem { uid: Some(uid), id: Some(id), .. }) = item else { return };
            found.extend(Uid::new(uid).map(|uid| (uid, id)));
        });
        for verdict in verdicts.await? {
            verdict?;
        }
        Ok(found)
    }
}

fn note(messages: &mut RemoteListBuilder, fetch: &FetchItem) {
    if let Some(uid) = fetch.uid.and_then(Uid::new) {
        messages.note(uid, fetch.flags.as_ref(), (fetch.size, fetch.date));
    }
}

/// What has to be asked to learn what changed; `None` where only a complete listing will do.
fn questions(now: Cursor, known: &Known<'_>, is_told: bool, items: &str) -> Option<Vec<String>> {
    let then = known.cursor;
    let has_modseq = then.modseq.0 > 0 && now.modseq >= then.modseq;
    let mut commands = match known.depth {
        Depth::All if !has_modseq => return None,
        Depth::Some(round) if !has_modseq => window(known.uids, round),
        _ if is_told || now.modseq == then.modseq => Vec::new(),
        _ => vec![format!("UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE {})", then.modseq)],
    };
    if now.uidnext > then.uidnext {
        commands.push(format!("UID FETCH {}:* ({items})", then.uidnext));
    }
    Some(if now.exists > 0 { commands } else { Vec::new() })
}

/// A complete listing in slices, so that no answer of a big mailbox takes for ever. They are of
/// UIDs: sequence numbers shift under a removal between two commands.
fn slices(cursor: Cursor) -> Vec<String> {
    if cursor.exists == 0 {
        return Vec::new();
    }
    let step = SLICE.max(cursor.uidnext / SLICES_MAX);
    let mut sets = Vec::new();
    let mut first = 1_u32;
    while cursor.uidnext.saturating_sub(first) > step {
        let next = first.saturating_add(step);
        sets.push(format!("{first}:{}", next.saturating_sub(1)));
        first = next;
    }
    sets.push(format!("{first}:*"));
    sets
}

/// The messages whose flags one look asks for without CONDSTORE: the newest, where most happens, and
/// a part of the others that moves on with each round.
fn window(uids: &UidSet, round: u32) -> Vec<String> {
    let n_old = uids.len().saturating_sub(NEWEST);
    let n_parts = n_old.div_ceil(PART).max(1);
    let part = (round as usize).checked_rem(n_parts).unwrap_or(0).saturating_mul(PART);
    let old = uids.iter().take(n_old).skip(part).take(PART);
    let looked_at: Vec<Uid> = old.chain(uids.iter().skip(n_old)).collect();
    let sets = uid_sets(&looked_at, SET_BYTES_MAX).into_iter();
    sets.map(|set| format!("UID FETCH {set} (UID FLAGS)")).collect()
}

const LISTING_ATTEMPTS: u32 = 2;
/// Commands in flight.
const WINDOW: usize = 4;
/// UIDs of one command of a listing, and commands of one listing.
const SLICE: u32 = 10_000;
const SLICES_MAX: u32 = 400;
/// Messages of one look without CONDSTORE: the newest, and a part of the rest.
const NEWEST: usize = 2000;
const PART: usize = 5000;
const SET_BYTES_MAX: usize = 900;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::UidValidity;

    fn cursor(uidnext: u32, exists: u32) -> Cursor {
        let uidvalidity = UidValidity::new(1).unwrap();
        Cursor { uidvalidity, uidnext, modseq: ModSeq(0), exists }
    }

    #[test]
    fn slices_cover_every_uid_and_stay_few() {
        assert_eq!(slices(cursor(10, 0)), Vec::<String>::new());
        assert_eq!(slices(cursor(0, 5)), ["1:*"]);
        assert_eq!(slices(cursor(10_001, 5)), ["1:*"]);
        assert_eq!(slices(cursor(10_002, 5)), ["1:10000", "10001:*"]);
        assert_eq!(slices(cursor(25_000, 5)), ["1:10000", "10001:20000", "20001:*"]);
        let many = slices(cursor(u32::MAX, 5));
        assert!(many.len() <= 401, "{}", many.len());
    }

    #[test]
    fn rounds_of_the_window_reach_every_message() {
        let uids = UidSet::of((1..=20_000).filter_map(Uid::new));
        assert_eq!(window(&uids, 0), ["UID FETCH 1:5000,18001:20000 (UID FLAGS)"]);
        assert_eq!(window(&uids, 1), ["UID FETCH 5001:10000,18001:20000 (UID FLAGS)"]);
        assert_eq!(window(&uids, 3), ["UID FETCH 15001:20000 (UID FLAGS)"]);
        assert_eq!(window(&uids, 4), window(&uids, 0));
        let few = UidSet::of((1..=3).filter_map(Uid::new));
        assert_eq!(window(&few, 9), ["UID FETCH 1:3 (UID FLAGS)"]);
        assert!(window(&UidSet::default(), 9).is_empty());
    }
}
