//! What goes wrong on this machine is shown, harms nothing, and passes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{Letter, SOON, World, eventually, mail, maildir, scripted, shared};

/// A small file system of its own, until it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0700");
        mount(&["-t", "tmpfs", "-o", &options, "postrider-test"], at);
        Self(at.to_owned())
    }

    fn grow(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], &self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(done.is_ok_and(|s| s.success()) || std::thread::panicking(), "umount {:?}", self.0);
    }
}

fn mount(args: &[&str], at: &Path) {
    let done = Command::new("mount").args(args).arg(at).output().unwrap();
    let why = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "this test mounts a small tmpfs, and may not: {why}");
}

#[test]
fn a_full_disk_loses_nothing_and_the_rest_comes_when_there_is_room() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let table = dovecot.imap_table("work", "full");
    world.configure(&format!("{}{table}", world.account("work")));
    let disk = Disk::mount(&world.path("home/Mail"), "2m");
    let mut imap = dovecot.client("full");
    let big = [mail::numbered(0), b"0123456789abcdef 0123456789abcdef\r\n".repeat(6000)].concat();
    for n in 0..40 {
        let bytes = [format!("X-Number: {n}\r\n").into_bytes(), big.clone()].concat();
        imap.append("INBOX", "", 1_500_000_000, &bytes);
    }
    let server = imap.fingerprint();
    let ran = world.run(&["sync", "--json"]);
    assert_eq!(ran.code, 74, "{ran:?}");
    assert_eq!(ran.json()["accounts"][0]["error"]["code"], "LocalIo", "{ran:?}");
    assert!(ran.stderr.to_lowercase().contains("no space left"), "{ran:?}");
    only_whole_messages(&world, big.len());

    let daemon = world.daemon();
    let text = daemon.shows_trouble("work", "error", "LocalIo");
    assert!(text.to_lowercase().contains("no space left"), "{text}");
    only_whole_messages(&world, big.len());
    assert_eq!(imap.fingerprint(), server, "the server must not change");
    disk.grow("64m");
    world.ok(&["sync"]);
    daemon.reaches("work", "idle");
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 40);
    only_whole_messages(&world, big.len());
    assert_eq!(imap.fingerprint(), server);
    daemon.stop();
}

fn only_whole_messages(world: &World, least: usize) {
    for entry in maildir::entries(&world.mailbox("INBOX")) {
        let bytes = entry.bytes();
        let lines = memchr::memchr_iter(b'\n', &bytes).count();
        assert!(bytes.len() + lines > least, "{} is not whole", entry.path.display());
    }
}

#[test]
fn a_maildir_that_cannot_be_read_never_deletes_on_the_server() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let table = dovecot.imap_table("work", "unreadable");
    world.configure(&format!("{}{table}", world.account("work")));
    let mut imap = dovecot.client("unreadable");
    for n in 0..12 {
        imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(n));
    }
    world.sync();
    let server = imap.fingerprint();
    // Root may read everything, so the directory gives way to something that is none.
    let (cur, aside) = (world.mailbox("INBOX/cur"), world.path("aside"));
    std::fs::rename(&cur, &aside).unwrap();
    std::fs::write(&cur, "not a directory").unwrap();
    let ran = world.run(&["sync", "--json"]);
    assert_eq!(ran.code, 74, "{ran:?}");
    let daemon = world.daemon();
    let found = eventually("the error is shown", SOON, || {
        let found = daemon.account("work");
        (found["error"]["name"] == "LocalIo").then_some(found)
    });
    let text = found["error"]["text"].as_str().unwrap();
    assert!(text.contains("INBOX"), "{text}");
    assert_eq!(imap.fingerprint(), server, "the server must not change");
    std::fs::remove_file(&cur).unwrap();
    std::fs::rename(&aside, &cur).unwrap();
    world.ok(&["sync"]);
    let healed = daemon.reaches("work", "idle");
    assert!(healed["error"].is_null(), "{healed}");
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 12);
    assert_eq!(imap.fingerprint(), server);
    daemon.stop();
}

