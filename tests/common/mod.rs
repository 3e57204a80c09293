//! What the tests of the engine share: an account with a Maildir, a ledger and the scriptable
//! server, and passes over it.
#![allow(dead_code, reason = "each test uses the part that it needs")]

pub(crate) mod fate;
pub(crate) mod faulty;
mod faulty_remote;
pub(crate) mod sides;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postrider::adapters::imap::{ImapConnector, Needs};
use postrider::adapters::ledger::SqliteLedger;
use postrider::adapters::maildir::MaildirStore;
use postrider::engine::board::Board;
use postrider::engine::pass::Worker;
use postrider::model::account::*;
use postrider::model::event::{AccountReport, Consent, Notice};
use postrider::model::ids::{AccountName, MailboxName};
use postrider::model::status::{Counters, Status};
use postrider::ports::ledger::{Change, Ledger as _};
use postrider::rules::schedule::message_backoff;
use postrider_mailserver::{Capability, CommandRecord, Config, MailServer};

use fate::Fate;
use faulty::Faulty;

/// One account with both of its sides.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: MailServer,
    pub(crate) account: Account,
    /// Whether the server passes for one that is far away.
    pub(crate) is_far: bool,
}

/// A worker with the real adapters, that meets its fate.
pub(crate) type FaultyWorker =
    Worker<Faulty<MaildirStore>, Faulty<SqliteLedger>, Faulty<ImapConnector>>;

/// What a pass came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) report: AccountReport,
    pub(crate) notices: Vec<Notice>,
}

impl Outcome {
    /// The counters of a mailbox; none if it was not looked at.
    pub(crate) fn of(&self, mailbox: &str) -> Counters {
        let name = MailboxName(mailbox.to_owned());
        self.report.mailboxes.get(&name).copied().unwrap_or_default()
    }
}

impl World {
    pub(crate) fn new(config: Config, change: impl FnOnce(&mut Account)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = MailServer::start(config).unwrap();
        let mut account = account(&dir.path().join("mail"), server.imap_addr().port());
        change(&mut account);
        Self { dir, server, account, is_far: false }
    }

    /// One pass of a process that lives to its end.
    pub(crate) async fn sync(&self) -> AccountReport {
        self.pass(&Fate::calm()).await.report
    }

    /// One pass over some mailboxes, as `sync ACCOUNT/MAILBOX` runs it. It must succeed.
    pub(crate) async fn sync_only(&self, targets: &[&str]) -> BTreeMap<MailboxName, Counters> {
        let targets: Vec<_> = targets.iter().map(|t| MailboxName((*t).to_owned())).collect();
        let (board, _reader) = Board::new(Status::default());
        let report = self.worker(&Fate::calm(), board).once(&targets).await;
        assert_eq!(report.error, None);
        report.mailboxes
    }

    /// One pass that must succeed.
    pub(crate) async fn sync_ok(&self) -> BTreeMap<MailboxName, Counters> {
        let report = self.sync().await;
        assert_eq!(report.error, None);
        report.mailboxes
    }

    /// One pass of a process that meets its fate.
    pub(crate) async fn pass(&self, fate: &Arc<Fate>) -> Outcome {
        let (board, _reader) = Board::new(Status::default());
        let mut notices = board.notices().subscribe();
        let report = self.worker(fate, board).once(&[]).await;
        let notices = std::iter::from_fn(|| notices.try_recv().ok()).collect();
        Outcome { report, notices }
    }

    /// What works for the account.
    pub(crate) fn worker(&self, fate: &Arc<Fate>, board: Board) -> FaultyWorker {
        let account = Arc::new(self.account.clone());
        let imap = account.imap.clone().unwrap();
        let needs = Needs {
            subscriptions: account.sync.subscribed_only,
            dates: account.sync.limits.max_age.is_some(),
        };
        let connector = ImapConnector::new(imap, account.name.as_str()).with(needs);
        let connector = if self.is_far { connector.far_away() } else { connector };
        let store = Faulty { inner: self.store(), fate: Arc::clone(fate) };
        let ledger = Faulty { inner: self.ledger(), fate: Arc::clone(fate) };
        let connector = Faulty { inner: connector, fate: Arc::clone(fate) };
        Worker::new(account, Arc::new(store), Arc::new(ledger), Arc::new(connector), board)
    }

