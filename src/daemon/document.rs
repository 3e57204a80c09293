//! The JSON documents of the product page: status and sync; the words of the manager's state. Floor 5.
//!
//! Pure functions of a snapshot. Times are RFC 3339 or null. No secret, subject or text is in a
//! snapshot, so none can get out here.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

pub use crate::engine::jobs::JobResult;
use crate::engine::jobs::{Sendings, report_error};
use crate::model::event::AccountReport;
use crate::model::failure::Failure;
use crate::model::ids::{AccountName, MailboxName};
use crate::model::status::{
    AccountState, AccountStatus, Counters, MailboxStatus, Micros, OutboxStatus, Progress,
    ServerStatus, Status, Trouble,
};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The status document (`GetStatus`, `status --json`).
pub fn status(status: &Status, pid: u32) -> Value {
    let accounts: Vec<Value> =
        status.accounts.iter().map(|(name, a)| account(status, name, a)).collect();
    let mut document = json!({
        "version": VERSION,
        "state": state(status),
        "pid": pid,
        "since": time(status.since),
        "accounts": accounts,
        "outbox": outbox(&status.outbox),
    });
    // Only where there is something to say: the other keys are always there.
    if let Some(keys) = document.as_object_mut() {
        if let Some(error) = &status.config_error {
            keys.insert("config_error".to_owned(), trouble(error));
        }
        if status.metered {
            keys.insert("metered".to_owned(), Value::Bool(true));
        }
    }
    document
}

/// The status document where no daemon answers: it and its accounts are `stopped`, and it has no pid; or
/// `unknown`, where a process is at work that cannot be asked.
pub fn unanswered(of_ledgers: &Status, pid: Option<u32>) -> Value {
    let mut document = status(of_ledgers, 0);
    let stopped = || Value::from(if pid.is_some() { "unknown" } else { "stopped" });
    if let Some(keys) = document.as_object_mut() {
        keys.insert("state".to_owned(), stopped());
        keys.insert("pid".to_owned(), pid.map_or(Value::Null, Value::from));
    }
    let accounts = document.get_mut("accounts").and_then(Value::as_array_mut);
    for account in accounts.into_iter().flatten().filter_map(Value::as_object_mut) {
        if account.get("state").and_then(Value::as_str) != Some("disabled") {
            account.insert("state".to_owned(), stopped());
        }
    }
    document
}

/// The sync document (`WaitJob`, `sync --json`).
pub fn sync(result: &JobResult) -> Value {
    let accounts: Vec<Value> =
        result.accounts.iter().map(|(name, r)| report(name.as_str(), r)).collect();
    let mut document = json!({
        "ok": result.is_ok(),
        "elapsed_ms": elapsed_ms(result),
        "accounts": accounts,
    });
    // Only a pass without a daemon has it, and only when something was in the outbox.
    if let (Some(outbox), Some(all)) = (&result.outbox, document.as_object_mut()) {
        all.insert("outbox".to_owned(), sendings(outbox));
    }
    document
}

fn sendings(outbox: &Result<Sendings, Failure>) -> Value {
    let (all, error) = match outbox {
        Ok(all) => (all.clone(), None),
        Err(failure) => (Sendings::default(), Some(report_error(failure))),
    };
    let why = all.left.iter().find_map(|item| item.reason.as_ref()).map(|why| why.text.clone());
    json!({
        "sent": all.sent,
        "failed": all.failed,
        "left": all.left.len(),
        "why": why,
        "error": error.map(|error| json!({"code": error.code, "text": error.text})),
    })
}

