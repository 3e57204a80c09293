//! All mail of an account arrives, and a second pass has nothing to do.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::fixture::imap::{Imap, Message};
use crate::fixture::maildir::{count, entries, local};
use crate::fixture::process::eventually;
use crate::fixture::{World, mail, scripted, shared};

/// The names as they are on the disk, and as they are on the wire.
const MAILBOXES: [(&str, &str); 12] = [
    ("INBOX", "INBOX"),
    ("Archive", "Archive"),
    ("Archive/2024", "Archive/2024"),
    ("Archive/2024/Größe & Maß", "Archive/2024/Gr&APYA3w-e &- Ma&AN8-"),
    ("Entwürfe", "Entw&APw-rfe"),
    ("Mailing lists", "Mailing lists"),
    ("R&D", "R&-D"),
    ("日本語", "&ZeVnLIqe-"),
    ("Projects/alpha beta/x", "Projects/alpha beta/x"),
    ("a.b", "a.b"),
    ("Sent", "Sent"),
    ("Trash", "Trash"),
];

const N_MESSAGES: usize = 2000;

#[test]
fn two_thousand_mixed_messages_arrive_unchanged_and_a_second_pass_is_silent() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let user = "transfer";
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", user)));
    let mut imap = dovecot.client(user);
    fill(&mut imap);

    let report = world.sync();
    assert_eq!(total(&report, "downloaded"), N_MESSAGES as u64, "{report}");
    let mut n = 0;
    for (name, wire) in MAILBOXES {
        let expected = expected(&imap.messages(wire), &keywords(&world, name));
        let found = found(&world, name);
        n += found.len();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!(found == expected, "{name}: {:?} is not {:?}", brief(found), brief(expected));
        }
        assert!(std::fs::read_dir(world.mailbox(name).join("tmp")).unwrap().next().is_none());
    }
    assert_eq!(n, N_MESSAGES);

    let server = imap.fingerprint();
    let disk = listing(&world);
    let report = world.sync();
    assert_all_zero(&report);
    assert_eq!(imap.fingerprint(), server, "a second pass must not touch the server");
    assert_eq!(listing(&world), disk, "a second pass must not touch the Maildir");
}

#[test]
fn a_second_pass_sends_no_mutating_command() {
    let server = scripted::server();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), scripted::imap_table(&server, "work")));
    let mut rng = Rng::with_seed(7);
    for n in 0..60 {
        let mailbox = server.mailbox(if n % 3 == 0 { "Trash" } else { "INBOX" });
        let flags: &[&str] = if n % 2 == 0 { &["\\Seen"] } else { &[] };
        mailbox.append(&mail::mixed(&mut rng, n), flags, Some(1_400_000_000));
    }
    assert_eq!(total(&world.sync(), "downloaded"), 60);
    server.clear_commands();
    assert_all_zero(&world.sync());
    let mutating: Vec<_> = server.commands().into_iter().filter(|c| c.is_mutating()).collect();
    assert!(mutating.is_empty(), "{mutating:?}");
    assert!(!server.commands().is_empty());
}

fn fill(imap: &mut Imap) {
    let mut rng = Rng::with_seed(2000);
    for (_, wire) in MAILBOXES {
        if !["INBOX", "Sent", "Trash"].contains(&wire) {
            imap.create(wire);
        }
    }
    let flags =
        ["\\Seen", "\\Flagged", "\\Answered", "\\Draft", "\\Deleted", "$Forwarded", "topic"];
    for n in 0..N_MESSAGES {
        let (_, wire) = MAILBOXES[rng.usize(..MAILBOXES.len())];
        let chosen: Vec<&str> = flags.into_iter().filter(|_| rng.u8(..10) < 3).collect();
        // 2001 to 2025.
        let date = rng.i64(978_307_200..1_760_000_000);
        let bytes = mail::mixed(&mut rng, n);
        imap.append(wire, &chosen.join(" "), date, &bytes);
    }
}

/// A message as it must be on the disk: bytes, letters, time, and `new` or `cur` where that is
/// determined.
type Local = (Vec<u8>, String, i64, bool);

