//! What a limit leaves on the server is listed, can be fetched, and an audit knows of it.

use std::fmt::Write as _;

use serde_json::Value;

use crate::fixture::maildir::{count, entries};
use crate::fixture::{World, mail, shared};

/// A message beyond 10 KiB.
fn large() -> Vec<u8> {
    let mut text = String::from("Message-ID: <large@example.org>\r\nSubject: large\r\n\r\n");
    for n in 0..500 {
        write!(text, "line {n} of a letter that is too long for this place\r\n").unwrap();
    }
    text.into_bytes()
}

fn inbox(account: &Value) -> Value {
    let mailboxes = account["mailboxes"].as_array().unwrap();
    mailboxes.iter().find(|m| m["name"] == "INBOX").unwrap().clone()
}

#[test]
fn a_large_message_stays_until_it_is_fetched_with_and_without_a_daemon() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let user = "limits";
    let servers = dovecot.imap_table("work", user);
    let limits = "[account.work.sync]\nmax_size = \"10KiB\"\n";
    world.configure(&format!("{}{servers}{limits}", world.account("work")));
    let mut imap = dovecot.client(user);
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let one = imap.append("INBOX", "", 1_500_000_000, &large());
    let two = imap.append("INBOX", "\\Seen", 1_500_000_000, &large());

    let report = world.sync();
    assert_eq!(inbox(&report["accounts"][0])["downloaded"], 1, "{report}");
    assert_eq!(inbox(&report["accounts"][0])["skipped"], 2, "{report}");
    let list = world.ok(&["fetch", "work/INBOX", "--json"]).json();
    assert_eq!(list["skipped"][0]["id"], one, "{list}");
    assert_eq!(list["skipped"][1]["limit"], "max_size", "{list}");
    let shown = world.ok(&["fetch", "work/INBOX"]).stdout;
    assert!(shown.contains("max_size") && shown.contains("to fetch some"), "{shown}");

    let refused = world.run(&["fetch", "work/INBOX", "4711"]);
    assert_eq!(refused.code, 67, "{refused:?}");
    assert!(refused.stderr.contains("no limit left message 4711"), "{refused:?}");
    world.ok(&["fetch", "work/INBOX", &one.to_string()]);
    assert_eq!(count(&world.mailbox("INBOX")), 2);

    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    assert_eq!(inbox(&daemon.account("work"))["skipped"], 1);
    let done = world.ok(&["fetch", "work/INBOX", &two.to_string(), "--json"]).json();
    assert_eq!(inbox(&done["accounts"][0])["downloaded"], 1, "{done}");
    assert_eq!(count(&world.mailbox("INBOX")), 3);
    assert!(daemon.stop().success());
    assert_eq!(imap.count("INBOX"), 3, "limits never touch the server");
    let report = world.sync();
    assert_eq!(inbox(&report["accounts"][0])["skipped"], 0, "{report}");
}

#[test]
fn an_audit_agrees_after_a_sync_and_names_what_was_damaged() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let user = "verify";
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", user)));
    assert_eq!(world.run(&["verify", "work"]).code, 67, "it was never synced");
    let mut imap = dovecot.client(user);
    for n in 0..20 {
        imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(n));
    }
    let mut huge = large();
    huge.extend(std::iter::repeat_n(*b"0123456789abcdef0123456789abcdef\r\n", 50_000).flatten());
    imap.append("INBOX", "", 1_500_000_000, &huge);
    world.sync();
    let before = imap.fingerprint();
    let audit = world.ok(&["verify", "work", "--bytes", "--json"]).json();
    assert_eq!(audit["ok"], true, "{audit}");
    assert_eq!(inbox(&audit)["compared"], 21, "{audit}");

    let files = entries(&world.mailbox("INBOX"));
    let mut bytes = files[0].bytes();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&files[0].path, bytes).unwrap();
    std::fs::remove_file(&files[1].path).unwrap();
    imap.store("INBOX", 5, "+FLAGS (\\Flagged)");
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(99));
    let before_audit = imap.fingerprint();
    assert_ne!(before, before_audit);
    let audit = world.run(&["verify", "work", "--bytes", "--json"]);
    assert_eq!(audit.code, 65, "{audit:?}");
    let findings = inbox(&audit.json())["findings"].to_string();
    for what in ["bytes differ", "gone in the Maildir", "flags differ", "only on the server"] {
        assert!(findings.contains(what), "{what}: {findings}");
    }
    assert_eq!(imap.fingerprint(), before_audit, "an audit changes nothing there");
    let text = world.run(&["verify", "work"]).stdout;
    assert!(text.contains("INBOX: UID") && text.contains("postrider sync"), "{text}");
}
