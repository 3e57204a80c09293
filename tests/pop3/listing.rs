//! What a server lists, and what of that is believed.

use postrider::model::failure::Kind;
use postrider::model::pop::PopListing;
use postrider::ports::pop::PopDrop as _;
use postrider_mailserver::{Action, MailServer, Pop3Extension, Rule};

use crate::world::{connect, mail, server};

fn filled(lacking: &[Pop3Extension]) -> MailServer {
    let server = server(lacking);
    for n in 1..=3 {
        server.mailbox("INBOX").append(&mail(n), &[], None);
    }
    server
}

async fn listed(server: &MailServer) -> PopListing {
    connect(server).await.list().await.unwrap()
}

fn uidls(listing: &PopListing) -> Vec<Option<&str>> {
    let keys = listing.messages.iter().map(|m| listing.key(m));
    keys.map(|key| key?.strip_prefix('u')).collect()
}

#[tokio::test]
async fn a_good_server_is_believed_with_and_without_pipelining() {
    for lacking in [&[][..], &[Pop3Extension::Pipelining], &[Pop3Extension::Capa]] {
        let listing = listed(&filled(lacking)).await;
        assert!(listing.is_sound && listing.has_uidl);
        let ids = [Some("id00000001"), Some("id00000002"), Some("id00000003")];
        assert_eq!(uidls(&listing), ids);
        assert_eq!(listing.messages[0].octets, mail(1).len() as u64);
    }
    let listing = listed(&filled(&[Pop3Extension::Uidl])).await;
    assert!(listing.is_sound && !listing.has_uidl);
}

#[tokio::test]
async fn unique_ids_that_no_rule_allows_are_none() {
    let server = filled(&[]);
    let long = "u".repeat(200);
    let huge = "u".repeat(10 * 1024);
    for bad in [long.as_str(), huge.as_str(), "", "tab\there", "\u{e4}"] {
        let rule = server.script(Rule::pop3("UIDL").then(Action::rewrite("id00000002", bad)));
        let listing = listed(&server).await;
        assert_eq!(uidls(&listing), [Some("id00000001"), None, Some("id00000003")], "{bad}");
        server.unscript(rule);
    }
    // A name is only a key: it may look like a path.
    server.script(Rule::pop3("UIDL").then(Action::rewrite("id00000002", "../../x")));
    assert_eq!(uidls(&listed(&server).await)[1], Some("../../x"));
}

#[tokio::test]
async fn answers_that_contradict_each_other_make_a_listing_unsound() {
    for (command, answer) in [
        ("STAT", "+OK 1000000000 5\r\n"),
        ("STAT", "+OK\r\n"),
        ("LIST", "+OK\r\n1 10\r\n2 10\r\n.\r\n"),
        ("LIST", "+OK\r\n1 10\r\n1 10\r\n2 10\r\n3 10\r\n.\r\n"),
        ("UIDL", "+OK\r\n1 a\r\n2 b\r\n.\r\n"),
        ("UIDL", "+OK\r\n1 a\r\n1 b\r\n2 c\r\n3 d\r\n.\r\n"),
        ("UIDL", "+OK\r\n1 a\r\n2 b\r\n3 c\r\n4 d\r\n.\r\n"),
    ] {
        let server = filled(&[]);
        server.script(Rule::pop3(command).then(Action::reply(answer)));
        let listing = listed(&server).await;
        assert!(!listing.is_sound, "{answer}");
        assert!(listing.messages.len() <= 3, "{answer}");
    }
}

#[tokio::test]
async fn a_list_or_a_line_that_does_not_end_ends_the_session() {
    let endless = Action::Reply(b"x".repeat(100_000));
    for command in ["STAT", "LIST", "UIDL"] {
        let server = filled(&[]);
        server.script(Rule::pop3(command).then(endless.clone()));
        let failure = connect(&server).await.list().await.unwrap_err();
        assert_eq!(failure.kind, Kind::Protocol, "{failure}");
    }
    let server = filled(&[]);
    let many: String = (1..1_000_100).map(|n| format!("{n} 1\r\n")).collect();
    server.script(Rule::pop3("LIST").then(Action::Reply(format!("+OK\r\n{many}").into_bytes())));
    let failure = connect(&server).await.list().await.unwrap_err();
    assert!(failure.to_string().contains("more than 1000000 messages"), "{failure}");
}

#[tokio::test]
async fn a_hash_is_that_of_the_header_and_a_refusal_is_none() {
    let server = filled(&[Pop3Extension::Uidl]);
    server.mailbox("INBOX").append(&mail(1), &[], None);
    server.script(Rule::pop3("TOP").containing("TOP 2 ").then(Action::refuse("-ERR no")));
    let mut maildrop = connect(&server).await;
    maildrop.list().await.unwrap();
    let heads = maildrop.heads(&[1, 2, 3, 4]).await.unwrap();
    assert!(heads[0].is_some() && heads[1].is_none());
    assert!(heads[0] == heads[3] && heads[0] != heads[2]);
}
