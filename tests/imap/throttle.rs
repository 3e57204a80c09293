//! Servers that want less of us.

use std::time::Duration;

use postrider::model::failure::{Failure, Kind, Remedy, Scope};
use postrider::model::ids::MailboxName;
use postrider::ports::remote::{Appended, Connector as _, Remote as _};
use postrider_mailserver::{Action, Capability, Rule};

use crate::world::{connect, connector, mail, server, upload};

fn assert_slowed_down(failure: &Failure, remedy: Remedy) {
    assert_eq!(failure.scope, Scope::Account, "{failure}");
    assert_eq!((failure.kind, failure.remedy), (Kind::Throttled, remedy), "{failure}");
}

#[tokio::test]
async fn a_refusal_that_asks_for_a_pause_says_how_long() {
    let pause = Remedy::After(Duration::from_millis(299_961));
    let exchange = "Request is throttled. Suggested Backoff Time: 299961 milliseconds";
    for (words, remedy) in [
        (format!("BAD {exchange}"), pause),
        (format!("NO [THROTTLED] {exchange}"), pause),
        ("NO [THROTTLED] slow down".to_owned(), Remedy::Later),
        ("NO [UNAVAILABLE] later".to_owned(), Remedy::Later),
        ("NO [OVERQUOTA] Account exceeded command limits".to_owned(), Remedy::Later),
    ] {
        let server = server(&[], &[]);
        server.mailbox("INBOX").append(&mail(1), &[], None);
        let rule = server.script(Rule::imap("UID FETCH").then(Action::refuse(&words)));
        let mut remote = connect(&server).await;
        let failure = remote.changes(&MailboxName::inbox(), None).await.unwrap_err();
        assert_slowed_down(&failure, remedy);
        server.unscript(rule);
        for command in ["LOGIN", "AUTHENTICATE"] {
            server.script(Rule::imap(command).then(Action::refuse(&words)));
        }
        let failure = connector(&server).connect().await.unwrap_err();
        assert_slowed_down(&failure, remedy);
    }
}

#[tokio::test]
async fn a_full_mailbox_refuses_messages_and_pauses_nothing() {
    let server = server(&[], &[]);
    server.script(Rule::imap("APPEND").then(Action::refuse("NO [OVERQUOTA] full")));
    let mut remote = connect(&server).await;
    let letters = vec![upload(b"Subject: x\n\nx\n")];
    let (answers, result) = remote.append(&MailboxName::inbox(), letters).await;
    result.unwrap();
    assert!(matches!(&answers[..], [Appended::Refused(f)] if f.scope == Scope::Message));
}

#[tokio::test]
async fn what_a_server_offers_is_read_again_after_the_login() {
    // Before the login it says one thing, and its answer to the login says nothing.
    let server = server(&[], &[Capability::Notify]);
    server.script(Rule::imap("GREETING").then(Action::rewrite("NOTIFY", "X-NOTHING")));
    for command in ["LOGIN", "AUTHENTICATE"] {
        server.script(Rule::imap(command).then(Action::tagged("OK welcome")));
    }
    assert!(connect(&server).await.can_notify());
    let asked = server.commands().iter().filter(|c| c.name == "CAPABILITY").count();
    assert_eq!(asked, 1);
}
