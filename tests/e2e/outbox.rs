//! What is dropped into the outbox is sent, once, and its copy filed.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use postrider::adapters::outbox_ledger::SqliteOutbox;
use postrider::ports::outbox::OutboxLedger as _;

use crate::fixture::bus::{MANAGER, OUTBOX};
use crate::fixture::shared::Servers;
use crate::fixture::{Letter, SOON, World, eventually, maildir, scripted, shared};

/// A world whose account `work` reads from Dovecot and sends through Postfix.
fn world_of(servers: &Servers, user: &str) -> World {
    let world = World::with_bus();
    world.configure(&format!(
        "{}aliases = [\"sales@example.org\", \"*@alias.example\"]\n{}{}",
        world.account("work"),
        servers.dovecot.imap_table("work", user),
        servers.postfix.smtp_table("work")
    ));
    world
}

#[test]
fn a_dropped_message_reaches_each_recipient_once_and_sent_once_without_its_bcc() {
    let servers = shared::servers();
    let world = world_of(&servers, "outbox");
    let mut imap = servers.dovecot.client("outbox");
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let letter = Letter::new("Me <work@example.org>", "a@example.net, B <b@example.net>", "drop 1")
        .field("Cc", "c@example.net")
        .field("Bcc", "hidden@example.net")
        .field("X-Kept", "as it is");
    world.drop_letter("one", &letter.text());
    let copies = eventually("all four have it", SOON, || {
        let copies = servers.postfix.accepted("Subject: drop 1");
        (copies.len() == 4).then_some(copies)
    });
    let recipients: Vec<&str> = copies.iter().map(|copy| copy.recipient.as_str()).collect();
    let expected = ["a@example.net", "b@example.net", "c@example.net", "hidden@example.net"];
    assert_eq!(recipients, expected);
    for copy in &copies {
        assert_eq!(copy.sender, "work@example.org");
        let text = &copy.message;
        assert!(!text.contains("hidden") && !text.to_lowercase().contains("bcc"), "{text}");
        let has = |field: &str| text.lines().filter(|line| line.starts_with(field)).count();
        assert_eq!((has("Date: "), has("Message-ID: <")), (1, 1), "{text}");
        assert!(text.contains("X-Kept: as it is\n") && text.ends_with("\n\nHello.\n"), "{text}");
        assert!(!text.contains("X-Postrider") && !text.contains("Received"), "{text}");
        assert_eq!(text, &copies[0].message, "all get the same bytes");
    }
    eventually("the copy is in Sent", SOON, || (imap.count("Sent") == 1).then_some(()));
    eventually("the outbox is empty", SOON, || {
        let empty = ["new", "cur", "failed"].iter().all(|dir| world.outbox_files(dir).is_empty());
        empty.then_some(())
    });
    world.ok(&["sync"]);
    assert_eq!(imap.count("Sent"), 1, "exactly once");
    assert_eq!(maildir::count(&world.mailbox("Sent")), 1);
    assert!(imap.messages("Sent")[0].has("\\Seen"));
    assert_eq!(servers.postfix.accepted("Subject: drop 1").len(), 4);
    daemon.stop();
}

#[test]
fn s124_a_refused_recipient_is_parked_and_the_others_get_it_once() {
    let servers = shared::servers();
    let world = world_of(&servers, "refused");
    let daemon = world.daemon();
    let to = "a@example.net, refused@example.net, b@example.net";
    world.drop_letter("two", &Letter::new("work@example.org", to, "drop 2").text());
    eventually("the refused one is parked", SOON, || {
        (daemon.status()["outbox"]["failed"] == 1).then_some(())
    });
    let reasons = eventually("the reason is there", SOON, || {
        Some(world.reasons()).filter(|reasons| !reasons.is_empty())
    });
    assert!(reasons.contains("refused@example.net"), "{reasons}");
    assert!(reasons.contains("550 5.1.1"), "{reasons}");
    let failed = world.outbox_files("failed");
    assert_eq!(failed.len(), 2, "message and reason: {failed:?}");
    let parked = failed.iter().find(|name| !name.ends_with(".reason")).unwrap();
    let parked = std::fs::read_to_string(world.outbox().join("failed").join(parked)).unwrap();
    assert!(parked.contains("Subject: drop 2") && parked.ends_with("\n\nHello.\n"), "{parked}");
    let copies = eventually("the others have it", SOON, || {
        let copies = servers.postfix.accepted("Subject: drop 2");
        (copies.len() == 2).then_some(copies)
    });
    let recipients: Vec<&str> = copies.iter().map(|copy| copy.recipient.as_str()).collect();
    assert_eq!(recipients, ["a@example.net", "b@example.net"]);
    let session = world.bus.as_ref().unwrap();
    session.shows(OUTBOX, "Outbox", "Failed", 1);
    session.shows(MANAGER, "Manager", "AttentionNeeded", true);
    assert!(world.ok(&["status"]).stdout.contains("1 failed"));
    daemon.stop();
}

