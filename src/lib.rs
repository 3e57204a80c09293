//! postrider: one background service per user that keeps IMAP mailboxes in a local Maildir, relays
//! an outbox through authenticated SMTP, and exposes its status over D-Bus.
//!
//! Six floors, arrows only down (`ARCHITECTURE.md`): `model`, `rules`, `ports`, `adapters`,
//! `engine`, then `daemon` and `cli` side by side. `tests/floors.rs` checks the arrows.

pub mod adapters;
pub mod cli;
pub mod daemon;
pub mod engine;
pub mod model;
pub mod ports;
pub mod rules;
