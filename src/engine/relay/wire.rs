//! The last step before the server takes a message: once it is made, nobody can take it back. Floor 4.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::offload::offload;
use crate::model::failure::Failure;
use crate::model::outbox::{Address, Item, Recipient, Verdict};
use crate::ports::outbox::{DotGate, OutboxLedger};
use crate::rules::relay;

/// How many messages may be with a server that has not answered, and whether more may follow.
#[derive(Debug, Default)]
pub(super) struct Wire(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    on_it: usize,
    closed: bool,
}

impl Wire {
    /// Lets no more messages pass.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    /// How many messages wait for the server's last word.
    pub(super) fn on_it(&self) -> usize {
        self.state().on_it
    }

    fn enter(&self) -> bool {
        let mut state = self.state();
        if !state.closed {
            state.on_it += 1;
        }
        !state.closed
    }

    fn leave(&self) {
        let mut state = self.state();
        state.on_it = state.on_it.saturating_sub(1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two numbers cannot be half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether one attempt may be at its dot, until what came of it is written down.
pub(super) struct Pass {
    wire: Arc<Wire>,
    used: AtomicBool,
    /// Its recipients as they were when the dot could leave.
    at_dot: Mutex<Option<Vec<Recipient>>>,
}

impl Pass {
    pub(super) fn new(wire: &Arc<Wire>) -> Arc<Self> {
        Arc::new(Self {
            wire: Arc::clone(wire),
            used: AtomicBool::new(false),
            at_dot: Mutex::default(),
        })
    }

    fn keep(&self, item: &Item) {
        let mut place = self.at_dot.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(item.recipients.clone());
    }

    /// The recipients with what the server said before the dot; none when it did not come to that.
    pub(super) fn at_dot(&self) -> Option<Vec<Recipient>> {
        self.at_dot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if *self.used.get_mut() {
            self.wire.leave();
        }
    }
}

/// What one attempt passes before its final dot.
pub(super) struct Gate<L> {
    ledger: Arc<L>,
    pass: Arc<Pass>,
    item: Item,
}

impl<L> Gate<L> {
    pub(super) fn new(ledger: Arc<L>, pass: Arc<Pass>, item: Item) -> Self {
        Self { ledger, pass, item }
    }

    pub(super) fn ledger(&self) -> Arc<L> {
        Arc::clone(&self.ledger)
    }
}

impl<L: OutboxLedger> DotGate for Gate<L> {
    async fn open(&self, verdicts: &[(Address, Verdict)]) -> Result<(), Failure> {
        if !self.pass.used.load(Ordering::Relaxed) {
            if !self.pass.wire.enter() {
                // The process ends, and with it this attempt: the server got no dot.
                return std::future::pending().await;
            }
            self.pass.used.store(true, Ordering::Relaxed);
        }
        let mut item = self.item.clone();
        relay::at_dot(&mut item, verdicts);
        self.pass.keep(&item);
        let ledger = Arc::clone(&self.ledger);
        offload(move || ledger.put(&item)).await
    }
}
