//! APPEND: alone, in the stream, and together.

use postrider::model::failure::Kind;
use postrider::model::ids::MailboxName;
use postrider::ports::remote::{Appended, Remote as _};
use postrider_mailserver::{Action, Capability, MailServer, Rule};

use crate::world::{connect, server, upload};

fn letters(n: u32) -> Vec<postrider::ports::remote::Upload> {
    (1..=n).map(|n| upload(format!("Subject: {n}\n\nhello {n}\n").as_bytes())).collect()
}

/// The UIDs of messages that were stored.
fn uids(answers: &[Appended]) -> Vec<u32> {
    let uid = |answer: &Appended| match answer {
        Appended::Stored(uid) => uid.map_or(0, |uid| uid.get()),
        Appended::Refused(_) => 0,
    };
    answers.iter().map(uid).collect()
}

fn appends(server: &MailServer) -> Vec<String> {
    let commands = server.commands().into_iter();
    commands.filter(|c| c.name == "APPEND").map(|c| c.line).collect()
}

/// Each message lies under the UID of its answer.
fn assert_in_order(server: &MailServer, uids: &[u32]) {
    for (n, uid) in (1..).zip(uids) {
        let message = server.mailbox("INBOX").message(*uid).unwrap();
        assert!(message.bytes.starts_with(format!("Subject: {n}\r\n").as_bytes()), "{n}: {uid}");
    }
}

#[tokio::test]
async fn small_messages_travel_together_and_each_has_its_uid() {
    let server = server(&[], &[]);
    let mut remote = connect(&server).await;
    let (answers, result) = remote.append(&MailboxName::inbox(), letters(70)).await;
    result.unwrap();
    let uids = uids(&answers);
    assert_eq!(uids, (1..=70).collect::<Vec<_>>());
    assert_in_order(&server, &uids);
    assert_eq!(appends(&server).len(), 3, "32, 32 and 6");
}

#[tokio::test]
async fn one_bad_message_among_many_stops_no_other() {
    let server = server(&[], &[]);
    let mut remote = connect(&server).await;
    let mut letters = letters(40);
    letters[4] = upload(b"Subject: 5\n\n\0 is refused\n");
    let (answers, result) = remote.append(&MailboxName::inbox(), letters).await;
    result.unwrap();
    assert_eq!(answers.len(), 40);
    assert!(matches!(&answers[4], Appended::Refused(f) if f.kind == Kind::Refused), "{answers:?}");
    let uids = uids(&answers);
    assert!(uids.iter().enumerate().all(|(at, uid)| (at == 4) == (*uid == 0)), "{uids:?}");
    let (before, after) = (&uids[..4], &uids[5..]);
    assert_in_order(&server, before);
    for (n, uid) in (6..).zip(after) {
        let message = server.mailbox("INBOX").message(*uid).unwrap();
        assert!(message.bytes.starts_with(format!("Subject: {n}\r\n").as_bytes()), "{n}: {uid}");
    }
    assert_eq!(server.mailbox("INBOX").messages().len(), 39, "none is stored twice");
}

#[tokio::test]
async fn a_server_that_claims_multiappend_and_does_not_know_it_gets_one_at_a_time() {
    let server = server(&[], &[]);
    server.script(Rule::imap("APPEND").first(1).then(Action::refuse("BAD one, please")));
    let mut remote = connect(&server).await;
    let (answers, result) = remote.append(&MailboxName::inbox(), letters(5)).await;
    result.unwrap();
    assert_eq!(uids(&answers), [1, 2, 3, 4, 5]);
    let (answers, _) = remote.append(&MailboxName::inbox(), letters(5)).await;
    assert_eq!(uids(&answers), [6, 7, 8, 9, 10]);
    assert_eq!(appends(&server).len(), 1 + 5 + 5);
}

#[tokio::test]
async fn answers_end_where_a_burst_was_cut() {
    let server = server(&[], &[]);
    server.script(Rule::imap("APPEND").nth(2).then(Action::CutAfter));
    let mut remote = connect(&server).await;
    let (answers, result) = remote.append(&MailboxName::inbox(), letters(70)).await;
    assert!(result.is_err());
    assert_eq!(uids(&answers), (1..=32).collect::<Vec<_>>());
}

#[tokio::test]
async fn only_small_literals_come_unasked_where_the_server_says_literal_minus() {
    for lacking in
        [&[Capability::LiteralPlus][..], &[Capability::LiteralPlus, Capability::MultiAppend]]
    {
        let server = server(lacking, &[Capability::LiteralMinus]);
        let mut remote = connect(&server).await;
        let mut letters = letters(6);
        letters[2] = upload(format!("Subject: 3\n\n{}\n", "x".repeat(5000)).as_bytes());
        let (answers, result) = remote.append(&MailboxName::inbox(), letters).await;
        result.unwrap();
        let uids = uids(&answers);
        assert_eq!(uids, [1, 2, 3, 4, 5, 6], "{lacking:?}");
        assert_in_order(&server, &uids);
        let lines = appends(&server);
        let n_asked = lines.iter().filter(|line| !line.ends_with("+}")).count();
        assert_eq!(n_asked, 1, "{lines:?}");
        let n = if lacking.len() == 1 { 3 } else { 6 };
        assert_eq!(lines.len(), n, "{lines:?}");
    }
}

#[tokio::test]
async fn a_server_that_wants_to_be_asked_is_asked() {
    let server = server(&[Capability::LiteralPlus], &[]);
    server.script(Rule::imap("APPEND").nth(2).then(Action::RefuseEarly("NO [TOOBIG] no".into())));
    let mut remote = connect(&server).await;
    let (answers, result) = remote.append(&MailboxName::inbox(), letters(3)).await;
    result.unwrap();
    assert_eq!(uids(&answers), [1, 0, 2]);
    assert!(appends(&server).iter().all(|line| !line.ends_with("+}")));
}

#[tokio::test]
async fn without_uidplus_the_uids_stay_unknown() {
    let server = server(&[Capability::UidPlus], &[]);
    let mut remote = connect(&server).await;
    let (answers, result) = remote.append(&MailboxName::inbox(), letters(3)).await;
    result.unwrap();
    assert_eq!(answers, vec![Appended::Stored(None); 3]);
}
