//! The daemon as a service: signals, readiness, one at a time, a new configuration.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::disk::Disk;
use crate::fixture::process::{Running, tied};
use crate::fixture::world::BINARY;
use crate::fixture::{Letter, SOON, World, bus, eventually, mail, maildir, scripted, shared};

#[test]
fn it_tells_the_service_manager_and_ends_within_five_seconds() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let table = dovecot.imap_table("work", "signals");
    world.configure(&format!("{}{table}", world.account("work")));
    let mut daemon = world.daemon();
    daemon.reaches("work", "idle");
    let begin = Instant::now();
    daemon.signal(Signal::TERM);
    daemon.tells("STOPPING=1");
    let status = daemon.process().ends_within(Duration::from_secs(5));
    assert_eq!(status.and_then(|s| s.code()), Some(0), "after {:?}: {status:?}", begin.elapsed());
    assert!(!world.path("run/postrider/bus").exists(), "the socket stayed");
}

#[test]
fn it_ends_within_five_seconds_in_the_middle_of_a_transfer_that_hangs() {
    let server = scripted::server();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), scripted::imap_table(&server, "work")));
    for n in 0..20 {
        server.mailbox("INBOX").append(&mail::numbered(n), &[], None);
    }
    let rule = postrider_mailserver::Rule::imap("UID FETCH").containing("BODY");
    let rule = server.script(rule.then(postrider_mailserver::Action::HangAfter));
    let mut daemon = world.daemon();
    server.wait_until(SOON, |view| (view.hanging(rule) > 0).then_some(())).expect("it hangs");
    daemon.signal(Signal::TERM);
    let status = daemon.process().ends_within(Duration::from_secs(5));
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{status:?}");
    drop(daemon);
    server.clear_script();
    world.sync();
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 20);
    crate::transfer::assert_all_zero(&world.sync());
}

#[test]
fn s111_a_second_daemon_exits_75_and_names_the_first() {
    let server = scripted::server();
    let world = World::with_bus();
    world.configure(&format!("{}{}", world.account("work"), scripted::imap_table(&server, "work")));
    let daemon = world.daemon();
    let ran = world.run(&["run"]);
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(ran.stderr.contains(&daemon.pid().to_string()), "{ran:?}");
    // The first is not disturbed, and a daemon that was killed leaves nothing in the way.
    assert_eq!(daemon.status()["pid"], daemon.pid());
    daemon.kill();
    let daemon = world.daemon();
    assert_eq!(daemon.status()["pid"], daemon.pid());
    daemon.stop();
    assert!(world.ok(&["status"]).stdout.contains("no service is running"));
}

#[test]
fn without_a_daemon_the_last_numbers_are_shown_and_that_nothing_runs() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let table = dovecot.imap_table("work", "at-rest");
    let smtp = "[account.work.smtp]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n";
    world.configure(&format!("{}{table}{smtp}", world.account("work")));
    let mut imap = dovecot.client("at-rest");
    imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(1));
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(2));
    // Before anything was ever synced there is nothing to tell, and nothing to complain of.
    assert_eq!(world.ok(&["mailboxes"]).stdout.lines().count(), 1);
    assert!(!world.path("state/postrider").exists(), "looking made a ledger");
    world.sync();
    world.run_with(&["send"], "From: work@example.org\nTo: a@example.org\n\nx\n");

    let screen = world.ok(&["status"]).stdout;
    assert!(screen.contains("no service is running"), "{screen}");
    assert!(screen.contains("1 unread") && screen.contains("1 queued"), "{screen}");
    let document = world.ok(&["status", "--json"]).json();
    assert_eq!((&document["state"], &document["pid"]), (&"stopped".into(), &().into()));
    let ran = world.ok(&["mailboxes", "--json"]);
    assert!(ran.stderr.contains("no service is running"), "{ran:?}");
    let inbox = &ran.json()["accounts"][0]["mailboxes"];
    let inbox = inbox.as_array().unwrap().iter().find(|m| m["name"] == "INBOX").unwrap();
    assert_eq!(
        (&inbox["total"], &inbox["unread"], &inbox["role"]),
        (&2.into(), &1.into(), &"inbox".into())
    );
    assert_eq!(inbox["path"], world.mailbox("INBOX").display().to_string());
    assert_eq!(world.run(&["mailboxes", "werk"]).code, 67);
    assert!(world.ok(&["held"]).stdout.contains("no deletion is held back"));
    let ran = world.ok(&["outbox", "list"]);
    assert!(ran.stderr.contains("no service is running; to start it"), "{ran:?}");
    assert!(ran.stdout.contains("a@example.org"), "what was dropped is listed: {ran:?}");
    assert_eq!(world.run(&["pause"]).code, 75, "there is nothing to steer");
}

