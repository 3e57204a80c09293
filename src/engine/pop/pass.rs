//! One pass over a maildrop: sessions until nothing new comes. Floor 4.
//!
//! The order in a session: list, name, record the names, fetch, and only for what is durable here ask for
//! removal; it counts once the server confirmed the end of the session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fetch::COMPLETE;
use super::place::{follow_setting, make_sure};
use super::sort::{Sorted, may_remove, sort};
use crate::engine::board::{Board, micros_now};
use crate::engine::execute::count;
use crate::engine::jobs::report_error;
use crate::engine::looks::Looks;
use crate::engine::observe::settle_landings;
use crate::engine::offload::offload;
use crate::engine::repair::{advance_epoch, restored};
use crate::engine::sight::seconds_now;
use crate::model::account::{Account, Leave, PopSettings};
use crate::model::event::{AccountReport, Consent, Notice};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{MailboxName, Uid};
use crate::model::pop::PopListing;
use crate::model::status::Counters;
use crate::model::view::Stamp;
use crate::ports::ledger::{Change, LimitChange, MailboxId, MailboxRow};
use crate::ports::local::{Local, LocalWatcher};
use crate::ports::pop::{PopChange, PopConnector, PopDrop, PopLedger};
use crate::rules::pop::{PopPolicy, may_have_more, metered_from, named, nameless};

/// Works for one account. Owns nothing that cannot be made again from server, Maildir and ledger.
pub struct PopWorker<L: Local, G: PopLedger, C: PopConnector> {
    pub(super) account: Arc<Account>,
    pub(super) pop: PopSettings,
    pub(super) local: Arc<L>,
    pub(super) ledger: Arc<G>,
    pub(super) connector: Arc<C>,
    pub(super) board: Board,
    pub(super) is_dry: bool,
    /// Whether a person wants it all, although traffic is counted.
    pub(super) is_unmetered: bool,
    pub(super) looks: Looks,
    pub(super) watcher: Option<Box<dyn LocalWatcher>>,
    /// When the server lets us in again.
    pub(super) not_before: Option<Instant>,
    /// When the quarantine and `tmp/` were swept.
    swept: Option<Instant>,
    /// Whether the server was seen to show only some of the messages at a time.
    has_window: bool,
    /// Whether messages that never came wait for a network where traffic is not counted.
    has_waiting: bool,
    /// Whether the board knows the mailbox.
    pub(super) is_counted: bool,
    /// The state of the directory in which nothing was missing.
    pub(super) looked: Option<Stamp>,
}

/// What a pass came to.
#[derive(Debug, Default)]
pub(super) struct PopPass {
    pub(super) report: AccountReport,
    pub(super) failure: Option<Failure>,
}

impl<L: Local, G: PopLedger, C: PopConnector> PopWorker<L, G, C> {
    /// A worker that has done nothing yet.
    pub fn new(
        (account, pop): (Arc<Account>, PopSettings),
        local: Arc<L>,
        ledger: Arc<G>,
        connector: Arc<C>,
        board: Board,
    ) -> Self {
        Self {
            account,
            pop,
            local,
            ledger,
            connector,
            board,
            is_dry: false,
            is_unmetered: false,
            looks: Looks::default(),
            watcher: None,
            not_before: None,
            swept: None,
            has_window: false,
            has_waiting: false,
            is_counted: false,
            looked: None,
        }
    }

    /// A worker that only tells what it would do.
    #[must_use]
    pub fn dry(mut self) -> Self {
        self.is_dry = true;
        self
    }

    /// One complete pass. No targets means all there is, which is one mailbox.
    pub async fn once(&mut self, targets: &[MailboxName]) -> AccountReport {
        // Nobody looks at the board.
        self.is_counted = true;
        self.pass(targets).await.report
    }

    pub(super) async fn pass(&mut self, targets: &[MailboxName]) -> PopPass {
        let mut counters = Counters::default();
        let result = match self.check_targets(targets) {
            Ok(()) => self.work(&mut counters).await,
            Err(failure) => Err(failure),
        };
        let (is_ok, is_dry, now) = (result.is_ok(), self.is_dry, micros_now());
        self.board.account(&self.account.name, |a| {
            a.progress = None;
            if !is_dry {
                a.last_sync = now;
                a.last_success = if is_ok { now } else { a.last_success };
            }
        });
        if (Counters { skipped: 0, held: 0, ..counters }) != Counters::default() {
            tracing::info!(
                account = %self.account.name, mailbox = %self.pop.mailbox,
                downloaded = counters.downloaded, deleted_remote = counters.deleted_remote,
                failed = counters.failed, "fetched"
            );
        }
        let failure = result.err();
        let error = failure.as_ref().map(report_error);
        let mailboxes = BTreeMap::from([(self.pop.mailbox.clone(), counters)]);
        PopPass { report: AccountReport { mailboxes, error }, failure }
    }

    /// The report of who asks for mailboxes that are not there.
    pub(super) fn refuse_targets(&self, targets: &[MailboxName]) -> AccountReport {
        let error = self.check_targets(targets).err().as_ref().map(report_error);
        AccountReport { error, ..AccountReport::default() }
    }

