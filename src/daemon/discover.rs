//! Finds the servers of an address that no preset knows: the usual names, encrypted only. Floor 5.
//!
//! Nothing is said to a server but the greeting of TLS: no password and no user's name goes to a
//! host before a person agreed to it.

use std::time::Duration;

use futures_util::future::join_all;

use crate::adapters::net;
use crate::model::account::{Endpoint, Tls};
use crate::model::provider::PresetServer;

/// What answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Incoming by IMAP.
    pub imap: Option<PresetServer>,
    /// Incoming by POP3.
    pub pop3: Option<PresetServer>,
    /// Outgoing.
    pub smtp: Option<PresetServer>,
}

/// Dials the usual names of a domain side by side; in order of preference the first that has a good
/// certificate is taken. Takes at most a few seconds.
pub async fn guess(domain: &str) -> Found {
    let (imap, pop3, smtp) = tokio::join!(
        first(domain, "IMAP", &["imap.", "mail.", ""], 993),
        first(domain, "POP3", &["pop3.", "pop.", "mail.", ""], 995),
        first(domain, "SMTP", &["smtp.", "mail.", ""], 465),
    );
    Found { imap, pop3, smtp }
}

async fn first(domain: &str, protocol: &str, prefixes: &[&str], port: u16) -> Option<PresetServer> {
    let tries = prefixes.iter().map(|prefix| async move {
        let host = format!("{prefix}{domain}");
        let endpoint = Endpoint {
            host: host.clone(),
            port,
            tls: Tls::Implicit,
            user: String::new(),
            password: None,
            auth: Vec::new(),
            ca_file: None,
            pin_sha256: None,
            client_cert: None,
            timeout: PATIENCE,
        };
        let answered = net::dial(&endpoint, protocol).await.is_ok();
        answered.then_some(PresetServer {
            host,
            port,
            tls: Tls::Implicit,
            user: None,
            login_gap: Duration::ZERO,
        })
    });
    join_all(tries).await.into_iter().flatten().next()
}

const PATIENCE: Duration = Duration::from_secs(8);
