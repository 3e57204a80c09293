//! The engine with the real adapters, against the scriptable server: what real servers cannot be
//! made to show.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it cannot go on"
)]

mod common;

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
async fn a_move_here_is_a_move_there_whatever_the_reader_calls_the_file() {
    let lacking: [&[Capability]; 3] = [&[], &[Capability::Move], &[Capability::CondStore]];
    for lacking in lacking {
        let world = World::new(without(lacking), |_| {});
        let (inbox, archive) = (world.server.mailbox("INBOX"), {
            world.server.create_mailbox("Archive/2026");
            world.server.mailbox("Archive/2026")
        });
        for n in 1..=20 {
            inbox.append(&mail(n), &["\\Seen"], None);
        }
        world.sync_ok().await;
        world.server.clear_commands();
        let names: Vec<String> = world.files("INBOX").into_keys().collect();
        let target = world.account.maildir.join("Archive/2026/cur");
        // One keeps its name, one is flagged on the way, one gets a name of its own.
        let plain = names[0].strip_prefix("cur/").unwrap();
        std::fs::rename(world.path("INBOX").join(&names[0]), target.join(plain)).unwrap();
        let flagged = names[1].strip_prefix("cur/").unwrap().replace(":2,S", ":2,FS");
        std::fs::rename(world.path("INBOX").join(&names[1]), target.join(flagged)).unwrap();
        std::fs::rename(world.path("INBOX").join(&names[2]), target.join("mine:2,S")).unwrap();
        let counters = world.sync_ok().await;
        let done = counters[&MailboxName("Archive/2026".into())];
        assert_eq!((done.moved_remote, done.uploaded, done.downloaded), (3, 0, 0), "{lacking:?}");
        assert_eq!((inbox.messages().len(), archive.messages().len()), (17, 3), "{lacking:?}");
        let flagged = archive.messages().iter().filter(|m| m.flags.len() == 2).count();
        assert_eq!(flagged, 1, "the flag came along");
        assert!(world.server.mailbox("Trash").messages().is_empty());
        world.assert_no_transfer();
        world.sync_ok().await;
        world.assert_quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_here_is_a_copy_there_and_a_new_name_is_nothing() {
    let world = world(|_| {});
    let inbox = world.server.mailbox("INBOX");
    world.server.create_mailbox("Work");
    inbox.append(&mail(1), &["\\Seen"], None);
    inbox.append(&mail(2), &["\\Seen"], None);
    world.sync_ok().await;
    world.server.clear_commands();
    let names: Vec<String> = world.files("INBOX").into_keys().collect();
    let from = world.path("INBOX").join(&names[0]);
    std::fs::copy(&from, world.account.maildir.join("Work").join(&names[0])).unwrap();
    let renamed = world.path("INBOX").join("cur/other,U=7:2,S");
    std::fs::rename(world.path("INBOX").join(&names[1]), renamed).unwrap();
    world.sync_ok().await;
    assert_eq!(inbox.messages().len(), 2);
    assert_eq!(world.server.mailbox("Work").messages().len(), 1);
    world.assert_no_transfer();
    world.sync_ok().await;
    world.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_subscribed_to_is_synced_where_that_is_asked_for() {
    for lacking in [&[][..], &[Capability::ListStatus, Capability::ListExtended][..]] {
        let world = World::new(without(lacking), |a| a.sync.subscribed_only = true);
        for (name, is_subscribed) in [("Lists", true), ("Noise", false)] {
            world.server.create_mailbox(name);
            world.server.mailbox(name).set_subscribed(is_subscribed);
            world.server.mailbox(name).append(&mail(1), &[], None);
        }
        let counters = world.sync_ok().await;
        assert!(counters.contains_key(&MailboxName("Lists".into())), "{lacking:?}");
        assert!(!counters.contains_key(&MailboxName("Noise".into())), "{lacking:?}");
        assert!(counters.contains_key(&MailboxName::inbox()));
        assert!(!world.account.maildir.join("Noise").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_personal_namespace_is_no_part_of_the_names() {
    let config =
        Config { delimiter: Some('.'), namespace_prefix: "INBOX.".into(), ..Config::default() };
    let world = World::new(config, |_| {});
    world.server.create_mailbox("INBOX.Work.2026");
    world.server.mailbox("INBOX.Work.2026").append(&mail(1), &[], None);
    world.sync_ok().await;
    assert_eq!(world.files("Work/2026").len(), 1);
    std::fs::create_dir_all(world.account.maildir.join("Mine")).unwrap();
    for sub in ["tmp", "new", "cur"] {
        std::fs::create_dir(world.account.maildir.join("Mine").join(sub)).unwrap();
    }
    world.sync_ok().await;
    assert!(world.server.mailboxes().contains(&"INBOX.Mine".to_owned()));
    world.assert_quiet().await;
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
async fn the_quarantine_keeps_what_the_server_removed_for_as_long_as_it_should() {
    for (keep, n_left) in [(Duration::from_secs(3600), 1), (Duration::ZERO, 0)] {
        let world = world(|a| a.sync.quarantine = keep);
        let inbox = world.server.mailbox("INBOX");
        let uid = inbox.append(&mail(1), &["\\Seen"], None);
        inbox.append(&mail(2), &["\\Seen"], None);
        world.sync_ok().await;
        inbox.expunge(uid);
        world.sync_ok().await;
        assert_eq!(world.files("INBOX").len(), 1);
        // The names of the days it keeps are whole seconds: the next one has to come.
        let begin = std::time::Instant::now();
        let left = loop {
            world.sync_ok().await;
            let dir = world.account.maildir.join(".postrider/quarantine");
            let left = std::fs::read_dir(dir).unwrap().count();
            if left == n_left || begin.elapsed() > Duration::from_secs(5) {
                break left;
            }
        };
        assert_eq!(left, n_left, "{keep:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_whose_directory_is_gone_stops_no_other() {
    let world = world(|_| {});
    world.server.create_mailbox("Old");
    let old = world.server.mailbox("Old");
    old.append(&mail(1), &["\\Seen"], None);
    world.sync_ok().await;
    let name = world.files("Old").into_keys().next().unwrap();
    let from = world.account.maildir.join("Old").join(&name);
    std::fs::rename(from, world.path("INBOX").join(&name)).unwrap();
    std::fs::remove_dir_all(world.account.maildir.join("Old")).unwrap();
    let report = world.sync().await;
    let error = report.error.unwrap();
    assert!(error.text.contains("\"Old\""), "{}", error.text);
    assert_eq!(report.mailboxes[&MailboxName::inbox()].uploaded, 1);
    assert_eq!(world.server.mailbox("INBOX").messages().len(), 1);
    assert_eq!(old.messages().len(), 1, "nothing is deleted because a directory is gone");
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

/// Limits touch the local copy and nothing else: the server hears no command that changes anything.
#[tokio::test(flavor = "multi_thread")]
async fn limits_leave_mail_on_the_server_and_take_old_copies_away() {
    let mut world = world(|a| a.sync.limits.max_messages = Some(3));
    let inbox = world.server.mailbox("INBOX");
    // Oldest first: flagged, unread, seen, and three newer ones.
    for (n, flags) in [(1, "\\Seen \\Flagged"), (2, ""), (3, "\\Seen"), (4, "\\Seen")] {
        inbox.append(&mail(n), &flags.split_whitespace().collect::<Vec<_>>(), None);
    }
    inbox.append(&mail(5), &["\\Seen"], None);
    inbox.append(&mail(6), &["\\Seen"], None);
    let subjects = |world: &World| {
        let files = world.files("INBOX");
        let mut n: Vec<u8> = files.values().map(|b| b[b.len() - 2] - b'0').collect();
        n.sort_unstable();
        n
    };
    let quiet = async |world: &World| {
        world.server.clear_commands();
        let again = world.sync_ok().await[&MailboxName::inbox()];
        assert_eq!(Counters { skipped: 0, ..again }, Counters::default());
        let said = world.server.commands();
        assert!(!said.iter().any(|c| c.is_mutating()), "{said:?}");
        again.skipped
    };
    world.sync_ok().await;
    assert_eq!(subjects(&world), [1, 2, 4, 5, 6]);
    assert_eq!(quiet(&world).await, 1);
    // New mail pushes the oldest seen copy out, and only here.
    inbox.append(&mail(7), &["\\Seen"], None);
    world.sync_ok().await;
    assert_eq!(subjects(&world), [1, 2, 5, 6, 7]);
    assert_eq!(inbox.messages().len(), 7);
    assert_eq!(quiet(&world).await, 2);
    // A flag rescues it.
    inbox.add_flags(4, &["\\Flagged"]);
    world.sync_ok().await;
    assert_eq!(subjects(&world), [1, 2, 4, 5, 6, 7]);
    // With a wider limit the rest comes back, although nothing moved on either side.
    world.account.sync.limits.max_messages = None;
    world.sync_ok().await;
    assert_eq!(subjects(&world), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(quiet(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_or_old_message_is_skipped_and_comes_when_it_is_asked_for() {
    let world = world(|a| {
        a.sync.limits.max_size = Some(1000);
        a.sync.limits.max_age = Some(Duration::from_secs(30 * 86_400));
    });
    let inbox = world.server.mailbox("INBOX");
    let mut large = mail(1);
    large.extend_from_slice(&[b'x'; 2000]);
    inbox.append(&large, &[], None);
    inbox.append(&mail(2), &["\\Seen"], Some(1_000_000_000));
    inbox.append(&mail(3), &["\\Seen"], None);
    let counters = world.sync_ok().await[&MailboxName::inbox()];
    assert_eq!((counters.downloaded, counters.skipped), (1, 2));
    let ledger = world.ledger();
    let row = ledger.mailbox(&MailboxName::inbox()).unwrap();
    let skipped = ledger.skipped(row.id).unwrap();
    assert_eq!(skipped[0].size, Some(large.len() as u64));
    assert_eq!((skipped[0].reason.as_str(), skipped[1].reason.as_str()), ("max_size", "max_age"));
    let uids = skipped.iter().map(|s| s.uid).collect();
    ledger.apply(row.id, &[Change::Limit(LimitChange::Want(uids))]).unwrap();
    drop(ledger);
    assert_eq!(world.sync_ok().await[&MailboxName::inbox()].downloaded, 2);
    // They stay, although the limits still say otherwise.
    world.assert_quiet().await;
    assert_eq!(world.files("INBOX").len(), 3);
}

/// Drafts are rewritten in place; the server gets one new message, and only then loses the old one.
#[tokio::test(flavor = "multi_thread")]
async fn s083_a_draft_that_was_rewritten_replaces_the_old_one_exactly_once() {
    let world = world(|_| {});
    let drafts = world.server.mailbox("Drafts");
    drafts.append(&mail(1), &["\\Draft", "\\Seen"], Some(1_000_000_000));
    drafts.append(&mail(2), &["\\Draft", "\\Seen"], Some(1_000_000_000));
    world.sync_ok().await;
    world.assert_quiet().await;
    let dir = world.account.maildir.join("Drafts");
    let files = world.files("Drafts");
    let (name, _) = files.iter().find(|(_, b)| b.ends_with(b"hello 1\n")).unwrap();
    let path = dir.join(name);
    let rewrite = |text: &[u8], age: u64| {
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    rewrite(b"Message-ID: <1@x>\nSubject: 1\n\nhello again, and longer\n", 60);
    let counters = world.sync_ok().await;
    assert_eq!(counters[&MailboxName("Drafts".into())].uploaded, 1);
    let there = drafts.messages();
    assert_eq!(there.len(), 2, "the old text is gone");
    let new = there.iter().find(|m| m.bytes.ends_with(b"hello again, and longer\r\n")).unwrap();
    assert!(new.flags.iter().any(|f| f == "\\Draft"));
    assert_eq!(world.server.mailbox("Trash").messages().len(), 0, "nobody wants old drafts there");
    assert!(path.exists());
    world.assert_quiet().await;

    // A file that is being written is left alone until it stands still.
    rewrite(b"half a dra", 0);
    let counters = world.sync_ok().await;
    assert_eq!(counters[&MailboxName("Drafts".into())].uploaded, 1);
    world.assert_quiet().await;

    // Touched, but the same.
    rewrite(b"half a dra", 5);
    world.assert_quiet().await;

    // Rewritten and removed at once: an ordinary deletion.
    rewrite(b"never seen", 60);
    std::fs::remove_file(&path).unwrap();
    world.sync_ok().await;
    assert_eq!(drafts.messages().len(), 1);
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

fn mailbox(name: &str) -> MailboxName {
    MailboxName(name.into())
}

/// A mailbox with one below it is renamed by `rename`: the other side follows, and nothing is transferred.
async fn follows_a_rename(rename: impl Fn(&World)) {
    let world = world(|_| {});
    for name in ["Old", "Old/sub", "Other"] {
        world.server.create_mailbox(name);
        for n in 1..=12 {
            world.server.mailbox(name).append(&mail(n), &["\\Seen"], None);
        }
    }
    world.sync_ok().await;
    world.assert_quiet().await;
    let before = (world.files("Old"), world.files("Old/sub"));
    rename(&world);
    world.server.clear_commands();
    let counters = world.sync_ok().await;
    assert_eq!(counters[&mailbox("New")], Counters::default());
    assert_eq!((world.files("New"), world.files("New/sub")), before);
    assert!(!world.account.maildir.join("Old").exists());
    let names = world.server.mailboxes();
    assert!(!names.iter().any(|n| n.starts_with("Old")), "{names:?}");
    assert_eq!(world.server.mailbox("New/sub").messages().len(), 12);
    world.assert_no_transfer();
    world.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s096_a_mailbox_renamed_there_is_renamed_here() {
    follows_a_rename(|world| assert!(world.server.rename_mailbox("Old", "New"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s097_a_mailbox_renamed_here_is_renamed_there() {
    follows_a_rename(|world| {
        let root = &world.account.maildir;
        std::fs::rename(root.join("Old"), root.join("New")).unwrap();
        world.server.clear_commands();
    })
    .await;
}

/// Where nothing can be expunged, all that is left of a mailbox may be marks: its directory holds nothing
/// that could be missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_held_only_what_was_deleted_is_not_missed() {
    let config = without(&[Capability::UidPlus]);
    let world = World::new(config, |a| a.sync.delete = DeletePolicy::Expunge);
    world.server.create_mailbox("Old");
    world.server.mailbox("Old").append(&mail(1), &["\\Seen"], None);
    world.sync_ok().await;
    let (name, _) = world.files("Old").pop_first().unwrap();
    std::fs::remove_file(world.path("Old").join(name)).unwrap();
    world.sync_ok().await;
    world.sync_ok().await;
    let left = world.server.mailbox("Old").messages();
    assert!(left[0].flags.iter().any(|flag| flag == "\\Deleted"), "{left:?}");
    let root = &world.account.maildir;
    std::fs::rename(root.join("Old"), root.join("New")).unwrap();
    world.sync_ok().await;
    world.assert_quiet().await;
    assert!(world.server.mailboxes().contains(&"New".to_owned()));
    assert_eq!(world.server.mailbox("Old").messages().len(), 1, "nothing was deleted by it");
}

/// Before the second look at one mailbox others are looked at that changed here: not one that the server
/// has no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_here_does_not_ask_for_a_mailbox_that_is_gone_there() {
    let world = world(|_| {});
    for name in ["INBOX", "Gone"] {
        world.server.create_mailbox(name);
        world.server.mailbox(name).append(&mail(1), &["\\Seen"], None);
        world.server.mailbox(name).append(&mail(2), &["\\Seen"], None);
    }
    world.sync_ok().await;
    world.server.delete_mailbox("Gone");
    world.sync_ok().await;
    drop_mail(&world.path("Gone"), "new.in.gone:2,S", &mail(3));
    let (name, _) = world.files("INBOX").pop_first().unwrap();
    std::fs::remove_file(world.path("INBOX").join(name)).unwrap();
    let counters = world.sync_ok().await;
    assert_eq!(counters[&mailbox("INBOX")].deleted_remote, 1);
    assert_eq!(world.files("Gone").len(), 3, "it is kept as it is");
}

/// What is removed on one side goes on the other only if it is empty there and that is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn s098_a_removed_mailbox_is_kept_unless_it_is_empty() {
    for removes in [false, true] {
        let world = world(|a| a.sync.remove_mailboxes = removes);
        for name in ["Empty", "Full", "Gone", "Mine"] {
            world.server.create_mailbox(name);
        }
        for name in ["Full", "Mine"] {
            world.server.mailbox(name).append(&mail(1), &[], None);
        }
        world.sync_ok().await;
        let root = world.account.maildir.clone();
        world.server.delete_mailbox("Empty");
        world.server.delete_mailbox("Full");
        std::fs::remove_dir_all(root.join("Gone")).unwrap();
        std::fs::remove_dir_all(root.join("Mine")).unwrap();
        let report = world.sync().await;
        // Its mail is on the server, and its directory is gone: that is for a person to say.
        assert!(report.error.unwrap().text.contains("Mine"));
        let names = world.server.mailboxes();
        assert_eq!(root.join("Empty").exists(), !removes);
        assert_eq!(names.iter().any(|n| n == "Gone"), !removes, "{names:?}");
        assert!(!names.iter().any(|n| n == "Empty" || n == "Full"), "{names:?}");
        assert!(names.iter().any(|n| n == "Mine"), "{names:?}");
        assert_eq!(world.files("Full").len(), 1, "never with mail in it");
    }
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

/// A backup brings back what was deleted and lacks what came since. Neither is taken
/// for the user's doing.
#[tokio::test(flavor = "multi_thread")]
async fn s110_a_maildir_or_a_ledger_from_an_old_backup_deletes_and_uploads_nothing() {
    for is_maildir in [true, false] {
        let world = world(|_| {});
        let inbox = world.server.mailbox("INBOX");
        for n in 1..=8 {
            inbox.append(&mail(n), &["\\Seen"], None);
        }
        world.sync_ok().await;
        let backup = world.dir.path().join("backup");
        let ledger = world.dir.path().join("work.sqlite");
        if is_maildir {
            copy_dir(&world.account.maildir, &backup);
        } else {
            std::fs::copy(&ledger, &backup).unwrap();
        }
        // Two were deleted since, and three came.
        inbox.expunge(1);
        world.sync_ok().await;
        inbox.expunge(2);
        for n in 9..=11 {
            inbox.append(&mail(n), &["\\Seen"], None);
        }
        world.sync_ok().await;
        world.assert_quiet().await;
        let there = inbox.messages().len();
        if is_maildir {
            std::fs::remove_dir_all(&world.account.maildir).unwrap();
            std::fs::rename(&backup, &world.account.maildir).unwrap();
        } else {
            std::fs::rename(&backup, &ledger).unwrap();
        }
        world.server.clear_commands();
        world.sync_ok().await;
        world.sync_ok().await;
        let said = world.server.commands();
        assert!(!said.iter().any(|c| c.is_mutating()), "{is_maildir}: {said:?}");
        assert_eq!(inbox.messages().len(), there, "{is_maildir}");
        let files = world.files("INBOX").len();
        // What the backup brought back is kept here, and is no new mail.
        assert_eq!(files, if is_maildir { 11 } else { 9 }, "{is_maildir}");
        world.assert_quiet().await;
        // From here on everything is as usual.
        let (name, _) =
            world.files("INBOX").into_iter().find(|(_, b)| b.ends_with(b"hello 9\n")).unwrap();
        std::fs::remove_file(world.path("INBOX").join(name)).unwrap();
        world.sync_ok().await;
        assert_eq!(inbox.messages().len(), there - 1, "{is_maildir}");
    }
}
