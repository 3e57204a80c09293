//! POP3 against the scriptable server: the adapter through its port, what it sends and what it makes of
//! answers that no good server gives; and passes over a real Maildir and a real ledger.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it cannot go on"
)]

mod listing;
mod login;
mod passes;
mod transfer;
mod world;