fn expected(messages: &[Message], keywords: &BTreeMap<String, char>) -> Vec<Local> {
    let letter = |flag: &String| match flag.as_str() {
        "\\Seen" => 'S',
        "\\Flagged" => 'F',
        "\\Answered" => 'R',
        "\\Draft" => 'D',
        "\\Deleted" => 'T',
        "$Forwarded" => 'P',
        keyword => *keywords.get(keyword).unwrap_or(&'?'),
    };
    let one = |message: &Message| {
        let mut letters: Vec<char> = message.flags.iter().map(letter).collect();
        letters.sort_unstable();
        let is_new = !message.has("\\Seen");
        (local(&message.bytes), letters.into_iter().collect(), message.date, is_new)
    };
    let mut all: Vec<Local> = messages.iter().map(one).collect();
    all.sort();
    all
}

fn found(world: &World, name: &str) -> Vec<Local> {
    let entries = entries(&world.mailbox(name));
    let mut all: Vec<Local> =
        entries.iter().map(|e| (e.bytes(), e.flags.clone(), e.mtime, e.sub == "new")).collect();
    all.sort();
    all
}

/// The letters of a mailbox's keywords, from its `dovecot-keywords`.
fn keywords(world: &World, name: &str) -> BTreeMap<String, char> {
    let file = world.mailbox(name).join("dovecot-keywords");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| {
        let (number, keyword) = line.split_once(' ')?;
        Some((keyword.to_owned(), char::from(b'a' + number.parse::<u8>().ok()?)))
    };
    text.lines().filter_map(line).collect()
}

fn brief(message: &Local) -> (String, &str, i64, bool) {
    let start = &message.0[..message.0.len().min(120)];
    (String::from_utf8_lossy(start).into_owned(), &message.1, message.2, message.3)
}

fn listing(world: &World) -> Vec<(String, i64)> {
    let all = MAILBOXES.iter().flat_map(|(name, _)| entries(&world.mailbox(name)));
    all.map(|entry| (entry.path.display().to_string(), entry.mtime)).collect()
}

/// A counter of all mailboxes together.
pub(crate) fn total(report: &Value, counter: &str) -> u64 {
    let accounts = report["accounts"].as_array().unwrap();
    let mailboxes = accounts.iter().flat_map(|account| account["mailboxes"].as_array().unwrap());
    mailboxes.map(|mailbox| mailbox[counter].as_u64().unwrap()).sum()
}

/// Asserts that a pass did nothing at all.
pub(crate) fn assert_all_zero(report: &Value) {
    assert_eq!(report["ok"], true, "{report}");
    for account in report["accounts"].as_array().unwrap() {
        for mailbox in account["mailboxes"].as_array().unwrap() {
            let counters = mailbox.as_object().unwrap().iter().filter(|(key, _)| *key != "name");
            for (counter, value) in counters {
                assert_eq!(value, 0, "{counter} in {mailbox}");
            }
        }
    }
}

#[test]
fn moving_five_thousand_messages_on_either_side_transfers_no_body() {
    let dovecot = crate::fixture::dovecot::Dovecot::start();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "moves")));
    let mut imap = dovecot.client("moves");
    imap.create("Archive");
    for n in 0..5000 {
        imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(n));
    }
    world.sync();
    let (inbox, archive) = (world.mailbox("INBOX"), world.mailbox("Archive"));
    assert_eq!((count(&inbox), count(&archive)), (5000, 0));
    // Dovecot logs a session a little after its end.
    let all = || Some(dovecot.bodies()).filter(|fetched| *fetched >= 5000);
    let fetched = eventually("all bodies are counted", Duration::from_secs(60), all);
    assert_eq!(fetched, 5000);

    imap.move_all("INBOX", "Archive");
    let report = world.sync();
    assert_eq!((count(&inbox), count(&archive)), (0, 5000), "{report}");
    assert_eq!(dovecot.bodies(), fetched, "moved there");

    for entry in entries(&archive) {
        let name = entry.path.file_name().unwrap();
        std::fs::rename(&entry.path, inbox.join("cur").join(name)).unwrap();
    }
    let report = world.sync();
    // A client that has a mailbox open sees it as it was.
    let mut imap = dovecot.client("moves");
    assert_eq!((imap.count("INBOX"), imap.count("Archive")), (5000, 0), "{report}");
    assert_eq!(dovecot.bodies(), fetched, "moved here");
    assert_all_zero(&world.sync());
}
