//! The documents as a client reads them, and words for times. Beside floor 5.
//!
//! Fields that are not shown are not named, so that a newer daemon may say more.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, de::Error};

/// The status document.
#[derive(Debug, Deserialize)]
pub(super) struct StatusView {
    pub(super) version: String,
    pub(super) state: String,
    #[serde(deserialize_with = "time")]
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) accounts: Vec<AccountView>,
    pub(super) outbox: OutboxView,
    #[serde(default)]
    pub(super) config_error: Option<ErrorView>,
    #[serde(default)]
    pub(super) metered: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct AccountView {
    pub(super) name: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) protocol: String,
    pub(super) push: String,
    pub(super) error: Option<ErrorView>,
    #[serde(deserialize_with = "time")]
    pub(super) last_sync: Option<DateTime<Utc>>,
    pub(super) unread: u32,
    pub(super) held: u32,
    pub(super) progress: Option<ProgressView>,
    #[serde(default)]
    pub(super) servers: Vec<ServerView>,
    pub(super) mailboxes: Vec<MailboxView>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorView {
    pub(super) name: String,
    pub(super) text: String,
    #[serde(deserialize_with = "time")]
    pub(super) since: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "time")]
    pub(super) next_retry: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProgressView {
    pub(super) mailbox: String,
    pub(super) done: u64,
    pub(super) total: u64,
    #[serde(default)]
    pub(super) bytes_done: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct ServerView {
    pub(super) protocol: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) tls: Option<String>,
    pub(super) user: Option<String>,
    pub(super) auth: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct MailboxView {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) role: String,
    pub(super) total: u32,
    pub(super) unread: u32,
    #[serde(deserialize_with = "time")]
    pub(super) last_sync: Option<DateTime<Utc>>,
    pub(super) push: String,
    pub(super) held: u32,
    pub(super) skipped: u32,
    pub(super) failed: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct OutboxErrorView {
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OutboxView {
    #[serde(default)]
    pub(super) late: u32,
    #[serde(default)]
    pub(super) error: Option<OutboxErrorView>,
    pub(super) queued: u32,
    pub(super) held: u32,
    pub(super) uncertain: u32,
    pub(super) failed: u32,
    #[serde(deserialize_with = "time")]
    pub(super) next_attempt: Option<DateTime<Utc>>,
}

/// The sync document.
#[derive(Debug, Deserialize)]
pub(super) struct SyncView {
    pub(super) accounts: Vec<ReportView>,
    /// Only of a pass without a daemon, when something was in the outbox.
    pub(super) outbox: Option<SendingsView>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SendingsView {
    pub(super) sent: usize,
    pub(super) failed: usize,
    pub(super) left: usize,
    pub(super) why: Option<String>,
    pub(super) error: Option<ReportErrorView>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReportView {
    pub(super) name: String,
    pub(super) error: Option<ReportErrorView>,
    pub(super) mailboxes: Vec<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReportErrorView {
    pub(super) code: String,
    pub(super) text: String,
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

/// `12 s`, `5 min`, `3 h`, `2 d`: the whole units of the largest one.
pub(super) fn span(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    match (to - from).num_seconds().max(0) {
        secs @ 0..60 => format!("{secs} s"),
        secs @ 60..3600 => format!("{} min", secs / 60),
        secs @ 3600..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} d", secs / 86_400),
    }
}

/// `1 account`, `3 accounts`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
