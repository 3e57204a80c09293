//! Waiting for the server by IDLE (RFC 2177). Floor 3.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::ImapRemote;
use super::item::{Item, Next};
use crate::model::failure::Failure;
use crate::model::ids::MailboxName;
use crate::ports::remote::Woken;

impl ImapRemote {
    /// Waits for a change of the mailbox, at most `limit`.
    pub(super) async fn idle(
        &mut self,
        mailbox: &MailboxName,
        limit: Duration,
    ) -> Result<Woken, Failure> {
        if self.selected.as_ref().is_none_or(|(name, _)| name != mailbox) {
            self.select(mailbox).await?;
        }
        let is_news = |item: &Item| {
            matches!(item, Item::Exists(_) | Item::Expunge | Item::Vanished { .. } | Item::Fetch(_))
        };
        let woken = self.idle_until(limit, is_news).await?;
        Ok(if woken { Woken::Changed } else { Woken::Quiet })
    }

    /// Stays in IDLE until a response is news, at most `limit`; whether there was any. Every
    /// response is shown to `is_news`, those before and after the waiting as well.
    pub(super) async fn idle_until(
        &mut self,
        limit: Duration,
        mut is_news: impl FnMut(&Item) -> bool,
    ) -> Result<bool, Failure> {
        let deadline = Instant::now() + limit;
        let tag = self.wire.send("IDLE").await?;
        let mut woken = self.await_idling(&tag, &mut is_news).await?;
        while !woken {
            match timeout_at(deadline, self.wire.read()).await {
                Err(_) => break,
                Ok(next) => match next? {
                    Next::Item(item) => woken = is_news(&item),
                    // The server ended IDLE by itself.
                    Next::Done(_, verdict) => return verdict.map(|_| true),
                },
            }
        }
        self.wire.send_untagged("DONE").await?;
        match timeout(DONE_MAX, self.await_end(&tag, &mut is_news)).await {
            Ok(late) => Ok(late? || woken),
            Err(_) => Err(self.wire.lost("DONE was not answered in 15 s")),
        }
    }

    /// Waits for `+`; a change may be told before it.
    async fn await_idling(
        &mut self,
        tag: &str,
        is_news: &mut impl FnMut(&Item) -> bool,
    ) -> Result<bool, Failure> {
        let mut woken = false;
        loop {
            match self.wire.next().await? {
                Next::Item(Item::Continue) => return Ok(woken),
                Next::Item(item) => woken |= is_news(&item),
                Next::Done(done, verdict) if done == tag => {
                    verdict?;
                    return Err(self.wire.broken("IDLE ended before it began"));
                }
                Next::Done(..) => {}
            }
        }
    }

    /// Reads to the tagged end; whether a change was told on the way.
    async fn await_end(
        &mut self,
        tag: &str,
        is_news: &mut impl FnMut(&Item) -> bool,
    ) -> Result<bool, Failure> {
        let mut changed = false;
        loop {
            match self.wire.read().await? {
                Next::Item(item) => changed |= is_news(&item),
                Next::Done(done, verdict) if done == tag => return verdict.map(|_| changed),
                Next::Done(..) => {}
            }
        }
    }
}

const DONE_MAX: Duration = Duration::from_secs(15);
