//! The engine with the real adapters, against the scriptable server: what real servers cannot be
//! made to show.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it cannot go on"
)]

#[path = "../common/mod.rs"]
mod common;
mod limits;
mod mailboxes;
mod moves;

use std::path::Path;
use std::time::Duration;

use common::{World, without};
use postrider::model::account::{Account, DeletePolicy};
use postrider::model::ids::MailboxName;
use postrider::model::status::Counters;
use postrider::ports::ledger::{Change, Ledger as _, LimitChange};
use postrider_mailserver::{Action, Capability, Config, Rule};

fn world(change: impl FnOnce(&mut Account)) -> World {
    World::new(Config::default(), change)
}

fn mail(n: u32) -> Vec<u8> {
    format!("Message-ID: <{n}@x>\r\nSubject: {n}\r\n\r\nhello {n}\r\n").into_bytes()
}

fn drop_mail(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join("tmp").join(name), bytes).unwrap();
    std::fs::rename(dir.join("tmp").join(name), dir.join("cur").join(name)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_flags_and_deletions_travel_both_ways() {
    let world = world(|_| {});
    let inbox = world.server.mailbox("INBOX");
    for n in 1..=30 {
        let flags: &[&str] = if n % 2 == 0 { &["\\Seen"] } else { &[] };
        inbox.append(&mail(n), flags, Some(1_000_000_000));
    }
    let counters = world.sync_ok().await;
    assert_eq!(counters[&MailboxName::inbox()].downloaded, 30);
    let files = world.files("INBOX");
    assert_eq!(files.len(), 30);
    assert_eq!(files.keys().filter(|k| k.starts_with("new/")).count(), 15);
    assert!(files.values().any(|b| b == b"Message-ID: <7@x>\nSubject: 7\n\nhello 7\n"));
    world.assert_quiet().await;

    // A flag here, a flag there, a new message here, a deletion here, a deletion there.
    let seen = files.keys().find(|k| k.ends_with(":2,S")).unwrap().clone();
    std::fs::rename(
        world.path("INBOX").join(&seen),
        world.path("INBOX").join(seen.replace(":2,S", ":2,FS")),
    )
    .unwrap();
    inbox.set_flags(1, &["\\Answered"]);
    drop_mail(&world.path("INBOX"), "local.1:2,S", b"Message-ID: <l@x>\n\nlocal\n");
    let doomed = files.keys().filter(|k| k.ends_with(":2,S")).nth(2).unwrap().clone();
    std::fs::remove_file(world.path("INBOX").join(&doomed)).unwrap();
    inbox.expunge(3);
    let counters = world.sync_ok().await;
    let done = counters[&MailboxName::inbox()];
    assert_eq!(
        (
            done.flags_remote,
            done.flags_local,
            done.uploaded,
            done.deleted_remote,
            done.deleted_local
        ),
        (1, 1, 1, 1, 1)
    );
    let messages = inbox.messages();
    assert_eq!(messages.len(), 29);
    assert_eq!(messages.iter().filter(|m| m.flags.iter().any(|f| f == "\\Flagged")).count(), 1);
    let uploaded = messages.iter().find(|m| m.bytes.starts_with(b"Message-ID: <l@x>")).unwrap();
    assert_eq!(&*uploaded.bytes, b"Message-ID: <l@x>\r\n\r\nlocal\r\n");
    assert_eq!(world.server.mailbox("Trash").messages().len(), 1);
    world.sync_ok().await;
    world.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_pairs_again_without_a_transfer() {
    let world = world(|_| {});
    let inbox = world.server.mailbox("INBOX");
    for n in 1..=20 {
        inbox.append(&mail(n), &["\\Seen"], None);
    }
    // Two that only their bytes tell apart, and one pair of true twins.
    inbox.append(b"Message-ID: <t@x>\r\n\r\naaaa\r\n", &[], None);
    inbox.append(b"Message-ID: <t@x>\r\n\r\nbbbb\r\n", &[], None);
    inbox.append(b"\r\nno id\r\n", &[], None);
    world.sync_ok().await;
    let before = world.files("INBOX");
    assert_eq!(before.len(), 23);
    world.lose_ledger();
    let counters = world.sync_ok().await;
    let done = counters[&MailboxName::inbox()];
    assert_eq!((done.downloaded, done.uploaded), (0, 0));
    assert_eq!(world.files("INBOX"), before);
    assert_eq!(inbox.messages().len(), 23);
    world.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_cuts_are_never_an_empty_mailbox() {
    let world = world(|_| {});
    let inbox = world.server.mailbox("INBOX");
    for n in 1..=12 {
        inbox.append(&mail(n), &["\\Seen"], None);
    }
    world.sync_ok().await;
    let before = world.files("INBOX");
    let lies: Vec<(&str, Action)> = vec![
        ("SELECT", Action::refuse("NO [UNAVAILABLE] later")),
        ("SELECT", Action::CutBefore),
        ("SELECT", Action::Exists(0)),
        ("SELECT", Action::Exists(5)),
        ("LIST", Action::refuse("NO not now")),
        ("LIST", Action::CutAfter),
        ("UID FETCH", Action::refuse("BAD what")),
        ("UID FETCH", Action::CutAt(60)),
        ("UID FETCH", Action::drop_uids(&[1, 2, 3])),
    ];
    for (command, action) in lies {
        // Something changed, so that the mailbox is looked into.
        let uid = inbox.append(&mail(1000), &["\\Seen"], None);
        let rule = world.server.script(Rule::imap(command).then(action.clone()));
        let report = world.sync().await;
        let deleted: u32 = report.mailboxes.values().map(|c| c.deleted_local).sum();
        assert_eq!(deleted, 0, "{command} {action:?}");
        for (name, bytes) in &before {
            assert_eq!(world.files("INBOX").get(name), Some(bytes), "{command} {action:?}");
        }
        world.server.unscript(rule);
        inbox.expunge(uid);
    }
    world.sync_ok().await;
    world.assert_quiet().await;
    assert_eq!(world.files("INBOX"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_was_lost_is_found_and_not_repeated() {
    for (lacking, lost) in [(&[Capability::MultiAppend][..], 3), (&[], 1)] {
        let world = World::new(without(lacking), |_| {});
        world.sync_ok().await;
        let inbox = world.server.mailbox("INBOX");
        for n in 0..5 {
            let body = format!("Message-ID: <up{n}@x>\n\n{n}\n");
            drop_mail(&world.path("INBOX"), &format!("up.{n}:2,S"), body.as_bytes());
        }
        world.server.script(Rule::imap("APPEND").nth(lost).then(Action::CutAfter));
        let report = world.sync().await;
        assert!(report.error.is_some());
        world.server.clear_script();
        world.sync_ok().await;
        assert_eq!(inbox.messages().len(), 5, "{lacking:?}");
        assert_eq!(world.files("INBOX").len(), 5, "{lacking:?}");
        world.sync_ok().await;
        world.assert_quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_server_cannot_give_stops_no_other() {
    let world = world(|_| {});
    let inbox = world.server.mailbox("INBOX");
    for n in 1..=60 {
        inbox.append(&mail(n), &["\\Seen"], None);
    }
    let refuse = |set: &str| {
        Rule::imap("UID FETCH").containing(set).then(Action::refuse("NO cannot read that one"))
    };
    // Whatever names UID 17 together with a body is refused.
    for set in ["FETCH 1:60 (UID FLAGS I", "FETCH 1:30 (UID FLAGS I", "FETCH 16:30 (UID FLAGS I"] {
        world.server.script(refuse(set));
    }
    for set in ["FETCH 16:23 (UID FLAGS I", "FETCH 16:19 (UID FLAGS I", "FETCH 16:17 (UID FLAGS I"]
    {
        world.server.script(refuse(set));
    }
    world.server.script(refuse("FETCH 17 (UID FLAGS I"));
    let counters = world.sync_ok().await;
    let done = counters[&MailboxName::inbox()];
    assert_eq!((done.downloaded, done.failed), (59, 1));
    assert_eq!(world.files("INBOX").len(), 59);
    // It is not asked for again at once, and everything else is at rest.
    world.assert_quiet().await;
    assert_eq!(inbox.messages().len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_server_refuses_stays_and_stops_no_other() {
    let world = World::new(without(&[Capability::MultiAppend]), |_| {});
    world.sync_ok().await;
    for n in 1..=5 {
        drop_mail(&world.path("INBOX"), &format!("u{n}:2,S"), &mail(n));
    }
    world.server.script(Rule::imap("APPEND").nth(3).then(Action::refuse("NO [OVERQUOTA] full")));
    let counters = world.sync_ok().await;
    let done = counters[&MailboxName::inbox()];
    assert_eq!((done.uploaded, done.failed), (4, 1));
    assert_eq!(world.files("INBOX").len(), 5, "it stays here");
    world.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_caught_lying_is_not_asked_that_way_again() {
    let world = world(|_| {});
    let inbox = world.server.mailbox("INBOX");
    for n in 1..=20 {
        inbox.append(&mail(n), &["\\Seen"], None);
    }
    world.sync_ok().await;
    inbox.expunge(5);
    let rule = world.server.script(
        Rule::imap("SELECT").then(Action::rewrite("(EARLIER) 5", "(EARLIER) 1:4294967295")),
    );
    let counters = world.sync_ok().await;
    assert_eq!(counters[&MailboxName::inbox()].deleted_local, 1);
    assert_eq!(world.files("INBOX").len(), 19);
    world.server.unscript(rule);
    world.server.clear_commands();
    inbox.expunge(6);
    let counters = world.sync_ok().await;
    assert_eq!(counters[&MailboxName::inbox()].deleted_local, 1);
    assert!(world.server.commands().iter().all(|c| !c.line.contains("QRESYNC")));
    world.assert_quiet().await;
}

/// Three connections share the work; two of them die on the way, one within a large message.
#[tokio::test(flavor = "multi_thread")]
async fn helping_connections_may_die_and_every_message_comes_once() {
    let mut world = world(|_| {});
    world.is_far = true;
    let inbox = world.server.mailbox("INBOX");
    let mut large = mail(0);
    for n in 0..40_000 {
        large.extend_from_slice(format!("{n:062}\r\n").as_bytes());
    }
    for n in 1..=2500 {
        inbox.append(&mail(n), &["\\Seen"], None);
    }
    for _ in 0..6 {
        inbox.append(&large, &["\\Seen"], None);
    }
    for nth in [5, 9, 14] {
        world.server.script(Rule::imap("UID FETCH").nth(nth).then(Action::CutAt(20_000)));
    }
    let mut n_rounds = 0;
    while world.sync().await.error.is_some() {
        n_rounds += 1;
        assert!(n_rounds < 10);
    }
    let files = world.files("INBOX");
    assert_eq!(files.len(), 2506);
    let n_large = files.values().filter(|b| b.len() == large.len() - 40_000 - 4).count();
    assert_eq!(n_large, 6, "none is cut short");
    world.assert_quiet().await;
    let tmp = world.path("INBOX").join("tmp");
    assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0);
}

/// The names of messages are a help: whoever claims to have them, and does not, is synced all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_claims_to_name_messages_and_cannot_is_synced_without() {
    let mut config = Config::default();
    config.capabilities = config.capabilities.claiming("X-GM-EXT-1");
    let world = World::new(config, |_| {});
    let inbox = world.server.mailbox("INBOX");
    inbox.append(&mail(1), &["\\Seen"], None);
    let counters = world.sync_ok().await;
    assert_eq!(counters[&MailboxName::inbox()].downloaded, 1);
    let asked = world.server.commands().iter().any(|c| c.line.contains("X-GM-MSGID"));
    assert!(asked, "it was asked");
    world.assert_quiet().await;
}

fn mailbox(name: &str) -> MailboxName {
    MailboxName(name.into())
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
