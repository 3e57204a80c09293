//! A server and connections to it.

use std::io::Write as _;
use std::time::Duration;

use postrider::adapters::imap::{ImapConnector, ImapRemote};
use postrider::model::account::{Endpoint, ImapSettings, SecretSource, Tls};
use postrider::model::failure::Failure;
use postrider::model::flags::Flags;
use postrider::model::ids::MailboxName;
use postrider::model::view::{Evidence, Fingerprint};
use postrider::ports::remote::{Connector, FetchSink, Fetched, Upload};
use postrider_mailserver::{Capability, Config, MailServer};

/// The configuration of a server that lacks these capabilities and has those.
pub(crate) fn config(lacking: &[Capability], having: &[Capability]) -> Config {
    let mut config = Config::default();
    for capability in lacking {
        config.capabilities = config.capabilities.without(*capability);
    }
    for capability in having {
        config.capabilities = config.capabilities.with(*capability);
    }
    config
}

pub(crate) fn server(lacking: &[Capability], having: &[Capability]) -> MailServer {
    MailServer::start(config(lacking, having)).unwrap()
}

pub(crate) fn connector(server: &MailServer) -> ImapConnector {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: server.imap_addr().port(),
        tls: Tls::None,
        user: "user".into(),
        password: Some(SecretSource::Plain("secret".to_owned().into())),
        auth: Vec::new(),
        ca_file: None,
        pin_sha256: None,
        client_cert: None,
        timeout: Duration::from_secs(10),
        open: None,
        advice: None,
    };
    let push = vec![MailboxName::inbox()];
    let settings = ImapSettings { endpoint, path_prefix: None, push, max_connections: 3 };
    ImapConnector::new(settings, "work")
}

pub(crate) async fn connect(server: &MailServer) -> ImapRemote {
    connector(server).connect().await.unwrap()
}

pub(crate) fn mail(n: u32) -> Vec<u8> {
    format!("Message-ID: <{n}@x>\r\nSubject: {n}\r\n\r\nhello {n}\r\n").into_bytes()
}

/// A message to upload, with line ends as on disk.
pub(crate) fn upload(bytes: &[u8]) -> Upload {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let n_lines = bytes.iter().filter(|b| **b == b'\n').count() as u64;
    let disk_bytes = bytes.len() as u64;
    let evidence = Evidence { message_id: String::new(), size: disk_bytes + n_lines };
    let print = Fingerprint { evidence, digest: [0; 32] };
    Upload { file, disk_bytes, print, flags: Flags::default(), date: 1_000_000_000 }
}

/// Keeps what is fetched.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) whole: Vec<(u32, Vec<u8>)>,
    pub(crate) failed: Vec<(u32, Failure)>,
}

impl FetchSink for Kept {
    async fn put(&mut self, item: Fetched) -> Result<(), Failure> {
        match item {
            Fetched::Whole(header, body) => self.whole.push((header.uid.get(), body)),
            Fetched::Begin(header) => self.whole.push((header.uid.get(), Vec::new())),
            Fetched::Chunk(chunk) => self.whole.last_mut().unwrap().1.extend(chunk),
            Fetched::End => {}
            Fetched::Failed(uid, failure) => self.failed.push((uid.get(), failure)),
        }
        Ok(())
    }
}
