//! Mail by POP3 from Dovecot: one way, each message once, and what each policy leaves on the server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::dovecot::Dovecot;
use crate::fixture::maildir::{count, entries, local};
use crate::fixture::{Letter, PASSWORD, SOON, World, bus, eventually, mail, shared};
use crate::kill::{killed_after, seeded};

/// The counters of INBOX in a sync document.
fn inbox(report: &Value) -> Value {
    let mailboxes = report["accounts"][0]["mailboxes"].as_array().unwrap();
    mailboxes.iter().find(|m| m["name"] == "INBOX").unwrap_or(&Value::Null).clone()
}

/// A world that fetches the mail of a user, with more keys in its table.
fn world(user: &str, more: &str) -> World {
    let world = World::new();
    configure(&world, user, more);
    world
}

fn configure(world: &World, user: &str, more: &str) {
    let table = shared::dovecot().pop3_table("work", user);
    world.configure(&format!("{}{table}{more}\n", world.account("work")));
}

/// The messages of a mailbox, and how often each is there.
fn here(world: &World, mailbox: &str) -> BTreeMap<Vec<u8>, usize> {
    let mut bag = BTreeMap::new();
    for entry in entries(&world.mailbox(mailbox)) {
        *bag.entry(entry.bytes()).or_default() += 1;
    }
    bag
}

#[test]
fn mail_comes_once_and_stays_on_the_server() {
    let dovecot = shared::dovecot();
    let mut imap = dovecot.client("pop-forever");
    for n in 0..30 {
        imap.append("INBOX", "", 1_500_000_000, &mail::numbered(n));
    }
    let world = world("pop-forever", "");
    assert_eq!(inbox(&world.sync())["downloaded"], 30);
    let wanted: BTreeMap<Vec<u8>, usize> =
        (0..30).map(|n| (local(&mail::numbered(n)), 1)).collect();
    assert!(here(&world, "INBOX") == wanted, "the bytes are those of the server");
    assert_eq!(inbox(&world.sync())["downloaded"], 0);
    assert_eq!(imap.count("INBOX"), 30);

    // What is deleted here is not fetched again, and what is new is.
    std::fs::remove_file(&entries(&world.mailbox("INBOX"))[0].path).unwrap();
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(30));
    assert_eq!(inbox(&world.sync())["downloaded"], 1);
    assert_eq!(count(&world.mailbox("INBOX")), 30);
    // What another program deletes there stays here.
    for uid in imap.messages("INBOX").iter().map(|m| m.uid).collect::<Vec<_>>() {
        imap.expunge("INBOX", uid);
    }
    assert_eq!(inbox(&world.sync())["downloaded"], 0);
    assert_eq!(count(&world.mailbox("INBOX")), 30);
}

#[test]
fn every_kind_of_mail_comes_as_it_is() {
    let dovecot = shared::dovecot();
    let mut imap = dovecot.client("pop-mixed");
    let mut rng = fastrand::Rng::with_seed(11);
    let mut wanted = Vec::new();
    for n in 0..60 {
        let message = mail::mixed(&mut rng, n);
        imap.append("INBOX", "", 1_500_000_000, &message);
        let mut text = local(&message);
        // POP3 knows lines only: what has no end of line gets one.
        if !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        wanted.push(text);
    }
    let world = world("pop-mixed", "");
    assert_eq!(inbox(&world.sync())["downloaded"], 60);
    let mut here: Vec<Vec<u8>> =
        entries(&world.mailbox("INBOX")).iter().map(|entry| entry.bytes()).collect();
    here.sort();
    wanted.sort();
    assert!(here == wanted);
    assert!(entries(&world.mailbox("INBOX")).iter().all(|e| e.sub == "new" && e.flags.is_empty()));
}

