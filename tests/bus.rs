//! The D-Bus surface as clients see it: over the private socket, and over a real session bus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may stop at what it does not expect"
)]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use postrider::daemon::bus::{Bus, BusContext, OUTBOX_JOB, OutboxCall};
use postrider::daemon::proxy::{AccountProxy, ManagerProxy, OutboxProxy, connect_private};
use postrider::engine::board::Board;
use postrider::engine::jobs::Jobs;
use postrider::engine::relay::Ask;
use postrider::model::account::BusChoice;
use postrider::model::event::{AccountReport, Command, Notice, ReportError};
use postrider::model::failure::{Failure, Kind, Remedy, Scope};
use postrider::model::ids::{AccountName, MailboxName, OutboxId};
use postrider::model::outbox::{Decision, Item, OutboxEvent};
use postrider::model::status::{
    AccountState, AccountStatus, MailboxStatus, OutboxStatus, Progress, Push, Status, Trouble,
    Watch,
};
use tempfile::TempDir;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zbus::fdo::{DBusProxy, IntrospectableProxy, ObjectManagerProxy, PropertiesProxy};
use zbus::{Connection, OwnedVariant, Variant};

const NAME: &str = "org.postrider.Postrider1";
const MANAGER: &str = "/org/postrider/Postrider1";
const WORK: &str = "/org/postrider/Postrider1/account/work_2e1";
const OUTBOX: &str = "/org/postrider/Postrider1/outbox";

/// Far longer than anything here takes; a hang is then a failure with a name.
const LIMIT: Duration = Duration::from_secs(20);

/// A service whose engine is this test.
struct Served {
    dir: TempDir,
    board: Board,
    jobs: Jobs,
    commands: mpsc::Receiver<Command>,
    calls: mpsc::Receiver<OutboxCall>,
    notices: broadcast::Sender<Notice>,
    outbox: broadcast::Sender<OutboxEvent>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    fn start(session: BusChoice, session_address: Option<String>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), session, session_address)
    }

    fn start_in(dir: TempDir, session: BusChoice, session_address: Option<String>) -> Self {
        let (board, status) = Board::new(first_status());
        let (sender, commands) = mpsc::channel(64);
        let (caller, calls) = mpsc::channel(64);
        let (notices, _) = broadcast::channel(64);
        let (outbox, _) = broadcast::channel(64);
        let jobs = Jobs::default();
        let shutdown = CancellationToken::new();
        let bus = Bus::bind(BusContext {
            status,
            commands: sender,
            jobs: jobs.clone(),
            notices: notices.clone(),
            outbox: outbox.clone(),
            calls: caller,
            config_path: "/etc/postrider.toml".into(),
            find_mistake: |_| Some("c.toml:1:1: no table".to_owned()),
            session,
            session_address,
            socket: dir.path().join("run/bus"),
            shutdown: shutdown.clone(),
        })
        .unwrap();
        let task = tokio::spawn(bus.serve());
        Self { dir, board, jobs, commands, calls, notices, outbox, shutdown, task }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("run/bus")
    }

    async fn client(&self) -> Connection {
        connect_private(&self.socket()).await.unwrap().expect("nobody listens")
    }

    async fn command(&mut self) -> Command {
        within(self.commands.recv()).await.expect("the bus is gone")
    }

    async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        within(self.task).await.unwrap();
        self.dir
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it takes too long")
}

fn name() -> AccountName {
    AccountName("work.1".to_owned())
}

fn first_status() -> Status {
    let inbox = MailboxStatus {
        path: "/m/work/INBOX".to_owned(),
        role: "inbox".to_owned(),
        total: 9,
        unread: 4,
        last_sync: 20,
        push: Push::Idle,
        held: 2,
        skipped: 1,
        failed: 3,
    };
    let account = AccountStatus {
        address: "me@example.com".to_owned(),
        protocol: "imap".to_owned(),
        enabled: true,
        maildir: "/m/work".to_owned(),
        state: AccountState::Idle,
        push: Push::Idle,
        watch: Watch::Inotify,
        trouble: Some(Trouble {
            name: "Timeout".to_owned(),
            text: "it took too long".to_owned(),
            since: 5,
            next_retry: 6,
        }),
        last_sync: 20,
        last_success: 19,
        progress: None,
        servers: Vec::new(),
        mailboxes: BTreeMap::from([(MailboxName::inbox(), inbox)]),
    };
    let outbox = OutboxStatus {
        late: 0,
        trouble: None,
        queued: 1,
        held: 2,
        uncertain: 3,
        failed: 4,
        troubles: BTreeMap::new(),
        sending: true,
        next_attempt: 7,
        directory: "/o".to_owned(),
    };
    Status { since: 1, accounts: BTreeMap::from([(name(), account)]), outbox, ..Status::default() }
}

/// A bus of its own, gone with the test.
struct DbusDaemon {
    child: Child,
    address: String,
    dir: TempDir,
}

