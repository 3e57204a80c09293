//! What changed: by QRESYNC, by CONDSTORE, by windows; and servers that are wrong about it.

use std::collections::BTreeSet;

use postrider::adapters::imap::ImapRemote;
use postrider::model::failure::{Failure, Scope};
use postrider::model::ids::{MailboxName, Uid};
use postrider::model::uids::UidSet;
use postrider::model::view::{Cursor, RemoteView};
use postrider::ports::remote::{Depth, Known, Quirk, Remote as _};
use postrider_mailserver::{Action, Capability, MailServer, Rule};

use crate::world::{connect, mail, server};

/// What is known of INBOX, as the engine would keep it.
struct Memory {
    cursor: Cursor,
    uids: UidSet,
}

impl Memory {
    /// Looks for the first time.
    async fn of(remote: &mut ImapRemote) -> Self {
        let view = remote.changes(&MailboxName::inbox(), None).await.unwrap();
        assert!(matches!(view, RemoteView::Complete { .. }));
        Self { cursor: view.cursor(), uids: view.listed().uids().collect() }
    }

    /// Looks again, and takes what it sees over: the new or changed UIDs, and the vanished ones.
    async fn look(&mut self, remote: &mut ImapRemote, depth: Depth) -> (String, String) {
        self.try_look(remote, depth).await.unwrap()
    }

    async fn try_look(
        &mut self,
        remote: &mut ImapRemote,
        depth: Depth,
    ) -> Result<(String, String), Failure> {
        let known = Known { cursor: self.cursor, uids: &self.uids, depth };
        let view = remote.changes(&MailboxName::inbox(), Some(known)).await?;
        let seen: UidSet = view.listed().uids().collect();
        let vanished = match &view {
            RemoteView::Complete { .. } => self.uids.minus(&seen),
            RemoteView::Delta { vanished, .. } => vanished.clone(),
        };
        self.cursor = view.cursor();
        self.uids = self.uids.iter().chain(seen.iter()).collect::<UidSet>().minus(&vanished);
        Ok((seen.to_string(), vanished.to_string()))
    }
}

fn filled(lacking: &[Capability], n: u32) -> MailServer {
    let server = server(lacking, &[]);
    for n in 1..=n {
        server.mailbox("INBOX").append(&mail(n), &["\\Seen"], None);
    }
    server
}

fn lines(server: &MailServer, name: &str) -> Vec<String> {
    server.commands().into_iter().filter(|c| c.name == name).map(|c| c.line).collect()
}

fn shown(seen: &str, vanished: &str) -> (String, String) {
    (seen.to_owned(), vanished.to_owned())
}

#[tokio::test]
async fn qresync_tells_flags_arrivals_and_removals_in_one_select() {
    let server = filled(&[], 10);
    let inbox = server.mailbox("INBOX");
    let mut remote = connect(&server).await;
    let mut memory = Memory::of(&mut remote).await;
    inbox.set_flags(2, &["\\Flagged"]);
    inbox.expunge(5);
    inbox.expunge(6);
    inbox.append(&mail(11), &[], None);
    server.clear_commands();
    assert_eq!(memory.look(&mut remote, Depth::All).await, shown("2,11", "5:6"));
    assert_eq!(lines(&server, "ENABLE").len(), 1);
    assert!(lines(&server, "SELECT")[0].contains("(QRESYNC ("));
    assert_eq!(lines(&server, "UID FETCH").len(), 1, "only the new message is asked for");
    server.clear_commands();
    assert_eq!(memory.look(&mut remote, Depth::All).await, shown("", ""));
    inbox.expunge(1);
    assert_eq!(memory.look(&mut remote, Depth::All).await, shown("", "1"));
    assert!(lines(&server, "ENABLE").is_empty(), "once");
    assert!(lines(&server, "UID FETCH").is_empty());
    assert!(remote.quirks().is_empty());
}

#[tokio::test]
async fn s063_a_vanished_that_covers_living_messages_costs_none() {
    let server = filled(&[], 10);
    let mut remote = connect(&server).await;
    let mut memory = Memory::of(&mut remote).await;
    server.mailbox("INBOX").expunge(5);
    server.script(Rule::imap("SELECT").then(Action::rewrite("(EARLIER) 5", "(EARLIER) 7:3")));
    assert_eq!(memory.look(&mut remote, Depth::All).await, shown("", "5"));
    assert!(remote.quirks().contains(&Quirk::NoQresync), "{:?}", remote.quirks());
    // It is not asked again, here or on another connection that is told.
    let mut next = connect(&server).await;
    next.expect(remote.quirks());
    server.clear_commands();
    server.mailbox("INBOX").expunge(6);
    assert_eq!(memory.look(&mut next, Depth::All).await, shown("", "6"));
    assert!(lines(&server, "SELECT").iter().all(|line| !line.contains("QRESYNC")));
}