/// How long a job took, in milliseconds.
pub fn elapsed_ms(result: &JobResult) -> u64 {
    u64::try_from(result.elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// The state of the whole service in one word (property `State` of the manager).
///
/// What a person has to mend outranks work that goes on, so that a lamp does not flicker.
pub fn state(status: &Status) -> &'static str {
    let enabled = || status.accounts.values().filter(|a| a.enabled);
    let some = |wanted: AccountState| enabled().any(|a| a.state == wanted);
    let all = |fits: fn(&AccountStatus) -> bool| enabled().next().is_some() && enabled().all(fits);
    if status.stopping {
        "stopping"
    } else if status.starting {
        "starting"
    } else if status.paused || all(|a| a.state == AccountState::Paused) {
        "paused"
    } else if needs_attention(status) {
        "attention"
    } else if some(AccountState::Syncing) || status.outbox.sending {
        "syncing"
    } else if is_offline(status) {
        "offline"
    } else {
        "idle"
    }
}

/// Whether no account has a way to its server. One that only sends knows that once it has something to send.
fn is_offline(status: &Status) -> bool {
    let out = |name: &AccountName| {
        let state = status.state(name);
        let is_silent = |trouble: &Trouble| ["Offline", "Timeout"].contains(&trouble.name.as_str());
        state == AccountState::Offline
            || (state == AccountState::Backoff && status.trouble(name).is_some_and(is_silent))
    };
    let enabled = || status.accounts.iter().filter(|(_, a)| a.enabled);
    let knows_nothing = |name: &AccountName, a: &AccountStatus| {
        a.protocol == "none" && status.trouble(name).is_none()
    };
    enabled().any(|(name, _)| out(name))
        && enabled().all(|(name, a)| out(name) || knows_nothing(name, a))
}

/// Whether a person has to do something (property `AttentionNeeded` of the manager).
pub fn needs_attention(status: &Status) -> bool {
    let mut accounts = status.accounts.iter().filter(|(_, a)| a.enabled);
    status.config_error.is_some()
        || status.outbox.uncertain > 0
        || status.outbox.failed > 0
        || status.outbox.late > 0
        || status.outbox.trouble.is_some()
        || accounts.any(|(name, a)| status.state(name).needs_attention() || a.held() > 0)
}

/// Unread messages of all accounts.
pub fn unread(status: &Status) -> u32 {
    status.accounts.values().map(AccountStatus::unread).fold(0, u32::saturating_add)
}

/// Messages in the outbox that may still be sent.
pub fn outbox_count(outbox: &OutboxStatus) -> u32 {
    outbox.queued.saturating_add(outbox.held).saturating_add(outbox.uncertain)
}

/// When a pass over any account ended last.
pub fn last_sync(status: &Status) -> Micros {
    status.accounts.values().map(|a| a.last_sync).max().unwrap_or_default()
}

/// A time as RFC 3339, or null for never.
pub fn time(micros: Micros) -> Value {
    let at = i64::try_from(micros).ok().filter(|at| *at > 0);
    let at = at.and_then(DateTime::from_timestamp_micros);
    at.map_or(Value::Null, |at| at.to_rfc3339_opts(SecondsFormat::Millis, true).into())
}

fn account(status: &Status, name: &AccountName, account: &AccountStatus) -> Value {
    let mailboxes: Vec<Value> =
        account.mailboxes.iter().map(|(name, m)| mailbox(name, m)).collect();
    let mut document = json!({
        "name": name.as_str(),
        "address": account.address,
        "protocol": account.protocol,
        "state": status.state(name).as_str(),
        "push": account.push.as_str(),
        "error": status.trouble(name).map(trouble),
        "last_sync": time(account.last_sync),
        "last_success": time(account.last_success),
        "unread": account.unread(),
        "total": account.total(),
        "held": account.held(),
        "progress": account.progress.as_ref().map(progress),
        "mailboxes": mailboxes,
    });
    // Only where something was found out: the other keys are always there.
    if let (Some(keys), false) = (document.as_object_mut(), account.servers.is_empty()) {
        keys.insert("servers".to_owned(), account.servers.iter().map(server).collect());
    }
    document
}

fn server(server: &ServerStatus) -> Value {
    json!({
        "protocol": server.protocol,
        "host": server.host,
        "port": server.port,
        "tls": server.tls,
        "user": server.user,
        "auth": server.auth,
    })
}

fn trouble(trouble: &Trouble) -> Value {
    json!({
        "name": trouble.name,
        "text": trouble.text,
        "since": time(trouble.since),
        "next_retry": time(trouble.next_retry),
    })
}

fn progress(progress: &Progress) -> Value {
    json!({
        "mailbox": progress.mailbox,
        "done": progress.done,
        "total": progress.total,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
    })
}

fn mailbox(name: &MailboxName, mailbox: &MailboxStatus) -> Value {
    json!({
        "name": name.as_str(),
        "path": mailbox.path,
        "role": mailbox.role,
        "total": mailbox.total,
        "unread": mailbox.unread,
        "last_sync": time(mailbox.last_sync),
        "push": mailbox.push.as_str(),
        "held": mailbox.held,
        "skipped": mailbox.skipped,
        "failed": mailbox.failed,
    })
}

fn outbox(outbox: &OutboxStatus) -> Value {
    let mut shown = json!({
        "queued": outbox.queued,
        "held": outbox.held,
        "uncertain": outbox.uncertain,
        "failed": outbox.failed,
        "next_attempt": time(outbox.next_attempt),
        "directory": outbox.directory,
    });
    // Only where there is something to say: the other keys are always there.
    if let (Some(keys), Some(error)) = (shown.as_object_mut(), &outbox.trouble) {
        keys.insert("error".to_owned(), trouble(error));
    }
    if let (Some(keys), 1..) = (shown.as_object_mut(), outbox.late) {
        keys.insert("late".to_owned(), json!(outbox.late));
    }
    shown
}

fn report(name: &str, report: &AccountReport) -> Value {
    let mailboxes: Vec<Value> = report.mailboxes.iter().map(|(n, c)| counters(n, c)).collect();
    let error = report.error.as_ref().map(|e| json!({ "code": e.code, "text": e.text }));
    json!({
        "name": name,
        "ok": report.error.is_none(),
        "error": error,
        "mailboxes": mailboxes,
    })
}

fn counters(name: &MailboxName, counters: &Counters) -> Value {
    json!({
        "name": name.as_str(),
        "downloaded": counters.downloaded,
        "uploaded": counters.uploaded,
        "flags_local": counters.flags_local,
        "flags_remote": counters.flags_remote,
        "moved_local": counters.moved_local,
        "moved_remote": counters.moved_remote,
        "deleted_local": counters.deleted_local,
        "deleted_remote": counters.deleted_remote,
        "held": counters.held,
        "skipped": counters.skipped,
        "failed": counters.failed,
    })
}

#[cfg(test)]
mod tests;
