//! What happens on one side shows on the other.

use std::path::PathBuf;
use std::time::Duration;

use crate::fixture::imap::Imap;
use crate::fixture::maildir::{self, Entry, containing, deliver};
use crate::fixture::{SOON, World, eventually, mail, shared};

/// Both sides of one account.
pub(crate) struct Sides<'a> {
    world: &'a World,
    imap: Imap,
    uids: Vec<u32>,
    /// Messages deleted here that stay there, marked: more is not safe without UIDPLUS.
    pub(crate) n_marked: usize,
}

impl<'a> Sides<'a> {
    /// Ten numbered messages, read, in a mailbox.
    pub(crate) fn fill(world: &'a World, mut imap: Imap, mailbox: &str) -> Self {
        let append = |n| imap.append(mailbox, "\\Seen", 1_500_000_000, &mail::numbered(n));
        let uids = (0..10).map(append).collect();
        Self { world, imap, uids, n_marked: 0 }
    }

    fn inbox(&self) -> PathBuf {
        self.world.mailbox("INBOX")
    }

    fn file(&self, mailbox: &str, n: usize) -> Option<Entry> {
        containing(&self.world.mailbox(mailbox), &subject(n)).into_iter().next()
    }

    fn has(&mut self, mailbox: &str, text: &str) -> bool {
        let messages = self.imap.messages(mailbox);
        let mut messages = messages.iter().filter(|m| !m.has("\\Deleted"));
        messages.any(|m| String::from_utf8_lossy(&m.bytes).contains(text))
    }

    /// Everything that one can do, on both sides, each to a message of its own.
    fn change(&mut self) {
        self.imap.append("INBOX", "", 1_600_000_000, &mail::numbered(100));
        self.imap.store("INBOX", self.uids[1], "+FLAGS (\\Flagged)");
        self.imap.store("INBOX", self.uids[2], "-FLAGS (\\Seen)");
        self.imap.expunge("INBOX", self.uids[3]);
        let local = "Message-ID: <local@example.org>\nSubject: made here\n\nhello\n";
        deliver(&self.inbox(), "1500000000.made-here", "S", local);
        self.file("INBOX", 4).unwrap().set_flags("RS");
        self.file("INBOX", 5).unwrap().set_flags("");
        std::fs::remove_file(self.file("INBOX", 6).unwrap().path).unwrap();
    }

    fn local_changes_show_there(&mut self) -> bool {
        let flags = |imap: &mut Imap, uid| imap.flags("INBOX", uid);
        self.has("INBOX", "Subject: made here")
            && flags(&mut self.imap, self.uids[4]).contains("\\Answered")
            && !flags(&mut self.imap, self.uids[5]).contains("\\Seen")
            && !self.has("INBOX", &subject(6))
            && self.has("Trash", &subject(6))
    }

    fn remote_changes_show_here(&self) -> bool {
        let arrived = self.file("INBOX", 100).is_some_and(|e| e.sub == "new" && e.flags.is_empty());
        let flagged = self.file("INBOX", 1).is_some_and(|e| e.flags == "FS");
        let unseen = self.file("INBOX", 2).is_some_and(|e| e.flags.is_empty());
        arrived && flagged && unseen && self.file("INBOX", 3).is_none()
    }

    /// Nothing was lost or doubled: ten, two more, two less.
    fn counts_are_right(&mut self) {
        assert_eq!(self.imap.count("INBOX"), 10 + self.n_marked);
        assert_eq!(maildir::count(&self.inbox()), 10);
        let uploaded = self.imap.messages("INBOX");
        let n_marked = uploaded.iter().filter(|m| m.has("\\Deleted")).count();
        assert_eq!(n_marked, self.n_marked);
        let uploaded = uploaded.iter().find(|m| m.bytes.ends_with(b"hello\r\n")).unwrap();
        let expected = b"Message-ID: <local@example.org>\r\nSubject: made here\r\n\r\nhello\r\n";
        assert_eq!(uploaded.bytes, expected);
    }
}

/// The end of the line counts: number 1 is not number 100.
fn subject(n: usize) -> String {
    format!("This is number {n}.")
}

#[test]
fn one_pass_carries_every_change_both_ways() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let table = dovecot.imap_table("work", "one-pass");
    world.configure(&format!("{}{table}", world.account("work")));
    carry_every_change(Sides::fill(&world, dovecot.client("one-pass"), "INBOX"));
}