#[test]
fn the_account_is_the_one_of_the_sender_and_without_one_nothing_is_sent() {
    let servers = shared::servers();
    let world = world_of(&servers, "sender");
    let daemon = world.daemon();
    for (n, from) in ["sales@example.org", "Any.Body@ALIAS.example"].iter().enumerate() {
        let subject = format!("drop alias {n}");
        let letter = Letter::new(from, "x@example.net", &subject);
        world.drop_letter(&format!("alias-{n}"), &letter.text());
        let copy = eventually("it is sent", SOON, || servers.postfix.accepted(&subject).pop());
        assert!(copy.sender.eq_ignore_ascii_case(from), "{copy:?}");
    }
    let letter = Letter::new("stranger@elsewhere.example", "x@example.net", "drop stranger");
    world.drop_letter("stranger", &letter.text());
    eventually("it is refused", SOON, || (daemon.status()["outbox"]["failed"] == 1).then_some(()));
    assert!(world.reasons().contains("stranger@elsewhere.example"), "{}", world.reasons());
    assert!(servers.postfix.accepted("drop stranger").is_empty());
    daemon.stop();
}

#[test]
fn s125_a_file_written_flat_is_sent_once_its_writer_is_done() {
    let servers = shared::servers();
    let world = world_of(&servers, "flat");
    let daemon = world.daemon();
    let letter = Letter::new("work@example.org", "x@example.net", "drop flat");
    for name in [".hidden", "letter.tmp", "letter~", "#letter#"] {
        std::fs::write(world.outbox().join(name), letter.text()).unwrap();
    }
    let draft = Letter::new("work@example.org", "x@example.net", "drop draft");
    world.drop_letter("draft:2,D", &draft.text());
    {
        use std::io::Write as _;
        let mut file = std::fs::File::create(world.outbox().join("letter.eml")).unwrap();
        let text = letter.text();
        let (begin, rest) = text.split_at(20);
        file.write_all(begin.as_bytes()).unwrap();
        // The daemon has seen the draft, so it has looked at the directory meanwhile.
        eventually("the draft is held", SOON, || {
            (daemon.status()["outbox"]["held"] == 1).then_some(())
        });
        assert!(world.outbox().join("letter.eml").exists(), "taken while it was being written");
        file.write_all(rest.as_bytes()).unwrap();
    }
    let copy = eventually("it is sent", SOON, || servers.postfix.accepted("drop flat").pop());
    assert!(copy.message.ends_with("\n\nHello.\n"), "{copy:?}");
    // Releasing the draft is a rename, as for any Maildir.
    // The other one may still lie beside it: accepted, and not yet removed.
    let mut claimed = world.outbox_files("cur").into_iter();
    let held = claimed.find(|name| name.ends_with(":2,D")).unwrap();
    let cur = world.outbox().join("cur");
    std::fs::rename(cur.join(&held), cur.join(held.replace(":2,D", ":2,"))).unwrap();
    eventually("the draft is sent", SOON, || servers.postfix.accepted("drop draft").pop());
    assert_eq!(servers.postfix.accepted("drop flat").len(), 1, "and nothing that is no mail");
    daemon.stop();
}

#[test]
fn what_is_answered_or_forwarded_is_marked_here_and_the_sync_carries_it() {
    let servers = shared::servers();
    let world = world_of(&servers, "answered");
    let mut imap = servers.dovecot.client("answered");
    for id in ["<asked@example.net>", "<news@example.net>"] {
        let letter = Letter::new("a@example.net", "work@example.org", "question");
        let text = letter.field("Message-ID", id).text().replace("\n", "\r\n");
        imap.append("INBOX", "", 1_700_000_000, text.as_bytes());
    }
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    eventually("both are here", SOON, || {
        (maildir::count(&world.mailbox("INBOX")) == 2).then_some(())
    });
    let letter = |subject: &str| Letter::new("work@example.org", "a@example.net", subject);
    let answer = letter("Re: q").field("In-Reply-To", "<asked@example.net>");
    let forward = letter("Fwd: n").field("References", "<x@y> <news@example.net>");
    for (name, letter, flag) in [("re", answer, "\\Answered"), ("fwd", forward, "$Forwarded")] {
        world.drop_letter(name, &letter.text());
        eventually(&format!("one is marked {flag} here"), SOON, || {
            let all = maildir::entries(&world.mailbox("INBOX"));
            all.iter().any(|one| one.flags == letter_of(flag)).then_some(())
        });
    }
    world.ok(&["sync"]);
    eventually("the answered one is marked on the server", SOON, || {
        let n = imap.messages("INBOX").iter().filter(|one| one.has("\\Answered")).count();
        (n == 1).then_some(())
    });
    daemon.stop();
}

fn letter_of(flag: &str) -> &'static str {
    if flag == "\\Answered" { "R" } else { "P" }
}

