//! The IMAP adapter alone, through its port, against the scriptable server: what it sends, and what
//! it makes of answers that no good server gives.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it cannot go on"
)]

mod append;
mod changes;
mod compress;
mod fetch;
mod mailboxes;
mod throttle;
mod world;
