//! Floor 0: plain values. No I/O, no async, no clock.

pub mod account;
pub mod address;
pub mod automatic;
pub mod dsn;
pub mod endpoint;
pub mod event;
pub mod failure;
pub mod flags;
pub mod happening;
pub mod ids;
pub mod listing;
pub mod oauth;
pub mod outbox;
pub mod pool;
pub mod pop;
pub mod provider;
pub mod remote_list;
pub mod reply;
pub mod secret;
pub mod status;
pub mod survey;
pub mod uids;
pub mod view;
