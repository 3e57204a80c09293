//! COMPRESS=DEFLATE: agreed on after the login, and everything goes on over it.

use postrider::model::failure::Kind;
use postrider::model::ids::MailboxName;
use postrider::ports::remote::{Connector as _, Remote as _, Wanted};
use postrider_mailserver::{Action, Capability, MailServer, Rule};

use crate::world::{Kept, connector, mail, server, upload};

fn n_compress(server: &MailServer) -> usize {
    server.commands().iter().filter(|c| c.name == "COMPRESS").count()
}

#[tokio::test]
async fn mail_travels_both_ways_over_a_compressed_connection() {
    let server = server(&[], &[]);
    for n in 1..=300 {
        server.mailbox("INBOX").append(&mail(n), &[], None);
    }
    let large = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(300_000));
    server.mailbox("INBOX").append(large.as_bytes(), &[], None);
    let mut remote = connector(&server).far_away().connect().await.unwrap();
    assert_eq!(n_compress(&server), 1);
    let inbox = MailboxName::inbox();
    let view = remote.changes(&inbox, None).await.unwrap();
    assert_eq!(view.listed().len(), 301);
    let wanted: Vec<Wanted> = (view.listed().uids())
        .map(|uid| Wanted { uid, size: (uid.get() == 301).then_some(large.len() as u32) })
        .collect();
    let mut kept = Kept::default();
    remote.fetch(&wanted, &mut kept).await.unwrap();
    assert_eq!((kept.whole.len(), kept.failed.len()), (301, 0));
    let body = |uid: u32| kept.whole.iter().find(|(u, _)| *u == uid).unwrap().1.clone();
    assert_eq!(body(7), b"Message-ID: <7@x>\nSubject: 7\n\nhello 7\n");
    assert_eq!(body(301), large.replace("\r\n", "\n").into_bytes());
    let uploads = (0..40).map(|n| upload(format!("Subject: {n}\n\n{n}\n").as_bytes())).collect();
    let (answers, result) = remote.append(&inbox, uploads).await;
    result.unwrap();
    assert_eq!(answers.len(), 40);
    remote.logout().await;
}

#[tokio::test]
async fn it_is_left_alone_where_it_is_refused_not_offered_or_does_not_pay() {
    let refusing = server(&[], &[]);
    refusing.script(Rule::imap("COMPRESS").then(Action::refuse("NO [COMPRESSIONACTIVE] no")));
    let mut remote = connector(&refusing).far_away().connect().await.unwrap();
    remote.mailboxes().await.unwrap();
    let lacking = server(&[Capability::Compress], &[]);
    connector(&lacking).far_away().connect().await.unwrap().mailboxes().await.unwrap();
    assert_eq!(n_compress(&lacking), 0);
    // This server is on this machine.
    let near = server(&[], &[]);
    connector(&near).connect().await.unwrap().mailboxes().await.unwrap();
    assert_eq!(n_compress(&near), 0);
}

#[tokio::test]
async fn rubbish_instead_of_compressed_data_is_a_lost_connection() {
    let server = server(&[], &[]);
    let raw = b"{tag} OK begin\r\n\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    server.script(Rule::imap("COMPRESS").then(Action::Reply(raw)));
    let connected = connector(&server).far_away().connect().await;
    let failure = match connected {
        Ok(mut remote) => remote.mailboxes().await.unwrap_err(),
        Err(failure) => failure,
    };
    assert_eq!(failure.kind, Kind::Protocol, "{failure}");
}
