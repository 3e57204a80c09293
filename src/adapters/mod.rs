//! Floor 3: one outside thing each, and one `classify` each. Library types never leave an adapter.

pub mod autoconfig;
pub mod connectivity;
pub mod desktop;
pub mod dns;
pub mod http;
pub mod imap;
pub mod keyring;
pub mod ledger;
pub mod maildir;
pub mod net;
pub mod oauth;
pub mod outbox;
pub mod outbox_ledger;
pub mod pop3;
pub mod power;
pub mod private_file;
pub mod process;
pub mod route;
pub mod sasl;
pub mod secrets;
pub mod smtp;
