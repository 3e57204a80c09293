//! Fetching over several connections at once. Floor 4.
//!
//! Whoever is free takes the next part. A helper that fails gives its part back; what it brought
//! already is stored once, whoever brings it again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use crate::model::failure::Failure;
use crate::model::ids::{MailboxName, UidValidity};
use crate::ports::remote::{Connector, FetchSink, Remote, Wanted};

/// Connections that may help, and where.
pub(super) struct Crew<C> {
    pub(super) connector: Arc<C>,
    /// How many connections there may be beside the one at work.
    pub(super) places: usize,
    pub(super) mailbox: MailboxName,
    pub(super) validity: UidValidity,
}

/// What is left to be fetched.
#[derive(Clone, Default)]
struct Parts {
    parts: Arc<Mutex<VecDeque<Vec<Wanted>>>>,
}

impl Parts {
    /// Small messages first, and each kind in the order in which they are wanted.
    fn of(wanted: &[Wanted]) -> Self {
        let is_large = |w: &&Wanted| w.size.is_some_and(|size| size > LARGE_BYTES);
        let mut all: Vec<Wanted> = wanted.iter().filter(|w| !is_large(w)).copied().collect();
        let n_small = all.len();
        all.extend(wanted.iter().filter(is_large));
        let (small, large) = all.split_at(n_small);
        let parts = small.chunks(SMALL_PART).chain(large.chunks(LARGE_PART));
        Self { parts: Arc::new(Mutex::new(parts.map(<[Wanted]>::to_vec).collect())) }
    }

    fn take(&self) -> Option<Vec<Wanted>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn give_back(&self, part: Vec<Wanted>) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push_front(part);
    }
}

impl<C: Connector> Crew<C> {
    /// Fetches everything that is wanted, with helpers where that is worth their login.
    pub(super) async fn fetch<S: FetchSink + Clone + 'static>(
        &self,
        remote: &mut C::Remote,
        wanted: &[Wanted],
        sink: &mut S,
    ) -> Result<(), Failure> {
        let bytes: u64 = wanted.iter().map(|w| u64::from(w.size.unwrap_or(0))).sum();
        let is_much = wanted.len() > SMALL_PART || bytes > HELPED_BYTES_MIN;
        if !is_much || self.places == 0 || remote.is_near() {
            return remote.fetch(wanted, sink).await;
        }
        let parts = Parts::of(wanted);
        let mut helpers = JoinSet::new();
        for _ in 0..self.places.min(HELPERS_MAX) {
            let (connector, parts, sink) =
                (Arc::clone(&self.connector), parts.clone(), sink.clone());
            let place = (self.mailbox.clone(), self.validity);
            helpers.spawn(help(connector, place, parts, sink));
        }
        loop {
            while let Some(part) = parts.take() {
                remote.fetch(&part, sink).await?;
            }
            // Whoever fails gives back what it had: then it is ours.
            match helpers.join_next().await {
                None => return Ok(()),
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(failure))) => {
                    tracing::debug!(%failure, "a helping connection ended");
                }
                Some(Err(_)) => return remote.fetch(wanted, sink).await,
            }
        }
    }
}

async fn help<C: Connector, S: FetchSink>(
    connector: Arc<C>,
    (mailbox, validity): (MailboxName, UidValidity),
    parts: Parts,
    mut sink: S,
) -> Result<(), Failure> {
    let mut remote = connector.connect().await?;
    remote.open(&mailbox, validity).await?;
    while let Some(part) = parts.take() {
        if let Err(failure) = remote.fetch(&part, &mut sink).await {
            parts.give_back(part);
            return Err(failure);
        }
    }
    remote.logout().await;
    Ok(())
}

/// Messages of one part: enough to keep a connection busy, and few enough to share.
const SMALL_PART: usize = 1000;
const LARGE_PART: usize = 4;
const LARGE_BYTES: u32 = 256 * 1024;
/// Below this a login takes longer than what it saves.
const HELPED_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// More than this only makes a server angry.
const HELPERS_MAX: usize = 4;
