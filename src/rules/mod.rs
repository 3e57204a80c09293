//! Floor 1: decisions. Total, deterministic, without clock, I/O or async; time is an argument.

pub mod addresses;
pub mod automatic;
pub mod envelope;
pub mod guard;
pub mod header;
pub mod limits;
pub mod mailboxes;
pub mod names;
pub mod pair;
pub mod plan;
pub mod pop;
pub mod relay;
pub mod report;
pub mod schedule;
pub mod senders;
pub mod span;
pub mod wishes;