impl DbusDaemon {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (child, address) = Self::spawn(&dir);
        Self { child, address, dir }
    }

    fn spawn(dir: &TempDir) -> (Child, String) {
        let address = format!("--address=unix:path={}", dir.path().join("session").display());
        let mut child = Process::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address", &address])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs dbus-daemon: install the Debian package dbus");
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        // The next bus at this place has another GUID.
        let address = address.trim().split(",guid=").next().unwrap().to_owned();
        (child, address)
    }

    /// Ends the bus with all its connections, and starts one at the same place.
    fn restart(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(self.dir.path().join("session")));
        (self.child, self.address) = Self::spawn(&self.dir);
    }

    async fn client(&self) -> Connection {
        let builder = zbus::connection::Builder::address(self.address.as_str());
        within(builder.build()).await.unwrap()
    }

    /// Starts a service and waits until it has its name.
    async fn serve(&self) -> (Served, Connection) {
        let client = self.client().await;
        let bus = DBusProxy::new(&client).await.unwrap();
        let mut owners = bus.receive_name_owner_changed_with_args(&[(0, NAME)]).await.unwrap();
        let served = Served::start(BusChoice::Session, Some(self.address.clone()));
        let change = within(owners.next()).await.unwrap();
        assert!(change.args().unwrap().new_owner().is_some());
        drop(owners);
        (served, client)
    }

    /// Waits until somebody has the name.
    async fn has_the_name(&self) -> Connection {
        let client = self.client().await;
        let bus = DBusProxy::new(&client).await.unwrap();
        let mut owners = bus.receive_name_owner_changed_with_args(&[(0, NAME)]).await.unwrap();
        if !bus.name_has_owner(NAME.try_into().unwrap()).await.unwrap() {
            timeout(Duration::from_secs(60), owners.next()).await.expect("nobody takes the name");
        }
        client
    }
}

impl Drop for DbusDaemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn error_name<T: std::fmt::Debug>(answer: zbus::Result<T>) -> String {
    match answer.unwrap_err() {
        zbus::Error::MethodError(name, _, _) => {
            let name = name.as_str();
            name.strip_prefix("org.postrider.Postrider1.Error.").unwrap_or(name).to_owned()
        }
        zbus::Error::FDO(err) => zbus::DBusError::name(&*err).to_string(),
        other => panic!("no error reply: {other}"),
    }
}

async fn manager(client: &Connection) -> ManagerProxy<'static> {
    // Read from the service each time: this test is not about the cache of the client.
    let builder = ManagerProxy::builder(client).cache_properties(zbus::proxy::CacheProperties::No);
    builder.build().await.unwrap()
}

async fn account(client: &Connection) -> AccountProxy<'static> {
    let builder = AccountProxy::builder(client).path(WORK);
    builder.cache_properties(zbus::proxy::CacheProperties::No).build().await.unwrap()
}

async fn outbox(client: &Connection) -> OutboxProxy<'static> {
    let builder = OutboxProxy::builder(client).cache_properties(zbus::proxy::CacheProperties::No);
    builder.build().await.unwrap()
}

