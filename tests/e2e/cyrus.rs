//! Cyrus: another family of servers, with an order of answers of its own.

use crate::fixture::cyrus::Cyrus;
use crate::fixture::imap::Message;
use crate::fixture::maildir::{containing, entries, local};
use crate::fixture::{World, mail};
use crate::transfer::{assert_all_zero, total};

const MAILBOXES: [&str; 3] = ["INBOX", "Archive", "Archive/2024"];
const N_MESSAGES: usize = 200;

#[test]
fn all_mail_of_cyrus_arrives_unchanged_and_a_second_pass_is_silent() {
    let cyrus = Cyrus::start(&["arrives"]);
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), cyrus.imap_table("work", "arrives")));
    let mut imap = cyrus.client("arrives");
    imap.create("Archive");
    imap.create("Archive/2024");
    let mut rng = fastrand::Rng::with_seed(36);
    let all = ["\\Seen", "\\Flagged", "\\Answered", "$Forwarded", "topic"];
    for n in 0..N_MESSAGES {
        let flags: Vec<&str> = all.into_iter().filter(|_| rng.u8(..10) < 3).collect();
        let date = rng.i64(1_000_000_000..1_700_000_000);
        let bytes = [mail::numbered(n), mail::prose(&mut rng).into_bytes()].concat();
        imap.append(MAILBOXES[n % 3], &flags.join(" "), date, &bytes);
    }
    assert_eq!(total(&world.sync(), "downloaded"), N_MESSAGES as u64);
    for name in MAILBOXES {
        assert_same(&world, name, &imap.messages(name));
    }
    assert_eq!(world.run(&["verify", "work", "--bytes"]).code, 0);
    let server = imap.fingerprint();
    assert_all_zero(&world.sync());
    assert_eq!(imap.fingerprint(), server, "a second pass must not touch the server");
    // Only what has changed is opened.
    let uid = imap.messages("Archive")[0].uid;
    imap.store("Archive", uid, "+FLAGS (other)");
    cyrus.clear_telemetry("arrives");
    assert_eq!(total(&world.sync(), "flags_local"), 1);
    let said = cyrus.telemetry("arrives");
    assert!(said.contains("ENABLE") && said.contains("(QRESYNC ("), "QRESYNC is not used");
    cyrus.stop();
}

/// Asserts that exactly these messages are here, with their flags, keywords and dates.
fn assert_same(world: &World, name: &str, messages: &[Message]) {
    let keywords = std::fs::read_to_string(world.mailbox(name).join("dovecot-keywords"));
    let keywords = keywords.unwrap_or_default();
    let letter = |keyword: &String| {
        let line = keywords.lines().find(|line| line.ends_with(&format!(" {keyword}"))).unwrap();
        char::from(b'a' + line.split(' ').next().unwrap().parse::<u8>().unwrap())
    };
    let letter = |flag: &String| match flag.as_str() {
        "\\Seen" => 'S',
        "\\Flagged" => 'F',
        "\\Answered" => 'R',
        "$Forwarded" => 'P',
        _ => letter(flag),
    };
    let mut expected: Vec<(Vec<u8>, String, i64)> = Vec::new();
    for message in messages {
        let mut letters: Vec<char> = message.flags.iter().map(letter).collect();
        letters.sort_unstable();
        expected.push((local(&message.bytes), letters.into_iter().collect(), message.date));
    }
    let found = entries(&world.mailbox(name));
    let mut found: Vec<_> =
        found.iter().map(|one| (one.bytes(), one.flags.clone(), one.mtime)).collect();
    expected.sort();
    found.sort();
    assert!(!found.is_empty() && found == expected, "{name}: {}", found.len());
}

/// Messages that nothing else tells apart have names there (OBJECTID): a move is followed all the same.
#[test]
fn what_moves_on_cyrus_is_known_by_its_name() {
    let cyrus = Cyrus::start(&["names"]);
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), cyrus.imap_table("work", "names")));
    let mut imap = cyrus.client("names");
    imap.create("Archive");
    for n in 0..4 {
        let text = format!("From: a@example.org\r\nSubject: same\r\n\r\nhello {n}\r\n");
        imap.append("INBOX", "\\Seen", 1_500_000_000, text.as_bytes());
    }
    assert_eq!(total(&world.sync(), "downloaded"), 4);
    let uids: Vec<u32> = imap.messages("INBOX").iter().map(|m| m.uid).collect();
    for uid in [uids[1], uids[2]] {
        imap.move_to("INBOX", uid, "Archive");
    }
    let report = world.sync();
    assert_eq!((total(&report, "moved_local"), total(&report, "downloaded")), (2, 0), "{report}");
    assert_same(&world, "INBOX", &imap.messages("INBOX"));
    assert_same(&world, "Archive", &imap.messages("Archive"));
    assert_all_zero(&world.sync());
    cyrus.stop();
}

#[test]
fn cyrus_and_the_maildir_follow_each_other() {
    let cyrus = Cyrus::start(&["follows"]);
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), cyrus.imap_table("work", "follows")));
    let sides = crate::both_ways::Sides::fill(&world, cyrus.client("follows"), "INBOX");
    crate::both_ways::carry_every_change(sides);
    cyrus.stop();
}

#[test]
fn a_move_on_either_side_of_cyrus_transfers_no_body() {
    let cyrus = Cyrus::start(&["moves"]);
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), cyrus.imap_table("work", "moves")));
    let mut imap = cyrus.client("moves");
    imap.create("Archive");
    let uids: Vec<u32> = (0..10)
        .map(|n| imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(n)))
        .collect();
    world.sync();
    assert!(cyrus.telemetry("moves").contains("This is number 7."), "what is said is written down");
    cyrus.clear_telemetry("moves");
    imap.move_to("INBOX", uids[2], "Archive");
    let entry = containing(&world.mailbox("INBOX"), "This is number 7.").remove(0);
    let name = entry.path.file_name().unwrap();
    std::fs::rename(&entry.path, world.mailbox("Archive/cur").join(name)).unwrap();
    // Either may need a second look before it is believed.
    for _ in 0..3 {
        world.sync();
    }
    assert_all_zero(&world.sync());
    for (mailbox, n) in [("INBOX", 8), ("Archive", 2)] {
        assert_eq!(imap.count(mailbox), n, "{mailbox}");
        assert_eq!(entries(&world.mailbox(mailbox)).len(), n, "{mailbox}");
    }
    assert_eq!(containing(&world.mailbox("Archive"), "This is number 2.").len(), 1);
    let said = cyrus.telemetry("moves");
    assert!(!said.contains("This is number"), "a body was transferred");
    assert!(!said.contains(" APPEND "), "a body was uploaded");
    cyrus.stop();
}
