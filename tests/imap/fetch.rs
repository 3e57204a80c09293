//! Bodies that come late, short, or never, and one that ends every connection.

use postrider::adapters::imap::ImapRemote;
use postrider::model::failure::{Failure, Scope};
use postrider::model::ids::{MailboxName, Uid};
use postrider::ports::remote::{Connector as _, Remote as _, Wanted};
use postrider_mailserver::{Action, MailServer, Rule};

use crate::world::{Kept, connect, connector, mail, server};

const N: u32 = 60;

fn filled() -> MailServer {
    let server = server(&[], &[]);
    for n in 1..=N {
        server.mailbox("INBOX").append(&mail(n), &["\\Seen"], None);
    }
    server
}

/// Looks at INBOX and fetches what was not kept yet.
async fn fetch(remote: &mut ImapRemote, kept: &mut Kept) -> Result<(), Failure> {
    let view = remote.changes(&MailboxName::inbox(), None).await?;
    let missing = |uid: &Uid| !kept.whole.iter().any(|(had, _)| *had == uid.get());
    let size = |uid| view.listed().get(uid).and_then(|m| m.size);
    let wanted: Vec<Wanted> =
        view.listed().uids().filter(missing).map(|uid| Wanted { uid, size: size(uid) }).collect();
    remote.fetch(&wanted, kept).await
}

fn body(kept: &Kept, uid: u32) -> String {
    let (_, body) = kept.whole.iter().find(|(u, _)| *u == uid).unwrap();
    String::from_utf8(body.clone()).unwrap()
}

fn n_bodies_asked(server: &MailServer, set: &str) -> usize {
    let asks =
        |line: &str| line.contains(&format!("FETCH {set} (")) && line.contains("BODY.PEEK[]");
    server.commands().iter().filter(|c| asks(&c.line)).count()
}

#[tokio::test]
async fn a_message_that_comes_without_its_text_is_asked_for_once_more() {
    let server = filled();
    let rule = Rule::imap("UID FETCH").containing("INTERNALDATE BODY.PEEK[]");
    let nil = Action::rewrite("BODY[] {42}\r\nMessage-ID: <7@x>", "X-Y {42}\r\nMessage-ID: <7@x>");
    server.script(rule.then(nil));
    let mut kept = Kept::default();
    // The text of message 7 comes under a name that nobody knows, the first time.
    fetch(&mut connect(&server).await, &mut kept).await.unwrap();
    assert_eq!((kept.whole.len(), kept.failed.len()), (N as usize, 0));
    assert_eq!(body(&kept, 7), "Message-ID: <7@x>\nSubject: 7\n\nhello 7\n");
    assert_eq!(n_bodies_asked(&server, "7"), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_repeated_in_the_failure() {
    let server = filled();
    let rule = Rule::imap("UID FETCH").containing("BODY.PEEK[]");
    server.script(rule.then(Action::rewrite("* 7 FETCH (", "* 7 FETCH )( ")));
    let failure = fetch(&mut connect(&server).await, &mut Kept::default()).await.unwrap_err();
    assert_eq!(failure.scope, Scope::Account);
    assert!(!failure.to_string().contains("input"), "it may hold mail: {failure}");
}

#[tokio::test]
async fn a_message_that_never_comes_with_its_text_fails_alone() {
    let server = filled();
    let rule = Rule::imap("UID FETCH").containing("BODY.PEEK[]");
    let nil = Action::rewrite("BODY[] {42}\r\nMessage-ID: <7@x>", "X-Y {42}\r\nMessage-ID: <7@x>");
    server.script(rule.then(nil));
    let mut kept = Kept::default();
    fetch(&mut connect(&server).await, &mut kept).await.unwrap();
    assert_eq!(kept.whole.len(), N as usize - 1);
    let [(7, failure)] = kept.failed.as_slice() else { panic!("{:?}", kept.failed) };
    assert_eq!(failure.scope, Scope::Message);
    assert_eq!(n_bodies_asked(&server, "7"), 1);
}

#[tokio::test]
async fn a_text_shorter_than_its_size_is_stored_after_a_second_look() {
    for is_always in [false, true] {
        let server = filled();
        let short = Action::rewrite(
            "{42}\r\nMessage-ID: <7@x>\r\nSubject: 7\r\n\r\nhello 7\r\n",
            "{19}\r\nMessage-ID: <7@x>\r\n",
        );
        let rule = Rule::imap("UID FETCH").containing("BODY.PEEK[]");
        server.script(if is_always { rule.then(short) } else { rule.first(1).then(short) });
        let mut kept = Kept::default();
        fetch(&mut connect(&server).await, &mut kept).await.unwrap();
        assert_eq!((kept.whole.len(), kept.failed.len()), (N as usize, 0));
        let whole = "Message-ID: <7@x>\nSubject: 7\n\nhello 7\n";
        let expected = if is_always { "Message-ID: <7@x>\n" } else { whole };
        assert_eq!(body(&kept, 7), expected);
        assert_eq!(n_bodies_asked(&server, "7"), 1, "no endless loop");
    }
}

#[tokio::test]
async fn a_server_whose_sizes_are_wrong_is_not_asked_twice_for_everything() {
    let server = filled();
    let rule = Rule::imap("UID FETCH").containing("RFC822.SIZE");
    server.script(rule.then(Action::rewrite("RFC822.SIZE 4", "RFC822.SIZE 94")));
    let mut kept = Kept::default();
    let mut remote = connect(&server).await;
    fetch(&mut remote, &mut kept).await.unwrap();
    assert_eq!(kept.whole.len(), N as usize);
    // It is known by now.
    kept.whole.clear();
    server.clear_commands();
    fetch(&mut remote, &mut kept).await.unwrap();
    assert_eq!(kept.whole.len(), N as usize);
    assert_eq!(server.commands().iter().filter(|c| c.line.contains("BODY.PEEK[]")).count(), 1);
}

#[tokio::test]
async fn a_message_that_ends_every_connection_stops_no_other() {
    let server = filled();
    let deep = format!("* 17 FETCH {}", "(".repeat(100));
    let rule = Rule::imap("UID FETCH").containing("BODY.PEEK[]");
    let rule = server.script(rule.then(Action::rewrite("* 17 FETCH (", &deep)));
    let connector = connector(&server);
    let mut kept = Kept::default();
    let mut n_deaths = 0;
    while kept.failed.is_empty() {
        let mut remote = connector.connect().await.unwrap();
        if fetch(&mut remote, &mut kept).await.is_err() {
            n_deaths += 1;
        }
        assert!(n_deaths < 10, "it goes on for ever");
    }
    assert_eq!(n_deaths, 3, "twice with others, once alone");
    assert_eq!(kept.whole.len(), N as usize - 1, "all others are here");
    let [(17, failure)] = kept.failed.as_slice() else { panic!("{:?}", kept.failed) };
    assert_eq!(failure.scope, Scope::Message);
    // When its time comes again, it gets another chance, alone.
    server.unscript(rule);
    fetch(&mut connector.connect().await.unwrap(), &mut kept).await.unwrap();
    assert_eq!(kept.whole.len(), N as usize);
}
