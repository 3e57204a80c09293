//! The daemon as a service: signals, readiness, one at a time, a new configuration.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::{SOON, World, eventually, mail, maildir, scripted, shared};

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
    assert_eq!(world.run(&["status"]).code, 75, "no daemon runs any more");
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
    eventually("the mistake is told", SOON, || daemon.said().contains("adress").then_some(()));
    dovecot.client("reload-home").append("INBOX", "", 1_500_000_000, &mail::numbered(2));
    eventually("the old configuration still works", SOON, || {
        (maildir::count(&world.path("home/Mail/home/INBOX")) == 2).then_some(())
    });
    daemon.reaches("home", "idle");

    world.configure(&work);
    world.ok(&["reload"]);
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
