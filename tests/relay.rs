//! The outbox task over a real directory and a real ledger, with a way out that the test scripts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::type_complexity)]

#[path = "relay/changed.rs"]
mod changed;
#[path = "relay/parted.rs"]
mod parted;
#[path = "relay/steering.rs"]
mod steering;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use postrider::adapters::outbox::OutboxDir;
use postrider::adapters::outbox::sent::{SentMaildir, SentMaildirs};
use postrider::adapters::outbox::watch::OutboxWatch;
use postrider::adapters::outbox_ledger::SqliteOutbox;
use postrider::engine::relay::{Ask, Relay, RelayLinks, RelaySetup, Request};
use postrider::model::account::{OnUncertain, SentCopy};
use postrider::model::failure::{Failure, Kind, Remedy, Scope};
use postrider::model::ids::{AccountName, OutboxId};
use postrider::model::outbox::{
    Address, Broken, Decision, Item, OutboxEvent, Outcome, Phase, Reply, Submitted, Verdict,
};
use postrider::model::status::{Micros, OutboxStatus};
use postrider::ports::outbox::{DotGate, Job, OutboxLedger, Spool, Submit};
use postrider::rules::relay::RelayPolicy;
use postrider::rules::senders::Sending;

/// What the scripted server does with a recipient, by local part.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<(String, Vec<String>)>>>,
    senders: Arc<Mutex<Vec<Option<Address>>>>,
}

impl Submit for Server {
    async fn submit(&self, job: &Job, gate: &impl DotGate) -> Result<Outcome, Broken> {
        let to: Vec<String> =
            job.envelope.recipients.iter().map(|a| a.as_str().to_owned()).collect();
        let tries = {
            let mut seen = self.seen.lock().unwrap();
            seen.push((job.account.0.clone(), to));
            seen.len()
        };
        self.senders.lock().unwrap().push(job.envelope.sender.clone());
        let verdicts = verdicts(&job.envelope.recipients, tries);
        let trouble = |kind| Failure::new(Scope::Account, Remedy::Later, kind, "send");
        let first = job.envelope.recipients[0].local_part().to_owned();
        match first.as_str() {
            "hang" => std::future::pending::<()>().await,
            "slow" => {
                gate.open(&verdicts).await.map_err(|failure| Broken {
                    failure,
                    after_dot: false,
                    in_mail: false,
                })?;
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
            "cut" => {
                let failure = trouble(Kind::Offline);
                return Err(Broken { failure, after_dot: false, in_mail: true });
            }
            "offline" => {
                return Err(Broken {
                    failure: trouble(Kind::Offline),
                    after_dot: false,
                    in_mail: false,
                });
            }
            _ => {}
        }
        let before = |failure| Broken { failure, after_dot: false, in_mail: false };
        gate.open(&verdicts).await.map_err(before)?;
        if first == "doubt" && tries == 1 {
            return Err(Broken { failure: trouble(Kind::Timeout), after_dot: true, in_mail: true });
        }
        Ok(Outcome { verdicts })
    }
}

/// What it says to each recipient at this attempt.
fn verdicts(recipients: &[Address], tries: usize) -> Vec<(Address, Verdict)> {
    let mut taken = 0;
    let verdict = |to: &Address| {
        let verdict = match to.local_part().split('.').next().unwrap_or_default() {
            "no" => Verdict::Refused(Reply::new(550, None, "no")),
            "later" => Verdict::Deferred(Reply::new(450, None, "later")),
            "soon" if tries == 1 => Verdict::Deferred(Reply::new(450, None, "later")),
            "crowd" if taken >= 2 => {
                Verdict::Deferred(Reply::new(452, Some([4, 5, 3]), "Too many recipients"))
            }
            _ => Verdict::Accepted(Reply::new(250, None, "queued as X")),
        };
        taken += usize::from(matches!(verdict, Verdict::Accepted(_)));
        (to.clone(), verdict)
    };
    recipients.iter().map(verdict).collect()
}

struct World {
    dir: tempfile::TempDir,
    server: Server,
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<OutboxStatus>,
    events: broadcast::Receiver<OutboxEvent>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    _watch: OutboxWatch,
}

fn clock() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

fn name(text: &str) -> AccountName {
    AccountName(text.to_owned())
}

fn setup() -> RelaySetup {
    let sending = |account: &str| Sending {
        name: name(account),
        address: format!("{account}@example.com"),
        aliases: Vec::new(),
    };
    RelaySetup {
        accounts: vec![sending("work"), sending("home")],
        resting: Vec::new(),
        sent_copy: BTreeMap::from([(name("work"), SentCopy::Auto)]),
        sent_wait: Duration::from_millis(50),
        policy: RelayPolicy {
            retry_for: Duration::from_secs(5 * 3600),
            on_uncertain: OnUncertain::Hold,
        },
        undo_delay: Duration::ZERO,
        directory: String::new(),
        clock,
        random: || 500,
    }
}

impl World {
    fn start(dir: tempfile::TempDir) -> Self {
        Self::start_as(dir, setup())
    }