    fn check_targets(&self, targets: &[MailboxName]) -> Result<(), Failure> {
        let Some(unknown) = targets.iter().find(|t| **t != self.pop.mailbox) else { return Ok(()) };
        let what = format!("find mailbox {:?}", unknown.as_str());
        Err(Failure::new(Scope::Mailbox, Remedy::Never, Kind::NotFound, what).cure(format!(
            "POP3 mail of account {} comes into {:?} only",
            self.account.name,
            self.pop.mailbox.as_str()
        )))
    }

    async fn work(&mut self, counters: &mut Counters) -> Result<(), Failure> {
        let row = self.prepare().await?;
        if !self.is_counted {
            self.show(&row, true).await?;
        }
        if self.pop.leave == Leave::UntilMoved && !self.is_dry {
            self.look_for_moved(&row, counters).await?;
        }
        let mut result = Ok(());
        for round in 0..SESSIONS_MAX {
            let before = counters.downloaded;
            result = self.session(&row, counters).await;
            let n_new = counters.downloaded.saturating_sub(before);
            self.has_window |= round > 0 && n_new > 0;
            // What waits is not to come by pieces.
            let is_done = self.has_waiting || !may_have_more(n_new, self.has_window);
            let is_over = result.is_err() || self.is_dry || is_done;
            // Where logins must be far apart, the rest comes with the next poll.
            if is_over || self.not_before.is_some_and(|at| at > Instant::now()) {
                break;
            }
        }
        if self.is_dry {
            return result;
        }
        // Until all of it came once, bytes are compared before anything counts as new.
        let is_whole = result.is_ok() && !self.has_waiting;
        let ended = self.conclude(row, is_whole, counters).await;
        result.and(ended)
    }