#[test]
fn what_is_to_be_removed_is_and_only_once_it_is_here() {
    let dovecot = shared::dovecot();
    let mut imap = dovecot.client("pop-remove");
    for n in 0..10 {
        imap.append("INBOX", "", 1_500_000_000, &mail::numbered(n));
    }
    let world = world("pop-remove", "leave = \"7d\"");
    let report = inbox(&world.sync());
    assert_eq!((&report["downloaded"], &report["deleted_remote"]), (&10.into(), &0.into()));
    assert_eq!(inbox(&world.sync())["deleted_remote"], 0);
    assert_eq!(imap.count("INBOX"), 10);
    // A week later.
    let db = rusqlite::Connection::open(ledger(&world)).unwrap();
    db.execute("UPDATE pop SET at = at - 604800 WHERE uid <= 4", []).unwrap();
    drop(db);
    assert_eq!(inbox(&world.sync())["deleted_remote"], 4);
    assert_eq!(imap.count("INBOX"), 6);
    configure(&world, "pop-remove", "leave = \"remove\"");
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(10));
    let report = inbox(&world.sync());
    assert_eq!((&report["downloaded"], &report["deleted_remote"]), (&1.into(), &7.into()));
    assert_eq!((imap.count("INBOX"), count(&world.mailbox("INBOX"))), (0, 11));
}

fn ledger(world: &World) -> std::path::PathBuf {
    let dir = std::fs::read_dir(world.path("state/postrider")).unwrap();
    let mut files = dir.map(|entry| entry.unwrap().path());
    let is_ledger = |path: &std::path::PathBuf| path.to_string_lossy().contains("work");
    files.find(|path| is_ledger(path) && path.extension().is_some_and(|e| e == "sqlite")).unwrap()
}

#[test]
fn a_message_that_is_moved_away_while_the_daemon_runs_goes_from_the_server() {
    let dovecot = shared::dovecot();
    let mut imap = dovecot.client("pop-moved");
    for n in 0..5 {
        imap.append("INBOX", "", 1_500_000_000, &mail::numbered(n));
    }
    let world = world("pop-moved", "leave = \"until-moved\"");
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    assert_eq!(count(&world.mailbox("INBOX")), 5);
    let read = entries(&world.mailbox("INBOX"))[0].clone();
    read.set_flags("S");
    let archive = world.mailbox("Archive").join("cur");
    std::fs::create_dir_all(&archive).unwrap();
    let moved = entries(&world.mailbox("INBOX"))[1].clone();
    std::fs::rename(&moved.path, archive.join("moved:2,S")).unwrap();
    eventually("one is gone on the server", SOON, || (imap.count("INBOX") == 4).then_some(()));
    world.sync();
    assert_eq!((imap.count("INBOX"), count(&world.mailbox("INBOX"))), (4, 4));
    // All of them at once would be an accident where there are ten; here it is a tidy person.
    for entry in entries(&world.mailbox("INBOX")) {
        std::fs::remove_file(entry.path).unwrap();
    }
    eventually("all are gone on the server", SOON, || (imap.count("INBOX") == 0).then_some(()));
    assert!(daemon.stop().success());
}

#[test]
fn a_landslide_is_held_until_a_word_comes() {
    let dovecot = shared::dovecot();
    let mut imap = dovecot.client("pop-held");
    for n in 0..12 {
        imap.append("INBOX", "", 1_500_000_000, &mail::numbered(n));
    }
    let world = world("pop-held", "leave = \"until-moved\"");
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    for entry in entries(&world.mailbox("INBOX")) {
        std::fs::remove_file(entry.path).unwrap();
    }
    let held = eventually("they are held", SOON, || {
        let held = daemon.account("work")["held"].as_u64().unwrap();
        (held > 0).then_some(held)
    });
    assert_eq!((held, imap.count("INBOX")), (12, 12));
    assert!(world.ok(&["held"]).stdout.contains("12 deletions"));
    world.ok(&["held", "confirm", "work/INBOX"]);
    eventually("they are gone on the server", SOON, || (imap.count("INBOX") == 0).then_some(()));
    eventually("none is held", SOON, || (daemon.account("work")["held"] == 0).then_some(()));
    daemon.stop();
}

