//! What the daemon does when the machine sleeps, wakes, or comes into another network. Floor 5.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::Daemon;
use crate::adapters::net::Line;
use crate::adapters::power::Inhibitor;
use crate::daemon::wake::Turn;
use crate::engine::account::Order;
use crate::engine::board::{Board, micros_now};
use crate::engine::relay::Ask;
use crate::model::account::Settings;
use crate::model::event::Command;
use crate::model::ids::AccountName;
use crate::model::status::{AccountState, Status, Trouble};

/// Why mail rests, and which accounts do so because of it.
#[derive(Debug, Default)]
pub(super) struct Rest {
    is_asleep: bool,
    is_captive: bool,
    is_metered: bool,
    accounts: Resting,
}

/// The accounts that rest because of it; not those that a person paused.
#[derive(Debug, Clone, Default)]
struct Resting(Arc<Mutex<BTreeSet<AccountName>>>);

impl Resting {
    fn names(&self) -> MutexGuard<'_, BTreeSet<AccountName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rest {
    /// Whether mail rests.
    pub(super) fn is_resting(&self) -> bool {
        self.is_asleep || self.is_captive
    }
}

impl Daemon {
    /// Does what a turn of events asks for.
    pub(super) async fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Redial => self.redial(),
            Turn::Sleep(held) => {
                self.rest.is_asleep = true;
                self.lie_down(held);
            }
            Turn::Awake => {
                self.rest.is_asleep = false;
                self.get_up();
            }
            Turn::Captive(true) => {
                tracing::info!("the network wants a login in a browser; mail waits for it");
                self.rest.is_captive = true;
                self.lie_down(None);
            }
            Turn::Captive(false) => {
                self.rest.is_captive = false;
                self.get_up();
            }
            Turn::Metered(is_metered) => {
                tracing::info!(is_metered, "the network changed");
                self.rest.is_metered = is_metered;
                self.board.update(|status| status.metered = is_metered);
                self.fleet.apply(&self.fitting()).await;
            }
        }
    }

    fn redial(&self) {
        self.fleet.redial();
        self.ask_outbox(Ask::Flush(Vec::new()));
    }

    /// Has all accounts that work say goodbye to their servers. What does not end in time is cut off.
    pub(super) fn lie_down(&mut self, held: Option<Inhibitor>) {
        let status = self.board.now();
        let works = |(name, account): (&AccountName, &crate::model::status::AccountStatus)| {
            may_rest(account.state).then(|| name.clone())
        };
        let resting: Vec<AccountName> = status.accounts.iter().filter_map(works).collect();
        for account in &resting {
            self.fleet.order(Some(account), &Order::Pause(0));
        }
        if !status.paused {
            self.ask_outbox(Ask::Pause);
        }
        let lines = resting.iter().filter_map(|account| self.fleet.line(account)).collect();
        self.rest.accounts.names().extend(resting.iter().cloned());
        let shown = (self.board.clone(), self.rest.accounts.clone());
        let shown = self.rest.is_captive.then_some(shown);
        tokio::spawn(settle(self.status.clone(), resting, lines, shown, held));
    }

    /// Goes on where [`Self::lie_down`] stopped, unless there is another reason to rest.
    fn get_up(&mut self) {
        if self.rest.is_resting() {
            return;
        }
        let resting = std::mem::take(&mut *self.rest.accounts.names());
        for account in resting {
            self.fleet.order(Some(&account), &Order::Resume);
        }
        if !self.board.now().paused {
            self.ask_outbox(Ask::Resume);
        }
        self.redial();
    }

    /// A person's pause. It is not over when a rest is.
    pub(super) fn pause(&mut self, account: Option<&AccountName>, seconds: u64) {
        let paused = self.named(account);
        for name in &paused {
            if self.rest.accounts.names().remove(name) {
                // It waits for a person now.
                self.board.account(name, |account| account.trouble = None);
            }
        }
        self.fleet.order(account, &Order::Pause(seconds));
        if account.is_some() {
            return;
        }
        self.board.update(|status| status.paused = true);
        self.ask_outbox(Ask::Pause);
        if seconds > 0 {
            let (commands, stop) = (self.commands.clone(), self.shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_secs(seconds)) => {
                        // The daemon being gone is fine.
                        drop(commands.send(Command::Resume { account: None }).await);
                    }
                }
            });
        }
    }

    /// The end of a person's pause. While mail rests, what was paused rests with the others; one that rests
    /// already is tried, since a person says so.
    pub(super) fn resume(&mut self, account: Option<&AccountName>) {
        let status = self.board.now();
        for name in self.named(account) {
            let is_paused =
                status.accounts.get(&name).is_some_and(|a| a.state == AccountState::Paused);
            let mut resting = self.rest.accounts.names();
            if self.rest.is_resting() && is_paused && resting.insert(name.clone()) {
                drop(resting);
                if self.rest.is_captive {
                    show_portal(&self.board, &name);
                }
            } else {
                resting.remove(&name);
                drop(resting);
                self.fleet.order(Some(&name), &Order::Resume);
            }
        }
        if account.is_some() {
            return;
        }
        self.board.update(|status| status.paused = false);
        if !self.rest.is_resting() || !status.paused {
            self.ask_outbox(Ask::Resume);
        }
    }

    /// The account that is named, or all.
    fn named(&self, account: Option<&AccountName>) -> Vec<AccountName> {
        let all = || self.board.now().accounts.keys().cloned().collect();
        account.map_or_else(all, |account| vec![account.clone()])
    }

    /// The settings as the network allows them: where traffic is counted, mailboxes are polled less
    /// often, only INBOX is watched, and old and large mail waits for another network.
    pub(super) fn fitting(&self) -> Settings {
        let mut settings = self.settings.clone();
        if self.rest.is_metered {
            let daemon = &mut settings.daemon;
            daemon.poll_interval = (daemon.poll_interval * METERED_POLL).max(METERED_POLL_MIN);
            for account in settings.accounts.values_mut() {
                account.sync.limits.is_metered = true;
                let Some(imap) = account.imap.as_mut() else { continue };
                imap.push.retain(crate::model::ids::MailboxName::is_inbox);
                imap.max_connections = imap.max_connections.min(METERED_CONNECTIONS);
            }
        }
        settings
    }
}