async fn properties(client: &Connection, path: &'static str) -> PropertiesProxy<'static> {
    let builder = PropertiesProxy::builder(client).destination(NAME).path(path);
    builder.build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_over_the_private_socket() {
    let mut served = Served::start(BusChoice::Private, None);
    let client = served.client().await;
    the_whole_surface(&mut served, &client).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_over_the_session_bus() {
    let bus = DbusDaemon::start();
    let (mut served, client) = bus.serve().await;
    the_whole_surface(&mut served, &client).await;
    let greedy = bus.client().await;
    assert!(greedy.request_name(NAME).await.is_err(), "the name was given away");
    served.stop().await;
}

async fn the_whole_surface(served: &mut Served, client: &Connection) {
    properties_show_the_snapshot(client).await;
    wrong_calls_are_errors_with_names(served, client).await;
    jobs_are_begun_waited_for_and_told(served, client).await;
    commands_reach_the_engine(served, client).await;
    the_outbox_is_steered(served, client).await;
    a_message_comes_by_descriptor(served, client).await;
    messages_and_notices_are_told(served, client).await;
    changes_are_told(served, client).await;
    accounts_come_and_go(served, client).await;
}

async fn properties_show_the_snapshot(client: &Connection) {
    let manager = manager(client).await;
    assert_eq!(manager.version().await.unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(manager.config_path().await.unwrap(), "/etc/postrider.toml");
    assert_eq!(manager.state().await.unwrap(), "attention");
    assert!(!manager.paused().await.unwrap());
    assert_eq!(manager.unread().await.unwrap(), 4);
    assert_eq!(manager.outbox_count().await.unwrap(), 6);
    assert!(manager.attention_needed().await.unwrap());
    assert_eq!(manager.last_sync().await.unwrap(), 20);
    let document = manager.get_status().await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["accounts"][0]["name"], "work.1");
    assert_eq!(document["pid"], std::process::id());

    let account = account(client).await;
    assert_eq!(account.name().await.unwrap(), "work.1");
    assert_eq!(account.address().await.unwrap(), "me@example.com");
    assert_eq!(account.protocol().await.unwrap(), "imap");
    assert!(account.enabled().await.unwrap());
    assert_eq!(account.maildir().await.unwrap(), "/m/work");
    assert_eq!(account.push().await.unwrap(), "idle");
    assert_eq!(account.watch().await.unwrap(), "inotify");
    assert_eq!(account.state().await.unwrap(), "idle");
    assert_eq!(account.error_name().await.unwrap(), "Timeout");
    assert_eq!(account.error_text().await.unwrap(), "it took too long");
    assert_eq!(account.error_since().await.unwrap(), 5);
    assert_eq!(account.next_retry().await.unwrap(), 6);
    assert_eq!(account.last_sync().await.unwrap(), 20);
    assert_eq!(account.last_success().await.unwrap(), 19);
    assert_eq!(account.unread().await.unwrap(), 4);
    assert_eq!(account.total().await.unwrap(), 9);
    assert_eq!(account.held().await.unwrap(), 2);
    assert!(account.progress().await.unwrap().is_empty());
    let mailboxes = account.list_mailboxes().await.unwrap();
    let text = |key: &str| mailboxes[0][key].try_clone().unwrap().try_into().unwrap();
    let number = |key: &str| u32::try_from(mailboxes[0][key].try_clone().unwrap()).unwrap();
    let texts: [String; 4] = ["name", "path", "role", "push"].map(text);
    assert_eq!(texts, ["INBOX", "/m/work/INBOX", "inbox", "idle"]);
    let numbers = ["total", "unread", "held", "skipped", "failed"].map(number);
    assert_eq!(numbers, [9, 4, 2, 1, 3]);
    assert_eq!(u64::try_from(mailboxes[0]["last_sync"].try_clone().unwrap()).unwrap(), 20);

    let outbox = outbox(client).await;
    assert_eq!(outbox.queued().await.unwrap(), 1);
    assert_eq!(outbox.held().await.unwrap(), 2);
    assert_eq!(outbox.uncertain().await.unwrap(), 3);
    assert_eq!(outbox.failed().await.unwrap(), 4);
    assert!(outbox.sending().await.unwrap());
    assert_eq!(outbox.next_attempt().await.unwrap(), 7);
    assert_eq!(outbox.directory().await.unwrap(), "/o");
}

async fn wrong_calls_are_errors_with_names(served: &Served, client: &Connection) {
    let manager = manager(client).await;
    let none = || HashMap::<&str, Variant<'_>>::new();
    assert_eq!(error_name(manager.sync(&["nobody"], none()).await), "NoSuchAccount");
    assert_eq!(error_name(manager.sync(&["work.1", ""], none()).await), "NoSuchAccount");
    let option = HashMap::from([("fast", Variant::from(true))]);
    assert_eq!(error_name(manager.sync(&[], option).await), "NotSupported");
    let long = "x".repeat(5000);
    assert_eq!(error_name(manager.sync(&[&long], none()).await), "NotSupported");
    assert_eq!(error_name(manager.wait_job(4711).await), "NoSuchJob");
    served.board.update(|status| status.paused = true);
    assert_eq!(error_name(manager.sync(&[], none()).await), "Paused");
    served.board.update(|status| status.paused = false);
    // The wrong type, a method, an interface, an object and a property that do not exist, and a
    // property that is not for writing.
    let call = |path: &'static str, interface: &'static str, member: &'static str| async move {
        error_name(client.call_method(Some(NAME), path, Some(interface), member, &7_u32).await)
    };
    let of_manager = "org.postrider.Postrider1.Manager";
    assert_eq!(call(MANAGER, of_manager, "Sync").await, "org.freedesktop.DBus.Error.InvalidArgs");
    let unknown = "org.freedesktop.DBus.Error.Unknown";
    assert_eq!(call(MANAGER, of_manager, "Explode").await, format!("{unknown}Method"));
    assert_eq!(call(MANAGER, "org.postrider.X", "Y").await, format!("{unknown}Interface"));
    assert_eq!(call("/org/postrider/X", of_manager, "Sync").await, format!("{unknown}Object"));
    let properties = properties(client, MANAGER).await;
    let interface = zbus::names::InterfaceName::try_from(of_manager).unwrap();
    assert!(properties.get(interface.clone(), "Nothing").await.is_err());
    let refused = properties.set(interface, "Version", &Variant::from("9")).await;
    assert!(refused.is_err());
    assert_eq!(manager.version().await.unwrap(), env!("CARGO_PKG_VERSION"));
}

async fn jobs_are_begun_waited_for_and_told(served: &mut Served, client: &Connection) {
    let manager = manager(client).await;
    let mut done = manager.receive_job_done().await.unwrap();
    let job = manager.sync(&["work.1/inbox", "work.1/Archive/2024"], HashMap::new()).await.unwrap();
    let mailboxes = vec![MailboxName::inbox(), MailboxName("Archive/2024".to_owned())];
    let wanted = Command::Sync { job, account: name(), mailboxes };
    assert_eq!(served.command().await, wanted);
    let waits = tokio::spawn({
        let manager = manager.clone();
        async move { manager.wait_job(job).await }
    });
    // The service answers while somebody waits.
    manager.get_status().await.unwrap();
    let error = ReportError { code: "Offline".to_owned(), text: "t".to_owned(), exit: 69 };
    let report = AccountReport { error: Some(error), ..AccountReport::default() };
    served.jobs.report(job, &name(), report);
    let result = within(waits).await.unwrap().unwrap();
    assert!(!bool::try_from(result["ok"].try_clone().unwrap()).unwrap());
    assert!(u64::try_from(result["elapsed_ms"].try_clone().unwrap()).is_ok());
    let json = String::try_from(result["json"].try_clone().unwrap()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["accounts"][0]["error"]["code"], "Offline");
    let signal = within(done.next()).await.unwrap();
    let args = signal.args().unwrap();
    assert_eq!((*args.job(), *args.ok()), (job, false));
    assert!(args.result().contains_key("json"));

    let job = manager.sync(&[], HashMap::new()).await.unwrap();
    let wanted = Command::Sync { job, account: name(), mailboxes: Vec::new() };
    assert_eq!(served.command().await, wanted);
    served.jobs.report(job, &name(), AccountReport::default());
    let result = within(manager.wait_job(job)).await.unwrap();
    assert!(bool::try_from(result["ok"].try_clone().unwrap()).unwrap());

    let job = account(client).await.sync(&["INBOX"], HashMap::new()).await.unwrap();
    let wanted = Command::Sync { job, account: name(), mailboxes: vec![MailboxName::inbox()] };
    assert_eq!(served.command().await, wanted);

    let outbox = outbox(client).await;
    let known = || Ok(vec![Item::claimed(OutboxId("1.a".to_owned()), 9)]);
    let (refused, _) = tokio::join!(outbox.flush(&["1.x"]), asked(served, known()));
    assert_eq!(error_name(refused), "NoSuchMessage");
    let (job, _) = tokio::join!(outbox.flush(&["1.a"]), asked(served, known()));
    let job = job.unwrap();
    let wanted = Command::Flush { job, ids: vec![OutboxId("1.a".to_owned())] };
    assert_eq!(served.command().await, wanted);
    served.jobs.report(job, &AccountName(OUTBOX_JOB.to_owned()), AccountReport::default());
    within(manager.wait_job(job)).await.unwrap();
}

async fn commands_reach_the_engine(served: &mut Served, client: &Connection) {
    let (manager, account) = (manager(client).await, account(client).await);
    manager.pause(60).await.unwrap();
    assert_eq!(served.command().await, Command::Pause { account: None, seconds: 60 });
    manager.resume().await.unwrap();
    assert_eq!(served.command().await, Command::Resume { account: None });
    // Who asked is told of a mistake, and the engine tells everybody.
    assert_eq!(error_name(manager.reload().await), "ConfigInvalid");
    assert_eq!(served.command().await, Command::Reload);
    account.pause(0).await.unwrap();
    assert_eq!(served.command().await, Command::Pause { account: Some(name()), seconds: 0 });
    account.resume().await.unwrap();
    assert_eq!(served.command().await, Command::Resume { account: Some(name()) });
}

/// Answers one question to the outbox, and returns it.
async fn asked(served: &mut Served, answer: Result<Vec<Item>, Failure>) -> Ask {
    let Some(OutboxCall::Ask(request)) = within(served.calls.recv()).await else { panic!() };
    request.reply.send(answer).unwrap();
    request.what
}

async fn the_outbox_is_steered(served: &mut Served, client: &Connection) {
    let outbox = outbox(client).await;
    let id = OutboxId("1.a".to_owned());
    let mut item = Item::claimed(id.clone(), 9);
    (item.size, item.tries) = (77, 2);
    let (list, what) = tokio::join!(outbox.list(), asked(served, Ok(vec![item])));
    assert_eq!(what, Ask::List);
    let list = list.unwrap();
    assert_eq!(list[0]["id"], OwnedVariant::try_from(Variant::from("1.a")).unwrap());
    assert_eq!(u64::try_from(list[0]["size"].try_clone().unwrap()).unwrap(), 77);
    assert!(!list[0].contains_key("subject"));
    let ids = || vec![id.clone()];
    let (done, what) = tokio::join!(outbox.hold(&["1.a"]), asked(served, Ok(Vec::new())));
    assert_eq!((done.unwrap(), what), ((), Ask::Hold(ids())));
    let (done, what) = tokio::join!(outbox.release(&["1.a"]), asked(served, Ok(Vec::new())));
    assert_eq!((done.unwrap(), what), ((), Ask::Release(ids())));
    let (done, what) = tokio::join!(outbox.resolve("1.a", "sent"), asked(served, Ok(Vec::new())));
    assert_eq!((done.unwrap(), what), ((), Ask::Resolve(id.clone(), Decision::Sent)));
    let unknown = Failure::new(Scope::Message, Remedy::Never, Kind::NotFound, "find it");
    let (done, what) = tokio::join!(outbox.cancel(&["1.a"]), asked(served, Err(unknown)));
    assert_eq!((error_name(done), what), ("NoSuchMessage".to_owned(), Ask::Cancel(ids())));
    // An empty list is never all, and a decision is one of three.
    assert_eq!(error_name(outbox.cancel(&[]).await), "NoSuchMessage");
    assert_eq!(error_name(outbox.resolve("1.a", "maybe").await), "NotSupported");
}

async fn a_message_comes_by_descriptor(served: &mut Served, client: &Connection) {
    let outbox = outbox(client).await;
    let file = || std::fs::File::open("/dev/null").unwrap();
    let submit = |to: &'static str, options| {
        let outbox = outbox.clone();
        async move {
            outbox
                .submit(zbus::Fd::from(std::os::fd::OwnedFd::from(file())), "<>", &[to], options)
                .await
        }
    };
    let taken = async {
        let Some(OutboxCall::Submit(it)) = within(served.calls.recv()).await else { panic!() };
        assert_eq!(std::fs::File::from(it.message).metadata().unwrap().len(), 0);
        assert_eq!(it.submitted.sender, Some(None));
        assert_eq!(it.submitted.recipients[0].as_str(), "a@b.org");
        assert!(!it.submitted.from_header);
        assert_eq!(it.wishes, [("X-Postrider-Account", "work.1".to_owned())]);
        it.reply.send(Ok(OutboxId("1.b".to_owned()))).unwrap();
    };
    let options = HashMap::from([("account", Variant::from("work.1"))]);
    let (id, ()) = tokio::join!(submit("a@b.org", options), taken);
    assert_eq!(id.unwrap(), "1.b");
    assert_eq!(error_name(submit("a@b\r\nc", HashMap::new()).await), "InvalidAddress");
    let option = HashMap::from([("fast", Variant::from(true))]);
    assert_eq!(error_name(submit("a@b.org", option).await), "NotSupported");
}

async fn messages_and_notices_are_told(served: &Served, client: &Connection) {
    let (account, outbox) = (account(client).await, outbox(client).await);
    let mut new = account.receive_new_messages().await.unwrap();
    let mut queued = outbox.receive_message_queued().await.unwrap();
    let mut sent = outbox.receive_message_sent().await.unwrap();
    let mut deferred = outbox.receive_message_deferred().await.unwrap();
    let mut failed = outbox.receive_message_failed().await.unwrap();
    let mut uncertain = outbox.receive_message_uncertain().await.unwrap();
    let paths = vec!["/m/work/INBOX/new/1".to_owned()];
    let notice = Notice::NewMessages { account: name(), mailbox: MailboxName::inbox(), paths };
    served.notices.send(notice).unwrap();
    let id = || OutboxId("1.a".to_owned());
    for event in [
        OutboxEvent::Queued { id: id(), account: name() },
        OutboxEvent::Sent {
            id: id(),
            account: name(),
            message_id: "<m@x>".to_owned(),
            reply: "250 ok".to_owned(),
        },
        OutboxEvent::Deferred { id: id(), error_name: "Offline".to_owned(), next_attempt: 9 },
        OutboxEvent::Failed { id: id(), recipients: vec![("a@b".to_owned(), "550 no".to_owned())] },
        OutboxEvent::Uncertain { id: id() },
    ] {
        served.outbox.send(event).unwrap();
    }
    let signal = within(new.next()).await.unwrap();
    let args = signal.args().unwrap();
    assert_eq!(args.mailbox(), "INBOX");
    assert_eq!(args.paths(), &["/m/work/INBOX/new/1"]);
    let signal = within(queued.next()).await.unwrap();
    assert_eq!(signal.args().unwrap().account(), "work.1");
    let signal = within(sent.next()).await.unwrap();
    assert_eq!(signal.args().unwrap().message_id(), "<m@x>");
    assert_eq!(signal.args().unwrap().reply(), "250 ok");
    let signal = within(deferred.next()).await.unwrap();
    assert_eq!(signal.args().unwrap().error_name(), "Offline");
    assert_eq!(*signal.args().unwrap().next_attempt(), 9);
    let signal = within(failed.next()).await.unwrap();
    let args = signal.args().unwrap();
    assert_eq!(
        args.recipients()[0]["address"],
        OwnedVariant::try_from(Variant::from("a@b")).unwrap()
    );
    let signal = within(uncertain.next()).await.unwrap();
    assert_eq!(signal.args().unwrap().id(), "1.a");
}

async fn changes_are_told(served: &Served, client: &Connection) {
    let of_manager = properties(client, MANAGER).await;
    let of_account = properties(client, WORK).await;
    let of_outbox = properties(client, OUTBOX).await;
    let mut manager = of_manager.receive_properties_changed().await.unwrap();
    let mut account = of_account.receive_properties_changed().await.unwrap();
    let mut outbox = of_outbox.receive_properties_changed().await.unwrap();
    served.board.update(|status| status.paused = true);
    let signal = within(manager.next()).await.unwrap();
    let args = signal.args().unwrap();
    assert_eq!(args.interface_name().as_str(), "org.postrider.Postrider1.Manager");
    assert_eq!(args.changed_properties()["Paused"], Variant::from(true));
    assert_eq!(args.changed_properties()["State"], Variant::from("paused"));
    assert_eq!(args.changed_properties().len(), 2, "only what changed");
    served.board.update(|status| status.outbox.queued = 5);
    let signal = within(outbox.next()).await.unwrap();
    assert_eq!(signal.args().unwrap().changed_properties()["Queued"], Variant::from(5_u32));
    let progress =
        Progress { mailbox: "INBOX".to_owned(), done: 1, total: 2, ..Progress::default() };
    served.board.account(&name(), |account| {
        account.state = AccountState::Syncing;
        account.progress = Some(progress);
    });
    let signal = within(account.next()).await.unwrap();
    let args = signal.args().unwrap();
    assert_eq!(args.changed_properties()["State"], Variant::from("syncing"));
    let progress = args.changed_properties()["Progress"].try_clone().unwrap();
    let progress = HashMap::<String, OwnedVariant>::try_from(progress).unwrap();
    assert_eq!(u64::try_from(progress["total"].try_clone().unwrap()).unwrap(), 2);
    served.board.update(|status| *status = first_status());
}

async fn accounts_come_and_go(served: &Served, client: &Connection) {
    let objects = ObjectManagerProxy::builder(client).destination(NAME).path(MANAGER);
    let objects = objects.build().await.unwrap();
    let mut added = objects.receive_interfaces_added().await.unwrap();
    let mut removed = objects.receive_interfaces_removed().await.unwrap();
    let managed = objects.get_managed_objects().await.unwrap();
    let paths: Vec<&str> = managed.keys().map(|path| path.as_str()).collect();
    assert!(paths.contains(&WORK) && paths.contains(&OUTBOX), "{paths:?}");
    let new = AccountName("neu".to_owned());
    served.board.update(|status| {
        status.accounts.insert(new.clone(), AccountStatus::default());
    });
    let signal = within(added.next()).await.unwrap();
    let path = "/org/postrider/Postrider1/account/neu";
    assert_eq!(signal.args().unwrap().object_path().as_str(), path);
    let account = AccountProxy::builder(client).path(path).build().await.unwrap();
    assert_eq!(account.name().await.unwrap(), "neu");
    served.board.update(|status| {
        status.accounts.remove(&new);
    });
    let signal = within(removed.next()).await.unwrap();
    assert_eq!(signal.args().unwrap().object_path().as_str(), path);
}

/// The contract, name by name.
const MEMBERS: [(&str, &str, &[&str]); 3] = [
    (
        MANAGER,
        "org.postrider.Postrider1.Manager",
        &[
            ".AttentionNeeded property b",
            ".ConfigPath property s",
            ".LastSync property t",
            ".OutboxCount property u",
            ".Paused property b",
            ".State property s",
            ".Unread property u",
            ".Version property s",
            ".GetStatus method - s",
            ".Pause method t -",
            ".Reload method - -",
            ".Resume method - -",
            ".Sync method asa{sv} u",
            ".WaitJob method u a{sv}",
            ".JobDone signal uba{sv}",
        ],
    ),
    (
        WORK,
        "org.postrider.Postrider1.Account",
        &[
            ".Address property s",
            ".Enabled property b",
            ".ErrorName property s",
            ".ErrorSince property t",
            ".ErrorText property s",
            ".Held property u",
            ".LastSuccess property t",
            ".LastSync property t",
            ".Maildir property s",
            ".Name property s",
            ".NextRetry property t",
            ".Progress property a{sv}",
            ".Protocol property s",
            ".Push property s",
            ".State property s",
            ".Total property u",
            ".Unread property u",
            ".Watch property s",
            ".ConfirmDeletes method s -",
            ".ListMailboxes method - aa{sv}",
            ".Pause method t -",
            ".RejectDeletes method s -",
            ".Resume method - -",
            ".Sync method asa{sv} u",
            ".DeletesHeld signal su",
            ".MailboxReset signal s",
            ".NewMessages signal sas",
        ],
    ),
    (
        OUTBOX,
        "org.postrider.Postrider1.Outbox",
        &[
            ".Directory property s",
            ".Failed property u",
            ".Held property u",
            ".NextAttempt property t",
            ".Queued property u",
            ".Sending property b",
            ".Uncertain property u",
            ".Cancel method as -",
            ".Flush method as u",
            ".Hold method as -",
            ".List method - aa{sv}",
            ".Release method as -",
            ".Resolve method ss -",
            ".Submit method hsasa{sv} s",
            ".MessageDeferred signal sst",
            ".MessageFailed signal saa{sv}",
            ".MessageQueued signal ss",
            ".MessageSent signal ssss",
            ".MessageUncertain signal s",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_interfaces_are_those_of_the_contract() {
    let bus = DbusDaemon::start();
    let (served, client) = bus.serve().await;
    for (path, interface, members) in MEMBERS {
        let proxy = IntrospectableProxy::builder(&client).destination(NAME).path(path);
        let xml = proxy.build().await.unwrap().introspect().await.unwrap();
        assert!(!xml.contains("EmitsChangedSignal\" value=\"false"), "{xml}");
        let (bus, args) = (format!("--address={}", bus.address), [NAME, path, interface]);
        let introspect = || {
            let mut busctl = Process::new("busctl");
            busctl.args([&bus, "--no-pager", "--no-legend", "introspect"]).args(args).output()
        };
        let output = introspect().expect("this test needs busctl: install the package systemd");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let shown: Vec<String> = text.lines().map(member).collect();
        let mut wanted: Vec<&str> = members.to_vec();
        wanted.sort_unstable();
        let mut shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        shown.sort_unstable();
        assert_eq!(shown, wanted, "{interface}");
    }
    served.stop().await;
}

/// Name, kind, signature, and the result of a method.
fn member(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let n = if words[1] == "method" { 4 } else { 3 };
    words[..n].join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_syncs_are_answered_and_what_is_too_much_is_busy() {
    let mut served = Served::start(BusChoice::Private, None);
    let client = served.client().await;
    let manager = manager(&client).await;
    let answers: Vec<Option<u32>> = stream::iter(0..10_000)
        .map(|_| async {
            match manager.sync(&[], HashMap::new()).await {
                Ok(job) => Ok(Some(job)),
                Err(err) if error_name(Err::<(), _>(err.clone())) == "Busy" => Ok(None),
                Err(err) => Err(err),
            }
        })
        .buffer_unordered(500)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(answers.len(), 10_000);
    let jobs: Vec<u32> = answers.into_iter().flatten().collect();
    assert_eq!(jobs.len(), 64, "as many as the engine's queue holds");
    assert_eq!(manager.state().await.unwrap(), "attention");
    // None of the jobs that were promised is lost.
    for _ in &jobs {
        let Command::Sync { job, account, .. } = served.command().await else { panic!() };
        served.jobs.report(job, &account, AccountReport::default());
    }
    for job in jobs {
        within(manager.wait_job(job)).await.unwrap();
    }
    let job = manager.sync(&[], HashMap::new()).await.unwrap();
    assert!(matches!(served.command().await, Command::Sync { job: begun, .. } if begun == job));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_calls_are_answered_and_leave_nothing_behind() {
    let served = Served::start(BusChoice::Private, None);
    let client = served.client().await;
    let manager = manager(&client).await;
    let round = async |n: usize| {
        let answers = stream::iter(0..n).map(|_| manager.unread()).buffer_unordered(200);
        answers
            .try_for_each(|unread| async move {
                assert_eq!(unread, 4);
                Ok(())
            })
            .await
            .unwrap();
    };
    round(10_000).await;
    let before = resident_kib();
    round(100_000).await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more than before");
    served.stop().await;
}

/// What this process has in memory.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_bus_it_is_there_again() {
    let mut bus = DbusDaemon::start();
    let (served, client) = bus.serve().await;
    assert_eq!(manager(&client).await.unread().await.unwrap(), 4);
    bus.restart();
    // Who has the private socket notices nothing.
    assert_eq!(manager(&served.client().await).await.unread().await.unwrap(), 4);
    let client = bus.has_the_name().await;
    assert_eq!(manager(&client).await.unread().await.unwrap(), 4);
    served.stop().await;
}

/// A peer without a D-Bus library, authenticated.
fn raw_peer(socket: &Path) -> UnixStream {
    let mut peer = UnixStream::connect(socket).unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    let uid = rustix::process::geteuid().as_raw().to_string();
    let uid: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
    peer.write_all(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes()).unwrap();
    let mut answer = [0; 64];
    let n = peer.read(&mut answer).unwrap();
    assert!(answer[..n].starts_with(b"OK "), "{:?}", String::from_utf8_lossy(&answer[..n]));
    peer.write_all(b"BEGIN\r\n").unwrap();
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_holds_up_nobody() {
    let served = Served::start(BusChoice::Private, None);
    let deaf = raw_peer(&served.socket());
    let sleepy = served.client().await;
    let asleep = manager(&sleepy).await.receive_job_done().await.unwrap();
    let client = served.client().await;
    let proxy = manager(&client).await;
    let mut done = proxy.receive_job_done().await.unwrap();
    // More than a socket buffer holds, let alone the queue of a stream.
    for round in 1..=500 {
        served.board.account(&name(), |account| account.address = round.to_string().repeat(3000));
        let job = served.jobs.begin(Vec::new());
        let signal = within(done.next()).await.unwrap();
        assert_eq!(*signal.args().unwrap().job(), job);
    }
    let address = within(account(&client).await.address()).await.unwrap();
    assert_eq!(address, "500".repeat(3000));
    drop((deaf, asleep));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_giants_end_only_their_own_connection() {
    let served = Served::start(BusChoice::Private, None);
    let client = served.client().await;
    let socket = served.socket();
    let ends = |bytes: Vec<u8>| {
        let socket = socket.clone();
        tokio::task::spawn_blocking(move || {
            let mut peer = raw_peer(&socket);
            // It may be gone before all is written.
            drop(peer.write_all(&bytes));
            drop(std::io::copy(&mut peer, &mut std::io::sink()));
        })
    };
    within(ends(b"\0\0\0\0 this is no message of D-Bus at all".to_vec())).await.unwrap();
    // A call whose body claims 100 MiB.
    let mut giant = vec![b'l', 1, 0, 1];
    giant.extend((100_u32 << 20).to_le_bytes());
    giant.extend(1_u32.to_le_bytes());
    giant.extend(0_u32.to_le_bytes());
    giant.resize(4096, 0);
    within(ends(giant)).await.unwrap();
    assert_eq!(manager(&client).await.unread().await.unwrap(), 4);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_beyond_one_per_message_end_only_their_own_connection() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;
    let served = Served::start(BusChoice::Private, None);
    let client = served.client().await;
    let socket = served.socket();
    let flood = move |n: usize| {
        let mut peer = raw_peer(&socket);
        let file = std::fs::File::open("/dev/null").unwrap();
        let fds = vec![file.as_fd(); n];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        for _ in 0..100 {
            let mut more = SendAncillaryBuffer::new(&mut space);
            assert!(more.push(SendAncillaryMessage::ScmRights(&fds)));
            let bytes = [std::io::IoSlice::new(b"l")];
            if sendmsg(&peer, &bytes, &mut more, SendFlags::NOSIGNAL).is_err() {
                break;
            }
        }
        // Ends when the service closes it.
        drop(std::io::copy(&mut peer, &mut std::io::sink()));
    };
    for n in [1, 2, 64] {
        let flood = flood.clone();
        within(tokio::task::spawn_blocking(move || flood(n))).await.unwrap();
    }
    assert_eq!(manager(&client).await.unread().await.unwrap(), 4);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_at_most_twice_a_second() {
    let served = Served::start(BusChoice::Private, None);
    let client = served.client().await;
    let properties = properties(&client, WORK).await;
    let mut changes = properties.receive_properties_changed().await.unwrap();
    let begin = Instant::now();
    let mut n_told = 0;
    let mut done = 0;
    while done < 3 {
        for _ in 0..50 {
            let progress = Progress { done: fastrand::u64(..1000), ..Progress::default() };
            served.board.account(&name(), |account| account.progress = Some(progress));
        }
        served.board.account(&name(), |account| account.last_sync += 1);
        // What is not progress is told at once.
        loop {
            let signal = within(changes.next()).await.unwrap();
            let args = signal.args().unwrap();
            n_told += u32::from(args.changed_properties().contains_key("Progress"));
            if args.changed_properties().contains_key("LastSync") {
                break;
            }
        }
        done += 1;
    }
    let halves = u32::try_from(begin.elapsed().as_millis() / 500).unwrap();
    assert!((1..=halves + 1).contains(&n_told), "{n_told} in {halves} half seconds");
    // The last one is told in the end.
    let progress = Progress { done: 4711, ..Progress::default() };
    served.board.account(&name(), |account| account.progress = Some(progress));
    loop {
        let signal = within(changes.next()).await.unwrap();
        let args = signal.args().unwrap();
        let Some(progress) = args.changed_properties().get("Progress") else { continue };
        let progress = progress.try_clone().unwrap();
        let progress = HashMap::<String, OwnedVariant>::try_from(progress).unwrap();
        if u64::try_from(progress["done"].try_clone().unwrap()).unwrap() == 4711 {
            break;
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_private_replaces_a_stale_one_and_goes_with_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = run.join("bus");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(connect_private(&socket).await.unwrap().is_none(), "nobody listens on a stale one");
    let served = Served::start_in(dir, BusChoice::Private, None);
    assert_eq!(run.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let client = served.client().await;
    let dir = served.stop().await;
    within(client.closed()).await;
    assert!(!socket.exists());
    assert!(connect_private(&socket).await.unwrap().is_none());
    let off = Served::start_in(dir, BusChoice::Off, None);
    assert!(!socket.exists());
    off.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_and_a_bus_that_is_not_there_are_no_errors() {
    let nowhere = Some("unix:path=/nowhere/at/all".to_owned());
    let served = Served::start(BusChoice::Session, nowhere);
    assert_eq!(manager(&served.client().await).await.unread().await.unwrap(), 4);
    served.stop().await;
    let bus = DbusDaemon::start();
    let squatter = bus.client().await;
    squatter.request_name(NAME).await.unwrap();
    let served = Served::start(BusChoice::Session, Some(bus.address.clone()));
    assert_eq!(manager(&served.client().await).await.unread().await.unwrap(), 4);
    let proxy = DBusProxy::new(&squatter).await.unwrap();
    let owner = proxy.get_name_owner(NAME.try_into().unwrap()).await.unwrap();
    assert_eq!(Some(owner.as_str()), squatter.unique_name().map(|name| name.as_str()));
    served.stop().await;
}
