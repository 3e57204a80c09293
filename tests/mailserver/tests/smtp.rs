//! Drives the SMTP server over raw sockets, as a client sees it.

mod client;

use std::time::Duration;

use client::Client;
use postrider_mailserver::{Action, Config, MailServer, Rule, SmtpExtension, SmtpExtensions};

const LONG: Duration = Duration::from_secs(20);

fn server() -> MailServer {
    MailServer::start(Config::default()).unwrap()
}

#[test]
fn smtp_delivers_unstuffed_and_per_recipient() {
    let server = server();
    server.script(Rule::smtp("RCPT").containing("bad@").then(Action::refuse("550 5.1.1 unknown")));
    let mut client = Client::smtp(&server);
    assert!(client.reply("EHLO me").contains("250-PIPELINING\r\n"));
    assert!(client.reply("MAIL FROM:<a@b.c>").starts_with("530 "));
    assert!(client.reply("AUTH PLAIN AHVzZXIAc2VjcmV0").starts_with("235 "));
    client.send("MAIL FROM:<a@b.c> SIZE=20\r\nRCPT TO:<good@x.y>\r\nRCPT TO:<bad@x.y>\r\nDATA\r\n");
    let replies: Vec<String> = (0..4).map(|_| client.line()).collect();
    let codes: Vec<&str> = replies.iter().map(|reply| &reply[..3]).collect();
    assert_eq!(codes, ["250", "250", "550", "354"]);
    client.send("Subject: x\r\n\r\n..dot\r\n.\n.\r\nlone\r\n.\r\n");
    assert!(client.line().starts_with("250 "));
    let sent = server.wait_until(LONG, |view| view.sent().first().cloned()).unwrap();
    assert_eq!(
        (sent.sender.as_str(), sent.recipients.as_slice()),
        ("a@b.c", &["good@x.y".to_owned()][..])
    );
    assert_eq!(sent.bytes, b"Subject: x\r\n\r\n.dot\r\n\n.\r\nlone\r\n");
    assert_eq!(sent.user.as_deref(), Some("user"));
    assert!(client.reply("QUIT").starts_with("221 "));
}

#[test]
fn smtp_is_cut_before_the_dots_reply() {
    let server = server();
    server.script(Rule::smtp(".").first(1).then(Action::CutAfter));
    server.script(Rule::smtp("DATA").nth(2).then(Action::CutReceiving(5)));
    for _ in 0..2 {
        let mut client = Client::smtp(&server);
        client.reply("EHLO me");
        client.reply("AUTH PLAIN AHVzZXIAc2VjcmV0");
        client.reply("MAIL FROM:<>");
        client.reply("RCPT TO:<x@y.z>");
        assert!(client.reply("DATA").starts_with("354"));
        client.send("Subject: x\r\n\r\ny\r\n.\r\n");
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(server.sent().len(), 1);
}

#[test]
fn smtp_extensions_are_switchable() {
    let smtp_extensions =
        SmtpExtensions::none().with(SmtpExtension::Size).with(SmtpExtension::AuthLogin);
    let config = Config { smtp_extensions, smtp_bytes_max: 100, ..Config::default() };
    let server = MailServer::start(config).unwrap();
    let mut client = Client::smtp(&server);
    assert_eq!(client.reply("EHLO me"), "250-localhost\r\n250-SIZE 100\r\n250 AUTH LOGIN\r\n");
    assert!(client.reply("AUTH LOGIN dXNlcg==").starts_with("334 "));
    assert_eq!(client.reply("c2VjcmV0"), "235 welcome\r\n");
    assert!(client.reply("MAIL FROM:<a@b.c> SIZE=101").starts_with("552 "));
    assert!(client.reply("MAIL FROM:<a@b.c> BODY=8BITMIME").starts_with("555 "));
}
