//! One pass over an account: which mailboxes there are, which need a look, and the look. Floor 4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use crate::engine::arrivals::Foreseen;
use crate::engine::board::{Board, micros_now};
use crate::engine::deferred::Deferred;
use crate::engine::depth::Depths;
use crate::engine::jobs::report_error;
use crate::engine::lists::Candidate;
use crate::engine::looks::Looks;
use crate::engine::mailbox::Reason;
use crate::engine::offload::offload;
use crate::engine::push::Watching;
use crate::engine::repair::advance_epoch;
use crate::model::account::{Account, Role};
use crate::model::event::{AccountReport, Consent};
use crate::model::failure::{Failure, Kind, Scope};
use crate::model::ids::{MailboxName, Uid};
use crate::model::status::{Counters, Push};
use crate::ports::ledger::{Change, Ledger, LimitChange};
use crate::ports::local::{Local, LocalWatcher};
use crate::ports::remote::{Connector, Remote};

/// Works for one account. Owns nothing that cannot be made again from server, Maildir and ledger.
pub struct Worker<L: Local, G: Ledger, C: Connector> {
    pub(super) account: Arc<Account>,
    pub(super) local: Arc<L>,
    pub(super) ledger: Arc<G>,
    pub(super) connector: Arc<C>,
    pub(super) board: Board,
    pub(super) is_dry: bool,
    /// The moves that a dry run found.
    pub(super) foreseen: Vec<Foreseen>,
    /// Whether files that the server dropped wait until all mailboxes were looked at.
    pub(super) defers_removals: bool,
    /// Connections that may help to fetch.
    pub(super) places: usize,
    /// When the quarantine and `tmp/` were swept.
    pub(super) swept: Option<Instant>,
    pub(super) looks: Looks,
    pub(super) roles: BTreeMap<Role, MailboxName>,
    /// Mailboxes whose numbers are on the board.
    pub(super) counted: BTreeSet<MailboxName>,
    /// Mailboxes that are on both sides and to be synced, as of the last full pass.
    pub(super) within: BTreeSet<MailboxName>,
    /// Mailboxes of `push` that find a connection.
    pub(super) pushed: BTreeSet<MailboxName>,
    pub(super) watching: Arc<Watching>,
    pub(super) depths: Depths,
    pub(super) watcher: Option<Box<dyn LocalWatcher>>,
}

/// What a pass came to.
#[derive(Debug, Default)]
pub(super) struct Pass {
    pub(super) report: AccountReport,
    /// Mailboxes to look at again, and when.
    pub(super) recheck: BTreeMap<MailboxName, Instant>,
    /// Mailboxes where files wait to be removed.
    pub(super) deferred: BTreeMap<MailboxName, Deferred>,
    /// The worst failure. With account scope the connection is spoilt.
    pub(super) failure: Option<Failure>,
}

impl Pass {
    pub(super) fn fail(&mut self, failure: Failure) {
        let is_worse = self.failure.as_ref().is_none_or(|f| f.scope < failure.scope);
        if is_worse {
            self.report.error = Some(report_error(&failure));
            self.failure = Some(failure);
        }
    }

    /// A failure in one mailbox.
    pub(super) fn fail_in(&mut self, name: &MailboxName, failure: Failure) {
        let what = format!("{} (mailbox {name:?})", failure.what, name = name.as_str());
        self.fail(Failure { what, ..failure });
    }

    pub(super) fn add(&mut self, name: &MailboxName, counters: Counters) {
        let total = self.report.mailboxes.entry(name.clone()).or_default();
        let sum = |a: u32, b: u32| a.saturating_add(b);
        *total = Counters {
            downloaded: sum(total.downloaded, counters.downloaded),
            uploaded: sum(total.uploaded, counters.uploaded),
            flags_local: sum(total.flags_local, counters.flags_local),
            flags_remote: sum(total.flags_remote, counters.flags_remote),
            moved_local: sum(total.moved_local, counters.moved_local),
            moved_remote: sum(total.moved_remote, counters.moved_remote),
            deleted_local: sum(total.deleted_local, counters.deleted_local),
            deleted_remote: sum(total.deleted_remote, counters.deleted_remote),
            held: counters.held,
            skipped: counters.skipped,
            // A second look tries nothing again that failed in the first.
            failed: total.failed.max(counters.failed),
        };
    }