#[tokio::test]
async fn a_qresync_that_keeps_things_back_twice_is_not_used_again() {
    let server = filled(&[], 10);
    let inbox = server.mailbox("INBOX");
    let mut remote = connect(&server).await;
    let mut memory = Memory::of(&mut remote).await;
    server.script(Rule::imap("SELECT").then(Action::DropLines(b"VANISHED".to_vec())));
    inbox.expunge(5);
    assert_eq!(memory.look(&mut remote, Depth::All).await, shown("", "5"), "the list is the truth");
    assert_eq!(*remote.quirks(), BTreeSet::from([Quirk::DoubtQresync]));
    inbox.expunge(6);
    assert_eq!(memory.look(&mut remote, Depth::All).await, shown("", "6"));
    assert!(remote.quirks().contains(&Quirk::NoQresync));
}

#[tokio::test]
async fn what_was_held_back_here_is_not_the_servers_lie() {
    let server = filled(&[], 10);
    let mut remote = connect(&server).await;
    let mut memory = Memory::of(&mut remote).await;
    server.mailbox("INBOX").expunge(5);
    memory.look(&mut remote, Depth::All).await;
    // The brake keeps the row of a message that is gone.
    memory.uids.insert(Uid::new(5).unwrap());
    server.mailbox("INBOX").set_flags(1, &["\\Flagged"]);
    assert_eq!(memory.look(&mut remote, Depth::All).await, shown("1", "5"));
    assert!(remote.quirks().is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_know_its_own_qresync_is_asked_without_it() {
    let server = filled(&[], 4);
    let mut remote = connect(&server).await;
    let mut memory = Memory::of(&mut remote).await;
    server.script(Rule::imap("SELECT").containing("QRESYNC").then(Action::refuse("BAD what")));
    server.mailbox("INBOX").set_flags(3, &["\\Flagged"]);
    assert_eq!(memory.look(&mut remote, Depth::All).await, shown("3", ""));
    assert!(remote.quirks().contains(&Quirk::NoQresync));
}

#[tokio::test]
async fn numbers_that_went_back_remove_nothing_by_that_look_alone() {
    for uidnext in [true, false] {
        let server = filled(&[], 10);
        let inbox = server.mailbox("INBOX");
        let mut remote = connect(&server).await;
        let mut memory = Memory::of(&mut remote).await;
        inbox.expunge(4);
        let lie = if uidnext {
            Action::rewrite("[UIDNEXT 11]", "[UIDNEXT 9]")
        } else {
            Action::rewrite("[HIGHESTMODSEQ 12]", "[HIGHESTMODSEQ 3]")
        };
        let rule = server.script(Rule::imap("SELECT").then(lie));
        let all = "1:3,5:10";
        assert_eq!(memory.look(&mut remote, Depth::All).await, shown(all, ""), "{uidnext}");
        assert_eq!(memory.cursor.modseq.0, 0, "the next look starts from nothing");
        let doubts = remote.quirks().contains(&Quirk::DoubtCondstore);
        assert_eq!(doubts, !uidnext);
        server.unscript(rule);
        assert_eq!(memory.look(&mut remote, Depth::All).await, shown(all, "4"), "{uidnext}");
    }
}

#[tokio::test]
async fn mod_sequences_that_go_back_twice_are_not_believed_again() {
    let server = filled(&[], 3);
    let mut remote = connect(&server).await;
    let mut memory = Memory::of(&mut remote).await;
    for from in [4, 5] {
        let (from, to) = (format!("[HIGHESTMODSEQ {from}]"), "[HIGHESTMODSEQ 2]");
        let rule = server.script(Rule::imap("SELECT").then(Action::rewrite(&from, to)));
        memory.look(&mut remote, Depth::All).await;
        server.unscript(rule);
        memory.look(&mut remote, Depth::All).await;
        server.mailbox("INBOX").add_flags(1, &["\\Flagged"]);
        memory.look(&mut remote, Depth::All).await;
    }
    assert!(remote.quirks().contains(&Quirk::NoCondstore), "{:?}", remote.quirks());
    server.clear_commands();
    assert_eq!(memory.look(&mut remote, Depth::All).await, shown("1:3", ""));
    assert!(lines(&server, "SELECT").iter().all(|line| !line.contains('(')));
}

#[tokio::test]
async fn without_mod_sequences_nothing_is_asked_since_nothing() {
    for told in ["[NOMODSEQ]", "[HIGHESTMODSEQ 0]"] {
        let server = filled(&[], 3);
        server.script(Rule::imap("SELECT").then(Action::rewrite("[HIGHESTMODSEQ 4]", told)));
        let mut remote = connect(&server).await;
        let mut memory = Memory::of(&mut remote).await;
        assert_eq!(memory.cursor.modseq.0, 0);
        assert_eq!(memory.look(&mut remote, Depth::All).await, shown("1:3", ""), "{told}");
        assert!(lines(&server, "UID FETCH").iter().all(|line| !line.contains("CHANGEDSINCE")));
        assert!(remote.quirks().is_empty(), "it is a property of this mailbox");
    }
}

#[tokio::test]
async fn without_condstore_a_shallow_look_reads_the_newest_and_a_part_of_the_rest() {
    let server = filled(&[Capability::CondStore, Capability::QResync], 8000);
    let inbox = server.mailbox("INBOX");
    let mut remote = connect(&server).await;
    let mut memory = Memory::of(&mut remote).await;
    server.clear_commands();
    inbox.append(&mail(8001), &[], None);
    let (seen, vanished) = memory.look(&mut remote, Depth::Some(0)).await;
    assert_eq!((seen.as_str(), vanished.as_str()), ("1:5000,6001:8001", ""));
    let (seen, _) = memory.look(&mut remote, Depth::Some(1)).await;
    assert_eq!(seen, "5001:8001");
    assert!(lines(&server, "UID FETCH").iter().all(|line| !line.contains(" 1:*")));
    // Where the count does not add up, everything is looked at.
    inbox.expunge(17);
    let (seen, vanished) = memory.look(&mut remote, Depth::Some(1)).await;
    assert_eq!((seen.as_str(), vanished.as_str()), ("1:16,18:8001", "17"));
    let (seen, _) = memory.look(&mut remote, Depth::All).await;
    assert_eq!(seen, "1:16,18:8001");
}

#[tokio::test]
async fn big_mailboxes_are_listed_in_slices() {
    let server = filled(&[Capability::CondStore, Capability::QResync], 10_050);
    let mut remote = connect(&server).await;
    let memory = Memory::of(&mut remote).await;
    assert_eq!(memory.uids.to_string(), "1:10050");
    assert_eq!(lines(&server, "UID FETCH").len(), 2);
}

#[tokio::test]
async fn a_mailbox_without_uidvalidity_is_skipped_with_its_reason() {
    for lie in [
        Action::DropLines(b"UIDVALIDITY".to_vec()),
        Action::rewrite("[UIDVALIDITY 17", "[UIDVALIDITY 0000000000] ["),
    ] {
        let server = filled(&[], 2);
        server.script(Rule::imap("SELECT").then(lie));
        let mut remote = connect(&server).await;
        let failure = remote.changes(&MailboxName::inbox(), None).await.unwrap_err();
        assert_eq!(failure.scope, Scope::Mailbox, "{failure}");
        assert!(failure.to_string().contains("UIDVALIDITY"), "{failure}");
        assert!(remote.mailboxes().await.is_ok(), "the connection goes on");
    }
}

#[tokio::test]
async fn a_uidnext_that_is_kept_back_is_asked_for() {
    for refuses_status in [false, true] {
        let server = filled(&[], 3);
        server.script(Rule::imap("SELECT").then(Action::DropLines(b"UIDNEXT".to_vec())));
        if refuses_status {
            server.script(Rule::imap("STATUS").then(Action::refuse("NO it is selected")));
        }
        let mut remote = connect(&server).await;
        let memory = Memory::of(&mut remote).await;
        assert_eq!(memory.cursor.uidnext, 4, "{refuses_status}");
    }
}

#[tokio::test]
async fn the_last_message_that_answers_for_an_empty_range_is_nothing_new() {
    let server = filled(&[Capability::QResync], 3);
    let mut remote = connect(&server).await;
    let mut memory = Memory::of(&mut remote).await;
    // UIDNEXT grew, and the message is gone again.
    let uid = server.mailbox("INBOX").append(&mail(4), &[], None);
    server.mailbox("INBOX").expunge(uid);
    let (_, vanished) = memory.look(&mut remote, Depth::All).await;
    assert_eq!((vanished.as_str(), memory.uids.to_string().as_str()), ("", "1:3"));
}
