//! Drives the IMAP server over raw sockets, as a client sees it.

mod client;

use std::time::Duration;

use client::Client;
use postrider_mailserver::{Capabilities, Capability, Config, MailServer};

const LONG: Duration = Duration::from_secs(20);

fn server() -> MailServer {
    MailServer::start(Config::default()).unwrap()
}

fn mail(text: &str) -> Vec<u8> {
    format!("Subject: {text}\r\nFrom: a@b.c\r\n\r\n{text}\r\n").into_bytes()
}

#[test]
fn login_list_and_status_answer() {
    let server = server();
    server.mailbox("Entwürfe/Alt").append(&mail("x"), &[], None);
    server.mailbox("Sent").append(&mail("x"), &["\\Seen"], None);
    server.mailbox("Sent").set_special_use(Some("\\Sent"));
    let mut client = Client::imap(&server);
    assert!(
        client
            .run("LOGIN user wrong")
            .ends_with("NO [AUTHENTICATIONFAILED] wrong user or password\r\n")
    );
    assert!(client.run("SELECT INBOX").contains(" BAD "));
    client.login();
    let listed = client.run("LIST \"\" \"*\"");
    assert!(
        listed.contains("* LIST (\\Noselect \\HasChildren) \"/\" \"Entw&APw-rfe\"\r\n"),
        "{listed}"
    );
    assert!(listed.contains("* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"\r\n"), "{listed}");
    let listed = client.run("LIST \"\" \"*\" RETURN (STATUS (MESSAGES UNSEEN))");
    assert!(listed.contains("* STATUS \"Sent\" (MESSAGES 1 UNSEEN 0)\r\n"), "{listed}");
    let status = client.run("STATUS \"Entw&APw-rfe/Alt\" (MESSAGES UIDNEXT)");
    assert!(status.contains("(MESSAGES 1 UIDNEXT 2)"), "{status}");
    assert!(client.run("FROBNICATE").contains(" BAD "));
}

#[test]
fn authenticate_plain_works_with_and_without_initial_response() {
    let server = server();
    let mut client = Client::imap(&server);
    assert!(client.run("AUTHENTICATE PLAIN AHVzZXIAc2VjcmV0").contains(" OK "));
    let mut client = Client::imap(&server);
    client.send("a AUTHENTICATE LOGIN\r\n");
    assert_eq!(client.line(), "+ VXNlcm5hbWU6\r\n");
    client.send("dXNlcg==\r\n");
    assert_eq!(client.line(), "+ UGFzc3dvcmQ6\r\n");
    client.send("c2VjcmV0\r\n");
    assert!(client.line().starts_with("a OK"));
}

#[test]
fn append_then_fetch_gives_the_same_bytes() {
    let server = server();
    let mut client = Client::logged_in(&server);
    client.send("a APPEND INBOX (\\Seen $Work) \"01-Feb-2024 10:00:00 +0100\" {9}\r\n");
    assert!(client.line().starts_with("+ "));
    client.send("A: b\r\n\r\nc\r\n");
    let uid_validity = server.mailbox("INBOX").uid_validity();
    assert!(client.line().starts_with(&format!("a OK [APPENDUID {uid_validity} 1]")));
    let message = server.mailbox("INBOX").message(1).unwrap();
    assert_eq!((message.internal_date, &message.bytes[..]), (1_706_778_000, &b"A: b\r\n\r\nc"[..]));
    client.run("SELECT INBOX");
    let fetched = client.run("UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<2.3> BODY.PEEK[HEADER.FIELDS (A)])");
    let expected = "* 1 FETCH (UID 1 FLAGS ($Work \\Seen \\Recent) INTERNALDATE \" 1-Feb-2024 10:00:00 +0100\" \
        RFC822.SIZE 9 BODY[]<2> {3}\r\n b\r BODY[HEADER.FIELDS (A)] {8}\r\nA: b\r\n\r\n)\r\n";
    assert!(fetched.starts_with(expected), "{fetched}");
    client.send("b APPEND INBOX {3+}\r\nabc {3+}\r\ndef\r\n");
    assert_eq!(client.line(), "* 3 EXISTS\r\n");
    assert_eq!(client.line(), "* 3 RECENT\r\n");
    assert!(client.line().starts_with(&format!("b OK [APPENDUID {uid_validity} 2:3]")));
}

#[test]
fn store_copy_move_and_expunge_change_the_mailboxes() {
    let server = server();
    server.create_mailbox("Trash");
    let inbox = server.mailbox("INBOX");
    for text in ["one", "two", "three", "four"] {
        inbox.append(&mail(text), &[], None);
    }
    let validity = server.mailbox("Trash").uid_validity();
    let mut client = Client::logged_in(&server);
    client.run("SELECT INBOX");
    assert!(client.run("STORE 1 +FLAGS.SILENT (\\Deleted)").starts_with('t'));
    assert!(
        client
            .run("UID STORE 2 FLAGS (\\Flagged)")
            .contains("* 2 FETCH (UID 2 FLAGS (\\Flagged \\Recent))")
    );
    assert!(client.run("UID COPY 2 Trash").contains(&format!("OK [COPYUID {validity} 2 1]")));
    let moved = client.run("UID MOVE 3:4 Trash");
    let expected =
        format!("* OK [COPYUID {validity} 3:4 2:3] moved\r\n* 4 EXPUNGE\r\n* 3 EXPUNGE\r\n");
    assert!(moved.starts_with(&expected), "{moved}");
    inbox.add_flags(2, &["\\Deleted"]);
    let expunged = client.run("UID EXPUNGE 1");
    assert!(expunged.contains("* 1 EXPUNGE\r\n"), "{expunged}");
    let uids: Vec<u32> = inbox.messages().iter().map(|m| m.uid).collect();
    assert_eq!(uids, [2]);
    assert_eq!(server.mailbox("Trash").messages().len(), 3);
    assert!(client.run("UID COPY 2 Nowhere").contains("NO [TRYCREATE]"));
    client.run("CLOSE");
    assert!(inbox.messages().is_empty());
}

#[test]
fn search_finds_by_flag_and_header() {
    let server = server();
    let inbox = server.mailbox("INBOX");
    inbox.append(&mail("apple"), &["\\Seen"], None);
    inbox.append(&mail("pear"), &["\\Deleted"], None);
    inbox.append(&mail("apple pie"), &[], None);
    let mut client = Client::logged_in(&server);
    client.run("SELECT INBOX");
    let mut check = |query: &str, expected: &str| {
        assert!(client.run(query).starts_with(expected), "{query}");
    };
    check("UID SEARCH ALL", "* SEARCH 1 2 3\r\n");
    check("UID SEARCH UNDELETED UNSEEN", "* SEARCH 3\r\n");
    check("SEARCH HEADER Subject apple", "* SEARCH 1 3\r\n");
    check("UID SEARCH UID 2:*", "* SEARCH 2 3\r\n");
    check("UID SEARCH DELETED", "* SEARCH 2\r\n");
}

#[test]
fn idle_tells_what_another_session_does() {
    let server = server();
    let inbox = server.mailbox("INBOX");
    inbox.append(&mail("one"), &["\\Seen"], None);
    let mut watcher = Client::logged_in(&server);
    watcher.run("SELECT INBOX");
    watcher.send("i IDLE\r\n");
    assert_eq!(watcher.line(), "+ idling\r\n");
    server.wait_until(LONG, |view| (view.idling("INBOX") == 1).then_some(())).unwrap();
    let mut other = Client::logged_in(&server);
    other.run("SELECT INBOX");
    other.run("STORE 1 +FLAGS (\\Flagged)");
    assert_eq!(watcher.line(), "* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent))\r\n");
    inbox.append(&mail("two"), &[], None);
    assert_eq!(watcher.line(), "* 2 EXISTS\r\n");
    assert_eq!(watcher.line(), "* 2 RECENT\r\n");
    inbox.expunge(1);
    assert_eq!(watcher.line(), "* 1 EXPUNGE\r\n");
    watcher.send("DONE\r\n");
    assert!(watcher.line().starts_with("i OK"));
}

#[test]
fn notify_tells_what_happens_elsewhere() {
    let capabilities = Capabilities::default().with(Capability::Notify);
    let server = MailServer::start(Config { capabilities, ..Config::default() }).unwrap();
    server.mailbox("Work").append(&mail("one"), &[], None);
    let mut client = Client::logged_in(&server);
    assert!(client.run("NOTIFY what").contains(" BAD "));
    assert!(client.run("NOTIFY SET (personal (MessageNew MailboxName))").contains(" OK "));
    client.send("i IDLE\r\n");
    assert_eq!(client.line(), "+ idling\r\n");
    server.wait_until(LONG, |view| (view.idling("") == 1).then_some(())).unwrap();
    server.mailbox("Work").append(&mail("two"), &[], None);
    assert_eq!(client.line(), "* STATUS \"Work\" (MESSAGES 2 UIDNEXT 3 UNSEEN 2)\r\n");
    server.create_mailbox("New");
    assert_eq!(client.line(), "* LIST () \"/\" \"New\"\r\n");
    server.delete_mailbox("New");
    assert_eq!(client.line(), "* LIST (\\NonExistent) \"/\" \"New\"\r\n");
    client.send("DONE\r\n");
    assert!(client.line().starts_with("i OK"));
}

#[test]
fn expunge_is_held_back_until_sequence_numbers_are_safe() {
    let server = server();
    let inbox = server.mailbox("INBOX");
    inbox.append(&mail("one"), &[], None);
    inbox.append(&mail("two"), &[], None);
    let mut client = Client::logged_in(&server);
    client.run("SELECT INBOX");
    inbox.expunge(1);
    let fetched = client.run("FETCH 1:2 (UID)");
    assert!(!fetched.contains("EXPUNGE") && fetched.contains("* 2 FETCH (UID 2)"), "{fetched}");
    assert!(client.run("NOOP").starts_with("* 1 EXPUNGE\r\n"));
}

#[test]
fn condstore_tells_only_what_changed() {
    let server = server();
    let inbox = server.mailbox("INBOX");
    inbox.append(&mail("one"), &[], None);
    inbox.append(&mail("two"), &[], None);
    let mut client = Client::logged_in(&server);
    assert!(client.run("SELECT INBOX (CONDSTORE)").contains("[HIGHESTMODSEQ 3]"));
    inbox.set_flags(1, &["\\Seen"]);
    let fetched = client.run("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 3)");
    assert!(
        fetched.starts_with("* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent) MODSEQ (4))\r\n"),
        "{fetched}"
    );
    let stored = client.run("UID STORE 1:2 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Flagged)");
    assert!(stored.contains("* 2 FETCH (UID 2 MODSEQ (5))\r\n"), "{stored}");
    assert!(stored.contains("OK [MODIFIED 1]"), "{stored}");
}

#[test]
fn qresync_tells_the_vanished() {
    let server = server();
    let inbox = server.mailbox("INBOX");
    for text in ["one", "two", "three", "four"] {
        inbox.append(&mail(text), &[], None);
    }
    let validity = inbox.uid_validity();
    inbox.expunge(2);
    inbox.expunge(3);
    inbox.set_flags(4, &["\\Seen"]);
    let mut client = Client::logged_in(&server);
    assert!(client.run(&format!("SELECT INBOX (QRESYNC ({validity} 5))")).contains(" BAD "));
    client.run("ENABLE QRESYNC");
    let selected = client.run(&format!("SELECT INBOX (QRESYNC ({validity} 5 1:4))"));
    assert!(selected.contains("* VANISHED (EARLIER) 2:3\r\n"), "{selected}");
    assert!(
        selected.contains("* 2 FETCH (UID 4 FLAGS (\\Seen \\Recent) MODSEQ (8))\r\n"),
        "{selected}"
    );
    let fetched = client.run("UID FETCH 1:2 (FLAGS) (CHANGEDSINCE 5 VANISHED)");
    assert!(fetched.starts_with("* VANISHED (EARLIER) 2\r\nt"), "{fetched}");
    inbox.expunge(1);
    assert!(client.run("NOOP").starts_with("* VANISHED 1\r\n"));
}

#[test]
fn capability_switched_off_is_not_honoured() {
    let capabilities = Capabilities::default()
        .without(Capability::Move)
        .without(Capability::Idle)
        .without(Capability::CondStore)
        .without(Capability::UidPlus)
        .claiming("XSTRANGE");
    let server = MailServer::start(Config { capabilities, ..Config::default() }).unwrap();
    server.mailbox("INBOX").append(&mail("x"), &["\\Deleted"], None);
    let mut client = Client::logged_in(&server);
    let line = client.run("CAPABILITY");
    assert!(
        !line.contains("MOVE") && !line.contains(" IDLE") && line.contains("XSTRANGE"),
        "{line}"
    );
    assert!(!client.run("SELECT INBOX").contains("MODSEQ"));
    for refused in ["IDLE", "UID MOVE 1 INBOX", "UID EXPUNGE 1", "FETCH 1 (MODSEQ)"] {
        assert!(client.run(refused).contains(" BAD "), "{refused}");
    }
    assert_eq!(server.mailbox("INBOX").messages().len(), 1);
}
