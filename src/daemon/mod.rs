//! Floor 5: the wiring of the service.

mod answered;
mod beside;
pub mod bus;
pub mod check;
pub mod discover;
pub mod doctor;
pub mod document;
mod fleet;
pub mod held;
mod hooks;
pub mod login;
mod notifications;
pub mod once;
mod outbox;
pub mod paths;
pub mod proxy;
pub mod queued;
mod ready;
pub mod run;
mod sent;
pub mod settings;
pub mod skipped;
pub mod spool;
mod submit;
pub mod verify;
mod wake;
pub mod wiring;