#[test]
fn a_large_message_stays_and_is_listed_until_it_is_fetched() {
    let dovecot = shared::dovecot();
    let mut imap = dovecot.client("pop-large");
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let large = [mail::numbered(2), b"a line of a long letter\r\n".repeat(1000)].concat();
    imap.append("INBOX", "", 1_500_000_000, &large);
    imap.append("INBOX", "", 1_500_000_000, &large);
    let limit = "leave = \"remove\"\n[account.work.sync]\nmax_size = \"10KiB\"\n";
    let world = world("pop-large", limit);
    let report = inbox(&world.sync());
    assert_eq!((&report["downloaded"], &report["skipped"]), (&1.into(), &2.into()));
    let list = world.ok(&["fetch", "work/INBOX", "--json"]).json();
    let id = |at: usize| list["skipped"][at]["id"].to_string();
    assert_eq!(list["skipped"][0]["limit"], "max_size", "{list}");
    let done = world.ok(&["fetch", "work/INBOX", &id(0), "--json"]).json();
    assert_eq!(inbox(&done)["downloaded"], 1, "{done}");
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    world.ok(&["fetch", "work/INBOX", &id(1)]);
    assert_eq!((imap.count("INBOX"), count(&world.mailbox("INBOX"))), (0, 3));
    daemon.stop();
}

#[test]
fn the_account_is_shown_as_what_it_is() {
    let dovecot = shared::dovecot();
    let mut imap = dovecot.client("pop-shown");
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let world = World::with_bus();
    configure(&world, "pop-shown", "mailbox = \"Post\"");
    let checked = world.ok(&["check"]).stdout;
    assert!(checked.contains("POP3 login"), "{checked}");
    assert!(!world.maildir().exists(), "a check changes nothing");
    let told = world.ok(&["sync", "--dry-run", "--json"]).json();
    assert_eq!(told["accounts"][0]["mailboxes"][0]["downloaded"], 1, "{told}");
    assert_eq!(count(&world.mailbox("Post")), 0);
    let daemon = world.daemon();
    let shown = daemon.reaches("work", "idle");
    assert_eq!((&shown["protocol"], &shown["push"]), (&"pop3".into(), &"poll".into()));
    assert_eq!((&shown["total"], &shown["unread"]), (&1.into(), &1.into()), "{shown}");
    assert_eq!(shown["mailboxes"][0]["name"], "Post", "{shown}");
    assert!(shown["last_success"].is_string(), "{shown}");
    let table = world.ok(&["mailboxes"]).stdout;
    assert!(table.contains("Post") && table.contains("poll"), "{table}");
    let session = world.bus.as_ref().unwrap();
    let object = bus::account("work");
    session.shows(&object, "Account", "Protocol", "pop3");
    session.shows(&object, "Account", "Push", "poll");
    session.shows(&object, "Account", "Total", 1);
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(2));
    let done = world.ok(&["sync", "work/Post", "--json"]).json();
    assert_eq!(done["accounts"][0]["mailboxes"][0]["downloaded"], 1, "{done}");
    let wrong = world.run(&["sync", "work/INBOX"]);
    assert_eq!(wrong.code, 67, "{wrong:?}");
    daemon.stop();
    let refused = world.run(&["verify", "work"]);
    assert_eq!(refused.code, 76, "{refused:?}");
    assert!(refused.stderr.contains("only IMAP has two sides"), "{refused:?}");
}