    fn start_as(dir: tempfile::TempDir, setup: RelaySetup) -> Self {
        let root = dir.path().join("Outbox");
        let spool = OutboxDir::open(&root).unwrap();
        let ledger = Arc::new(SqliteOutbox::open(dir.path()).unwrap());
        let wake = Arc::new(Notify::new());
        let watch = OutboxWatch::begin(&root, Arc::clone(&wake)).unwrap();
        let filer = SentMaildirs::default();
        let path = dir.path().join("Sent");
        filer.set(name("work"), SentMaildir { path, info_separator: ':' });
        let (requests, asked) = mpsc::channel(8);
        let (status, shown) = watch::channel(OutboxStatus::default());
        let (tell, events) = broadcast::channel(256);
        let (stop, stopped) = watch::channel(false);
        let server = Server::default();
        let links = RelayLinks {
            wake,
            requests: asked,
            status,
            events: tell,
            stop: stopped,
            rests: Arc::default(),
        };
        let relay = Relay::new((spool, ledger, server.clone(), filer), setup, links);
        let task = tokio::spawn(relay.run());
        Self { dir, server, requests, status: shown, events, stop, task, _watch: watch }
    }

    fn new() -> Self {
        Self::start(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("Outbox")
    }

    /// Drops a message the Maildir way.
    fn drop_mail(&self, file: &str, from: &str, to: &str) {
        drop_at(&self.root(), file, from, to);
    }

    async fn event(&mut self) -> OutboxEvent {
        loop {
            let event = timeout(LIMIT, self.events.recv()).await.expect("an event").unwrap();
            if !matches!(event, OutboxEvent::Queued { .. }) {
                return event;
            }
        }
    }

    async fn until(&mut self, wanted: impl Fn(&OutboxStatus) -> bool) {
        timeout(LIMIT, self.status.wait_for(|status| wanted(status)))
            .await
            .expect("a status")
            .unwrap();
    }

    async fn ask(&self, what: Ask) -> Vec<Item> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { what, reply }).await.unwrap();
        timeout(LIMIT, answer).await.expect("an answer").unwrap().unwrap()
    }

    async fn restart(self) -> Self {
        self.stop.send(true).unwrap();
        timeout(LIMIT, self.task).await.unwrap().unwrap();
        Self::start(self.dir)
    }

    fn seen(&self) -> Vec<(String, Vec<String>)> {
        self.server.seen.lock().unwrap().clone()
    }
}

