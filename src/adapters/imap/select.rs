//! SELECT: where a mailbox stands, and what a server with QRESYNC (RFC 7162) tells on the way.
//! Floor 3.

use super::ImapRemote;
use super::item::{Code, Done, FetchItem, Item};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::flags::Permanent;
use crate::model::ids::{MailboxName, ModSeq, UidValidity};
use crate::model::view::Cursor;
use crate::ports::remote::{Known, Quirk};
use std::ops::RangeInclusive;

/// What a mailbox said when it was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) cursor: Cursor,
    /// What QRESYNC told since the cursor that was given; `None` where it was not asked.
    pub(super) resync: Option<Resync>,
}

/// What QRESYNC told.
#[derive(Debug, Default)]
pub(super) struct Resync {
    pub(super) changed: Vec<FetchItem>,
    pub(super) vanished: Vec<RangeInclusive<u32>>,
}

/// What the responses to SELECT said, one after the other.
#[derive(Debug)]
struct Told {
    exists: Option<u32>,
    validity: Option<UidValidity>,
    uidnext: u32,
    modseq: u64,
    permanent: Permanent,
    resync: Resync,
}

impl Told {
    fn nothing() -> Self {
        Self {
            exists: None,
            validity: None,
            uidnext: 0,
            modseq: 0,
            permanent: Permanent::all(),
            resync: Resync::default(),
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Exists(n) => self.exists = Some(n),
            Item::Code(Code::UidValidity(n)) => self.validity = UidValidity::new(n),
            Item::Code(Code::UidNext(n)) => self.uidnext = n,
            Item::Code(Code::Permanent(kept)) => self.permanent = kept,
            Item::Code(Code::HighestModSeq(n)) => self.modseq = n,
            // RFC 7162 §3.1.2.2: this mailbox, and only this one, has no mod-sequences.
            Item::Code(Code::Named(name)) if name == "NOMODSEQ" => self.modseq = 0,
            Item::Vanished { uids, is_earlier: true } => self.resync.vanished.extend(uids),
            Item::Fetch(fetch) => self.resync.changed.push(fetch),
            _ => {}
        }
    }
}

impl ImapRemote {
    /// Selects a mailbox.
    pub(super) async fn select(&mut self, mailbox: &MailboxName) -> Result<Cursor, Failure> {
        self.open_with(mailbox, None).await.map(|opened| opened.cursor)
    }

    /// Selects a mailbox, and lets the server tell what changed since where that can be believed.
    pub(super) async fn open_with(
        &mut self,
        mailbox: &MailboxName,
        known: Option<&Known<'_>>,
    ) -> Result<Opened, Failure> {
        self.selected = None;
        let argument = self.argument(mailbox)?;
        let has_condstore = self.has("CONDSTORE") && !self.quirks.contains(&Quirk::NoCondstore);
        let since = known.map(|k| k.cursor).filter(|c| c.modseq.0 > 0 && c.uidnext > 1);
        if let Some(then) = since.filter(|_| has_condstore)
            && self.can_resync().await?
        {
            let (validity, modseq) = (then.uidvalidity, then.modseq);
            let last = then.uidnext.saturating_sub(1);
            let command = format!("SELECT {argument} (QRESYNC ({validity} {modseq} 1:{last}))");
            let mut told = Told::nothing();
            let mut verdicts = self.wire.exec_all(&[command], 1, |item| told.take(item)).await?;
            match verdicts.pop() {
                Some(Err(failure)) if failure.kind == Kind::Protocol => {
                    tracing::warn!(%failure, "the server does not know its own QRESYNC");
                    self.quirks.insert(Quirk::NoQresync);
                }
                Some(Err(failure)) => return Err(failure),
                Some(Ok(done)) => return self.opened(mailbox, told, &done, true).await,
                None => {}
            }
        }
        let condstore = if has_condstore { " (CONDSTORE)" } else { "" };
        let mut told = Told::nothing();
        let command = format!("SELECT {argument}{condstore}");
        let done = self.wire.exec(&command, |item| told.take(item)).await?;
        if !has_condstore {
            told.modseq = 0;
        }
        self.opened(mailbox, told, &done, false).await
    }

