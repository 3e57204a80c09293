//! Floor 4: the imperative shell. Generic over the ports, ignorant of the adapters.
//!
//! Every change follows from a plan; nothing is done directly in reaction to a hint.

pub mod board;
mod download;
mod execute;
pub mod jobs;
mod looks;
mod observe;
pub mod offload;
mod upload;
