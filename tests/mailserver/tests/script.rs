//! Rules, records and waiting.

mod client;

use std::time::Duration;

use client::Client;
use postrider_mailserver::{Action, Config, MailServer, Protocol, Rule};

const LONG: Duration = Duration::from_secs(20);

fn server() -> MailServer {
    MailServer::start(Config::default()).unwrap()
}

fn mail(text: &str) -> Vec<u8> {
    format!("Subject: {text}\r\nFrom: a@b.c\r\n\r\n{text}\r\n").into_bytes()
}

#[test]
fn rules_refuse_lie_and_cut() {
    let server = server();
    let inbox = server.mailbox("INBOX");
    for text in ["one", "two", "three"] {
        inbox.append(&mail(text), &[], None);
    }
    server.script(Rule::imap("UID STORE").nth(2).then(Action::refuse("NO [INUSE] later")));
    server
        .script(Rule::imap("UID FETCH").containing("flags").first(1).then(Action::drop_uids(&[2])));
    server.script(Rule::imap("SELECT").then(Action::Exists(7)));
    server.script(Rule::imap("NOOP").then(Action::reply("* 9 RECENT\r\n{tag} NO [ALERT] no\r\n")));
    let mut client = Client::logged_in(&server);
    assert!(client.run("SELECT INBOX").contains("* 7 EXISTS"));
    assert!(client.run("UID STORE 1 +FLAGS.SILENT \\Seen").contains(" OK "));
    assert!(client.run("UID STORE 2 +FLAGS.SILENT \\Seen").contains("NO [INUSE] later"));
    assert!(client.run("UID STORE 3 +FLAGS.SILENT \\Seen").contains(" OK "));
    assert!(!client.run("UID FETCH 1:* (FLAGS)").contains("UID 2"));
    assert!(client.run("UID FETCH 1:* (FLAGS)").contains("UID 2"));
    assert!(client.run("NOOP").starts_with("* 9 RECENT\r\n"));
    let flags: Vec<usize> = inbox.messages().iter().map(|m| m.flags.len()).collect();
    assert_eq!(flags, [1, 0, 1]);
    server.script(Rule::imap("UID FETCH").then(Action::CutAt(20)));
    client.send("c UID FETCH 1:* (FLAGS)\r\n");
    assert_eq!(client.rest(), b"* 1 FETCH (UID 1 FLA");
}

#[test]
fn append_cut_after_execution_leaves_the_message() {
    let server = server();
    server.script(Rule::imap("APPEND").first(1).then(Action::CutAfter));
    server.script(
        Rule::imap("APPEND").nth(2).then(Action::RefuseEarly("NO [OVERQUOTA] full".into())),
    );
    let mut client = Client::logged_in(&server);
    client.send("a APPEND INBOX {3+}\r\nabc\r\n");
    assert_eq!(client.rest(), b"");
    assert_eq!(server.mailbox("INBOX").messages().len(), 1);
    let mut client = Client::logged_in(&server);
    client.send("a APPEND INBOX {3}\r\n");
    assert_eq!(client.line(), "a NO [OVERQUOTA] full\r\n");
    assert_eq!(server.mailbox("INBOX").messages().len(), 1);
}

#[test]
fn hanging_command_goes_on_when_released() {
    let server = server();
    let rule = server.script(Rule::imap("NOOP").then(Action::HangBefore));
    let mut client = Client::logged_in(&server);
    client.send("n NOOP\r\n");
    server.wait_until(LONG, |view| (view.hanging(rule) == 1).then_some(())).unwrap();
    server.release(rule);
    assert!(client.line().starts_with("n OK"));
    server.disconnect_all();
    assert_eq!(client.rest(), b"");
    server.wait_until(LONG, |v| (v.connections(Protocol::Imap) == 0).then_some(())).unwrap();
}

#[test]
fn reset_mailbox_says_goodbye() {
    let server = server();
    let inbox = server.mailbox("INBOX");
    inbox.append(&mail("one"), &[], None);
    inbox.append(&mail("two"), &[], None);
    inbox.expunge(1);
    let mut client = Client::logged_in(&server);
    client.run("SELECT INBOX");
    inbox.set_uid_validity(7);
    client.send("n NOOP\r\n");
    assert!(client.line().starts_with("* BYE"));
    let uids: Vec<u32> = inbox.messages().iter().map(|m| m.uid).collect();
    assert_eq!((inbox.uid_validity(), uids), (7, vec![1]));
}

#[test]
fn read_only_session_sends_no_mutating_command() {
    let server = server();
    server.mailbox("INBOX").append(&mail("one"), &[], None);
    let mut client = Client::logged_in(&server);
    client.run("EXAMINE INBOX");
    client.run("UID FETCH 1 (BODY.PEEK[])");
    assert!(!server.commands().iter().any(|command| command.is_mutating()));
    assert!(client.run("UID STORE 1 +FLAGS \\Seen").contains("NO [READ-ONLY]"));
    assert!(server.commands().iter().any(|command| command.is_mutating()));
}

#[tokio::test]
async fn waiting_is_woken_in_async_tests_too() {
    let server = server();
    let inbox = server.mailbox("INBOX");
    let wait = server.wait_for(LONG, |view| Some(view.messages("INBOX").len()).filter(|n| *n == 1));
    let (count, _) = tokio::join!(wait, async { inbox.append(b"x", &[], None) });
    assert_eq!(count, Some(1));
}
