//! The process is killed before and after each step of a pass and started again: nothing is lost,
//! nothing doubled, and the end is the one of a pass that nobody disturbed.
//!
//! The engine, the Maildir, the ledger and the IMAP adapter are the real ones; a step is anything
//! that another could see: a rename, a ledger commit, a command that changes the server.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it cannot go on"
)]

mod faulty;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use faulty::{Fate, Faulty};
use postrider::adapters::imap::ImapConnector;
use postrider::adapters::ledger::SqliteLedger;
use postrider::adapters::maildir::MaildirStore;
use postrider::engine::board::Board;
use postrider::engine::pass::Worker;
use postrider::model::account::*;
use postrider::model::event::AccountReport;
use postrider::model::ids::{AccountName, MailboxName};
use postrider::model::status::{Counters, Status};
use postrider::rules::schedule::message_backoff;
use postrider_mailserver::{Capability, Config, MailServer};

/// What both sides hold: body and flags per mailbox, as a multiset.
type Content = BTreeMap<String, Vec<(String, String)>>;

struct World {
    dir: tempfile::TempDir,
    server: MailServer,
    account: Arc<Account>,
}

impl World {
    fn new(lacking: &[Capability]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        for capability in lacking {
            config.capabilities = config.capabilities.without(*capability);
        }
        let server = MailServer::start(config).unwrap();
        server.create_mailbox("Archive");
        server.create_mailbox("Trash");
        let account = Arc::new(account(&dir.path().join("mail"), server.imap_addr().port()));
        Self { dir, server, account }
    }

    async fn pass(&self, fate: &Arc<Fate>) -> AccountReport {
        let wrap = |fate: &Arc<Fate>| Arc::clone(fate);
        let store = MaildirStore::new(
            self.account.maildir.clone(),
            self.account.layout,
            ':',
            self.account.sync.quarantine,
        );
        let ledger =
            SqliteLedger::open(&self.dir.path().join("work.sqlite"), message_backoff).unwrap();
        let connector = ImapConnector::new(self.account.imap.clone().unwrap(), "work");
        let (board, _reader) = Board::new(Status::default());
        let mut worker = Worker::new(
            Arc::clone(&self.account),
            Arc::new(Faulty { inner: store, fate: wrap(fate) }),
            Arc::new(Faulty { inner: ledger, fate: wrap(fate) }),
            Arc::new(Faulty { inner: connector, fate: wrap(fate) }),
            board,
        );
        worker.once(&[]).await
    }

    /// Passes until one has nothing to do; it must come soon.
    async fn settle(&self) {
        for _ in 0..4 {
            let report = self.pass(&Fate::new(0, false)).await;
            assert_eq!(report.error, None);
            if report.mailboxes.values().all(|c| *c == Counters::default()) {
                return;
            }
        }
        panic!("no rest after four passes");
    }

    fn path(&self, mailbox: &str) -> PathBuf {
        self.account.maildir.join(mailbox)
    }

    fn here(&self) -> Content {
        let mut content = Content::new();
        for mailbox in ["INBOX", "Archive", "Trash"] {
            let mut found = Vec::new();
            for sub in ["new", "cur"] {
                for entry in std::fs::read_dir(self.path(mailbox).join(sub)).unwrap() {
                    let entry = entry.unwrap();
                    let name = entry.file_name().into_string().unwrap();
                    let flags = name.split_once(":2,").map_or("", |(_, f)| f).to_owned();
                    found.push((std::fs::read_to_string(entry.path()).unwrap(), flags));
                }
            }
            found.sort();
            content.insert(mailbox.to_owned(), found);
        }
        content
    }

    fn there(&self) -> Content {
        let mut content = Content::new();
        for mailbox in ["INBOX", "Archive", "Trash"] {
            let messages = self.server.mailbox(mailbox).messages();
            let mut found: Vec<(String, String)> = messages
                .iter()
                .map(|m| {
                    let body = String::from_utf8(m.bytes.to_vec()).unwrap().replace("\r\n", "\n");
                    let letter = |f: &String| match f.as_str() {
                        "\\Seen" => "S",
                        "\\Flagged" => "F",
                        "\\Answered" => "R",
                        _ => "",
                    };
                    let mut flags: Vec<&str> = m.flags.iter().map(letter).collect();
                    flags.sort_unstable();
                    (body, flags.concat())
                })
                .collect();
            found.sort();
            content.insert(mailbox.to_owned(), found);
        }
        content
    }

    /// No file of ours may be left half-way.
    fn assert_clean(&self) {
        for mailbox in ["INBOX", "Archive", "Trash"] {
            for (body, _) in &self.here()[mailbox] {
                assert!(body.ends_with("end\n"), "a partial file: {body:?}");
            }
        }
    }

    /// A local file of INBOX whose body names `n`.
    fn file(&self, n: u32) -> PathBuf {
        let wanted = format!("<{n}@x>");
        let files = ["new", "cur"].into_iter().flat_map(|sub| {
            std::fs::read_dir(self.path("INBOX").join(sub)).unwrap().map(|e| e.unwrap().path())
        });
        let mut found =
            files.filter(|path| std::fs::read_to_string(path).unwrap().contains(&wanted));
        found.next().unwrap()
    }
}

