//! Messages whose local copy left the mailbox, for `leave = "until-moved"`. Floor 4.
//!
//! An absence is believed as it is for IMAP: seen twice in a directory that stood still, and not where it
//! looks like an accident.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::pass::PopWorker;
use crate::engine::execute::count;
use crate::engine::offload::offload;
use crate::model::event::{Consent, Notice};
use crate::model::failure::Failure;
use crate::model::happening::Happening;
use crate::model::ids::{Base, Uid};
use crate::model::pop::PopState;
use crate::model::status::Counters;
use crate::ports::ledger::{Change, MailboxRow};
use crate::ports::local::{Local, Scan};
use crate::ports::pop::{PopChange, PopConnector, PopLedger};
use crate::rules::guard::is_too_much;

/// What a look found.
struct Look {
    scan: Scan,
    missing: BTreeMap<Base, Uid>,
    n_known: usize,
}

impl<L: Local, G: PopLedger, C: PopConnector> PopWorker<L, G, C> {
    /// Finds out what left the mailbox, and records that it may go from the server.
    pub(super) async fn look_for_moved(
        &mut self,
        row: &MailboxRow,
        counters: &mut Counters,
    ) -> Result<(), Failure> {
        self.looked = None;
        if row.consent.is_none() && row.held == 0 && self.is_untouched(row).await? {
            self.looked = row.stamp;
            return Ok(());
        }
        for _ in 0..LOOKS_MAX {
            let look = self.look(row).await?;
            let names: BTreeSet<Base> = look.missing.keys().cloned().collect();
            let (absent, again) =
                self.looks.look(&self.pop.mailbox, &look.scan, names, Instant::now());
            let Some(again) = again else {
                let gone: Vec<Uid> =
                    absent.iter().filter_map(|base| look.missing.get(base)).copied().collect();
                self.conclude_moved(row, gone, look.n_known, counters).await?;
                self.looked = look.scan.still().filter(|_| counters.held == 0);
                return Ok(());
            };
            sleep_until(again).await;
        }
        // A directory that never stands still proves nothing; the next pass looks again.
        counters.held = row.held;
        Ok(())
    }

    /// Whether something may have left: what a hint is worth a session for.
    pub(super) async fn has_moved(&mut self) -> Result<bool, Failure> {
        let (ledger, mailbox) = (Arc::clone(&self.ledger), self.pop.mailbox.clone());
        let row = offload(move || ledger.mailbox(&mailbox)).await?;
        // What is held back waits for a word, not for another look.
        Ok(!self.is_untouched(&row).await?
            && count(self.look(&row).await?.missing.len()) > row.held)
    }

    async fn is_untouched(&self, row: &MailboxRow) -> Result<bool, Failure> {
        let Some(stamp) = row.stamp else { return Ok(false) };
        let (local, mailbox) = (Arc::clone(&self.local), self.pop.mailbox.clone());
        offload(move || Ok(local.stamp(&mailbox)? == stamp)).await
    }

    async fn look(&self, row: &MailboxRow) -> Result<Look, Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (mailbox, id) = (self.pop.mailbox.clone(), row.id);
        offload(move || {
            let scan = local.scan(&mailbox)?;
            let (mut missing, mut n_known) = (BTreeMap::new(), 0);
            ledger.pop_each(id, &mut |known| {
                let is_open = known.state == PopState::Stored && known.is_listed && !known.is_moved;
                if let Some(base) = known.base.filter(|_| is_open) {
                    n_known += 1;
                    if !scan.messages.contains(&base) {
                        missing.insert(base, known.uid);
                    }
                }
            })?;
            Ok(Look { scan, missing, n_known })
        })
        .await
    }

    async fn conclude_moved(
        &self,
        row: &MailboxRow,
        gone: Vec<Uid>,
        n_known: usize,
        counters: &mut Counters,
    ) -> Result<(), Failure> {
        let n = count(gone.len());
        // A word covers what was held when it was given.
        let is_settled = match row.consent {
            Some(Consent::Confirm) => n <= row.held,
            Some(Consent::Reject) => true,
            None => false,
        };
        let is_held = n > 0
            && !is_settled
            && (row.held > 0 || is_too_much(gone.len(), n_known, self.account.sync.brake));
        let mut changes = match (is_held, row.consent) {
            (true, _) => {
                counters.held = n;
                vec![Change::Consent(None), Change::Held(n)]
            }
            // They come back as new ones.
            (false, Some(Consent::Reject)) => vec![Change::Pop(PopChange::Forget(gone))],
            (false, Some(Consent::Confirm) | None) => vec![Change::Pop(PopChange::Moved(gone))],
        };
        if !is_held && (row.held > 0 || row.consent.is_some()) {
            changes.extend([Change::Consent(None), Change::Held(0)]);
        }
        if is_held && row.held == 0 {
            let (account, mailbox) = (self.account.name.clone(), self.pop.mailbox.clone());
            tracing::warn!(
                event = Happening::DeletesHeld.as_str(), %account, %mailbox, held = n,
                "so many deletions look like an accident; they wait for: postrider held"
            );
            self.board.notice(Notice::DeletesHeld { account, mailbox, count: n });
        }
        self.apply(row.id, changes).await
    }
}

/// Looks before the directory is left alone until the next pass.
const LOOKS_MAX: u32 = 5;
