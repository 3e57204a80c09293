//! Connections that wait for the server: one for all mailboxes where it offers NOTIFY, else one per
//! mailbox of `push`. They only put hints. Floor 4.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::pass::Worker;
use crate::model::event::Hint;
use crate::model::failure::{Failure, Kind};
use crate::model::ids::MailboxName;
use crate::model::status::Push;
use crate::ports::hints::HintBox;
use crate::ports::ledger::Ledger;
use crate::ports::local::Local;
use crate::ports::remote::{Connector, Remote, Woken};
use crate::rules::mailboxes::is_chosen;
use crate::rules::schedule::{IDLE_SILENCE, backoff};

/// How changes on the server are noticed at the moment: written by who waits for the server, read
/// by who shows it.
#[derive(Debug)]
pub(super) struct Watching(Mutex<Push>);

impl Watching {
    pub(super) fn new(push: Push) -> Self {
        Self(Mutex::new(push))
    }

    pub(super) fn now(&self) -> Push {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, push: Push) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = push;
    }
}

/// What waits, and for what.
pub(super) struct Waiter<C: Connector> {
    pub(super) connector: Arc<C>,
    /// The mailboxes of `push`, as many as there are connections for.
    pub(super) mailboxes: Vec<MailboxName>,
    pub(super) hints: Arc<HintBox>,
    pub(super) watching: Arc<Watching>,
    pub(super) stop: CancellationToken,
}

/// Why waiting for all mailboxes on one connection ended.
enum Ended {
    Lost(Failure),
    /// The server does not want to tell, or no longer.
    Refused,
}

impl<C: Connector> Waiter<C> {
    /// Waits for all mailboxes by NOTIFY, until cancelled. Where the server refuses, or has more to
    /// tell than it wants to, the mailboxes of `push` are waited for by IDLE instead.
    pub(super) async fn wait_for_all(self) {
        let mut n_failures = 0;
        while !self.stop.is_cancelled() {
            let ended = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                ended = self.one_for_all(&mut n_failures) => ended,
            };
            let failure = match ended {
                Ended::Refused => break,
                Ended::Lost(failure) => failure,
            };
            self.watching.set(Push::Poll);
            // Whatever was on its way is lost with the connection: one look finds it.
            self.hints.put(Hint::Everything);
            tracing::debug!(%failure, "the waiting connection ended");
            if !is_worth_a_try(&failure) || !self.rest(&mut n_failures).await {
                return;
            }
        }
        tracing::debug!("the server tells nothing by NOTIFY; IDLE is used");
        self.watching.set(if self.mailboxes.is_empty() { Push::Poll } else { Push::Idle });
        self.hints.put(Hint::Everything);
        self.wait_for_each().await;
    }

    /// Waits for each mailbox of `push` on a connection of its own, until cancelled.
    pub(super) async fn wait_for_each(self) {
        join_all(self.mailboxes.iter().map(|mailbox| self.wait_for(mailbox))).await;
    }

    async fn wait_for(&self, mailbox: &MailboxName) {
        let mut n_failures = 0;
        while !self.stop.is_cancelled() {
            let failure = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                failure = self.one_connection(mailbox, &mut n_failures) => failure,
            };
            // The main connection meets the same server and tells the user; here it is only
            // retried. It is idle, and would find out only at the next poll: so it looks now.
            self.hints.put(Hint::Remote(mailbox.clone()));
            tracing::debug!(%mailbox, %failure, "the waiting connection ended");
            if !is_worth_a_try(&failure) || !self.rest(&mut n_failures).await {
                return;
            }
        }
    }

    /// Waits before the next connection; false if it was cancelled.
    async fn rest(&self, n_failures: &mut u32) -> bool {
        let delay = backoff(*n_failures, fastrand::f64());
        *n_failures = n_failures.saturating_add(1);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = sleep(delay) => true,
        }
    }

    async fn one_for_all(&self, n_failures: &mut u32) -> Ended {
        let mut remote = match self.connector.connect().await {
            Ok(remote) => remote,
            Err(failure) => return Ended::Lost(failure),
        };
        match remote.begin_notify().await {
            Ok(true) => {}
            Ok(false) => {
                remote.logout().await;
                return Ended::Refused;
            }
            Err(failure) => return Ended::Lost(failure),
        }
        self.watching.set(Push::Notify);
        // Whatever happened before is found by one look.
        self.hints.put(Hint::Everything);
        loop {
            let heard = match remote.wait_any(IDLE_SILENCE).await {
                Ok(heard) => heard,
                Err(failure) => return Ended::Lost(failure),
            };
            *n_failures = 0;
            if heard.is_over {
                remote.logout().await;
                return Ended::Refused;
            }
            if heard.is_list_changed {
                self.hints.put(Hint::Everything);
            }
            for mailbox in heard.mailboxes {
                self.hints.put(Hint::Remote(mailbox));
            }
        }
    }

    async fn one_connection(&self, mailbox: &MailboxName, n_failures: &mut u32) -> Failure {
        let mut remote = match self.connector.connect().await {
            Ok(remote) => remote,
            Err(failure) => return failure,
        };
        // This selects the mailbox; whatever happened before it is found by one look.
        match remote.begin_wait(mailbox).await {
            Ok(()) => self.hints.put(Hint::Remote(mailbox.clone())),
            Err(failure) => return failure,
        }
        loop {
            match remote.wait(mailbox, IDLE_SILENCE).await {
                Ok(Woken::Changed) => self.hints.put(Hint::Remote(mailbox.clone())),
                Ok(Woken::Quiet) => {}
                Err(failure) => return failure,
            }
            *n_failures = 0;
        }
    }
}

fn is_worth_a_try(failure: &Failure) -> bool {
    !matches!(failure.kind, Kind::AuthFailed | Kind::NeedsLogin | Kind::NotSupported)
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// How changes of a mailbox on the server are noticed.
    pub(super) fn push_of(&self, name: &MailboxName) -> Push {
        match self.watching.now() {
            _ if self.watcher.is_none() => Push::None,
            Push::Idle if self.pushed.contains(name) => Push::Idle,
            Push::Idle => Push::Poll,
            push @ (Push::Notify | Push::Poll | Push::None) => push,
        }
    }

    /// Shows how changes on the server are noticed, where that is not what was shown before.
    pub(super) fn show_push(&self) {
        let push = self.watching.now();
        self.board.account(&self.account.name, |a| {
            if a.push != push {
                a.push = push;
                for (name, mailbox) in &mut a.mailboxes {
                    mailbox.push = self.push_of(name);
                }
            }
        });
    }

    /// Leaves out what the server said about mailboxes that are not synced. One that is to be synced
    /// and was never looked into is new: then everything is looked at.
    pub(super) fn relevant(&self, hints: BTreeSet<Hint>) -> BTreeSet<Hint> {
        let relevant = hints.into_iter().filter_map(|hint| match hint {
            Hint::Remote(name) if self.counted.contains(&name) => Some(Hint::Remote(name)),
            Hint::Remote(name) => {
                is_chosen(&self.account.sync.mailboxes, &name).then_some(Hint::Everything)
            }
            Hint::Local(_) | Hint::Everything => Some(hint),
        });
        relevant.collect()
    }
}