fn account(maildir: &Path, port: u16) -> Account {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port,
        tls: Tls::None,
        user: "user".into(),
        password: Some(SecretSource::Plain("secret".into())),
        auth: Vec::new(),
        ca_file: None,
        pin_sha256: None,
        client_cert: None,
        timeout: Duration::from_secs(10),
    };
    let imap = ImapSettings { endpoint, path_prefix: None, push: Vec::new(), max_connections: 1 };
    Account {
        name: AccountName("work".into()),
        address: "user@example.com".into(),
        enabled: true,
        aliases: Vec::new(),
        maildir: maildir.to_path_buf(),
        layout: Layout::Fs,
        info_separator: ':',
        roles: BTreeMap::from([(Role::Trash, MailboxName("Trash".into()))]),
        imap: Some(imap),
        sync: SyncPolicy {
            remove_mailboxes: false,
            limits: Limits::default(),
            direction: Direction::Both,
            mailboxes: vec!["*".into()],
            subscribed_only: false,
            create: CreatePolicy::Both,
            delete: DeletePolicy::Trash,
            brake: Brake { min: 25, percent: 20 },
            quarantine: Duration::from_secs(7 * 86_400),
        },
        smtp: None,
    }
}

fn mail(n: u32) -> String {
    format!("Message-ID: <{n}@x>\nSubject: {n}\n\nhello {n}\nend\n")
}

fn wire(n: u32) -> Vec<u8> {
    mail(n).replace('\n', "\r\n").into_bytes()
}

/// Runs a scenario undisturbed, then once for every step and both sides of it.
async fn check(
    lacking: &[Capability],
    before: impl Fn(&World),
    change: impl Fn(&World),
    steps_min: usize,
) {
    let prepare = async || {
        let world = World::new(lacking);
        before(&world);
        world.settle().await;
        change(&world);
        world
    };
    let calm = prepare().await;
    let fate = Fate::new(0, false);
    calm.pass(&fate).await;
    let steps = fate.steps();
    assert!(steps >= steps_min, "only {steps} steps: the test sees less than it should");
    calm.settle().await;
    let wanted = calm.there();
    assert_eq!(calm.here(), wanted);
    for at in 1..=steps {
        for is_after in [false, true] {
            let world = prepare().await;
            let report = world.pass(&Fate::new(at, is_after)).await;
            assert!(report.error.is_some() || at == steps, "step {at} was not reached");
            world.assert_clean();
            world.settle().await;
            assert_eq!(world.there(), wanted, "killed at step {at}, after: {is_after}");
            assert_eq!(world.here(), wanted, "killed at step {at}, after: {is_after}");
        }
    }
}

fn three(world: &World) {
    for n in 1..=3 {
        world.server.mailbox("INBOX").append(&wire(n), &["\\Seen"], Some(1_000_000_000));
    }
}

fn drop_file(world: &World, n: u32) {
    let (tmp, cur) = (world.path("INBOX/tmp"), world.path("INBOX/cur"));
    std::fs::write(tmp.join(format!("l{n}:2,S")), mail(n)).unwrap();
    std::fs::rename(tmp.join(format!("l{n}:2,S")), cur.join(format!("l{n}:2,S"))).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_survives_a_kill_at_every_step() {
    check(&[], |_| {}, three, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_survives_a_kill_at_every_step() {
    let push = |world: &World| (11..=13).for_each(|n| drop_file(world, n));
    check(&[], |_| {}, push, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_uidplus_survives_a_kill_at_every_step() {
    let push = |world: &World| (11..=13).for_each(|n| drop_file(world, n));
    check(&[Capability::UidPlus], |_| {}, push, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_both_sides_survive_a_kill_at_every_step() {
    let flags = |world: &World| {
        let file = world.file(1);
        let name = file.to_str().unwrap().replace(":2,S", ":2,FS");
        std::fs::rename(&file, name).unwrap();
        world.server.mailbox("INBOX").set_flags(2, &["\\Seen", "\\Answered"]);
        let both = world.file(3);
        let name = both.to_str().unwrap().replace(":2,S", ":2,RS");
        std::fs::rename(&both, name).unwrap();
        world.server.mailbox("INBOX").set_flags(3, &["\\Flagged"]);
    };
    check(&[], three, flags, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_there_survives_a_kill_at_every_step() {
    let remove = |world: &World| {
        assert!(world.server.mailbox("INBOX").expunge(2));
    };
    check(&[], three, remove, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_here_survives_a_kill_at_every_step() {
    let remove = |world: &World| std::fs::remove_file(world.file(2)).unwrap();
    check(&[], three, remove, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_here_survives_a_kill_at_every_step() {
    let go = |world: &World| {
        for n in [1, 3] {
            let file = world.file(n);
            let to = world.path("Archive/cur").join(file.file_name().unwrap());
            std::fs::rename(&file, to).unwrap();
        }
    };
    check(&[], three, go, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_there_survives_a_kill_at_every_step() {
    let go = |world: &World| {
        let inbox = world.server.mailbox("INBOX");
        let message = inbox.message(2).unwrap();
        world.server.mailbox("Archive").append(&message.bytes, &["\\Seen"], None);
        inbox.expunge(2);
    };
    check(&[], three, go, 4).await;
}
