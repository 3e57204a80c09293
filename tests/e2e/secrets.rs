//! The password never shows. Each world of these tests looks for it when it ends; here it is made
//! as hard as it can be.

use std::os::unix::fs::FileExt as _;

use postrider_mailserver::{Action, Rule};

use crate::fixture::world::{needles, shows_secret};
use crate::fixture::{Letter, PASSWORD, SOON, World, eventually, mail, maildir, scripted, shared};

#[test]
fn the_password_is_in_no_log_state_or_status_even_at_the_highest_log_level() {
    let servers = shared::servers();
    let world = World::with_bus();
    world.configure(&format!(
        "[daemon]\nlog = \"trace\"\n{}{}{}",
        world.account("work"),
        servers.dovecot.imap_table("work", "secrets"),
        servers.postfix.smtp_table("work")
    ));
    servers.dovecot.client("secrets").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let record = world.record();
    let kept = std::fs::read(world.path("secret/password")).unwrap();
    assert!(shows_secret(&kept), "the search finds what is there");
    let daemon = world.daemon_with(&[("POSTRIDER_LOG", "trace")]);
    daemon.reaches("work", "idle");
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 1);
    world.drop_letter("m", &Letter::new("work@example.org", "a@example.net", "secret 1").text());
    eventually("it is sent", SOON, || servers.postfix.accepted("secret 1").pop());
    for args in [&["status"][..], &["status", "--json"], &["mailboxes"], &["check"], &["sync"]] {
        world.ok(args);
    }
    world.set_password("not-the-password");
    world.run(&["check"]);
    assert!(daemon.said().lines().count() > 20, "nothing is logged at trace: {}", daemon.said());
    daemon.stop();
    let said = record.all();
    assert!(said.contains("PropertiesChanged"), "nothing was said on the bus: {said}");
    assert!(!shows_secret(said.as_bytes()), "the password was on the bus");
    world.assert_no_secret();
}

#[test]
fn a_server_that_repeats_the_password_does_not_have_it_shown() {
    let server = scripted::server();
    let echo =
        format!("NO syntax error, you said: LOGIN {{4}} user {{{}}} {PASSWORD}", PASSWORD.len());
    server.script(Rule::imap("LOGIN").then(Action::refuse(&echo)));
    server.script(Rule::imap("AUTHENTICATE").then(Action::refuse(&echo)));
    let world = World::with_bus();
    world.configure(&scripted::account(&world, &server));
    let record = world.record();
    let ran = world.run(&["sync", "--json"]);
    assert!(ran.code == 77 && ran.stderr.contains("left out"), "{ran:?}");
    assert_eq!(world.run(&["check"]).code, 77);
    let daemon = world.daemon();
    daemon.shows_trouble("work", "needs-login", "AuthFailed");
    world.ok(&["status", "--json"]);
    daemon.stop();
    assert!(!shows_secret(record.all().as_bytes()), "the password was on the bus");
    world.assert_no_secret();
}

#[test]
fn a_daemon_that_is_logged_in_has_wiped_the_password_from_its_memory() {
    let servers = shared::servers();
    let world = World::with_bus();
    let pop = "[account.drop]\naddress = \"drop@example.org\"\npassword = { command = [\"cat\", \"";
    let file = world.path("secret/password");
    world.configure(&format!(
        "{}{}{}{pop}{}\"] }}\n{}",
        world.account("work"),
        servers.dovecot.imap_table("work", "wiped"),
        servers.postfix.smtp_table("work"),
        file.display(),
        servers.dovecot.pop3_table("drop", "wiped-too"),
    ));
    let daemon = world.daemon();
    for account in ["work", "drop"] {
        daemon.reaches(account, "idle");
    }
    world.drop_letter("m", &Letter::new("work@example.org", "a@example.net", "wiped 1").text());
    eventually("it is sent", SOON, || servers.postfix.accepted("wiped 1").pop());
    daemon.reaches("work", "idle");
    // A login may go on just now; what is left behind stays.
    eventually("the password is wiped", SOON, || {
        places_in_memory(daemon.pid(), &needles()).is_empty().then_some(())
    });
    // The address of the account is there: whoever looks there finds what there is.
    let address = b"drop@example.org".to_vec();
    assert!(!places_in_memory(daemon.pid(), &[address]).is_empty());
    daemon.stop();
}

/// Where a process has one of these in memory that it can write to: the mapping and the bytes around it.
fn places_in_memory(pid: u32, needles: &[Vec<u8>]) -> Vec<(String, u64, String)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = Vec::new();
    for map in maps.lines().filter(|map| map.split(' ').nth(1).is_some_and(|m| m.contains('w'))) {
        let (from, to) = map.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // One that went away meanwhile holds nothing.
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        for needle in needles {
            for at in memchr::memmem::find_iter(&bytes, needle) {
                let around = &bytes[at.saturating_sub(40)..bytes.len().min(at + 60)];
                let around = String::from_utf8_lossy(around).into_owned();
                found.push((map.to_owned(), from + at as u64, around));
            }
        }
    }
    found
}