#[test]
fn a_maildir_that_is_not_mounted_never_deletes_on_the_server() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let table = dovecot.imap_table("work", "unmounted");
    world.configure(&format!("{}{table}", world.account("work")));
    let mut imap = dovecot.client("unmounted");
    for n in 0..12 {
        imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(n));
    }
    world.sync();
    let server = imap.fingerprint();
    std::fs::rename(world.maildir(), world.path("aside")).unwrap();
    std::fs::create_dir(world.maildir()).unwrap();
    assert_eq!(world.run(&["sync"]).code, 74);
    let daemon = world.daemon();
    daemon.shows_trouble("work", "store-missing", "LocalIo");
    assert_eq!(imap.fingerprint(), server, "the server must not change");
    std::fs::remove_dir_all(world.maildir()).unwrap();
    std::fs::rename(world.path("aside"), world.maildir()).unwrap();
    world.ok(&["sync"]);
    daemon.reaches("work", "idle");
    assert_eq!(imap.fingerprint(), server);
    daemon.stop();
}

/// Away from under a running daemon: it says so at once, makes nothing in its place, and goes on with it.
#[test]
fn a_maildir_that_goes_away_is_missed_at_once_and_not_made_anew() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let table = dovecot.imap_table("work", "away");
    world.configure(&format!("{}{table}", world.account("work")));
    let mut imap = dovecot.client("away");
    imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(1));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    std::fs::rename(world.maildir(), world.path("aside")).unwrap();
    daemon.shows_trouble("work", "store-missing", "LocalIo");
    imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(2));
    let ran = world.run(&["sync"]);
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(!world.maildir().exists(), "nothing is made in its place");
    std::fs::rename(world.path("aside"), world.maildir()).unwrap();
    world.ok(&["sync"]);
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 2);
    // What comes back is watched.
    let entry = maildir::containing(&world.mailbox("INBOX"), "Subject").remove(0);
    entry.set_flags("FS");
    eventually("the flag travels", SOON, || {
        imap.messages("INBOX").iter().any(|m| m.has("\\Flagged")).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_full_disk_refuses_a_message_that_is_queued_and_keeps_the_others() {
    let servers = shared::servers();
    let world = World::with_bus();
    let table = servers.postfix.smtp_table("work");
    world.configure(&format!("{}{table}user = \"full\"\n", world.account("work")));
    let disk = Disk::mount(&world.path("home/Mail"), "256k");
    let letter = |subject: &str, body: &str| {
        let head = Letter::new("work@example.org", "a@example.net", subject).text();
        format!("{head}{body}")
    };
    assert_eq!(world.run_with(&["send"], &letter("full small", "")).code, 0);
    let big = letter("full big", &"0123456789 0123456789\n".repeat(20_000));
    let ran = world.run_with(&["send"], &big);
    assert!([73, 74].contains(&ran.code), "{ran:?}");
    assert!(ran.stderr.to_lowercase().contains("no space left"), "{ran:?}");
    assert_eq!(world.outbox_files("new").len(), 1, "only what was taken");
    assert!(world.outbox_files("tmp").is_empty(), "no remains");
    disk.grow("8m");
    assert_eq!(world.run_with(&["send"], &big).code, 0);
    let daemon = world.daemon();
    for subject in ["full small", "full big"] {
        let copies = eventually("it is sent", SOON, || {
            Some(servers.postfix.accepted(subject)).filter(|copies| !copies.is_empty())
        });
        assert_eq!(copies.len(), 1);
    }
    daemon.stop();
}

#[test]
fn many_deletions_are_held_until_a_person_confirms_or_rejects_them() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let table = dovecot.imap_table("work", "held");
    world.configure(&format!("{}{table}", world.account("work")));
    let mut imap = dovecot.client("held");
    for n in 0..80 {
        imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(n));
    }
    world.sync();
    let remove = |n: usize| {
        for entry in maildir::entries(&world.mailbox("INBOX")).into_iter().take(n) {
            std::fs::remove_file(entry.path).unwrap();
        }
    };
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    remove(40);
    let holds = |n: u64| {
        eventually(&format!("{n} are held"), SOON, || {
            (daemon.account("work")["held"] == n).then_some(())
        });
    };
    holds(40);
    assert_eq!(imap.count("INBOX"), 80);
    assert_eq!(daemon.status()["state"], "attention");
    assert!(world.ok(&["status"]).stdout.contains("40 deletions held back"));
    world.ok(&["held", "reject", "work/INBOX"]);
    holds(0);
    eventually("they are back", SOON, || {
        (maildir::count(&world.mailbox("INBOX")) == 80).then_some(())
    });
    remove(40);
    holds(40);
    world.ok(&["held", "confirm", "work/INBOX"]);
    eventually("they are gone", SOON, || (imap.count("INBOX") == 40).then_some(()));
    assert_eq!(imap.count("Trash"), 40, "and can be had from Trash");
    daemon.stop();
}