    /// Whether the connection can go on.
    pub(super) fn is_spoilt(&self) -> bool {
        self.failure.as_ref().is_some_and(|f| f.scope >= Scope::Account)
    }
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// A worker that has done nothing yet.
    pub fn new(
        account: Arc<Account>,
        local: Arc<L>,
        ledger: Arc<G>,
        connector: Arc<C>,
        board: Board,
    ) -> Self {
        let most = account.imap.as_ref().map_or(1, |imap| imap.max_connections);
        let places = usize::try_from(most).unwrap_or(1).saturating_sub(1);
        Self {
            account,
            local,
            ledger,
            connector,
            board,
            is_dry: false,
            foreseen: Vec::new(),
            defers_removals: false,
            places,
            swept: None,
            looks: Looks::default(),
            roles: BTreeMap::new(),
            counted: BTreeSet::new(),
            within: BTreeSet::new(),
            pushed: BTreeSet::new(),
            watching: Arc::new(Watching::new(Push::None)),
            depths: Depths::default(),
            watcher: None,
        }
    }

    /// Works as if traffic was not counted, since a person wants all of it; answers the account as it was.
    pub(super) fn lift_meter(&mut self) -> Arc<Account> {
        let mut account = Account::clone(&self.account);
        account.sync.limits.is_metered = false;
        std::mem::replace(&mut self.account, Arc::new(account))
    }

    /// A worker that only tells what it would do.
    #[must_use]
    pub fn dry(mut self) -> Self {
        self.is_dry = true;
        self
    }

    /// One complete pass, with the waiting that proofs of absence need. No targets means all.
    pub async fn once(&mut self, targets: &[MailboxName]) -> AccountReport {
        let connected = self.connector.connect().await;
        self.once_on(connected, targets).await
    }

    /// [`Worker::once`] on a connection that was dialled meanwhile.
    pub async fn once_on(
        &mut self,
        connected: Result<C::Remote, Failure>,
        targets: &[MailboxName],
    ) -> AccountReport {
        let mut remote = match connected {
            Ok(remote) => remote,
            Err(failure) => {
                let error = Some(report_error(&failure));
                return AccountReport { error, ..AccountReport::default() };
            }
        };
        let mut pass = self.full_pass(&mut remote, targets).await;
        for _ in 0..RECHECK_ROUNDS_MAX {
            let Some(until) = pass.recheck.values().max().copied() else { break };
            if pass.is_spoilt() || self.is_dry {
                break;
            }
            sleep_until(until).await;
            let names: BTreeSet<_> = std::mem::take(&mut pass.recheck).into_keys().collect();
            self.look_again(&mut remote, names, &mut pass).await;
        }
        remote.logout().await;
        pass.report
    }

    /// Records a person's word about the deletions that are held back in a mailbox.
    pub(super) async fn decide(
        &self,
        mailbox: &MailboxName,
        consent: Consent,
    ) -> Result<(), Failure> {
        let (ledger, mailbox) = (Arc::clone(&self.ledger), mailbox.clone());
        offload(move || {
            let row = ledger.mailbox(&mailbox)?;
            if row.held == 0 {
                return Ok(());
            }
            ledger.apply(row.id, &[Change::Consent(Some(consent))])
        })
        .await
    }

    /// Records which messages a person wants in spite of a limit.
    pub(super) async fn want(&self, mailbox: &MailboxName, uids: Vec<Uid>) -> Result<(), Failure> {
        let (ledger, mailbox) = (Arc::clone(&self.ledger), mailbox.clone());
        offload(move || {
            let id = ledger.mailbox(&mailbox)?.id;
            ledger.apply(id, &[Change::Limit(LimitChange::Want(uids))])
        })
        .await
    }

    /// Looks at every mailbox that is chosen; those where nothing changed cost nothing.
    pub(super) async fn full_pass(
        &mut self,
        remote: &mut C::Remote,
        targets: &[MailboxName],
    ) -> Pass {
        let mut pass = Pass::default();
        if let Err(failure) = self.recall(remote).await {
            pass.fail(failure);
            return pass;
        }
        let candidates = match self.settled_candidates(remote, targets).await {
            Ok(candidates) => candidates,
            Err(failure) => {
                pass.fail(failure);
                return pass;
            }
        };
        let (chosen, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|c| targets.is_empty() || targets.contains(&c.name));
        self.defers_removals = true;
        if targets.is_empty() {
            self.within.clear();
        }
        self.tour(remote, chosen, &mut pass).await;
        // What is missing there may be in a mailbox that nobody asked for: then it was moved.
        if !(pass.deferred.is_empty() && pass.recheck.is_empty()) {
            let changed = others.into_iter().filter(|c| self.is_changed(c)).collect();
            self.tour(remote, changed, &mut pass).await;
        }
        self.defers_removals = false;
        self.remove_deferred(&mut pass).await;
        self.advance(&mut pass).await;
        if self.is_dry {
            self.foretell_moves(&mut pass);
            return pass;
        }
        let (is_ok, now) = (pass.failure.is_none(), micros_now());
        self.board.account(&self.account.name, |a| {
            a.last_sync = now;
            a.last_success = if is_ok { now } else { a.last_success };
        });
        pass
    }