    /// Makes sure of the Maildir, and settles what a crash left.
    async fn prepare(&mut self) -> Result<MailboxRow, Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        let (mailbox, is_dry, leave) = (self.pop.mailbox.clone(), self.is_dry, self.pop.leave);
        let sweeps = !is_dry && self.swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY);
        if sweeps {
            self.swept = Some(Instant::now());
        }
        let (row, is_reset) = offload(move || {
            let expected = ledger.root()?;
            if is_dry && expected.is_none() {
                return Ok((ledger.mailbox(&mailbox)?, false));
            }
            let id = local.open_root(expected.as_deref())?;
            if sweeps && let Err(failure) = local.sweep() {
                tracing::warn!(%failure, "old files were not swept; it is tried again tomorrow");
            }
            if expected.is_none() {
                ledger.set_root(&id)?;
            }
            if is_dry {
                return Ok((ledger.mailbox(&mailbox)?, false));
            }
            let epoch = restored(&*local, &*ledger)?;
            if let Some(epoch) = epoch {
                // What is known no longer fits what is here: all is compared by its bytes again.
                ledger.forget(ledger.mailbox(&mailbox)?.id)?;
                local.set_epoch(epoch)?;
                ledger.set_epoch(epoch)?;
            }
            follow_setting(&*local, &*ledger, &mailbox)?;
            make_sure(&*local, &ledger.mailbox(&mailbox)?, leave)?;
            Ok((ledger.mailbox(&mailbox)?, epoch.is_some()))
        })
        .await?;
        if is_reset {
            let (account, mailbox) = (self.account.name.clone(), self.pop.mailbox.clone());
            tracing::warn!(
                %account, %mailbox,
                "the Maildir or the ledger was restored from a backup; messages are compared again"
            );
            self.board.notice(Notice::MailboxReset { account, mailbox });
        }
        if !is_dry {
            settle_landings(&self.local, &self.ledger, &self.pop.mailbox, row.id).await?;
        }
        Ok(row)
    }

    /// One session, from the login to the confirmed end.
    async fn session(&mut self, row: &MailboxRow, counters: &mut Counters) -> Result<(), Failure> {
        let mut maildrop = self.connector.connect().await?;
        let gap = maildrop.login_delay().unwrap_or_default().max(self.pop.login_gap);
        self.not_before = (!gap.is_zero()).then(|| Instant::now() + gap);
        let shown = Arc::new(self.shown(&mut maildrop, counters).await?);
        let was_complete = row.cursor == Some(COMPLETE);
        let sorted = self.sorted(row.id, &shown, was_complete).await?;
        counters.skipped = sorted.n_skipped;
        self.has_waiting = sorted.n_waiting > 0 && (!was_complete || sorted.is_renamed);
        if self.is_dry {
            self.foretell(&sorted, counters);
            drop(maildrop.quit().await);
            return Ok(());
        }
        let Sorted { fetch, is_renamed, .. } = sorted;
        let adopts = !was_complete || is_renamed;
        // The listing stays only where it is needed again.
        let shown = Some(shown).filter(|shown| may_remove(self.pop.leave) && shown.is_sound);
        if let Err(failure) = self.fetch(&mut maildrop, row.id, &fetch, adopts, counters).await {
            self.suspect(row.id, fetch, &failure).await?;
            return Err(failure);
        }
        let goes = match &shown {
            Some(shown) => self.sorted(row.id, shown, was_complete).await?.remove,
            None => Vec::new(),
        };
        if goes.is_empty() {
            // All is done: how the server takes leave changes nothing.
            if let Err(failure) = maildrop.quit().await {
                tracing::debug!(account = %self.account.name, %failure, "no goodbye");
            }
            return Ok(());
        }
        let numbers: Vec<u32> = goes.iter().map(|(number, _)| *number).collect();
        let taken = maildrop.remove(&numbers).await?;
        let asked = goes.iter().zip(taken).filter(|(_, is_taken)| *is_taken);
        let asked: Vec<Uid> = asked.map(|((_, uid), _)| *uid).collect();
        let n_asked = count(asked.len());
        self.apply(row.id, vec![Change::Pop(PopChange::Asked(asked))]).await?;
        maildrop.quit().await?;
        counters.deleted_remote = counters.deleted_remote.saturating_add(n_asked);
        Ok(())
    }

    /// Lists the maildrop, each message under its key.
    async fn shown(
        &self,
        maildrop: &mut C::Drop,
        counters: &mut Counters,
    ) -> Result<PopListing, Failure> {
        let mut listing = maildrop.list().await?;
        let (is_sound, n_listed) = (listing.is_sound, listing.messages.len());
        let numbers = nameless(&mut listing);
        let heads = maildrop.heads(&numbers).await?;
        let hashes = numbers.iter().zip(heads).filter_map(|(n, hash)| Some((*n, hash?)));
        let named = named(listing, &hashes.collect::<Vec<_>>());
        let n_nameless = n_listed.saturating_sub(named.messages.len());
        if n_nameless > 0 && named.messages.is_empty() {
            let what = "tell the messages of the server apart";
            return Err(Failure::new(Scope::Account, Remedy::Later, Kind::NotSupported, what)
                .detail("it gives neither unique ids (UIDL) nor headers (TOP)")
                .cure("use IMAP if the provider has it"));
        }
        counters.failed = counters.failed.max(count(n_nameless));
        if !is_sound || !numbers.is_empty() {
            tracing::warn!(
                account = %self.account.name, is_sound, without_id = numbers.len(),
                "what the server lists does not add up; nothing is removed that is not beyond doubt"
            );
        }
        Ok(named)
    }

    async fn sorted(
        &self,
        id: MailboxId,
        shown: &Arc<PopListing>,
        was_complete: bool,
    ) -> Result<Sorted, Failure> {
        let (ledger, shown) = (Arc::clone(&self.ledger), Arc::clone(shown));
        let limits = self.account.sync.limits;
        let is_metered = limits.is_metered && !self.is_unmetered;
        let policy = PopPolicy {
            leave: self.pop.leave,
            octets_max: limits.max_size,
            metered_from: is_metered.then(|| metered_from(&shown, was_complete)),
            now: seconds_now(),
        };
        let is_dry = self.is_dry;
        offload(move || sort((&*ledger, id), &shown, &policy, is_dry)).await
    }

    fn foretell(&self, sorted: &Sorted, counters: &mut Counters) {
        counters.downloaded = count(sorted.fetch.len());
        counters.deleted_remote = count(sorted.remove.len());
        tracing::info!(
            account = %self.account.name, mailbox = %self.pop.mailbox,
            "would fetch {}, leave {}, remove {} from the server",
            counters.downloaded, sorted.n_skipped, counters.deleted_remote
        );
    }

    pub(super) async fn apply(&self, id: MailboxId, changes: Vec<Change>) -> Result<(), Failure> {
        let ledger = Arc::clone(&self.ledger);
        offload(move || ledger.apply(id, &changes)).await
    }

    /// Records how far the pass came, and shows the mailbox on the board.
    async fn conclude(
        &mut self,
        row: MailboxRow,
        is_whole: bool,
        counters: &Counters,
    ) -> Result<(), Failure> {
        if counters.downloaded > 0 || counters.deleted_remote > 0 {
            let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
            offload(move || advance_epoch(&*local, &*ledger)).await?;
        }
        self.show(&row, is_whole && counters.held == 0).await
    }

    /// Records which messages a person wants in spite of a limit.
    pub(super) async fn want(&self, uids: Vec<Uid>) -> Result<(), Failure> {
        let (ledger, mailbox) = (Arc::clone(&self.ledger), self.pop.mailbox.clone());
        offload(move || {
            let id = ledger.mailbox(&mailbox)?.id;
            ledger.apply(id, &[Change::Limit(LimitChange::Want(uids))])
        })
        .await
    }

    /// Records a person's word about what is held back.
    pub(super) async fn decide(&self, consent: Consent) -> Result<(), Failure> {
        let (ledger, mailbox) = (Arc::clone(&self.ledger), self.pop.mailbox.clone());
        offload(move || {
            let row = ledger.mailbox(&mailbox)?;
            if row.held == 0 {
                return Ok(());
            }
            ledger.apply(row.id, &[Change::Consent(Some(consent))])
        })
        .await
    }
}

/// Sessions of one pass. Each but the last brought something.
const SESSIONS_MAX: u32 = 10_000;
/// How often the quarantine and `tmp/` are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(86_400);