#[test]
fn what_a_full_disk_does_not_let_complete_is_shown_and_goes_when_there_is_room() {
    let server = scripted::server();
    let world = World::with_bus();
    world.configure(&format!("{}{}", world.account("work"), scripted::smtp_table(&server, "work")));
    let disk = Disk::mount(&world.path("home/Mail"), "400k");
    let daemon = world.daemon();
    // It fits as it is dropped, and not a second time with the Date that it lacks.
    let text = format!(
        "From: work@example.org\nTo: a@example.net\nSubject: stuck\n\n{}",
        "0123456789 0123456789\n".repeat(10_000)
    );
    assert_eq!(world.run_with(&["send"], &text).code, 0);
    let error = eventually("the status says that the outbox has trouble", SOON, || {
        let outbox = daemon.status()["outbox"].clone();
        let text = outbox["error"]["text"].as_str()?.to_owned();
        (outbox["queued"] == 1).then_some(text)
    });
    assert!(error.to_lowercase().contains("no space left"), "{error}");
    let listed = world.ok(&["outbox"]).stdout;
    assert!(listed.contains("claimed") && listed.contains("No space left"), "{listed}");
    assert!(server.sent().is_empty());
    disk.grow("8m");
    eventually("it is sent", SOON, || server.sent().pop());
    eventually("the trouble is over", SOON, || {
        let outbox = daemon.status()["outbox"].clone();
        (outbox["error"].is_null() && outbox["queued"] == 0).then_some(())
    });
    assert_eq!(server.sent().len(), 1);
    daemon.stop();
}

#[test]
fn mail_that_waits_is_not_left_behind_when_the_outbox_moves() {
    let server = scripted::server();
    let world = World::with_bus();
    let config = format!("{}{}", world.account("work"), scripted::smtp_table(&server, "work"));
    world.configure(&config);
    let daemon = world.daemon();
    let letter = Letter::new("work@example.org", "a@example.net", "moves");
    let later = letter.field("X-Postrider-Hold", "yes").text();
    assert_eq!(world.run_with(&["send"], &later).code, 0);
    eventually("it is held", SOON, || (daemon.status()["outbox"]["held"] == 1).then_some(()));
    let other = world.path("home/Elsewhere");
    world.configure(&format!("[outbox]\ndir = \"{}\"\n{config}", other.display()));
    world.ok(&["reload"]);
    let text = eventually("the status says that mail waits in the other place", SOON, || {
        daemon.status()["outbox"]["error"]["text"].as_str().map(str::to_owned)
    });
    assert!(text.contains("mail waits in the one before") && text.contains("Outbox"), "{text}");
    // Moved as it says, the outbox works again and knows the message.
    std::fs::rename(world.outbox(), &other).unwrap();
    world.ok(&["reload"]);
    let id = eventually("it is listed", SOON, || {
        let listed = world.run(&["outbox", "--json"]);
        (listed.code == 0).then(|| listed.json()[0]["id"].as_str().map(str::to_owned))?
    });
    world.ok(&["outbox", "release", &id]);
    eventually("it is sent", SOON, || server.sent().pop());
    daemon.stop();
}