    /// Looks into mailboxes one after the other, until the connection is spoilt.
    async fn tour(&mut self, remote: &mut C::Remote, candidates: Vec<Candidate>, pass: &mut Pass) {
        for candidate in candidates {
            if pass.is_spoilt() {
                return;
            }
            let name = candidate.name.clone();
            let skipped = candidate.row.as_ref().map_or(0, |r| r.skipped);
            pass.add(&name, Counters { skipped, ..Counters::default() });
            match self.prepare(remote, &candidate).await {
                Ok(true) => {
                    self.within.insert(name.clone());
                    if let Some(watcher) = &mut self.watcher {
                        watcher.add(&name);
                    }
                    // One that cannot be looked at for edits is looked into, and that tells why.
                    let edits = self.mark_edits(&name).await;
                    let is_same = edits.is_ok_and(|e| !e.is_any && e.recheck.is_none());
                    if !is_same || !self.is_unchanged(&candidate) {
                        self.look_into(remote, &name, Reason::Any, pass).await;
                    }
                }
                Ok(false) => {
                    pass.report.mailboxes.remove(&name);
                    if let Err(failure) = self.show_orphan(&candidate).await {
                        pass.fail_in(&name, failure);
                    }
                }
                Err(failure) => pass.fail(failure),
            }
        }
    }

    /// After a pass that changed something a new epoch begins.
    pub(super) async fn advance(&self, pass: &mut Pass) {
        if self.is_dry || pass.report.is_quiet() {
            return;
        }
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        if let Err(failure) = offload(move || advance_epoch(&*local, &*ledger)).await {
            pass.fail(failure);
        }
    }

    /// One look into one mailbox, added to the pass.
    pub(super) async fn look_into(
        &mut self,
        remote: &mut C::Remote,
        name: &MailboxName,
        reason: Reason,
        pass: &mut Pass,
    ) {
        match self.mailbox_pass(remote, name, reason).await {
            Ok(done) => {
                if (Counters { skipped: 0, ..done.counters }) != Counters::default() {
                    let c = done.counters;
                    tracing::info!(
                        account = %self.account.name, mailbox = %name,
                        downloaded = c.downloaded, uploaded = c.uploaded,
                        flags_local = c.flags_local, flags_remote = c.flags_remote,
                        deleted_local = c.deleted_local, deleted_remote = c.deleted_remote,
                        held = c.held, failed = c.failed, "synced"
                    );
                }
                pass.add(name, done.counters);
                if let Some(at) = done.recheck {
                    pass.recheck.insert(name.clone(), at);
                }
                if let Some(deferred) = done.deferred {
                    pass.deferred.insert(name.clone(), deferred);
                }
                match self.synced(done.filled).await {
                    Ok(Some(filled)) => drop(pass.recheck.insert(filled, Instant::now())),
                    Ok(None) => {}
                    Err(failure) => pass.fail(failure),
                }
            }
            Err(failure) => {
                let is_missing = failure.kind == Kind::StoreMissing;
                pass.fail_in(name, failure);
                // Its directory may be gone with all the others.
                if is_missing && let Err(failure) = self.find_root().await {
                    pass.fail(failure);
                }
            }
        }
    }

    /// Makes sure that the Maildir is there, and still the one that the ledger belongs to.
    async fn find_root(&self) -> Result<(), Failure> {
        let (local, ledger) = (Arc::clone(&self.local), Arc::clone(&self.ledger));
        offload(move || match ledger.root()? {
            Some(root) => local.open_root(Some(&root)).map(drop),
            None => Ok(()),
        })
        .await
    }
}

/// Rounds of looking again in one command.
const RECHECK_ROUNDS_MAX: u32 = 5;
