//! Keywords are letters, and a letter means something only in its mailbox.

use crate::fixture::maildir::{containing, entries};
use crate::fixture::{World, mail, shared};
use crate::transfer::assert_all_zero;

/// What only this message has.
fn marker(n: usize) -> String {
    format!("This is number {n}.")
}

fn is_marked(bytes: &[u8], n: usize) -> bool {
    String::from_utf8_lossy(bytes).contains(&marker(n))
}

#[test]
fn a_message_that_is_moved_or_copied_here_keeps_its_keywords_on_both_sides() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let user = "letters";
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", user)));
    let mut imap = dovecot.client(user);
    for mailbox in ["Archive", "Plain"] {
        imap.create(mailbox);
    }
    for n in 1..=3 {
        imap.append("INBOX", "\\Seen Work Later", 1_500_000_000, &mail::numbered(n));
    }
    imap.append("Archive", "Zfoo Zbar", 1_500_000_000, &mail::numbered(10));
    world.sync();

    // The first goes to a mailbox whose letters are others, the second to one that has none, of the
    // third there is a copy.
    let file = |n: usize| containing(&world.mailbox("INBOX"), &marker(n)).remove(0).path;
    let name = |n: usize| file(n).file_name().unwrap().to_owned();
    std::fs::rename(file(1), world.mailbox("Archive").join("cur").join(name(1))).unwrap();
    std::fs::rename(file(2), world.mailbox("Plain").join("cur").join(name(2))).unwrap();
    std::fs::copy(file(3), world.mailbox("Plain").join("cur").join("copy:2,Sab")).unwrap();
    world.sync();
    assert_all_zero(&world.sync());
    // What comes to a mailbox later gives no letter a new meaning.
    imap.append("Plain", "Alpha", 1_500_000_000, &mail::numbered(11));
    world.sync();
    assert_all_zero(&world.sync());
    world.ok(&["verify", "work"]);

    for (mailbox, n) in [("Archive", 1), ("Plain", 2), ("Plain", 3), ("INBOX", 3)] {
        let messages = imap.messages(mailbox);
        let found = messages.iter().find(|one| is_marked(&one.bytes, n)).unwrap();
        let mut keywords: Vec<String> =
            found.flags.iter().filter(|f| !f.starts_with('\\')).map(|f| f.to_lowercase()).collect();
        keywords.sort();
        assert_eq!(keywords, ["later", "work"], "{mailbox}: {n}");
    }
    // Taking a letter off says so to the server.
    let moved = containing(&world.mailbox("Plain"), &marker(2)).remove(0);
    moved.set_flags("S");
    world.sync();
    let messages = imap.messages("Plain");
    let found = messages.iter().find(|one| is_marked(&one.bytes, 2)).unwrap();
    assert_eq!(found.flags.iter().filter(|f| !f.starts_with('\\')).count(), 0, "{:?}", found.flags);
    assert_eq!(entries(&world.mailbox("Archive")).len(), 2);
}
