//! Mail by POP3 from Dovecot: one way, each message once, and what each policy leaves on the server.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fixture::maildir::{count, entries, local};
use crate::fixture::{World, mail, shared};

/// The counters of INBOX in a sync document.
pub(crate) fn inbox(report: &Value) -> Value {
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
