//! `[account.NAME.pop3]`, and what `[account.NAME.sync]` can mean beside it. Floor 5.

use std::time::Duration;

use super::account::{brake, default_sync, mailbox};
use super::raw::{Table, Value, quoted};
use super::server::{Login, Protocol, Server};
use super::values;
use crate::model::account::{Leave, Limits, PopSettings, SyncPolicy};
use crate::model::ids::MailboxName;

/// Reads the keys that only POP3 has. `has_imap`: an account has one of the two.
pub(super) fn pop(
    table: Table<'_>,
    server: &Server<'_>,
    login: &Login<'_>,
    has_imap: bool,
    account: &Table<'_>,
) -> PopSettings {
    if has_imap {
        table.spot.problem("and imap: an account has one of them; make two accounts of it");
    }
    let settings = PopSettings {
        endpoint: server.endpoint(Protocol::Pop, login, &account.spot),
        leave: table.take("leave").and_then(|v| v.parsed(leave)).unwrap_or(Leave::Forever),
        mailbox: table
            .take("mailbox")
            .and_then(|v| v.parsed(mailbox))
            .unwrap_or_else(MailboxName::inbox),
        login_gap: server.login_gap,
    };
    table.finish();
    settings
}

fn leave(text: &str) -> Result<Leave, String> {
    match text {
        "forever" => Ok(Leave::Forever),
        "remove" => Ok(Leave::For(Duration::ZERO)),
        "until-moved" => Ok(Leave::UntilMoved),
        other => values::duration(other).map(Leave::For).map_err(|_| {
            format!(
                "{} is not \"forever\", \"remove\", \"until-moved\" or a duration like \"7d\"",
                quoted(other)
            )
        }),
    }
}

/// Mail comes one way, into one mailbox: of the settings of a sync only those that limit it remain.
pub(super) fn sync(table: Table<'_>) -> SyncPolicy {
    let unlimited = |v: &Value<'_>| v.as_text() == Some("none");
    let size = table.take("max_size").filter(|v| !unlimited(v));
    for (key, why) in [
        ("max_age", "POP3 tells no dates: use max_size, or leave"),
        ("max_messages", "POP3 has no order of messages to rely on: use max_size, or leave"),
    ] {
        if let Some(value) = table.take(key).filter(|v| !unlimited(v)) {
            value.name_spot.problem(format!("cannot be kept to: {why}"));
        }
    }
    for key in ONLY_IMAP {
        if let Some(value) = table.take(key) {
            value
                .name_spot
                .problem("has no meaning for POP3, which goes one way, from one mailbox");
        }
    }
    let default = default_sync();
    let policy = SyncPolicy {
        limits: Limits { max_size: size.and_then(|v| v.parsed(values::size)), ..Limits::default() },
        brake: table.take("delete_brake").and_then(|v| v.table()).map_or(default.brake, brake),
        ..default
    };
    table.finish();
    policy
}

const ONLY_IMAP: [&str; 7] = [
    "direction",
    "mailboxes",
    "subscribed_only",
    "create",
    "delete",
    "remove_mailboxes",
    "quarantine",
];
