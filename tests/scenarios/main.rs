//! The correctness scenarios of the project, by number: see the README beside this file.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it cannot go on"
)]

mod brake;
mod case;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod daemon;
mod deletes;
mod flags;
mod limits;
mod local;
mod mailboxes;
mod new_mail;
mod oddities;
mod readme;