/// What is done on both sides is on both sides after one pass.
pub(crate) fn carry_every_change(mut sides: Sides<'_>) {
    let world = sides.world;
    world.sync();
    sides.change();
    world.sync();
    assert!(sides.remote_changes_show_here());
    assert!(sides.local_changes_show_there());
    sides.counts_are_right();
    // What it put into Trash on the server may come down only now.
    world.sync();
    crate::transfer::assert_all_zero(&world.sync());
    assert_eq!(containing(&world.mailbox("Trash"), &subject(6)).len(), 1);
}

#[test]
fn the_daemon_carries_every_change_both_ways_over_starttls() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let table = dovecot.imap_table("work", "daemon");
    let table = table.replace(&dovecot.tls_port.to_string(), &dovecot.port.to_string());
    world.configure(&format!("{}{table}tls = \"starttls\"\n", world.account("work")));
    let mut sides = Sides::fill(&world, dovecot.client("daemon"), "INBOX");
    let daemon = world.daemon();
    eventually("the first pass is over", SOON, || {
        (maildir::count(&sides.inbox()) == 10).then_some(())
    });
    daemon.reaches("work", "idle");
    sides.change();
    eventually("what changed there shows here", SOON, || {
        sides.remote_changes_show_here().then_some(())
    });
    eventually("what changed here shows there", SOON, || {
        sides.local_changes_show_there().then_some(())
    });
    sides.counts_are_right();
    daemon.stop();
}

#[test]
fn a_mailbox_made_on_either_side_is_made_on_the_other() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let table = dovecot.imap_table("work", "made");
    world.configure(&format!("{}{table}", world.account("work")));
    let mut imap = dovecot.client("made");
    world.sync();
    imap.create("Made there/below");
    imap.append("Made there/below", "", 1_500_000_000, &mail::numbered(1));
    for sub in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(world.mailbox("Grün/hier").join(sub)).unwrap();
    }
    deliver(&world.mailbox("Grün/hier"), "1500000000.x", "S", "Subject: green\n\nx\n");
    world.sync();
    assert_eq!(maildir::count(&world.mailbox("Made there/below")), 1);
    assert_eq!(imap.messages("Gr&APw-n/hier")[0].bytes, b"Subject: green\r\n\r\nx\r\n");
}

#[test]
fn a_message_moved_here_is_moved_there_and_never_transferred_again() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let table = dovecot.imap_table("work", "moved");
    world.configure(&format!("{}{table}", world.account("work")));
    let mut sides = Sides::fill(&world, dovecot.client("moved"), "INBOX");
    sides.imap.create("Archive");
    world.sync();
    let entry = sides.file("INBOX", 7).unwrap();
    let name = entry.path.file_name().unwrap().to_owned();
    std::fs::rename(&entry.path, world.mailbox("Archive").join("cur").join(name)).unwrap();
    world.sync();
    eventually("the move has settled", Duration::from_secs(30), || {
        world.sync();
        (sides.imap.count("INBOX") == 9).then_some(())
    });
    assert_eq!(sides.imap.count("Archive"), 1);
    assert_eq!(maildir::count(&world.mailbox("Archive")), 1);
    assert_eq!(maildir::count(&sides.inbox()), 9);
}

#[test]
fn marks_on_unseen_mail_travel_from_either_directory() {
    let dovecot = shared::dovecot();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "unseen")));
    let mut imap = dovecot.client("unseen");
    let cases = [("new", "P"), ("cur", "P"), ("new", "R"), ("cur", "RP")];
    for n in 0..cases.len() {
        imap.append("INBOX", "", 1_500_000_000, &mail::numbered(n));
    }
    world.sync();
    for (n, (sub, letters)) in cases.iter().enumerate() {
        let entry = containing(&world.mailbox("INBOX"), &format!("This is number {n}.")).remove(0);
        let name = entry.path.file_name().unwrap().to_str().unwrap();
        let to = world.mailbox("INBOX").join(sub).join(format!("{name}:2,{letters}"));
        std::fs::rename(&entry.path, to).unwrap();
    }
    world.sync();
    let there = imap.messages("INBOX");
    for (n, (sub, letters)) in cases.iter().enumerate() {
        let message = there.iter().find(|m| m.bytes == mail::numbered(n)).unwrap();
        assert_eq!(
            message.has("$Forwarded"),
            letters.contains('P'),
            "{sub} {letters}: {message:?}"
        );
        assert_eq!(
            message.has("\\Answered"),
            letters.contains('R'),
            "{sub} {letters}: {message:?}"
        );
    }
    crate::transfer::assert_all_zero(&world.sync());
}
