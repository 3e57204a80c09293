//! The SMTP client over TLS, from the start and after STARTTLS, with a login.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop at what it reads"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use postrider::adapters::smtp::SmtpRelay;
use postrider::model::account::{Endpoint, Mechanism, SecretSource, Tls};
use postrider::model::failure::{Failure, Kind};
use postrider::model::ids::AccountName;
use postrider::model::outbox::{Address, Dsn, Envelope, Verdict};
use postrider::ports::outbox::{DotGate, Job, Submit};
use postrider_mailserver::{Config, MailServer, TlsMode};

struct Open;

impl DotGate for Open {
    async fn open(&self, _: &[(Address, Verdict)]) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn a_message_goes_out_encrypted_and_logged_in() {
    for (mode, tls) in [(TlsMode::Implicit, Tls::Implicit), (TlsMode::StartTls, Tls::StartTls)] {
        for auth in [Mechanism::Plain, Mechanism::Login] {
            let dir = tempfile::tempdir().unwrap();
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let ca_file = dir.path().join("ca.pem");
            std::fs::write(&ca_file, made.cert.pem()).unwrap();
            let tls_config = Some(postrider_mailserver::Tls {
                mode,
                certificate_pem: made.cert.pem().into_bytes(),
                key_pem: made.signing_key.serialize_pem().into_bytes(),
            });
            let server = MailServer::start(Config {
                tls: tls_config,
                smtp_auth_required: true,
                ..Config::default()
            })
            .unwrap();
            let path = dir.path().join("m");
            std::fs::write(&path, "Subject: s\n\n.body\n").unwrap();
            let account = AccountName("work".to_owned());
            let endpoint = Endpoint {
                host: "localhost".to_owned(),
                port: server.smtp_addr().port(),
                tls,
                user: "user".to_owned(),
                password: Some(SecretSource::Plain("secret".to_owned().into())),
                auth: vec![auth],
                ca_file: Some(ca_file),
                pin_sha256: None,
                client_cert: None,
                timeout: Duration::from_secs(20),
                open: None,
                advice: None,
            };
            let mut wrong = endpoint.clone();
            wrong.password = Some(SecretSource::Plain("wrong".to_owned().into()));
            let relay = |endpoint| SmtpRelay::new(BTreeMap::from([(account.clone(), endpoint)]));
            let envelope = Envelope {
                sender: Address::new("me@example.com"),
                recipients: vec![Address::new("a@x.org").unwrap()],
            };
            let job = Job {
                account: account.clone(),
                path,
                skip: Vec::new(),
                envelope,
                dsn: Dsn::default(),
                utf8_header: false,
            };
            let refused = relay(wrong).submit(&job, &Open).await.unwrap_err();
            assert_eq!(refused.failure.kind, Kind::AuthFailed, "{}", refused.failure);
            let outcome = relay(endpoint).submit(&job, &Open).await.unwrap();
            assert!(matches!(outcome.verdicts[0].1, Verdict::Accepted(_)));
            let sent = server.sent();
            assert_eq!(sent[0].user.as_deref(), Some("user"));
            assert_eq!(sent[0].sender, "me@example.com");
        }
    }
}
