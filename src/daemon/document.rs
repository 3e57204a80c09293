//! The JSON documents of the product page: status and sync; the words of the manager's state. Floor 5.
//!
//! Pure functions of a snapshot. Times are RFC 3339 or null. No secret, subject or text is in a
//! snapshot, so none can get out here.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

pub use crate::engine::jobs::JobResult;
use crate::model::event::AccountReport;
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

/// The status document where no daemon runs: it and its accounts are `stopped`, and it has no pid.
pub fn stopped(of_ledgers: &Status) -> Value {
    let mut document = status(of_ledgers, 0);
    let stopped = || Value::from("stopped");
    if let Some(keys) = document.as_object_mut() {
        keys.insert("state".to_owned(), stopped());
        keys.insert("pid".to_owned(), Value::Null);
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
    json!({
        "ok": result.is_ok(),
        "elapsed_ms": elapsed_ms(result),
        "accounts": accounts,
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
    } else if all(is_offline) {
        "offline"
    } else {
        "idle"
    }
}

fn is_offline(account: &AccountStatus) -> bool {
    account.state == AccountState::Offline
        || (account.state == AccountState::Backoff
            && account.trouble.as_ref().is_some_and(|t| t.name == "Offline" || t.name == "Timeout"))
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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::event::ReportError;

    fn account_in(state: AccountState) -> AccountStatus {
        AccountStatus { enabled: true, state, ..AccountStatus::default() }
    }

    fn status_of(states: &[AccountState]) -> Status {
        let named = states.iter().enumerate();
        let accounts = named.map(|(n, s)| (AccountName(format!("a{n}")), account_in(*s)));
        Status { accounts: accounts.collect(), ..Status::default() }
    }

    #[test]
    fn the_state_is_the_word_that_matters_most() {
        use AccountState::{Connecting, Disabled, Idle, NeedsLogin, Offline, Paused, Syncing};
        let check = |states: &[AccountState], wanted| {
            assert_eq!(state(&status_of(states)), wanted, "{states:?}");
        };
        check(&[], "idle");
        check(&[Idle, Connecting], "idle");
        check(&[Idle, Syncing], "syncing");
        check(&[Syncing, NeedsLogin], "attention");
        check(&[Offline, Offline], "offline");
        check(&[Offline, Idle], "idle");
        check(&[Paused, Paused], "paused");
        check(&[Paused, Idle, Disabled], "idle");
        let all = Status { paused: true, starting: true, stopping: true, ..status_of(&[Syncing]) };
        assert_eq!(state(&all), "stopping");
        assert_eq!(state(&Status { stopping: false, ..all.clone() }), "starting");
        assert_eq!(state(&Status { stopping: false, starting: false, ..all }), "paused");
        let mut failed = status_of(&[Idle]);
        failed.outbox.failed = 1;
        assert_eq!(state(&failed), "attention");
        let mut backoff = status_of(&[AccountState::Backoff]);
        assert_eq!(state(&backoff), "idle");
        backoff.accounts.values_mut().next().unwrap().trouble = Some(Trouble {
            name: "Timeout".to_owned(),
            text: String::new(),
            since: 1,
            next_retry: 2,
        });
        assert_eq!(state(&backoff), "offline");
    }

    #[test]
    fn a_login_refused_where_mail_is_sent_is_trouble_of_the_account() {
        let mut status = status_of(&[AccountState::Idle]);
        let name = AccountName("a0".to_owned());
        let refused = Trouble {
            name: "AuthFailed".to_owned(),
            text: "log in at x:465 (SMTP, AUTH)".to_owned(),
            since: 1,
            next_retry: 2,
        };
        status.outbox.troubles.insert(name.clone(), refused);
        assert!(needs_attention(&status));
        let shown = &super::status(&status, 1)["accounts"][0];
        assert_eq!(
            (&shown["state"], &shown["error"]["name"]),
            (&json!("needs-login"), &json!("AuthFailed"))
        );
        status.accounts.values_mut().next().unwrap().trouble = Some(Trouble {
            name: "Timeout".to_owned(),
            text: String::new(),
            since: 1,
            next_retry: 2,
        });
        assert_eq!(status.trouble(&name).unwrap().name, "AuthFailed", "it does not pass by itself");
        status.outbox.troubles.values_mut().next().unwrap().name = "Offline".to_owned();
        assert_eq!(status.trouble(&name).unwrap().name, "Timeout", "receiving comes first");
    }

    #[test]
    fn a_disabled_account_never_counts() {
        let mut status = status_of(&[AccountState::NeedsLogin, AccountState::Idle]);
        status.accounts.values_mut().next().unwrap().enabled = false;
        assert_eq!(state(&status), "idle");
    }

    #[test]
    fn the_status_document_has_the_shape_of_the_contract() {
        let mut account = account_in(AccountState::Backoff);
        account.address = "me@example.com".to_owned();
        account.protocol = "imap".to_owned();
        account.last_sync = 1_700_000_000_000_000;
        account.trouble = Some(Trouble {
            name: "Offline".to_owned(),
            text: "connect at x".to_owned(),
            since: 1_700_000_000_500_000,
            next_retry: 0,
        });
        let mailbox = MailboxStatus {
            path: "/m/INBOX".to_owned(),
            role: "inbox".to_owned(),
            total: 3,
            unread: 2,
            held: 1,
            ..MailboxStatus::default()
        };
        account.mailboxes.insert(MailboxName::inbox(), mailbox);
        let mut status = status_of(&[]);
        status.accounts.insert(AccountName("work".to_owned()), account);
        let document = super::status(&status, 42);
        let wanted = json!({
            "version": VERSION, "state": "attention", "pid": 42, "since": null,
            "accounts": [{
                "name": "work", "address": "me@example.com", "protocol": "imap",
                "state": "backoff", "push": "none",
                "error": {
                    "name": "Offline", "text": "connect at x",
                    "since": "2023-11-14T22:13:20.500Z", "next_retry": null,
                },
                "last_sync": "2023-11-14T22:13:20.000Z", "last_success": null,
                "unread": 2, "total": 3, "held": 1, "progress": null,
                "mailboxes": [{
                    "name": "INBOX", "path": "/m/INBOX", "role": "inbox", "total": 3, "unread": 2,
                    "last_sync": null, "push": "none", "held": 1, "skipped": 0, "failed": 0,
                }],
            }],
            "outbox": {
                "queued": 0, "held": 0, "uncertain": 0, "failed": 0, "next_attempt": null,
                "directory": "",
            },
        });
        assert_eq!(document, wanted);
    }

    #[test]
    fn the_sync_document_has_the_shape_of_the_contract() {
        let counters = Counters { downloaded: 2, ..Counters::default() };
        let good = AccountReport {
            mailboxes: [(MailboxName::inbox(), counters)].into(),
            ..AccountReport::default()
        };
        let error = ReportError { code: "Offline".to_owned(), text: "t".to_owned(), exit: 69 };
        let bad = AccountReport { error: Some(error), ..AccountReport::default() };
        let accounts = [(AccountName("a".to_owned()), good), (AccountName("b".to_owned()), bad)];
        let result = JobResult { accounts: accounts.into(), elapsed: Duration::from_millis(1234) };
        let wanted = json!({
            "ok": false, "elapsed_ms": 1234, "accounts": [
                {"name": "a", "ok": true, "error": null, "mailboxes": [{
                    "name": "INBOX", "downloaded": 2, "uploaded": 0, "flags_local": 0,
                    "flags_remote": 0, "moved_local": 0, "moved_remote": 0, "deleted_local": 0,
                    "deleted_remote": 0, "held": 0, "skipped": 0, "failed": 0,
                }]},
                {"name": "b", "ok": false, "error": {"code": "Offline", "text": "t"},
                 "mailboxes": []},
            ],
        });
        assert_eq!(sync(&result), wanted);
    }
}
