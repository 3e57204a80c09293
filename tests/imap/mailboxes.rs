//! Mailboxes as a whole: renamed, deleted, opened.

use postrider::model::failure::{Kind, Scope};
use postrider::model::ids::{MailboxName, UidValidity};
use postrider::ports::remote::Remote as _;
use postrider_mailserver::Action;
use postrider_mailserver::{Capability, Rule};

use crate::world::{connect, mail, server};

fn name(text: &str) -> MailboxName {
    MailboxName(text.to_owned())
}

#[tokio::test]
async fn a_mailbox_is_renamed_with_those_below_it() {
    for lacking in [&[][..], &[Capability::Unselect]] {
        let server = server(lacking, &[]);
        server.mailbox("Work/2026").append(&mail(1), &[], None);
        server.create_mailbox("Work");
        let mut remote = connect(&server).await;
        remote.mailboxes().await.unwrap();
        remote.changes(&name("Work/2026"), None).await.unwrap();
        remote.rename(&name("Work"), &name("Büro")).await.unwrap();
        let mut names: Vec<_> =
            remote.mailboxes().await.unwrap().into_iter().map(|m| m.name).collect();
        names.retain(|name| !name.is_inbox());
        assert_eq!(names, [name("Büro"), name("Büro/2026")]);
        let view = remote.changes(&name("Büro/2026"), None).await.unwrap();
        assert_eq!(view.listed().len(), 1);
        assert!(server.commands().iter().all(|c| c.name != "CLOSE"), "that would expunge");
        let failure = remote.rename(&name("Nowhere"), &name("X")).await.unwrap_err();
        assert_eq!(failure.scope, Scope::Mailbox, "{failure}");
    }
}

#[tokio::test]
async fn only_an_empty_mailbox_is_deleted() {
    let server = server(&[], &[]);
    server.create_mailbox("Empty");
    server.mailbox("Full").append(&mail(1), &[], None);
    let mut remote = connect(&server).await;
    remote.delete(&name("Empty")).await.unwrap();
    let failure = remote.delete(&name("Full")).await.unwrap_err();
    assert_eq!((failure.scope, failure.kind), (Scope::Mailbox, Kind::Refused), "{failure}");
    assert_eq!(server.mailboxes(), ["Full", "INBOX"]);
    // One whose count cannot be known is not empty.
    server.script(Rule::imap("SELECT").then(Action::DropLines(b"EXISTS".to_vec())));
    server.create_mailbox("Unsure");
    remote.delete(&name("Unsure")).await.unwrap_err();
    assert_eq!(server.mailboxes(), ["Full", "INBOX", "Unsure"]);
}

#[tokio::test]
async fn a_mailbox_is_opened_only_under_the_uidvalidity_that_is_meant() {
    let server = server(&[], &[]);
    let mut remote = connect(&server).await;
    let now = UidValidity::new(server.mailbox("INBOX").uid_validity()).unwrap();
    remote.open(&MailboxName::inbox(), now).await.unwrap();
    server.mailbox("INBOX").set_uid_validity(4711);
    let mut remote = connect(&server).await;
    let failure = remote.open(&MailboxName::inbox(), now).await.unwrap_err();
    assert_eq!(failure.scope, Scope::Mailbox, "{failure}");
}
