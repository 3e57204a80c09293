//! A server, sessions with it, and a place for what they bring.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postrider::adapters::ledger::SqliteLedger;
use postrider::adapters::maildir::MaildirStore;
use postrider::adapters::pop3::{Pop3Connector, Pop3Drop};
use postrider::engine::board::Board;
use postrider::engine::pop::pass::PopWorker;
use postrider::model::account::{
    Account, Brake, CreatePolicy, DeletePolicy, Direction, Endpoint, Layout, Leave, Limits,
    PopSettings, SecretSource, SyncPolicy, Tls,
};
use postrider::model::event::AccountReport;
use postrider::model::failure::Failure;
use postrider::model::ids::{AccountName, MailboxName, Uid};
use postrider::model::status::{AccountStatus, Counters, Status};
use postrider::ports::pop::{PopConnector as _, PopWanted};
use postrider::ports::remote::{FetchSink, Fetched};
use postrider_mailserver::{CommandRecord, Config, MailServer, Pop3Extension, Protocol};
use tempfile::TempDir;

pub(crate) type Worker = PopWorker<MaildirStore, SqliteLedger, Pop3Connector>;

pub(crate) fn server(lacking: &[Pop3Extension]) -> MailServer {
    let mut config = Config::default();
    for extension in lacking {
        config.pop3_extensions = config.pop3_extensions.without(*extension);
    }
    MailServer::start(config).unwrap()
}

pub(crate) fn settings(server: &MailServer, leave: Leave) -> PopSettings {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: server.pop3_addr().port(),
        tls: Tls::None,
        user: "user".into(),
        password: Some(SecretSource::Plain("secret".to_owned().into())),
        auth: Vec::new(),
        ca_file: None,
        pin_sha256: None,
        client_cert: None,
        timeout: Duration::from_secs(5),
        open: None,
        advice: None,
    };
    PopSettings { endpoint, leave, mailbox: MailboxName::inbox(), login_gap: Duration::ZERO }
}

pub(crate) fn connector(server: &MailServer) -> Pop3Connector {
    Pop3Connector::new(settings(server, Leave::Forever), "home")
}

pub(crate) async fn connect(server: &MailServer) -> Pop3Drop {
    connector(server).connect().await.unwrap()
}

pub(crate) fn mail(n: u32) -> Vec<u8> {
    format!("Message-ID: <{n}@x>\r\nSubject: {n}\r\n\r\nhello {n}\r\n").into_bytes()
}

/// The bytes as they are on disk.
pub(crate) fn local(wire: &[u8]) -> Vec<u8> {
    String::from_utf8(wire.to_vec()).unwrap().replace("\r\n", "\n").into_bytes()
}

/// The commands that the POP3 server got, by name.
pub(crate) fn said(server: &MailServer) -> Vec<String> {
    let is_pop = |c: &CommandRecord| c.protocol == Protocol::Pop3;
    server.commands().into_iter().filter(is_pop).map(|c| c.name).collect()
}

pub(crate) fn n_said(server: &MailServer, name: &str) -> usize {
    said(server).iter().filter(|n| *n == name).count()
}

pub(crate) fn wanted(number: u32, octets: u64) -> PopWanted {
    PopWanted { number, uid: Uid::new(100 + number).unwrap(), octets }
}

/// Keeps what is fetched.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Complete messages.
    pub(crate) whole: Vec<(u32, Vec<u8>)>,
    pub(crate) failed: Vec<(u32, Failure)>,
    open: Option<(u32, Vec<u8>)>,
    pub(crate) n_pieces: usize,
}

impl FetchSink for Kept {
    async fn put(&mut self, item: Fetched) -> Result<(), Failure> {
        match item {
            Fetched::Whole(header, body) => self.whole.push((header.uid.get(), body)),
            Fetched::Begin(header) => self.open = Some((header.uid.get(), Vec::new())),
            Fetched::Chunk(chunk) => {
                self.n_pieces += 1;
                self.open.as_mut().unwrap().1.extend(chunk);
            }
            Fetched::End => self.whole.push(self.open.take().unwrap()),
            Fetched::Failed(uid, failure) => self.failed.push((uid.get(), failure)),
        }
        Ok(())
    }
}

