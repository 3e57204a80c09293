//! The real program against real servers: Dovecot, Postfix, dbus-daemon, each private to this test
//! and on loopback; and against the scriptable server, for what those cannot be made to show.
//!
//! The servers need root. One that is missing fails the test that needs it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::string_slice, clippy::print_stdout, reason = "a test may stop, and may speak")]

mod asked;
mod automatic;
mod bad_drops;
mod bare_server;
mod beside;
mod both_ways;
mod configuration;
mod cyrus;
mod discovery;
mod doctor;
mod errand;
mod far;
mod fixture;
mod folding;
mod journal;
mod keyring;
mod keywords;
mod kill;
mod laptop;
mod latency;
mod limits;
mod machine;
mod metered;
mod moving_in;
mod newcomer;
mod notifications;
mod notify;
mod oauth;
mod oauth_outgoing;
mod oauth_rotation;
mod on_the_bus;
mod opensmtpd;
mod outbox;
mod pop3;
mod power_cut;
mod power_cut_outbox;
mod programs;
mod readers;
mod secrets;
mod service;
mod setup;
mod shells;
mod sleep;
mod smtp_stages;
mod stopped;
mod submit;
mod terminal;
mod transfer;
mod trouble_imap;
mod trouble_local;
mod trouble_smtp;
mod trouble_tls;