/// Whether an account has connections, or tries to: one that waits for a person is left alone.
fn may_rest(state: AccountState) -> bool {
    match state {
        AccountState::Connecting
        | AccountState::Idle
        | AccountState::Syncing
        | AccountState::Backoff
        | AccountState::Offline => true,
        AccountState::Disabled
        | AccountState::Paused
        | AccountState::NeedsLogin
        | AccountState::KeyringLocked
        | AccountState::CertProblem
        | AccountState::StoreMissing
        | AccountState::Error => false,
    }
}

/// Waits until the accounts rest and no message is on the wire, then lets the machine sleep.
async fn settle(
    mut status: watch::Receiver<Arc<Status>>,
    resting: Vec<AccountName>,
    lines: Vec<Line>,
    shown: Option<(Board, Resting)>,
    held: Option<Inhibitor>,
) {
    let all_rest = |status: &Arc<Status>| {
        let state = |name| status.accounts.get(name).map(|account| account.state);
        let rests = |name| state(name).is_none_or(|state| state == AccountState::Paused);
        !status.outbox.sending && resting.iter().all(rests)
    };
    if timeout(SETTLE_MAX, status.wait_for(all_rest)).await.is_err() {
        tracing::info!("some work was cut off; it goes on later");
    }
    for line in lines {
        line.hang_up();
    }
    drop(held);
    if let Some((board, still)) = shown {
        // It may be over already, or a person paused an account meanwhile.
        for name in resting.iter().filter(|name| still.names().contains(*name)) {
            show_portal(&board, name);
        }
    }
}

/// Shows that an account that is at rest waits for a login in a browser.
fn show_portal(board: &Board, name: &AccountName) {
    board.account(name, |account| {
        if account.state == AccountState::Paused {
            account.state = AccountState::Offline;
            account.trouble = Some(behind_a_portal());
        }
    });
}

fn behind_a_portal() -> Trouble {
    Trouble {
        name: "Offline".to_owned(),
        text: "reach the server: the network wants a login first (to mend it: open a page in a browser)"
            .to_owned(),
        since: micros_now(),
        next_retry: 0,
    }
}

/// logind waits for 5 s unless it is told else.
const SETTLE_MAX: Duration = Duration::from_secs(3);
const METERED_POLL: u32 = 6;
const METERED_POLL_MIN: Duration = Duration::from_secs(15 * 60);
const METERED_CONNECTIONS: u32 = 2;
