//! The words in which the outbox task is set up, asked and heard. Floor 4.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

use crate::model::account::{SentCopy, Settings};
use crate::model::failure::Failure;
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Decision, Item, OutboxEvent};
use crate::model::status::{Micros, OutboxStatus};
use crate::rules::relay::RelayPolicy;
use crate::rules::senders::{Sending, resting, sending};

/// What the relay has to know.
#[derive(Debug, Clone)]
pub struct RelaySetup {
    /// The accounts that send.
    pub accounts: Vec<Sending>,
    /// Those that could, and are not enabled.
    pub resting: Vec<Sending>,
    /// Who files the copies, per account.
    pub sent_copy: BTreeMap<AccountName, SentCopy>,
    /// How long a server that may file sent messages itself gets to do so.
    pub sent_wait: Duration,
    /// Retries and unknown fates.
    pub policy: RelayPolicy,
    /// How long a message waits before its first attempt.
    pub undo_delay: Duration,
    /// The directory, for the status.
    pub directory: String,
    /// Microseconds since the epoch.
    pub clock: fn() -> Micros,
    /// A random number.
    pub random: fn() -> u32,
}

impl RelaySetup {
    /// What the settings say about it.
    pub fn new(settings: &Settings, clock: fn() -> Micros, random: fn() -> u32) -> Self {
        let accounts = settings.accounts.iter();
        let wishes = accounts.filter_map(|(name, account)| {
            let wish = account.smtp.as_ref()?.sent_copy;
            // Without IMAP no server's copy ever comes here.
            let alone = account.imap.is_none() && wish == SentCopy::Auto;
            Some((name.clone(), if alone { SentCopy::Append } else { wish }))
        });
        Self {
            accounts: sending(settings),
            resting: resting(settings),
            sent_copy: wishes.collect(),
            sent_wait: SENT_WAIT,
            policy: RelayPolicy {
                retry_for: settings.outbox.retry_for,
                on_uncertain: settings.outbox.on_uncertain,
            },
            undo_delay: settings.outbox.undo_delay,
            directory: settings.outbox.dir.display().to_string(),
            clock,
            random,
        }
    }
}

impl RelaySetup {
    /// Whether no account of the configuration has this name.
    pub(super) fn lacks(&self, account: &AccountName) -> bool {
        !self.accounts.iter().chain(&self.resting).any(|one| one.name == *account)
    }

    /// Whether this account is not enabled.
    pub(super) fn rests(&self, account: &AccountName) -> bool {
        self.resting.iter().any(|one| one.name == *account)
    }
}

/// How the relay hears and speaks.
#[derive(Debug)]
pub struct RelayLinks {
    /// Something may have changed in the directory.
    pub wake: Arc<Notify>,
    /// What persons ask.
    pub requests: mpsc::Receiver<Request>,
    /// The status, replaced at each change.
    pub status: watch::Sender<OutboxStatus>,
    /// What happens, for the bus.
    pub events: broadcast::Sender<OutboxEvent>,
    /// Becomes true when the daemon stops.
    pub stop: watch::Receiver<bool>,
    /// Whether the task waits for something to do, for whoever watches over it.
    pub rests: Arc<AtomicBool>,
}

/// What a person asks of the outbox.
#[derive(Debug)]
pub struct Request {
    /// What.
    pub what: Ask,
    /// Gets the items concerned, as they are afterwards.
    pub reply: oneshot::Sender<Result<Vec<Item>, Failure>>,
}

/// What can be asked of the outbox; no ids means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Show them.
    List,
    /// Try them now; answered when the attempts ended.
    Flush(Vec<OutboxId>),
    /// Hold them.
    Hold(Vec<OutboxId>),
    /// Release what is held.
    Release(Vec<OutboxId>),
    /// Try failed ones again.
    Retry(Vec<OutboxId>),
    /// Forget them, unsent.
    Cancel(Vec<OutboxId>),
    /// Decide about one of unknown fate.
    Resolve(OutboxId, Decision),
    /// Send nothing until resumed.
    Pause,
    /// Go on.
    Resume,
}

const SENT_WAIT: Duration = Duration::from_secs(7);
