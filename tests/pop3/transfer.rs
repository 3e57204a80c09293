//! Messages on their way, and their removal.

use postrider::model::failure::{Failure, Kind, Scope};
use postrider::ports::pop::PopDrop as _;
use postrider_mailserver::{Action, MailServer, Pop3Extension, Rule};

use crate::world::{Kept, connect, local, mail, n_said, server, wanted};

fn filled(n: u32) -> MailServer {
    let server = server(&[]);
    for n in 1..=n {
        server.mailbox("INBOX").append(&mail(n), &[], None);
    }
    server
}

async fn fetched(server: &MailServer, numbers: &[u32]) -> (Kept, Result<(), Failure>) {
    let mut kept = Kept::default();
    let wanted: Vec<_> = numbers.iter().map(|n| wanted(*n, 60)).collect();
    let result = connect(server).await.fetch(&wanted, &mut kept).await;
    (kept, result)
}

#[tokio::test]
async fn messages_come_as_they_are_but_for_their_line_ends() {
    let odd = b"Subject: x\r\n\r\n.\r\n..\r\n.x\r\na\rb\r\n\r\n\xff\xfe\r\nlone\nlf\r\n".to_vec();
    for lacking in [&[][..], &[Pop3Extension::Pipelining]] {
        let server = server(lacking);
        server.mailbox("INBOX").append(&odd, &[], None);
        server.mailbox("INBOX").append(&mail(2), &[], None);
        let (kept, result) = fetched(&server, &[1, 2]).await;
        result.unwrap();
        let text = b"Subject: x\n\n.\n..\n.x\na\rb\n\n\xff\xfe\nlone\nlf\n".to_vec();
        assert_eq!(kept.whole, [(101, text), (102, local(&mail(2)))]);
    }
}

#[tokio::test]
async fn a_large_message_comes_in_pieces() {
    let server = server(&[]);
    let large =
        [b"Subject: large\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(200_000)].concat();
    server.mailbox("INBOX").append(&large, &[], None);
    server.mailbox("INBOX").append(&mail(2), &[], None);
    let (kept, result) = fetched(&server, &[1, 2]).await;
    result.unwrap();
    assert!(kept.n_pieces >= 3, "{}", kept.n_pieces);
    assert!(kept.whole == [(101, local(&large)), (102, local(&mail(2)))]);
}

#[tokio::test]
async fn cut_at_any_byte_nothing_but_whole_messages_is_handed_on() {
    let server = filled(1);
    let whole = format!("+OK {} octets\r\n", mail(1).len()).len() + mail(1).len() + ".\r\n".len();
    for at in 0..=whole {
        let cut = server.script(Rule::pop3("RETR").first(1).then(Action::CutAt(at)));
        let (kept, result) = fetched(&server, &[1]).await;
        server.unscript(cut);
        if at < whole {
            let failure = result.unwrap_err();
            assert_eq!((failure.kind, failure.scope), (Kind::Offline, Scope::Account), "{at}");
            assert!(kept.whole.is_empty(), "{at}");
        } else {
            assert_eq!(kept.whole.len(), 1, "the last byte was there");
        }
    }
}

#[tokio::test]
async fn one_refused_message_stops_no_other_and_many_stop_the_session() {
    let server = filled(40);
    server.script(Rule::pop3("RETR").nth(2).then(Action::refuse("-ERR damaged")));
    let (kept, result) = fetched(&server, &[1, 2, 3]).await;
    result.unwrap();
    assert_eq!(kept.whole.iter().map(|(uid, _)| *uid).collect::<Vec<_>>(), [101, 103]);
    assert_eq!(kept.failed.len(), 1);
    let failure = &kept.failed[0].1;
    assert_eq!(failure.scope, Scope::Message);
    assert!(failure.to_string().contains("damaged"), "{failure}");

    server.script(Rule::pop3("RETR").then(Action::refuse("-ERR over quota")));
    let (kept, result) = fetched(&server, &(1..=40).collect::<Vec<_>>()).await;
    assert_eq!(result.unwrap_err().scope, Scope::Account);
    assert!(kept.failed.len() < 40);
    server.clear_script();
    server.script(Rule::pop3("RETR").then(Action::refuse("-ERR [SYS/TEMP] disk")));
    let (kept, result) = fetched(&server, &[1, 2]).await;
    assert_eq!(result.unwrap_err().kind, Kind::Throttled);
    assert!(kept.failed.is_empty(), "it is not about the message");
}

#[tokio::test]
async fn a_size_that_was_a_lie_changes_nothing() {
    let server = filled(1);
    for octets in [0, 1, 1_000_000_000_000, u64::MAX] {
        let mut kept = Kept::default();
        connect(&server).await.fetch(&[wanted(1, octets)], &mut kept).await.unwrap();
        assert_eq!(kept.whole, [(101, local(&mail(1)))], "{octets}");
    }
}

#[tokio::test]
async fn a_message_that_does_not_end_fails_and_ends_the_session() {
    let server = filled(1);
    let mut endless = b"+OK\r\n".to_vec();
    endless.resize(70 * 1024 * 1024, b'x');
    server.script(Rule::pop3("RETR").then(Action::Reply(endless)));
    let (kept, result) = fetched(&server, &[1]).await;
    let failure = result.unwrap_err();
    assert_eq!(failure.kind, Kind::Protocol, "{failure}");
    assert!(failure.to_string().contains("does not end"), "{failure}");
    assert!(kept.whole.is_empty() && kept.failed.len() == 1);
}

#[tokio::test]
async fn removal_counts_once_the_end_was_confirmed() {
    let server = filled(3);
    let mut maildrop = connect(&server).await;
    assert_eq!(maildrop.remove(&[1, 3, 9]).await.unwrap(), [true, true, false]);
    assert_eq!(server.mailbox("INBOX").messages().len(), 3);
    maildrop.quit().await.unwrap();
    assert_eq!(server.mailbox("INBOX").messages().len(), 1);
    for action in
        [Action::CutBefore, Action::refuse("-ERR some were not removed"), Action::CutAfter]
    {
        server.clear_script();
        server.script(Rule::pop3("QUIT").then(action));
        let mut maildrop = connect(&server).await;
        assert_eq!(maildrop.remove(&[1]).await.unwrap(), [true]);
        maildrop.quit().await.unwrap_err();
    }
    assert!(n_said(&server, "QUIT") == 4);
}