#[test]
fn in_a_user_namespace_a_file_that_is_being_written_is_waited_for_as_well() {
    let server = scripted::server();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), scripted::smtp_table(&server, "work")));
    // As the unit has it: processes outside do not let themselves be looked into.
    let daemon = world.daemon_under(&["unshare", "--user", "--map-current-user"], &[]);
    let mut file = std::fs::File::create(world.outbox().join("letter.eml")).unwrap();
    file.write_all(b"From: work@example.org\nTo: a@example.org\nSubject: slow\n\nline 1\n")
        .unwrap();
    // It looks as if nobody had touched it for an hour; but somebody has it open.
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    for name in ["first", "second"] {
        let letter = Letter::new("work@example.org", "a@example.org", name);
        std::fs::write(world.outbox().join(name), letter.text()).unwrap();
        // It was dropped flat, too, so the slow one was looked at meanwhile.
        eventually("the other one is sent", SOON, || {
            let mut sent = server.sent().into_iter();
            sent.any(|one| String::from_utf8_lossy(&one.bytes).contains(name)).then_some(())
        });
    }
    assert_eq!(server.sent().len(), 2, "a part of the slow one was sent");
    file.write_all(b"line 2\n").unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    drop(file);
    let sent = eventually("it is sent", SOON, || server.sent().into_iter().nth(2));
    assert!(String::from_utf8_lossy(&sent.bytes).ends_with("line 1\r\nline 2\r\n"), "{sent:?}");
    daemon.stop();
}

#[test]
fn a_server_that_files_what_it_sends_is_learned_and_nothing_is_doubled() {
    let server = scripted::server();
    let world = World::with_bus();
    world.configure(&scripted::account(&world, &server));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    for n in 0..3 {
        world
            .drop_letter("m", &Letter::new("work@example.org", "a@x.org", &format!("f{n}")).text());
        eventually("it is sent", SOON, || (server.sent().len() == n + 1).then_some(()));
        // As Gmail does: the provider puts what it sent into Sent.
        server.mailbox("Sent").append(&server.sent()[n].bytes, &["\\Seen"], None);
        eventually("the outbox is empty", SOON, || {
            world.outbox_files("cur").is_empty().then_some(())
        });
        world.ok(&["sync"]);
        assert_eq!(server.mailbox("Sent").messages().len(), n + 1, "a second copy was made");
        assert_eq!(maildir::count(&world.mailbox("Sent")), n + 1);
        assert!(daemon.said().contains("by_server=true"), "it was not learned");
    }
    daemon.stop();
}

#[test]
fn what_could_not_be_sent_for_hours_is_told_on_every_screen() {
    let server = scripted::server();
    let world = World::with_bus();
    world.configure(&format!("{}{}", world.account("work"), scripted::smtp_table(&server, "work")));
    let rule = postrider_mailserver::Rule::smtp("RCPT");
    server.script(rule.then(postrider_mailserver::Action::refuse("450 4.3.2 not now")));
    let daemon = world.daemon();
    world.drop_letter("m", &Letter::new("work@example.org", "a@x.org", "late").text());
    eventually("it is refused", SOON, || daemon.said().contains("not now").then_some(()));
    assert!(daemon.status()["outbox"]["late"].is_null());
    daemon.stop();
    // Five hours ago.
    let ledger = SqliteOutbox::open(&world.path("state/postrider")).unwrap();
    let mut item = ledger.items().unwrap().remove(0);
    item.queued_at -= 5 * 3600 * 1_000_000;
    ledger.put(&item).unwrap();
    drop(ledger);
    let daemon = world.daemon();
    eventually("it is late", SOON, || (daemon.status()["outbox"]["late"] == 1).then_some(()));
    let screen = world.ok(&["status"]).stdout;
    assert!(screen.contains("1 waiting for more than 4 hours"), "{screen}");
    assert!(daemon.said().contains("not sent after 4 hours; it is tried on"), "{}", daemon.said());
    assert!(world.outbox_files("failed").is_empty());
    server.clear_script();
    world.ok(&["outbox", "retry"]);
    eventually("it is sent", SOON, || (server.sent().len() == 1).then_some(()));
    assert!(daemon.status()["outbox"]["late"].is_null());
    daemon.stop();
}

#[test]
fn a_server_that_takes_its_time_to_file_what_it_sent_gets_no_second_copy() {
    let server = scripted::server();
    let sent = server.mailbox("Sent");
    let world = World::new();
    world.configure(&scripted::account(&world, &server));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    world.drop_letter("slow", &Letter::new("work@example.org", "a@x.org", "filed late").text());
    let message = eventually("it is sent", SOON, || server.sent().pop());
    // So long this server takes.
    std::thread::sleep(Duration::from_secs(4));
    let filed = [b"Received: by the server itself\r\n".as_slice(), &message.bytes].concat();
    sent.append(&filed, &["\\Seen"], None);
    eventually("the outbox is done with it", SOON, || {
        world.outbox_files("cur").is_empty().then_some(())
    });
    world.ok(&["sync"]);
    assert_eq!(sent.messages().len(), 1, "a second copy");
    assert_eq!(maildir::count(&world.mailbox("Sent")), 1);
    daemon.stop();
}
