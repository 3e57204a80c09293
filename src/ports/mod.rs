//! Floor 2: what the engine needs from the outside, as traits. No library type appears here.

pub mod hints;
pub mod ledger;
pub mod local;
pub mod outbox;
pub mod pop;
pub mod remote;
