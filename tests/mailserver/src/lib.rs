//! A mail server that lives in memory and does as it is told: IMAP4rev1, POP3 and SMTP
//! submission on loopback, for postrider's tests and its demo.
//!
//! It behaves well by default. Every lie is a [`Rule`]: a matcher on a command and an [`Action`]
//! that replaces, cuts, delays or distorts the answer. Every command is recorded, so a test can
//! assert what was *not* sent. It deliberately has no disk and no BODYSTRUCTURE, and all
//! users see the same mailboxes.
//!
//! ```
//! use postrider_mailserver::{Action, Config, MailServer, Rule};
//!
//! let server = MailServer::start(Config::default())?;
//! server.mailbox("INBOX").append(b"Subject: hello\r\n\r\nworld\r\n", &["\\Seen"], None);
//! server.script(Rule::imap("UID STORE").first(1).then(Action::refuse("NO [INUSE] later")));
//! println!("IMAP on {}, SMTP on {}", server.imap_addr(), server.smtp_addr());
//! # Ok::<(), std::io::Error>(())
//! ```
#![warn(missing_docs, unreachable_pub, unused_qualifications)]
#![warn(clippy::too_many_lines, clippy::await_holding_lock)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod config;
pub mod demo;
mod dispatch;
pub mod dns;
mod imap;
mod mailbox;
pub mod oauth;
mod pop3;
mod sasl;
mod script;
mod sequence;
mod server;
mod smtp;
mod state;
mod tls;
mod token;
mod utf7;
pub mod web;
mod wire;

pub use config::{
    Capabilities, Capability, Config, Pop3Extension, Pop3Extensions, SmtpExtension, SmtpExtensions,
    Tls, TlsMode,
};
pub use mailbox::Message;
pub use script::{Action, Rule, RuleId};
pub use server::{MailServer, MailboxHandle};
pub use state::{CommandRecord, Protocol, SentMessage, View};
