//! Where hints wait until a loop takes them: a bounded set, never a queue. Floor 2.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::event::Hint;

/// A set of hints with a bell. Ringing it twice for the same mailbox is one hint.
#[derive(Debug, Default)]
pub struct HintBox {
    hints: Mutex<BTreeSet<Hint>>,
    bell: Notify,
}

impl HintBox {
    /// Puts a hint in and rings. Never blocks for long; callable from any thread.
    pub fn put(&self, hint: Hint) {
        let mut hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        hints.insert(hint);
        drop(hints);
        self.bell.notify_one();
    }

    /// Takes all hints.
    pub fn take(&self) -> BTreeSet<Hint> {
        std::mem::take(&mut *self.hints.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there may be hints. Cancel safe.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}
