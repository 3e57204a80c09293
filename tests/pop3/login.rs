//! Ways in, and who is kept out.

use std::time::Duration;

use postrider::adapters::pop3::Pop3Connector;
use postrider::model::account::{Leave, Mechanism, PopSettings, SecretSource, Tls as TlsSetting};
use postrider::model::failure::{Failure, Kind, Remedy};
use postrider::ports::pop::{PopConnector as _, PopDrop as _};
use postrider_mailserver::{Action, Config, MailServer, Pop3Extension, Rule, Tls, TlsMode};
use rcgen::{CertificateParams, KeyPair};

use crate::world::{connect, connector, said, server, settings};

async fn refusal(server: &MailServer) -> Failure {
    connector(server).connect().await.map(drop).unwrap_err()
}

#[tokio::test]
async fn each_server_is_logged_in_to_by_the_best_it_has() {
    use Pop3Extension::{Apop, AuthLogin, AuthPlain, Capa, User};
    for (lacking, way) in [
        (&[][..], "AUTH"),
        (&[AuthPlain], "AUTH"),
        (&[AuthPlain, AuthLogin], "PASS"),
        (&[AuthPlain, AuthLogin, User], "APOP"),
        (&[Capa, Apop], "PASS"),
    ] {
        let server = server(lacking);
        connect(&server).await.quit().await.unwrap();
        assert!(said(&server).contains(&way.to_owned()), "{lacking:?}: {:?}", said(&server));
    }
    let closed = server(&[AuthPlain, AuthLogin, User, Apop]);
    let failure = refusal(&closed).await;
    assert_eq!((failure.kind, failure.remedy), (Kind::NotSupported, Remedy::Never), "{failure}");
}

#[tokio::test]
async fn a_token_travels_alone_where_it_is_too_long_for_the_command() {
    let tokens = ["short".to_owned(), "t".repeat(2000)];
    let ways = [(Mechanism::OAuthBearer, "AUTH OAUTHBEARER"), (Mechanism::XOAuth2, "AUTH XOAUTH2")];
    for (token, (mechanism, way)) in
        tokens.iter().flat_map(|token| ways.map(|way| (token.clone(), way)))
    {
        let config = Config { users: vec![("user".into(), token.clone())], ..Config::default() };
        let server = MailServer::start(config).unwrap();
        let mut pop = settings(&server, Leave::Forever);
        pop.endpoint.auth = vec![mechanism];
        pop.endpoint.password = Some(SecretSource::Plain(token.into()));
        Pop3Connector::new(pop, "home").connect().await.unwrap();
        assert!(server.commands().iter().any(|c| c.line.starts_with(way)), "{way}");
        let lines: Vec<usize> = server.commands().iter().map(|c| c.line.len() + 2).collect();
        assert!(lines.iter().all(|n| *n <= 255), "{lines:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_whether_it_passes_and_what_mends_it() {
    let pause = |seconds| Remedy::After(Duration::from_secs(seconds));
    for (words, kind, remedy) in [
        ("-ERR [IN-USE] locked", Kind::Throttled, Remedy::Later),
        ("-ERR [LOGIN-DELAY] too early", Kind::Throttled, pause(900)),
        ("-ERR [SYS/TEMP] disk", Kind::Throttled, Remedy::Later),
        ("-ERR [SYS/PERM] no mailbox", Kind::Refused, Remedy::Later),
        ("-ERR [AUTH] wrong", Kind::AuthFailed, Remedy::Later),
        ("-ERR no", Kind::AuthFailed, Remedy::Later),
        ("-ERR mailbox temporarily unavailable", Kind::Throttled, Remedy::Later),
    ] {
        let config = Config { pop3_login_delay: Some(900), ..Config::default() };
        let server = MailServer::start(config).unwrap();
        server.script(Rule::pop3("AUTH").then(Action::refuse(words)));
        let failure = refusal(&server).await;
        assert_eq!((failure.kind, failure.remedy), (kind, remedy), "{failure}");
        assert!(failure.to_string().contains(words), "{failure}");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
}

#[tokio::test]
async fn what_is_no_pop3_server_is_left_at_once() {
    let endless = "x".repeat(200_000);
    for greeting in ["* OK IMAP4rev1 ready\r\n", "220 ESMTP\r\n", &format!("+OK {endless}")] {
        let server = server(&[]);
        server.script(Rule::pop3("GREETING").then(Action::reply(greeting)));
        let failure = refusal(&server).await;
        assert_eq!(failure.kind, Kind::Protocol, "{failure}");
        assert!(said(&server).is_empty(), "nothing is said to it");
    }
    let server = server(&[]);
    server.script(Rule::pop3("CAPA").then(Action::Reply(b"+OK\r\n".repeat(2000))));
    assert_eq!(refusal(&server).await.kind, Kind::Protocol, "a list that does not end");
}

fn tls_server() -> (MailServer, PopSettings) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let tls = Tls {
        mode: TlsMode::StartTls,
        certificate_pem: certificate.pem().into_bytes(),
        key_pem: key.serialize_pem().into_bytes(),
    };
    let server = MailServer::start(Config { tls: Some(tls), ..Config::default() }).unwrap();
    let mut pop = settings(&server, Leave::Forever);
    pop.endpoint.host = "localhost".into();
    pop.endpoint.tls = TlsSetting::StartTls;
    let file = std::env::temp_dir().join(format!("pr-pop3-{}.pem", pop.endpoint.port));
    std::fs::write(&file, certificate.pem()).unwrap();
    pop.endpoint.ca_file = Some(file);
    (server, pop)
}

#[tokio::test]
async fn stls_comes_first_and_everything_is_asked_again_behind_it() {
    let (server, pop) = tls_server();
    let maildrop = Pop3Connector::new(pop, "home").connect().await.unwrap();
    maildrop.quit().await.unwrap();
    let said = said(&server);
    assert_eq!(said[0], "STLS", "{said:?}");
    assert!(said[1..].contains(&"CAPA".to_owned()), "{said:?}");
}

#[tokio::test]
async fn no_password_leaves_without_tls_that_was_asked_for() {
    for (rule, word) in [
        (Action::refuse("-ERR no"), "refuses to encrypt"),
        (Action::tagged("+OK begin TLS\r\n+OK injected"), "injecting"),
        (Action::tagged("+OK begin TLS\r\n."), "injecting"),
    ] {
        let (server, pop) = tls_server();
        server.script(Rule::pop3("STLS").then(rule));
        let failure = Pop3Connector::new(pop, "home").connect().await.map(drop).unwrap_err();
        assert_eq!(failure.kind.error_name(), "TlsUntrusted", "{failure}");
        assert!(failure.to_string().contains(word), "{failure}");
        assert_eq!(said(&server), ["STLS"], "nothing else was said");
    }
}