    /// Passes until one has nothing to do; it must come soon.
    pub(crate) async fn settle(&self) {
        for _ in 0..4 {
            let report = self.sync().await;
            assert_eq!(report.error, None);
            if report.mailboxes.values().all(|c| changes_of(*c) == Counters::default()) {
                return;
            }
        }
        panic!("no rest after four passes");
    }

    /// A second pass changes nothing and says nothing that could.
    pub(crate) async fn assert_quiet(&self) {
        self.server.clear_commands();
        let counters = self.sync_ok().await;
        for (mailbox, counters) in counters {
            assert_eq!(changes_of(counters), Counters::default(), "{mailbox}");
        }
        assert_eq!(self.mutating(), []);
    }

    /// The commands since the last [`MailServer::clear_commands`] that could change something.
    pub(crate) fn mutating(&self) -> Vec<CommandRecord> {
        self.server.commands().into_iter().filter(CommandRecord::is_mutating).collect()
    }

    /// No message body may have crossed the wire.
    pub(crate) fn assert_no_transfer(&self) {
        for command in self.server.commands() {
            let line = command.line.to_ascii_uppercase();
            assert!(!line.contains("BODY.PEEK[]") && command.name != "APPEND", "{line}");
        }
    }

    pub(crate) fn store(&self) -> MaildirStore {
        let account = &self.account;
        MaildirStore::new(
            account.maildir.clone(),
            account.layout,
            account.info_separator,
            account.sync.quarantine,
        )
    }

    pub(crate) fn ledger(&self) -> SqliteLedger {
        SqliteLedger::open(&self.ledger_path(), message_backoff).unwrap()
    }

    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.dir.path().join("work.sqlite")
    }

    /// Loses the ledger.
    pub(crate) fn lose_ledger(&self) {
        for extension in ["sqlite", "sqlite-wal", "sqlite-shm"] {
            drop(std::fs::remove_file(self.ledger_path().with_extension(extension)));
        }
    }

    /// Asks the ledger file itself for a number.
    pub(crate) fn ledger_number(&self, sql: &str) -> i64 {
        let db = rusqlite::Connection::open(self.ledger_path()).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Changes the ledger file behind the engine's back.
    pub(crate) fn ledger_change(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.ledger_path()).unwrap();
        assert!(db.execute(sql, []).unwrap() > 0, "{sql}");
    }

    /// A person's word about what is held in a mailbox.
    pub(crate) fn consent(&self, mailbox: &str, word: Consent) {
        let ledger = self.ledger();
        let row = ledger.mailbox(&MailboxName(mailbox.to_owned())).unwrap();
        ledger.apply(row.id, &[Change::Consent(Some(word))]).unwrap();
    }

    pub(crate) fn path(&self, mailbox: &str) -> PathBuf {
        self.account.maildir.join(mailbox)
    }

    /// The files of a mailbox as `new/…` and `cur/…`.
    pub(crate) fn files(&self, mailbox: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for sub in ["new", "cur"] {
            for entry in std::fs::read_dir(self.path(mailbox).join(sub)).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{sub}/{}", entry.file_name().into_string().unwrap());
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
        files
    }
}

/// What a pass changed, without what merely stays as it is.
pub(crate) fn changes_of(counters: Counters) -> Counters {
    Counters { held: 0, skipped: 0, failed: 0, ..counters }
}

/// A server without these.
pub(crate) fn without(capabilities: &[Capability]) -> Config {
    let mut config = Config::default();
    for capability in capabilities {
        config.capabilities = config.capabilities.without(*capability);
    }
    config
}

/// An account with a Maildir there and a server on this port.
pub(crate) fn account(maildir: &Path, port: u16) -> Account {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port,
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
    let imap = ImapSettings { endpoint, path_prefix: None, push, max_connections: 3 };
    Account {
        name: AccountName("work".into()),
        address: "user@example.com".into(),
        enabled: true,
        aliases: Vec::new(),
        maildir: maildir.to_path_buf(),
        layout: Layout::Fs,
        info_separator: ':',
        roles: BTreeMap::new(),
        imap: Some(imap),
        pop3: None,
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