fn drop_at(root: &Path, file: &str, from: &str, to: &str) {
    let text = format!("From: {from}\nTo: {to}\nMessage-ID: <{file}@x>\nSubject: s\n\nbody\n");
    let tmp = root.join("tmp").join("being-written");
    std::fs::write(&tmp, text).unwrap();
    std::fs::rename(tmp, root.join("new").join(file)).unwrap();
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_dropped_message_is_sent_filed_and_forgotten() {
    let mut world = World::new();
    world.drop_mail("m", "work@example.com", "a@x.org");
    let event = world.event().await;
    assert!(matches!(event, OutboxEvent::Sent { ref message_id, .. } if message_id == "<m@x>"));
    while count(&world.root().join("cur")) > 0 {
        // The answer comes after a turn of the loop, so this ends with the copy.
        drop(world.ask(Ask::List).await);
    }
    assert_eq!(count(&world.dir.path().join("Sent/cur")), 1);
    assert_eq!(world.ask(Ask::List).await, []);
}

#[tokio::test]
async fn one_accounts_trouble_delays_no_other_and_ages_nothing() {
    let mut world = World::new();
    world.drop_mail("1", "work@example.com", "hang@x.org");
    world.until(|status| status.sending).await;
    world.drop_mail("2", "home@example.com", "a@x.org");
    assert!(
        matches!(world.event().await, OutboxEvent::Sent { account, .. } if account.0 == "home")
    );
    world.drop_mail("3", "home@example.com", "offline@x.org");
    let event = world.event().await;
    assert!(matches!(&event, OutboxEvent::Deferred { error_name, .. } if error_name == "Offline"));
    let items = world.ask(Ask::List).await;
    assert!(items.iter().all(|item| item.tries == 0));
}

#[tokio::test]
async fn accepted_recipients_are_never_tried_again() {
    let mut world = World::new();
    world.drop_mail("m", "home@example.com", "a@x.org, no@x.org, later@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Deferred { .. }));
    let items = world.ask(Ask::Flush(Vec::new())).await;
    let phases: Vec<Phase> = items.iter().map(|item| item.phase).collect();
    assert_eq!(phases, [Phase::Queued, Phase::Failed], "one waits, and one is parked");
    let seen = world.seen();
    assert_eq!(seen[0].1.len(), 3);
    assert_eq!(seen[1].1, ["later@x.org"]);
}

#[tokio::test]
async fn refused_messages_are_parked_with_their_reason() {
    let mut world = World::new();
    world.drop_mail("1", "home@example.com", "no@x.org");
    let OutboxEvent::Failed { id, recipients } = world.event().await else { panic!() };
    assert_eq!(recipients, [("no@x.org".to_owned(), "550 no".to_owned())]);
    world.drop_mail("2", "stranger@example.com", "a@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Failed { .. }));
    world.until(|status| status.failed == 2).await;
    drop(world.ask(Ask::List).await);
    let failed = world.root().join("failed");
    assert_eq!(count(&failed), 4);
    let reason = std::fs::read_to_string(failed.join(format!("{id}.reason"))).unwrap();
    assert!(reason.contains("550 no"), "{reason}");
    assert_eq!(world.seen().len(), 1);
    let world = world.restart().await;
    assert_eq!(world.ask(Ask::List).await.len(), 2);
    assert_eq!(world.ask(Ask::Retry(vec![id])).await[0].phase, Phase::Queued);
}

#[tokio::test]
async fn an_unknown_fate_waits_for_a_person() {
    let mut world = World::new();
    world.drop_mail("m", "home@example.com", "doubt@x.org");
    let OutboxEvent::Uncertain { id } = world.event().await else { panic!() };
    let mut world = world.restart().await;
    world.until(|status| status.uncertain == 1).await;
    let (first, second) = (Decision::Resend, Decision::Sent);
    world.server.seen.lock().unwrap().push(Default::default());
    drop(world.ask(Ask::Resolve(id.clone(), first)).await);
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
    while !world.ask(Ask::List).await.is_empty() {
        // Each answer takes a turn of the loop, so this ends when the copy is settled.
    }
    let (reply, answer) = oneshot::channel();
    let what = Ask::Resolve(id, second);
    world.requests.send(Request { what, reply }).await.unwrap();
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test]
async fn a_crash_behind_the_dot_is_uncertain_and_before_it_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = OutboxDir::open(&dir.path().join("Outbox")).unwrap();
    let ledger = SqliteOutbox::open(dir.path()).unwrap();
    for (id, phase) in [("dot", Phase::Dot), ("sending", Phase::Sending), ("lost", Phase::Queued)] {
        drop_at(spool.root(), id, "home@example.com", &format!("{id}@x.org"));
        let found = spool.scan().unwrap().ready.remove(0);
        let id = OutboxId(id.to_owned());
        spool.claim(&[(found, id.clone())]).remove(0).unwrap();
        let mut item = Item::claimed(id.clone(), clock());
        item.phase = phase;
        item.account = Some(name("home"));
        item.message_id = "<x>".to_owned();
        item.recipients = vec![postrider::model::outbox::Recipient {
            address: Address::new(&format!("{id}@x.org")).unwrap(),
            state: postrider::model::outbox::RecipientState::Pending,
            reply: None,
        }];
        if id.0 != "lost" {
            ledger.put(&item).unwrap();
        }
    }
    let mut world = World::start(dir);
    assert!(matches!(world.event().await, OutboxEvent::Sent { id, .. } if id.0 == "sending"));
    world.until(|status| status.uncertain == 1 && status.held == 1).await;
    assert_eq!(world.seen().len(), 1);
}

/// The file outlives the reply until `accepted` is on disk, and then it is not sent again.
#[tokio::test]
async fn s121_a_file_goes_only_after_accepted_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let spool = OutboxDir::open(&dir.path().join("Outbox")).unwrap();
    let ledger = SqliteOutbox::open(dir.path()).unwrap();
    drop_at(spool.root(), "m", "home@example.com", "a@x.org");
    let found = spool.scan().unwrap().ready.remove(0);
    let id = OutboxId("m".to_owned());
    spool.claim(&[(found, id.clone())]).remove(0).unwrap();
    let mut item = Item::claimed(id, clock());
    item.phase = Phase::Accepted;
    item.account = Some(name("home"));
    item.message_id = "<m@x>".to_owned();
    item.recipients = vec![postrider::model::outbox::Recipient {
        address: Address::new("a@x.org").unwrap(),
        state: postrider::model::outbox::RecipientState::Accepted,
        reply: None,
    }];
    ledger.put(&item).unwrap();
    assert_eq!(count(&spool.root().join("cur")), 1, "killed right after the commit");
    let world = World::start(dir);
    while count(&world.root().join("cur")) > 0 {
        // Each answer takes a turn of the loop, so this ends when the file is removed.
        drop(world.ask(Ask::List).await);
    }
    assert_eq!(world.seen(), [], "it was sent already");
    assert_eq!(world.ask(Ask::List).await, []);
}

#[tokio::test]
async fn flags_hold_release_and_cancel() {
    let mut world = World::new();
    for file in ["1:2,D", "2:2,D", "3:2,D"] {
        world.drop_mail(file, "home@example.com", "a@x.org");
    }
    world.until(|status| status.held == 3).await;
    let mut files: Vec<_> = std::fs::read_dir(world.root().join("cur"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let flagged = |path: &Path, flags: &str| {
        let text = path.to_str().unwrap().to_owned();
        std::fs::rename(path, text.replace(":2,D", &format!(":2,{flags}"))).unwrap();
    };
    flagged(&files[0], "");
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
    flagged(&files[1], "T");
    std::fs::remove_file(&files[2]).unwrap();
    world.until(|status| status.held == 0).await;
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn a_message_that_all_have_is_held_and_arguments_win_over_the_header() {
    let mut world = World::new();
    let ledger = SqliteOutbox::open(world.dir.path()).unwrap();
    let recipients = vec![Address::new("arg@x.org").unwrap()];
    let given = Submitted { sender: Some(None), recipients, from_header: false };
    ledger.submit(&OutboxId("m".to_owned()), &given, clock()).unwrap();
    world.drop_mail("m", "home@example.com", "a@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Sent { id, .. } if id.0 == "m"));
    assert_eq!(world.seen()[0].1, ["arg@x.org"]);
    drop_at(&world.root(), "n", "home@example.com", "b@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
    drop_at(&world.root(), "n", "home@example.com", "b@x.org");
    world.until(|status| status.held == 1).await;
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn a_flush_of_all_leaves_delays_alone_and_a_named_one_does_not() {
    let mut world = World::new();
    let tmp = world.root().join("tmp/m");
    std::fs::write(
        &tmp,
        "From: home@example.com\nTo: a@x.org\nX-Postrider-Send-After: 2200-01-01T00:00:00Z\n\nb\n",
    )
    .unwrap();
    std::fs::rename(tmp, world.root().join("new/m")).unwrap();
    world.until(|status| status.queued == 1).await;
    let items = world.ask(Ask::Flush(Vec::new())).await;
    assert_eq!((items.len(), world.seen().len()), (1, 0));
    drop(world.ask(Ask::Flush(vec![items[0].id.clone()])).await);
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
}

#[tokio::test]
async fn a_whole_batch_leaves_and_each_message_once() {
    let mut world = World::new();
    for n in 0..100 {
        world.drop_mail(&n.to_string(), "home@example.com", &format!("{n}@x.org"));
    }
    for _ in 0..100 {
        assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
    }
    let mut to: Vec<String> = world.seen().into_iter().flat_map(|(_, to)| to).collect();
    to.sort();
    to.dedup();
    assert_eq!((to.len(), world.seen().len()), (100, 100));
}

const LIMIT: Duration = Duration::from_secs(20);

/// A copy of the server's, as the sync of this process would name it.
fn server_files(world: &World, message_id: &str) {
    let sent = world.dir.path().join("Sent");
    for dir in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(sent.join(dir)).unwrap();
    }
    let file = format!("1.M2P{}R0000000000000003.host:2,S", std::process::id());
    let text = format!("Message-ID: {message_id}\n\nx\n");
    std::fs::write(sent.join("tmp").join(&file), text).unwrap();
    std::fs::rename(sent.join("tmp").join(&file), sent.join("cur").join(&file)).unwrap();
}

#[tokio::test]
async fn a_server_that_files_by_itself_is_remembered_and_never_doubled() {
    let mut world = World::new();
    server_files(&world, "<m@x>");
    world.drop_mail("m", "work@example.com", "a@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
    while !world.ask(Ask::List).await.is_empty() {
        // Each answer takes a turn of the loop, so this ends when the copy is settled.
    }
    assert_eq!(count(&world.dir.path().join("Sent/cur")), 1);
    let ledger = SqliteOutbox::open(world.dir.path()).unwrap();
    assert_eq!(ledger.server_files(&name("work")).unwrap(), Some(true));
    // From now on Sent tells what became of a message whose answer was lost.
    std::fs::remove_dir_all(world.dir.path().join("Sent/cur")).unwrap();
    world.server.seen.lock().unwrap().clear();
    server_files(&world, "<n@x>");
    world.drop_mail("n", "work@example.com", "doubt@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Uncertain { .. }));
    let OutboxEvent::Sent { reply, .. } = world.event().await else { panic!() };
    assert_eq!(reply, "found in the Sent mailbox");
    while !world.ask(Ask::List).await.is_empty() {
        // As above.
    }
    assert_eq!(world.seen().len(), 1, "it was not sent again");
}

#[tokio::test]
async fn a_copy_of_the_mail_program_is_enough_and_teaches_nothing() {
    let mut world = World::new();
    server_files(&world, "<m@x>");
    let cur = world.dir.path().join("Sent/cur");
    let file = std::fs::read_dir(&cur).unwrap().next().unwrap().unwrap().path();
    std::fs::rename(file, cur.join("1.mutt.host:2,S")).unwrap();
    world.drop_mail("m", "work@example.com", "a@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
    while !world.ask(Ask::List).await.is_empty() {
        // As above.
    }
    assert_eq!(count(&cur), 1);
    let ledger = SqliteOutbox::open(world.dir.path()).unwrap();
    assert!(ledger.server_files(&name("work")).unwrap() != Some(true));
}

#[tokio::test]
async fn a_server_that_no_longer_files_is_found_out_and_the_copy_is_made_here() {
    let mut world = World::new();
    let ledger = SqliteOutbox::open(world.dir.path()).unwrap();
    let sent = world.dir.path().join("Sent/cur");
    server_files(&world, "<m@x>");
    world.drop_mail("m", "work@example.com", "a@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
    while !world.ask(Ask::List).await.is_empty() {
        // As above.
    }
    assert!(ledger.server_files(&name("work")).unwrap() == Some(true) && count(&sent) == 1);
    // The provider changed its mind: for this one nothing comes.
    world.drop_mail("n", "work@example.com", "a@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
    while !world.ask(Ask::List).await.is_empty() {
        // As above.
    }
    assert_eq!(count(&sent), 2, "the copy was made here");
    assert!(
        ledger.server_files(&name("work")).unwrap() != Some(true),
        "it still counts as one that files"
    );
    // And again: it files, so that nothing is doubled.
    std::fs::remove_dir_all(&sent).unwrap();
    server_files(&world, "<o@x>");
    world.drop_mail("o", "work@example.com", "a@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
    while !world.ask(Ask::List).await.is_empty() {
        // As above.
    }
    assert_eq!(count(&sent), 1);
    assert!(ledger.server_files(&name("work")).unwrap() == Some(true));
}

#[tokio::test]
async fn a_message_that_waits_for_hours_is_counted_as_late_and_is_tried_on() {
    let mut world = World::new();
    world.drop_mail("m", "work@example.com", "later@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Deferred { .. }));
    world.until(|status| status.queued == 1).await;
    assert_eq!(world.status.borrow().late, 0);
    world.stop.send(true).unwrap();
    timeout(LIMIT, world.task).await.unwrap().unwrap();
    let ledger = SqliteOutbox::open(world.dir.path()).unwrap();
    let mut item = ledger.items().unwrap().remove(0);
    item.queued_at -= 4 * 3600 * 1_000_000;
    ledger.put(&item).unwrap();
    drop(ledger);
    let mut world = World::start(world.dir);
    world.until(|status| status.late == 1).await;
    assert_eq!(count(&world.root().join("failed")), 0, "retry_for is not over");
}