#[test]
fn what_is_sent_has_its_copy_here_and_none_is_fetched() {
    let servers = shared::servers();
    let world = World::new();
    world.configure(&format!(
        "{}{}{}",
        world.account("work"),
        servers.dovecot.pop3_table("work", "pop-sends"),
        servers.postfix.smtp_table("work")
    ));
    let daemon = world.daemon();
    let letter = Letter::new("work@example.org", "a@example.net", "by pop");
    world.drop_letter("one", &letter.text());
    eventually("it was sent", SOON, || {
        (servers.postfix.accepted("Subject: by pop").len() == 1).then_some(())
    });
    eventually("its copy is here", SOON, || (count(&world.mailbox("Sent")) == 1).then_some(()));
    daemon.stop();
    world.sync();
    assert_eq!(count(&world.mailbox("Sent")), 1);
}

#[test]
fn each_way_to_encrypt_and_to_log_in_works_with_dovecot() {
    let dovecot = Dovecot::start_with_logins();
    dovecot.client("pop-login").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let (ca, starttls) = (dovecot.certs.ca.display().to_string(), dovecot.pop_port);
    for auth in ["plain", "login", "cram-md5", "scram-sha-256"] {
        let world = World::new();
        let table = format!(
            "[account.work.pop3]\nhost = \"localhost\"\nport = {starttls}\ntls = \"starttls\"\n\
             user = \"pop-login\"\nca_file = \"{ca}\"\nauth = [\"{auth}\"]\n"
        );
        world.configure(&format!("{}{table}", world.account("work")));
        assert_eq!(inbox(&world.sync())["downloaded"], 1, "{auth}");
    }
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), dovecot.pop3_table("work", "x")));
    world.set_password("wrong");
    let refused = world.run(&["sync"]);
    assert_eq!(refused.code, 77, "{refused:?}");
    assert!(refused.stderr.contains("user") && refused.stderr.contains("POP3"), "{refused:?}");
    // After two tries a person is asked, and not the server.
    let daemon = world.daemon();
    daemon.reaches("work", "needs-login");
    world.set_password(PASSWORD);
    assert_eq!(inbox(&world.sync())["downloaded"], 0);
    daemon.reaches("work", "idle");
    daemon.stop();
}

#[test]
fn killed_at_any_moment_each_message_comes_once_and_none_goes_before_it_is_here() {
    let (seed, mut rng) = seeded();
    let dovecot = shared::dovecot();
    let (mut whole, mut interrupted) = (Duration::ZERO, 0);
    for round in 0..N_ROUNDS {
        let user = format!("pop-kill-{round}");
        let mut imap = dovecot.client(&user);
        for n in 0..N_KILLED {
            imap.append("INBOX", "", 1_500_000_000, &mail::numbered(n));
        }
        // Every other round leaves the mail there.
        let does_remove = round % 2 == 0;
        let leave = if does_remove { "leave = \"remove\"" } else { "" };
        let world = world(&user, leave);
        let begin = Instant::now();
        // The first round tells how long it takes.
        while round > 0 && killed_after(&world, whole.mul_f64(rng.f64())) {
            interrupted += 1;
            let here = here(&world, "INBOX");
            assert!(here.values().all(|n| *n == 1), "round {round}, seed {seed}: doubled");
            let gone = N_KILLED - imap.count("INBOX");
            assert!(gone <= here.len(), "round {round}, seed {seed}: {gone} gone too early");
        }
        world.sync();
        whole = whole.max(begin.elapsed());
        let wanted: BTreeMap<Vec<u8>, usize> =
            (0..N_KILLED).map(|n| (local(&mail::numbered(n)), 1)).collect();
        assert!(here(&world, "INBOX") == wanted, "round {round}, seed {seed}");
        world.sync();
        let left = if does_remove { 0 } else { N_KILLED };
        assert_eq!((imap.count("INBOX"), here(&world, "INBOX").len()), (left, N_KILLED));
    }
    println!("{interrupted} syncs were killed in {N_ROUNDS} rounds");
    assert!(interrupted > 0, "the moments miss the sync: {whole:?}");
}

const N_ROUNDS: u32 = 8;
const N_KILLED: usize = 300;
