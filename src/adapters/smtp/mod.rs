//! The SMTP client behind [`Submit`]: one session per account, kept open for a moment. Floor 3.
//!
//! A state machine of our own, because the libraries fail all recipients when one is refused and cannot
//! say in which phase an attempt broke off. It does not retry, and it never decides about a message.

mod body;
mod session;
mod throttle;
mod transaction;
mod wire;

#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod extension_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::account::{Endpoint, Settings};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::AccountName;
use crate::model::outbox::{Broken, Outcome};
use crate::ports::outbox::{DotGate, Job, Submit};

use session::Session;

/// Sends through the SMTP servers of the accounts.
pub struct SmtpRelay {
    endpoints: BTreeMap<AccountName, Endpoint>,
    idle: Arc<Mutex<Idle>>,
}

#[derive(Default)]
struct Idle {
    sessions: BTreeMap<AccountName, (u64, Session)>,
    last: u64,
}

impl SmtpRelay {
    /// Makes a relay for these servers; nothing is dialled yet.
    pub fn new(endpoints: BTreeMap<AccountName, Endpoint>) -> Self {
        Self { endpoints, idle: Arc::default() }
    }

    /// Makes a relay for the outgoing servers of the settings.
    pub fn of(settings: &Settings) -> Self {
        let accounts = settings.accounts.iter();
        let endpoints = accounts
            .filter_map(|(name, one)| Some((name.clone(), one.smtp.as_ref()?.endpoint.clone())));
        Self::new(endpoints.collect())
    }

    /// Connects, logs in and says goodbye: what `postrider check` does.
    ///
    /// # Errors
    ///
    /// Whatever keeps the account from sending.
    pub async fn check(&self, account: &AccountName) -> Result<(), Failure> {
        let session = self.open(account).await?;
        session.quit().await;
        Ok(())
    }

    /// Drops all idle connections at once: the machine slept, or the network changed.
    pub fn forget_connections(&self) {
        lock(&self.idle).sessions.clear();
    }

    fn endpoint(&self, account: &AccountName) -> Result<&Endpoint, Failure> {
        self.endpoints.get(account).ok_or_else(|| {
            Failure::new(Scope::Account, Remedy::Never, Kind::Config, "find the outgoing server")
                .detail(format_args!("account {account} has no smtp table"))
                .cure(format!("add [account.{account}.smtp]"))
        })
    }

    async fn open(&self, account: &AccountName) -> Result<Session, Failure> {
        let opened = Box::pin(session::open(self.endpoint(account)?, account)).await;
        opened.map_err(|failure| failure.of_login(account.as_str()))
    }

    /// The session that was kept, if there is one.
    fn kept(&self, account: &AccountName) -> Option<Session> {
        lock(&self.idle).sessions.remove(account).map(|(_, session)| session)
    }

    async fn attempt(
        &self,
        mut session: Session,
        job: &Job,
        message: body::Message,
        gate: &impl DotGate,
    ) -> Result<Outcome, Broken> {
        let outcome = Box::pin(session.send(job, message, gate)).await;
        if session.is_usable() {
            self.keep(&job.account, session);
        }
        outcome
    }

    /// Keeps a session for a moment, since messages tend to come in batches.
    fn keep(&self, account: &AccountName, session: Session) {
        let mut idle = lock(&self.idle);
        idle.last += 1;
        let number = idle.last;
        let replaced = idle.sessions.insert(account.clone(), (number, session));
        drop(idle);
        drop(replaced);
        // Weak, so that dropping the relay closes its connections at once.
        let (idle, account) = (Arc::downgrade(&self.idle), account.clone());
        let reaper = tokio::spawn(async move {
            tokio::time::sleep(IDLE).await;
            let Some(idle) = idle.upgrade() else { return };
            let old = {
                let mut idle = lock(&idle);
                match idle.sessions.remove(&account) {
                    Some((kept, session)) if kept != number => {
                        idle.sessions.insert(account, (kept, session));
                        None
                    }
                    other => other,
                }
            };
            if let Some((_, session)) = old {
                session.quit().await;
            }
        });
        drop(reaper);
    }
}

impl Submit for SmtpRelay {
    async fn submit(&self, job: &Job, gate: &impl DotGate) -> Result<Outcome, Broken> {
        let before = |failure| Broken { failure, after_dot: false, in_mail: false };
        let open = || body::Message::open(&job.path, &job.skip);
        let message = open().await.map_err(before)?;
        if let Some(session) = self.kept(&job.account) {
            match self.attempt(session, job, message, gate).await {
                // A server may end a session that idles; nobody has the message, so it gets a new one.
                Err(broken) if !broken.after_dot && is_stale(&broken.failure) => {}
                ended => return ended,
            }
        } else {
            let session = self.open(&job.account).await.map_err(before)?;
            return self.attempt(session, job, message, gate).await;
        }
        let message = open().await.map_err(before)?;
        let session = self.open(&job.account).await.map_err(before)?;
        self.attempt(session, job, message, gate).await
    }
}

/// Whether a kept session turned out to be over before it began anything.
fn is_stale(failure: &Failure) -> bool {
    let place = failure.place.as_deref().unwrap_or_default();
    let is_lost = failure.kind == Kind::Offline && failure.server_said.is_none();
    let at_begin = ["MAIL", "RCPT"].iter().any(|phase| place.contains(phase));
    failure.scope == Scope::Account && (place.contains("RSET") || (is_lost && at_begin))
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    // The map is whole whatever a panicking holder was doing.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

const IDLE: Duration = Duration::from_secs(15);
