//! Floor 4: the imperative shell. Generic over the ports, ignorant of the adapters.
//!
//! Every change follows from a plan; nothing is done directly in reaction to a hint.

pub mod account;
mod again;
mod arrivals;
pub mod board;
mod compare;
mod conclude;
mod crew;
mod deferred;
mod depth;
mod download;
mod edits;
mod execute;
mod ids;
pub mod jobs;
mod kin;
mod lists;
mod looks;
mod mailbox;
mod observe;
pub mod offload;
pub mod pass;
pub mod pop;
mod presence;
mod progress;
mod push;
pub mod relay;
mod renames;
mod repair;
mod sight;
mod upload;
pub mod verify;
