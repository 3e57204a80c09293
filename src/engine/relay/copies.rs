//! What comes after acceptance: the copy for Sent, once; and a look into Sent where the server's word got
//! lost. Floor 4.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Answers, Ended, Relay, attempt};
use crate::model::account::SentCopy;
use crate::model::failure::Failure;
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Broken, CopyState, Item, OutboxEvent, Outcome, Phase, Verdict};
use crate::model::status::Micros;
use crate::ports::outbox::{OutboxLedger, SentFiler, Spool, Submit};
use crate::rules::relay;

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// Starts to file the copies that are due, all of an account together: those that are accepted while
    /// it waits for the server's own are the next batch.
    pub(super) fn start_copies(&mut self) {
        let now = self.now();
        let mut due: BTreeMap<AccountName, Vec<Item>> = BTreeMap::new();
        let candidates = self.items.values().filter(|item| {
            item.copy == CopyState::Due
                && item.phase != Phase::Sending
                && self.copies.get(&item.id).is_none_or(|at| now >= *at)
        });
        for item in candidates {
            let Some(account) = item.account.clone() else { continue };
            if !self.copying.contains(&account) {
                due.entry(account).or_default().push(item.clone());
            }
        }
        for (account, items) in due {
            for item in &items {
                // Until it ends; afterwards it is either done or has a time of its own.
                self.copies.insert(item.id.clone(), Micros::MAX);
            }
            self.copying.insert(account.clone());
            let wish = self.setup.sent_copy.get(&account).copied().unwrap_or(SentCopy::None);
            let ports =
                (Arc::clone(&self.spool), Arc::clone(&self.ledger), Arc::clone(&self.filer));
            let (how, stop) = ((wish, self.setup.sent_wait), self.links.stop.clone());
            self.tasks.spawn(async move {
                let whose = account.clone();
                let filed = attempt::file_copies(ports, account, items, how, stop).await;
                Ended::Copies(whose, filed)
            });
        }
    }

    /// The copies of an account were filed, or were not.
    pub(super) async fn copied(
        &mut self,
        account: &AccountName,
        filed: Vec<(OutboxId, Result<(), Failure>)>,
    ) {
        self.copying.remove(account);
        let later = relay::after(self.now(), COPY_PAUSE);
        let (mut settled, mut waiting) = (Vec::new(), Vec::new());
        for (id, result) in filed {
            match result {
                Ok(()) => {
                    self.copies.remove(&id);
                    if let Some(item) = self.items.get_mut(&id) {
                        item.copy = CopyState::Done;
                        if item.phase == Phase::Accepted {
                            item.reason = None;
                        }
                        settled.push(item.clone());
                    }
                }
                Err(failure) => {
                    if let Some(item) = self.items.get_mut(&id) {
                        item.reason = Some(relay::reason(&failure));
                    }
                    self.copies.insert(id, later);
                    waiting.push(failure);
                }
            }
        }
        // Most often it is one reason for all of them.
        let copies = waiting.len();
        if let Some(failure) = waiting.first() {
            warn!(%account, copies, %failure, "the copies for Sent wait");
        }
        let ids: Vec<OutboxId> = settled.iter().map(|item| item.id.clone()).collect();
        self.save_all(settled).await;
        for id in ids {
            self.close(&id).await;
        }
    }

    /// Once somebody has the answer, the original counts as answered.
    pub(super) fn tell_answers(
        &self,
        id: &OutboxId,
        account: &AccountName,
        result: &Result<Outcome, Broken>,
        answers: Option<Answers>,
    ) {
        let accepted = |outcome: &Outcome| {
            outcome.verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Accepted(_)))
        };
        let is_first = self.items.get(id).is_some_and(|item| item.copy == CopyState::NotYet);
        let Some(answers) = answers.filter(|answers| !answers.originals.is_empty()) else { return };
        if is_first && result.as_ref().is_ok_and(accepted) {
            let Answers { originals, is_forward } = answers;
            self.tell(OutboxEvent::Answers { account: account.clone(), originals, is_forward });
        }
    }

    /// Looks into Sent for a message of unknown fate, where the server files what it took.
    pub(super) fn start_probe(&mut self, id: &OutboxId) {
        let Some(item) = self.items.get(id).cloned() else { return };
        let (ledger, filer) = (Arc::clone(&self.ledger), Arc::clone(&self.filer));
        let (wait, mut stop) = (self.setup.sent_wait.saturating_mul(2), self.links.stop.clone());
        self.tasks.spawn(async move {
            let (id, tries) = (item.id.clone(), item.tries);
            let look = attempt::is_in_sent(ledger, filer, item, wait);
            let found = attempt::unless_stopped(&mut stop, look).await.unwrap_or(Ok(false));
            Ended::Probe(id, tries, found)
        });
    }

    /// The look into Sent ended.
    pub(super) async fn probed(&mut self, id: &OutboxId, tries: u32, found: Result<bool, Failure>) {
        match found {
            Ok(true) => {}
            Ok(false) => return,
            Err(failure) => {
                warn!(queue_id = %id, %failure, "it is not known whether Sent has the message");
                return;
            }
        }
        let Some(item) = self.items.get_mut(id) else { return };
        // A person, or the next attempt, may have decided meanwhile.
        let is_open = matches!(item.phase, Phase::Uncertain | Phase::Queued) && item.tries == tries;
        let Some(account) = item.account.clone().filter(|_| is_open) else { return };
        let accepted = relay::confirm(
            item,
            "found in the Sent mailbox",
            CopyState::Done,
            (self.setup.clock)(),
        );
        let item = item.clone();
        info!(queue_id = %id, %account, "sent: the Sent mailbox has it");
        self.save(item.clone(), accepted).await;
        self.announce(&item, &account, "found in the Sent mailbox".to_owned(), None);
        self.close(id).await;
    }
}

const COPY_PAUSE: std::time::Duration = std::time::Duration::from_secs(60);
