//! A server of IMAP4rev1 and little more: Dovecot without UIDPLUS, MOVE, CONDSTORE and QRESYNC.

use crate::fixture::dovecot::Dovecot;
use crate::fixture::maildir::{containing, count};
use crate::fixture::{World, mail};

#[test]
fn a_bare_server_and_the_maildir_follow_each_other() {
    let dovecot = Dovecot::start_bare();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "bare")));
    let mut sides = crate::both_ways::Sides::fill(&world, dovecot.client("bare"), "INBOX");
    sides.n_marked = 1;
    crate::both_ways::carry_every_change(sides);
}

#[test]
fn a_move_on_a_bare_server_loses_and_doubles_nothing() {
    let dovecot = Dovecot::start_bare();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "bare")));
    let mut imap = dovecot.client("bare");
    imap.create("Archive");
    for n in 0..10 {
        imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(n));
    }
    world.sync();
    let entry = containing(&world.mailbox("INBOX"), "This is number 7.").remove(0);
    let name = entry.path.file_name().unwrap();
    std::fs::rename(&entry.path, world.mailbox("Archive/cur").join(name)).unwrap();
    for _ in 0..3 {
        world.sync();
    }
    crate::transfer::assert_all_zero(&world.sync());
    // It makes sync look at all of INBOX, where number 7 is still there, marked.
    imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(10));
    world.sync();
    crate::transfer::assert_all_zero(&world.sync());
    assert_eq!((count(&world.mailbox("INBOX")), count(&world.mailbox("Archive"))), (10, 1));
    let moved = imap.messages("Archive");
    assert_eq!((moved.len(), &moved[0].bytes), (1, &mail::numbered(7)));
    let there = imap.messages("INBOX");
    let marked: Vec<_> = there.iter().filter(|m| m.has("\\Deleted")).collect();
    assert_eq!((there.len(), marked.len(), &marked[0].bytes), (11, 1, &mail::numbered(7)));
    assert_eq!(world.run(&["verify", "work", "--bytes"]).code, 0);
}
