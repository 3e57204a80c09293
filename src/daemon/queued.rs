//! The outbox as its ledger knows it, for whoever looks while a daemon runs, and while none does. Floor 5.

use std::path::Path;

use crate::adapters::outbox_ledger::SqliteOutbox;
use crate::model::failure::Failure;
use crate::model::outbox::Item;
use crate::ports::outbox::OutboxLedger;

/// The messages that are not done. Looking at an outbox that was never used does not make one.
///
/// # Errors
/// The ledger cannot be read.
pub fn items(state_dir: &Path) -> Result<Vec<Item>, Failure> {
    if state_dir.is_dir() { SqliteOutbox::open(state_dir)?.items() } else { Ok(Vec::new()) }
}
