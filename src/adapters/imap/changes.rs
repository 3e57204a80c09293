//! What is in a mailbox, or what changed since a cursor. Floor 3.
//!
//! Whatever the server says is counted against EXISTS before anybody may call a message gone.

use super::ImapRemote;
use super::item::{Code, FetchItem, Item};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::flags::Permanent;
use crate::model::ids::{MailboxName, ModSeq, Uid, UidValidity};
use crate::model::remote_list::RemoteListBuilder;
use crate::model::uids::UidSet;
use crate::model::view::{Cursor, Evidence, RemoteView};
use crate::ports::remote::Known;
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
            Item::Vanished(n) => self.exists = self.exists.saturating_sub(*n),
            _ => {}
        }
    }
}

impl ImapRemote {
    /// Selects a mailbox.
    pub(super) async fn select(&mut self, mailbox: &MailboxName) -> Result<Cursor, Failure> {
        self.selected = None;
        let condstore = if self.has("CONDSTORE") { " (CONDSTORE)" } else { "" };
        let command = format!("SELECT {}{condstore}", self.argument(mailbox)?);
        let (mut count, mut validity, mut uidnext, mut modseq) = (None, None, 0, 0);
        let mut permanent = Permanent::all();
        let done = self
            .wire
            .exec(&command, |item| match item {
                Item::Exists(n) => count = Some(n),
                Item::Code(Code::UidValidity(n)) => validity = UidValidity::new(n),
                Item::Code(Code::UidNext(n)) => uidnext = n,
                Item::Code(Code::Permanent(kept)) => permanent = kept,
                Item::Code(Code::HighestModSeq(n)) => modseq = n,
                _ => {}
            })
            .await?;
        let (Some(exists), Some(uidvalidity)) = (count, validity) else {
            return Err(Failure::new(
                Scope::Mailbox,
                Remedy::Later,
                Kind::Protocol,
                format!("select mailbox {mailbox:?}"),
            )
            .detail("the server gives no message count or no UIDVALIDITY"));
        };
        self.selected = Some((mailbox.clone(), uidvalidity));
        let is_read_only = done.code == Code::ReadOnly;
        self.permanent = if is_read_only { Permanent::none() } else { permanent };
        Ok(Cursor { uidvalidity, uidnext, modseq: ModSeq(modseq), exists })
    }

    /// Selects a mailbox and tells what is there, or what changed since `known`.
    pub(super) async fn view(
        &mut self,
        mailbox: &MailboxName,
        known: Option<Known<'_>>,
    ) -> Result<RemoteView, Failure> {
        let cursor = self.select(mailbox).await?;
        let since = known.filter(|k| {
            let then = k.cursor;
            then.uidvalidity == cursor.uidvalidity
                && then.modseq.0 > 0
                && cursor.modseq >= then.modseq
                && then.uidnext > 0
                && cursor.uidnext >= then.uidnext
        });
        if let Some(known) = since
            && let Some(delta) = self.delta(cursor, known).await?
        {
            return Ok(delta);
        }
        for _ in 0..LISTING_ATTEMPTS {
            if let Some(view) = self.listing(cursor).await? {
                return Ok(view);
            }
        }
        Err(Failure::new(
            Scope::Mailbox,
            Remedy::Later,
            Kind::Protocol,
            format!("list mailbox {mailbox:?}"),
        )
        .detail("the listing and the server's message count disagree; nothing was believed"))
    }

    /// Everything that is there; `None` if the count does not add up.
    async fn listing(&mut self, cursor: Cursor) -> Result<Option<RemoteView>, Failure> {
        let mut messages = RemoteListBuilder::default();
        let mut count = Count { exists: cursor.exists };
        if cursor.exists > 0 {
            self.wire
                .exec("UID FETCH 1:* (UID FLAGS RFC822.SIZE)", |item| {
                    count.see(&item);
                    if let Item::Fetch(fetch) = item {
                        note(&mut messages, &fetch);
                    }
                })
                .await?;
        }
        let messages = messages.finish();
        if messages.len() != count.exists as usize {
            return Ok(None);
        }
        let cursor = Cursor { exists: count.exists, ..cursor };
        Ok(Some(RemoteView::Complete { cursor, messages }))
    }

    /// What changed by CONDSTORE (RFC 7162); `None` if the count does not add up.
    async fn delta(
        &mut self,
        cursor: Cursor,
        known: Known<'_>,
    ) -> Result<Option<RemoteView>, Failure> {
        let mut changed = RemoteListBuilder::default();
        let mut count = Count { exists: cursor.exists };
        let then = known.cursor;
        if cursor == then && known.uids.len() == cursor.exists as usize {
            let (changed, vanished) = (changed.finish(), UidSet::default());
            return Ok(Some(RemoteView::Delta { cursor, changed, vanished }));
        }
        let mut commands = Vec::new();
        if cursor.exists > 0 && cursor.modseq > then.modseq {
            commands.push(format!("UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE {})", then.modseq));
        }
        if cursor.exists > 0 && cursor.uidnext > then.uidnext {
            commands.push(format!("UID FETCH {}:* (UID FLAGS RFC822.SIZE)", then.uidnext));
        }
        let verdicts = self
            .wire
            .exec_all(&commands, commands.len().max(1), |item| {
                count.see(&item);
                if let Item::Fetch(fetch) = item {
                    note(&mut changed, &fetch);
                }
            })
            .await?;
        for verdict in verdicts {
            verdict?;
        }
        let mut changed = changed.finish();
        let n_new = changed.uids().filter(|uid| !known.uids.contains(*uid)).count();
        let mut vanished = UidSet::default();
        if known.uids.len() + n_new != count.exists as usize {
            let listed = self.uids(&mut count).await?;
            if listed.len() != count.exists as usize {
                return Ok(None);
            }
            vanished = known.uids.minus(&listed);
            // A UID that nobody knew and nobody announced: only a full listing can tell.
            if listed.iter().any(|u| !known.uids.contains(u) && !changed.contains(u)) {
                return Ok(None);
            }
            changed.retain(|uid| listed.contains(uid));
        }
        let cursor = Cursor { exists: count.exists, ..cursor };
        Ok(Some(RemoteView::Delta { cursor, changed, vanished }))
    }

    async fn uids(&mut self, count: &mut Count) -> Result<UidSet, Failure> {
        let mut uids = Vec::new();
        if count.exists > 0 {
            self.wire
                .exec("UID FETCH 1:* (UID)", |item| {
                    count.see(&item);
                    if let Item::Fetch(FetchItem { uid: Some(uid), .. }) = item {
                        uids.extend(Uid::new(uid));
                    }
                })
                .await?;
        }
        Ok(UidSet::of(uids))
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

fn note(messages: &mut RemoteListBuilder, fetch: &FetchItem) {
    if let Some(uid) = fetch.uid.and_then(Uid::new) {
        messages.note(uid, fetch.flags.as_ref(), fetch.size);
    }
}

const LISTING_ATTEMPTS: u32 = 2;
