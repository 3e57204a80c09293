//! Floor 0: plain values. No I/O, no async, no clock.

pub mod account;
pub mod address;
pub mod event;
pub mod failure;
pub mod flags;
pub mod ids;
pub mod outbox;
pub mod status;
pub mod view;