    /// Whether QRESYNC can be used; switches it on the first time.
    async fn can_resync(&mut self) -> Result<bool, Failure> {
        if !self.has("QRESYNC") || self.quirks.contains(&Quirk::NoQresync) {
            return Ok(false);
        }
        if !self.is_resync_on {
            let command = ["ENABLE QRESYNC".to_owned()];
            let verdicts = self.wire.exec_all(&command, 1, |_| {}).await?;
            self.is_resync_on = verdicts.iter().all(Result::is_ok);
            if !self.is_resync_on {
                self.capabilities.remove("QRESYNC");
            }
        }
        Ok(self.is_resync_on)
    }

    async fn opened(
        &mut self,
        mailbox: &MailboxName,
        told: Told,
        done: &Done,
        is_resync: bool,
    ) -> Result<Opened, Failure> {
        let (Some(exists), Some(uidvalidity)) = (told.exists, told.validity) else {
            return Err(Failure::new(
                Scope::Mailbox,
                Remedy::Later,
                Kind::Protocol,
                format!("select mailbox {:?}", mailbox.as_str()),
            )
            .detail("the server gives no message count or no UIDVALIDITY, or it is 0"));
        };
        self.selected = Some((mailbox.clone(), uidvalidity));
        let is_read_only = done.code == Code::ReadOnly;
        self.permanent = if is_read_only { Permanent::none() } else { told.permanent };
        let uidnext = match told.uidnext {
            0 => self.ask_uidnext(mailbox, exists).await?,
            uidnext => uidnext,
        };
        let cursor = Cursor { uidvalidity, uidnext, modseq: ModSeq(told.modseq), exists };
        Ok(Opened { cursor, resync: is_resync.then_some(told.resync) })
    }

    /// The next UID of a mailbox whose SELECT kept it back: by STATUS, else one above the last; 0
    /// if the server does not say that either.
    async fn ask_uidnext(&mut self, mailbox: &MailboxName, exists: u32) -> Result<u32, Failure> {
        let mut uidnext = 0;
        let status = [format!("STATUS {} (UIDNEXT)", self.argument(mailbox)?)];
        let take = |item| {
            if let Item::Status(status) = item {
                uidnext = status.uidnext.unwrap_or(0);
            }
        };
        // Some refuse STATUS of the mailbox that is selected (RFC 9051 §6.3.11).
        drop(self.wire.exec_all(&status, 1, take).await?);
        if uidnext == 0 && exists > 0 {
            self.wire
                .exec("UID FETCH * (UID)", |item| {
                    if let Item::Fetch(FetchItem { uid: Some(uid), .. }) = item {
                        uidnext = uidnext.max(uid.saturating_add(1));
                    }
                })
                .await?;
        }
        Ok(uidnext)
    }

    /// Remembers that QRESYNC told something that was not so: after two times, or one that would
    /// have cost a message, it is not used with this server again.
    pub(super) fn caught(&mut self, cost_a_message: bool) {
        let is_second = !self.quirks.insert(Quirk::DoubtQresync);
        tracing::warn!(cost_a_message, "QRESYNC and the server's message count disagree");
        if cost_a_message || is_second {
            self.quirks.insert(Quirk::NoQresync);
        }
    }

    /// Remembers that a mod-sequence went back without a new UIDVALIDITY (RFC 7162 §3.1).
    pub(super) fn went_back(&mut self) {
        tracing::warn!("HIGHESTMODSEQ went back; the whole mailbox is looked at");
        if !self.quirks.insert(Quirk::DoubtCondstore) {
            self.quirks.insert(Quirk::NoCondstore);
        }
    }
}