#[test]
fn sighup_takes_a_new_configuration_over_and_never_a_broken_one() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let work = format!("{}{}", world.account("work"), dovecot.imap_table("work", "reload"));
    let home = format!("{}{}", world.account("home"), dovecot.imap_table("home", "reload-home"));
    world.configure(&work);
    dovecot.client("reload-home").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let mut daemon = world.daemon();
    daemon.reaches("work", "idle");
    assert!(daemon.account("home").is_null());
    world.configure(&format!("{work}{home}"));
    daemon.signal(Signal::HUP);
    daemon.reaches("home", "idle");
    assert_eq!(maildir::count(&world.path("home/Mail/home/INBOX")), 1);

    world.configure(&format!("{work}{home}").replace("address", "adress"));
    daemon.signal(Signal::HUP);
    let told = daemon.tells_that("RELOADING=1", |told| told.contains("RELOADING=1"));
    let at = told.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect(&told);
    assert!(at.parse::<u64>().unwrap() > 0, "{told}");
    let told = daemon.tells_that("that it goes on", |told| {
        told.contains("READY=1") && told.contains("the new configuration has a mistake")
    });
    // An account may be at work at that moment.
    let calm = "STATUS=2 accounts ok · the new configuration has a mistake";
    if !told.contains(calm) {
        daemon.tells_that("that all is well but for it", |told| told.contains(calm));
    }
    assert!(daemon.said().contains("adress"));
    let status = daemon.status();
    assert_eq!(
        (&status["state"], &status["config_error"]["name"]),
        (&"attention".into(), &"ConfigInvalid".into())
    );
    let session = world.bus.as_ref().unwrap();
    session.shows(bus::MANAGER, "Manager", "AttentionNeeded", true);
    let screen = world.ok(&["status"]).stdout;
    assert!(screen.contains("config not taken over for"), "{screen}");
    assert!(screen.contains("config.toml:1:10: account.work.address"), "{screen}");
    dovecot.client("reload-home").append("INBOX", "", 1_500_000_000, &mail::numbered(2));
    eventually("the old configuration still works", SOON, || {
        (maildir::count(&world.path("home/Mail/home/INBOX")) == 2).then_some(())
    });
    daemon.reaches("home", "idle");

    world.configure(&work);
    world.ok(&["reload"]);
    session.shows(bus::MANAGER, "Manager", "AttentionNeeded", false);
    assert!(daemon.status()["config_error"].is_null());
    eventually("the account is gone", SOON, || daemon.account("home").is_null().then_some(()));
    assert_eq!(maildir::count(&world.path("home/Mail/home/INBOX")), 2, "its mail stays");
    daemon.stop();
}

#[test]
fn paused_it_leaves_everything_and_resumed_it_catches_up() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let table = dovecot.imap_table("work", "paused");
    world.configure(&format!("{}{table}", world.account("work")));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    world.ok(&["pause"]);
    daemon.reaches("work", "paused");
    assert_eq!(daemon.status()["state"], "paused");
    dovecot.client("paused").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    assert_eq!(world.run(&["sync"]).code, 75);
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 0);
    world.ok(&["resume"]);
    eventually("the message arrives", SOON, || {
        (maildir::count(&world.mailbox("INBOX")) == 1).then_some(())
    });
    daemon.reaches("work", "idle");
    daemon.stop();
}