/// A Maildir and a ledger that outlive the worker.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn ledger_file(&self) -> std::path::PathBuf {
        self.dir.path().join("ledger.sqlite")
    }

    /// A worker as after a start of the program.
    pub(crate) fn worker(&self, server: &MailServer, leave: Leave) -> Worker {
        self.worker_with(server, leave, |_| {})
    }

    pub(crate) fn worker_with(
        &self,
        server: &MailServer,
        leave: Leave,
        change: impl FnOnce(&mut Account),
    ) -> Worker {
        self.make(settings(server, leave), change)
    }

    /// A worker whose mail comes into another mailbox.
    pub(crate) fn worker_into(&self, server: &MailServer, leave: Leave, mailbox: &str) -> Worker {
        let mailbox = MailboxName(mailbox.to_owned());
        self.make(PopSettings { mailbox, ..settings(server, leave) }, |_| {})
    }

    /// A worker for a provider that is known to want its logins this far apart.
    pub(crate) fn worker_patient(&self, server: &MailServer, login_gap: Duration) -> Worker {
        self.make(PopSettings { login_gap, ..settings(server, Leave::Forever) }, |_| {})
    }

    fn make(&self, pop: PopSettings, change: impl FnOnce(&mut Account)) -> Worker {
        let mut account = account(self.dir.path(), pop.clone());
        change(&mut account);
        let week = Duration::from_secs(7 * 86_400);
        let local = MaildirStore::new(account.maildir.clone(), Layout::Fs, ':', week);
        let ledger = SqliteLedger::open(&self.ledger_file(), |_| Duration::ZERO).unwrap();
        let status = Status {
            accounts: BTreeMap::from([(account.name.clone(), AccountStatus::default())]),
            ..Status::default()
        };
        let (board, _) = Board::new(status);
        let connector = Arc::new(Pop3Connector::new(pop.clone(), "home"));
        let account = (Arc::new(account), pop);
        PopWorker::new(account, Arc::new(local), Arc::new(ledger), connector, board)
    }

    /// One pass after a start.
    pub(crate) async fn pass(&self, server: &MailServer, leave: Leave) -> AccountReport {
        self.worker(server, leave).once(&[]).await
    }

    /// A pass that must succeed, and what it did.
    pub(crate) async fn good(&self, server: &MailServer, leave: Leave) -> Counters {
        counters(&self.pass(server, leave).await)
    }

    /// The messages that are here, sorted.
    pub(crate) fn here(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for path in self.files() {
            all.push(std::fs::read(path).unwrap());
        }
        all.sort();
        all
    }

    pub(crate) fn files(&self) -> Vec<std::path::PathBuf> {
        let mut all = Vec::new();
        for sub in ["new", "cur"] {
            let Ok(dir) = std::fs::read_dir(self.mailbox().join(sub)) else { continue };
            all.extend(dir.map(|entry| entry.unwrap().path()));
        }
        all.sort();
        all
    }

    pub(crate) fn mailbox(&self) -> std::path::PathBuf {
        self.dir.path().join("mail/INBOX")
    }
}

pub(crate) fn counters(report: &AccountReport) -> Counters {
    assert_eq!(report.error, None);
    report.mailboxes[&MailboxName::inbox()]
}

fn account(dir: &Path, pop: PopSettings) -> Account {
    Account {
        name: AccountName("home".into()),
        address: "user@example.com".into(),
        enabled: true,
        aliases: Vec::new(),
        maildir: dir.join("mail"),
        layout: Layout::Fs,
        info_separator: ':',
        roles: BTreeMap::new(),
        imap: None,
        pop3: Some(pop),
        sync: SyncPolicy {
            remove_mailboxes: false,
            limits: Limits::default(),
            direction: Direction::Both,
            mailboxes: vec!["*".into()],
            leave_out: Vec::new(),
            subscribed_only: false,
            create: CreatePolicy::Both,
            delete: DeletePolicy::Trash,
            brake: Brake { min: 25, percent: 20 },
            quarantine: Duration::from_secs(7 * 86_400),
        },
        smtp: None,
    }
}
