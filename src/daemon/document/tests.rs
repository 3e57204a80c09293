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
    backoff.accounts.values_mut().next().unwrap().trouble =
        Some(Trouble { name: "Timeout".to_owned(), text: String::new(), since: 1, next_retry: 2 });
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
    status.accounts.values_mut().next().unwrap().trouble =
        Some(Trouble { name: "Timeout".to_owned(), text: String::new(), since: 1, next_retry: 2 });
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
    let result =
        JobResult { accounts: accounts.into(), elapsed: Duration::from_millis(1234), outbox: None };
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

#[test]
fn whoever_only_sends_is_offline_too_and_stands_in_nobodys_way() {
    let mut status = status_of(&[AccountState::Idle, AccountState::Offline]);
    let sends = AccountName("a0".to_owned());
    status.accounts.get_mut(&sends).unwrap().protocol = "none".to_owned();
    assert_eq!(state(&status), "offline", "it has nothing to send, and does not know");
    let trouble = |name: &str| Trouble {
        name: name.to_owned(),
        text: String::new(),
        since: 1,
        next_retry: 2,
    };
    status.accounts.retain(|name, _| *name == sends);
    assert_eq!(state(&status), "idle");
    status.outbox.troubles.insert(sends.clone(), trouble("Timeout"));
    assert_eq!(state(&status), "offline");
    status.outbox.troubles.insert(sends, trouble("Protocol"));
    assert_eq!(state(&status), "idle", "its server answers");
}
