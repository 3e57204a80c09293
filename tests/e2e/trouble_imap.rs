//! What goes wrong with the IMAP server is shown, harms nothing, and passes.

use crate::fixture::bus::MANAGER;
use crate::fixture::dovecot::Dovecot;
use crate::fixture::{SOON, World, eventually, mail, maildir, shared};

/// Exit code and error of a pass without a daemon, as `sync --json` and as text.
fn fails(world: &World, exit: i32, error: &str) -> String {
    let ran = world.run(&["sync", "--json"]);
    assert_eq!(ran.code, exit, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["ok"], false, "{report}");
    assert_eq!(report["accounts"][0]["error"]["code"], error, "{report}");
    assert!(ran.stderr.contains("work"), "{ran:?}");
    ran.stderr
}

/// `check` tells the same.
fn check_fails(world: &World, exit: i32) {
    let ran = world.run(&["check"]);
    assert_eq!(ran.code, exit, "{ran:?}");
}

#[test]
fn a_stopped_server_is_offline_and_its_mail_comes_when_it_is_back() {
    let mut dovecot = Dovecot::start();
    let world = World::with_bus();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "stopped")));
    dovecot.client("stopped").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    world.sync();
    dovecot.stop();
    let said = fails(&world, 69, "Offline");
    assert!(said.contains("localhost"), "{said}");
    check_fails(&world, 69);

    let daemon = world.daemon();
    daemon.shows_trouble("work", "offline", "Offline");
    assert_eq!(world.run(&["sync"]).code, 69);
    dovecot.run();
    dovecot.client("stopped").append("INBOX", "", 1_500_000_000, &mail::numbered(2));
    let healed = daemon.reaches("work", "idle");
    assert!(healed["error"].is_null(), "{healed}");
    eventually("both messages are here", SOON, || {
        (maildir::count(&world.mailbox("INBOX")) == 2).then_some(())
    });

    // While the daemon is connected and idle: the same, and back again.
    dovecot.stop();
    daemon.shows_trouble("work", "offline", "Offline");
    dovecot.run();
    daemon.reaches("work", "idle");
    dovecot.client("stopped").append("INBOX", "", 1_500_000_000, &mail::numbered(3));
    eventually("the third is here", SOON, || {
        (maildir::count(&world.mailbox("INBOX")) == 3).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_wrong_password_needs_a_login_and_a_sync_with_the_right_one_mends_it() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "wrong")));
    dovecot.client("wrong").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    world.set_password("not-the-password");
    let said = fails(&world, 77, "AuthFailed");
    assert!(said.to_lowercase().contains("auth"), "the server's words are missing: {said}");
    check_fails(&world, 77);

    let daemon = world.daemon();
    daemon.shows_trouble("work", "needs-login", "AuthFailed");
    world.bus.as_ref().unwrap().shows(MANAGER, "Manager", "State", "attention");
    world.set_password(crate::fixture::PASSWORD);
    world.ok(&["sync", "work"]);
    daemon.reaches("work", "idle");
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 1);
    daemon.stop();
}

#[test]
fn a_missing_password_needs_a_login_as_well() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "missing")));
    std::fs::remove_file(world.path("secret/password")).unwrap();
    fails(&world, 77, "NeedsLogin");
    let daemon = world.daemon();
    daemon.shows_trouble("work", "needs-login", "NeedsLogin");
    world.set_password(crate::fixture::PASSWORD);
    world.ok(&["sync"]);
    daemon.reaches("work", "idle");
    daemon.stop();
}

#[test]
fn s115_a_certificate_of_a_stranger_is_refused_before_the_password_is_sent() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let good = dovecot.imap_table("work", "stranger");
    let (ca, stranger) = (&dovecot.certs.ca, &dovecot.certs.stranger);
    let bad = good.replace(&ca.display().to_string(), &stranger.display().to_string());
    check_certificate(&world, &dovecot, "stranger", &good, &bad);
}

#[test]
fn a_certificate_for_another_host_is_refused_before_the_password_is_sent() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let good = dovecot.imap_table("work", "otherhost");
    let bad = good.replace("\"localhost\"", "\"127.0.0.1\"");
    check_certificate(&world, &dovecot, "otherhost", &good, &bad);
}

fn check_certificate(world: &World, dovecot: &Dovecot, user: &str, good: &str, bad: &str) {
    dovecot.client(user).append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let logins = |log: String| log.matches(&format!("user=<{user}>")).count();
    let before = logins(dovecot.log());
    world.configure(&format!("{}{bad}", world.account("work")));
    let said = fails(world, 76, "TlsUntrusted");
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    check_fails(world, 76);
    let daemon = world.daemon();
    daemon.shows_trouble("work", "cert-problem", "TlsUntrusted");
    assert_eq!(logins(dovecot.log()), before, "no login may have been tried");
    world.configure(&format!("{}{good}", world.account("work")));
    world.ok(&["reload"]);
    daemon.reaches("work", "idle");
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 1);
    daemon.stop();
}

#[test]
fn one_account_in_trouble_does_not_stop_another_and_the_worst_code_is_told() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let [closed] = crate::fixture::dovecot::free_ports();
    let bad = dovecot
        .imap_table("home", "two")
        .replace(&dovecot.tls_port.to_string(), &closed.to_string());
    let (work, home) = (world.account("work"), world.account("home"));
    world.configure(&format!("{work}{}{home}{bad}", dovecot.imap_table("work", "two")));
    dovecot.client("two").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let ran = world.run(&["sync", "--json"]);
    assert_eq!(ran.code, 69, "{ran:?}");
    assert_eq!(ran.json()["accounts"][1]["ok"], true, "{ran:?}");
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 1);
    assert_eq!(world.run(&["sync", "work"]).code, 0);
    assert_eq!(world.run(&["sync", "nobody"]).code, 67);
    assert_eq!(world.run(&["sync", "--nonsense"]).code, 64);
}