#[test]
fn the_watchdog_is_fed_until_the_loop_of_an_account_hangs_and_again_afterwards() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let disk = Disk::over(world.path("home"));
    let table = dovecot
        .imap_table("work", "watchdog")
        .replace("[account.work.imap]", "[account.work.imap]\ntimeout = \"2s\"");
    world.configure(&format!("{}{table}", world.account("work")));
    let mut daemon = world.daemon_with(&[("WATCHDOG_USEC", "1000000")]);
    daemon.reaches("work", "idle");
    daemon.tells("WATCHDOG=1");
    let frozen = disk.freeze();
    dovecot.client("watchdog").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let mut sync = tied(Path::new(BINARY));
    world.surround(&mut sync);
    sync.args(["sync", "work"]);
    let sync = Running::start("postrider sync", sync);
    daemon.tells_that("that it hangs", |told| told.contains("work: does not answer any more"));
    // Fed three times a second, if at all.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let told = daemon.told().unwrap_or_default();
        assert!(!told.contains("WATCHDOG=1"), "{told}");
    }
    drop(frozen);
    daemon.tells("WATCHDOG=1");
    eventually("the mail is there", SOON, || {
        (maildir::count(&world.mailbox("INBOX")) == 1).then_some(())
    });
    drop(sync);
    assert!(daemon.stop().success());
}

#[test]
fn the_watchdog_is_not_fed_while_the_outbox_hangs_and_again_afterwards() {
    let server = scripted::server();
    let world = World::new();
    let disk = Disk::over(world.path("home"));
    // Only the outbox is on the disk.
    let table = scripted::smtp_table(&server, "work");
    world.configure(&format!("{}{table}sent_copy = \"none\"\n", world.account("work")));
    let mut daemon = world.daemon_with(&[("WATCHDOG_USEC", "1000000")]);
    daemon.tells("WATCHDOG=1");
    let letter = Letter::new("work@example.org", "a@example.net", "hangs");
    // While it is stopped a message comes, and then the disk does not answer any more.
    daemon.signal(Signal::STOP);
    world.drop_letter("m", &letter.text());
    let frozen = disk.freeze();
    daemon.signal(Signal::CONT);
    daemon.tells_that("that it hangs", |told| told.contains("outbox: does not answer any more"));
    // Fed three times a second, if at all.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let told = daemon.told().unwrap_or_default();
        assert!(!told.contains("WATCHDOG=1"), "{told}");
    }
    assert!(daemon.said().contains("the outbox hangs"), "{}", daemon.said());
    drop(frozen);
    daemon.tells("WATCHDOG=1");
    eventually("it is sent", SOON, || (server.sent().len() == 1).then_some(()));
    assert!(daemon.stop().success());
}

#[test]
fn an_outbox_that_cannot_start_is_shown_with_its_fix_and_mail_comes_all_the_same() {
    let server = scripted::server();
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    let world = World::with_bus();
    let blocked = world.path("home/blocked");
    std::fs::write(&blocked, "a file in its way").unwrap();
    world.configure(&format!(
        "[outbox]\ndir = \"{}\"\n{}{}{}",
        blocked.join("Outbox").display(),
        world.account("work"),
        scripted::imap_table(&server, "work"),
        scripted::smtp_table(&server, "work")
    ));
    let daemon = world.daemon_with(&[("WATCHDOG_USEC", "1000000")]);
    daemon.reaches("work", "idle");
    eventually("mail comes", SOON, || (maildir::count(&world.mailbox("INBOX")) == 1).then_some(()));
    let status = daemon.status();
    let error = &status["outbox"]["error"];
    let text = error["text"].as_str().unwrap();
    assert!(text.contains(&blocked.display().to_string()), "{text}");
    assert!(text.contains("to mend it: "), "{text}");
    assert!(error["next_retry"].is_string(), "{error}");
    assert_eq!(status["state"], "attention");
    let screen = world.ok(&["status"]).stdout;
    assert!(screen.contains("it does not work: make the outbox"), "{screen}");
    let ran = world.run(&["outbox", "list"]);
    assert!(ran.code != 0 && ran.stderr.contains("make the outbox"), "{ran:?}");
    // Once nothing is in its way it works, and nobody had to tell it.
    std::fs::remove_file(&blocked).unwrap();
    eventually("the outbox works", SOON, || {
        daemon.status()["outbox"]["error"].is_null().then_some(())
    });
    assert_eq!(daemon.status()["state"], "idle");
    let ran = world.run_with(&["send"], "From: work@example.org\nTo: a@example.org\n\nx\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    eventually("it is sent", SOON, || (server.sent().len() == 1).then_some(()));
    assert!(daemon.stop().success());
}
