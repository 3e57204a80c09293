//! Logs what the status shows: states, troubles, the end of a first sync; each once, when it changes. Floor 5.
//!
//! What becomes of messages is logged where it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tracing::field::display;
use tracing::{debug, info, warn};

use crate::adapters::ledger::SqliteLedger;
use crate::daemon::paths;
use crate::model::account::{Account, Settings};
use crate::model::happening::Happening;
use crate::model::ids::AccountName;
use crate::model::status::{AccountState, AccountStatus, Status, Trouble};
use crate::ports::ledger::{Ledger as _, MailboxRow};

/// Accounts of which something was never synced.
#[derive(Debug, Clone, Default)]
pub(super) struct Fresh(Arc<Mutex<BTreeSet<AccountName>>>);

impl Fresh {
    /// Finds them, by their ledgers; before their loops start.
    pub(super) fn find(&self, settings: &Settings, state_dir: &Path) {
        let is_new = |(name, account): &(&AccountName, &Account)| {
            is_fresh(&paths::ledger(state_dir, name), account.imap.is_some())
        };
        let fresh = settings.accounts.iter().filter(is_new).map(|(name, _)| name.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(fresh);
    }

    fn take(&self, account: &AccountName) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(account)
    }
}

/// Whether a mailbox was never looked at to its end; a POP3 account has no such mark.
fn is_fresh(ledger: &Path, has_cursors: bool) -> bool {
    let known = || SqliteLedger::read(ledger).ok()?.mailboxes().ok();
    let is_open =
        |all: Vec<MailboxRow>| all.is_empty() || all.iter().any(|row| row.cursor.is_none());
    !ledger.exists() || (has_cursors && known().is_some_and(is_open))
}

/// Logs until the daemon ends.
pub(super) async fn keep(mut status: watch::Receiver<Arc<Status>>, fresh: Fresh) {
    let mut last = Last::default();
    loop {
        let now = Arc::clone(&status.borrow_and_update());
        last.look(&now, &fresh);
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Whose trouble it is: of an account, of what an account sends, or of the outbox as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Whose {
    account: Option<AccountName>,
    part: &'static str,
}

/// What was seen the last time.
#[derive(Debug, Default)]
struct Last {
    /// How each account was when it was not at work.
    states: BTreeMap<AccountName, AccountState>,
    /// The troubles that are open, by their codes.
    troubles: BTreeMap<Whose, String>,
}

impl Last {
    fn look(&mut self, status: &Status, fresh: &Fresh) {
        for (name, account) in &status.accounts {
            self.state(name, account.state);
            if account.last_success > 0 && fresh.take(name) {
                first_sync(name, account);
            }
        }
        self.states.retain(|name, _| status.accounts.contains_key(name));
        let now = troubles(status);
        for (whose, trouble) in &now {
            self.trouble(whose, trouble);
        }
        // While it is tried again, a trouble is not over.
        let is_over = |whose: &Whose| !now.contains_key(whose) && !is_trying(status, whose);
        for (whose, code) in self.troubles.extract_if(.., |whose, _| is_over(whose)) {
            let Whose { account, part } = &whose;
            let (event, account) = (Happening::TroubleOver.as_str(), account.as_ref().map(display));
            info!(event, account, part, code, "{code} is over");
        }
    }

    fn state(&mut self, account: &AccountName, now: AccountState) {
        let (event, state) = (Happening::AccountState.as_str(), now.as_str());
        // Every poll and every new try comes and goes like this.
        if is_at_work(now) {
            debug!(event, %account, state, "the account is at work");
            return;
        }
        let before = self.states.insert(account.clone(), now);
        let is_fine = matches!(now, AccountState::Idle | AccountState::Disabled);
        let before = before.unwrap_or(if is_fine { now } else { AccountState::Idle });
        if before != now {
            let was = before.as_str();
            info!(event, %account, before = was, state, "the account's state");
        }
    }

    fn trouble(&mut self, whose: &Whose, now: &Trouble) {
        let before = self.troubles.insert(whose.clone(), now.name.clone());
        if before.as_deref().map(kind) != Some(kind(&now.name)) {
            let Whose { account, part } = whose;
            let (event, account) = (Happening::Trouble.as_str(), account.as_ref().map(display));
            warn!(event, account, part, code = now.name, "{}", now.text);
        }
    }
}

fn troubles(status: &Status) -> BTreeMap<Whose, &Trouble> {
    let whose = |account: Option<&AccountName>, part| Whose { account: account.cloned(), part };
    let accounts = status.accounts.iter();
    let accounts = accounts.filter_map(|(name, a)| Some((Some(name), "sync", a.trouble.as_ref()?)));
    let sending = status.outbox.troubles.iter().map(|(name, t)| (Some(name), "outbox", t));
    let outbox = status.outbox.trouble.iter().map(|t| (None, "outbox", t));
    let all = accounts.chain(sending).chain(outbox);
    all.map(|(account, part, trouble)| (whose(account, part), trouble)).collect()
}

/// A server that cannot be reached shows it now by silence, now by an error of the network.
fn kind(code: &str) -> &str {
    if code == "Timeout" { "Offline" } else { code }
}

fn is_trying(status: &Status, whose: &Whose) -> bool {
    let account = whose.account.as_ref().filter(|_| whose.part == "sync");
    let state = account.and_then(|name| status.accounts.get(name)).map(|account| account.state);
    state.is_some_and(is_at_work)
}

fn first_sync(account: &AccountName, status: &AccountStatus) {
    let (event, total) = (Happening::FirstSync.as_str(), status.total());
    info!(event, %account, total, "the first sync is done");
}

fn is_at_work(state: AccountState) -> bool {
    matches!(state, AccountState::Connecting | AccountState::Syncing)
}
