//! Scenarios of the loop that runs all the time: 66, 79, 80, and 113 to 117.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postrider::engine::account::{Drive, Order, run};
use postrider::engine::board::Board;
use postrider::engine::jobs::Jobs;
use postrider::model::account::SecretSource;
use postrider::model::event::Hint;
use postrider::model::status::{AccountState, AccountStatus, Status, Watch};
use postrider_mailserver::Config;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::case::{Offer, case};
use crate::common::World;
use crate::common::fate::Fate;
use crate::common::sides::Side::{Here, There};

/// An account whose loop runs.
struct Daemon {
    fate: Arc<Fate>,
    orders: mpsc::Sender<Order>,
    jobs: Jobs,
    status: watch::Receiver<Arc<Status>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Daemon {
    fn start(world: &World, fate: Arc<Fate>, poll_interval: Duration) -> Self {
        let name = world.account.name.clone();
        let mut status = Status::default();
        status.accounts.insert(name, AccountStatus::default());
        let (board, reader) = Board::new(status);
        let (orders, asked) = mpsc::channel(8);
        let (jobs, stop) = (Jobs::default(), CancellationToken::new());
        let drive = Drive {
            orders: asked,
            jobs: jobs.clone(),
            poll_interval,
            push: world.account.imap.as_ref().unwrap().push.clone(),
            max_connections: 3,
            redial: Arc::default(),
            stop: stop.clone(),
        };
        let task = tokio::spawn(run(world.worker(&fate, board), drive));
        Self { fate, orders, jobs, status: reader, stop, task }
    }

    /// Waits for a status.
    async fn until(&mut self, what: &str, wanted: impl Fn(&AccountStatus) -> bool) {
        let is_met = |status: &Arc<Status>| status.accounts.values().any(&wanted);
        let met = tokio::time::timeout(LIMIT, self.status.wait_for(is_met)).await.is_ok();
        assert!(met, "{what}: {:?}", self.status.borrow());
    }

    async fn until_idle(&mut self) {
        self.until("idle", |a| a.state == AccountState::Idle).await;
    }

    /// As if the watcher had said this.
    fn hint(&self, hint: Hint) {
        self.fate.hints.lock().unwrap().as_ref().unwrap().put(hint);
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

/// Waits for something that nobody tells.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const LIMIT: Duration = Duration::from_secs(15);
const SELDOM: Duration = Duration::from_secs(3600);

fn logins(world: &World) -> usize {
    let is_login = |name: &str| matches!(name, "LOGIN" | "AUTHENTICATE");
    world.server.commands().iter().filter(|c| is_login(&c.name)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn s066_an_expunge_during_idle_is_applied() {
    let world = World::new(Config::default(), |_| {});
    (1..=2).for_each(|n| world.put(There, "INBOX", n, "S"));
    let mut daemon = Daemon::start(&world, Fate::calm(), SELDOM);
    daemon.until_idle().await;
    let idling = world.server.wait_for(LIMIT, |v| (v.idling("INBOX") > 0).then_some(())).await;
    assert!(idling.is_some());
    eventually("both are here", || world.count(Here, "INBOX") == 2).await;
    world.remove(There, "INBOX", 1);
    eventually("it is gone here", || world.count(Here, "INBOX") == 1).await;
    world.assert_both("INBOX", &[(2, "S")]);
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s079_a_watcher_that_lost_events_has_everything_looked_at() {
    let world = World::new(Config::default(), |_| {});
    world.make(There, "Work");
    let mut daemon = Daemon::start(&world, Fate::blind(Watch::Inotify), SELDOM);
    daemon.until_idle().await;
    eventually("Work is here", || world.path("Work/cur").is_dir()).await;
    world.put(Here, "INBOX", 1, "S");
    world.put(Here, "Work", 2, "S");
    daemon.hint(Hint::Everything);
    let all = |v: &postrider_mailserver::View<'_>| {
        (v.messages("INBOX").len() + v.messages("Work").len() == 2).then_some(())
    };
    assert!(world.server.wait_for(LIMIT, all).await.is_some());
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s080_what_cannot_be_watched_is_polled_and_the_status_says_so() {
    let world = World::new(Config::default(), |_| {});
    let often = Duration::from_millis(200);
    let mut daemon = Daemon::start(&world, Fate::blind(Watch::Poll), often);
    daemon.until_idle().await;
    daemon.until("it says so", |a| a.watch == Watch::Poll).await;
    world.put(Here, "INBOX", 1, "S");
    let there = |v: &postrider_mailserver::View<'_>| v.messages("INBOX").first().map(|_| ());
    assert!(world.server.wait_for(LIMIT, there).await.is_some());
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s114_a_link_that_flaps_is_dialled_with_patience() {
    let world = World::new(Config::default(), |a| {
        a.imap.as_mut().unwrap().push.clear();
    });
    let often = Duration::from_millis(100);
    let mut daemon = Daemon::start(&world, Fate::blind(Watch::Inotify), often);
    daemon.until_idle().await;
    let begin = Instant::now();
    world.server.clear_commands();
    for n in 1..=2 {
        world.server.disconnect_all();
        eventually("it is back", || logins(&world) >= n).await;
        // The first back-off is at least a second, however well it went before.
        assert!(begin.elapsed() >= Duration::from_secs(n as u64), "{:?}", begin.elapsed());
        daemon.until_idle().await;
    }
    assert_eq!(logins(&world), 2);
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s116_a_refused_login_is_tried_twice_and_then_a_person_is_asked() {
    let world = World::new(Config::default(), |a| {
        let file = a.maildir.parent().unwrap().join("password");
        std::fs::write(&file, "wrong\n").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        a.imap.as_mut().unwrap().endpoint.password = Some(SecretSource::File(file));
    });
    let mut daemon = Daemon::start(&world, Fate::calm(), Duration::from_millis(100));
    // Nothing is scheduled any more: the next try is a person's.
    let is_parked = |a: &AccountStatus| {
        a.state == AccountState::NeedsLogin && a.trouble.as_ref().is_some_and(|t| t.next_retry == 0)
    };
    daemon.until("parked", is_parked).await;
    assert_eq!(logins(&world), 2);
    std::fs::write(world.dir.path().join("password"), "secret\n").unwrap();
    let job = daemon.jobs.begin(vec![world.account.name.clone()]);
    daemon.orders.send(Order::Sync(job, Vec::new())).await.unwrap();
    let done = tokio::time::timeout(LIMIT, daemon.jobs.wait(job)).await.unwrap().unwrap();
    assert_eq!(done.accounts[&world.account.name].error, None);
    daemon.until_idle().await;
    daemon.end().await;
}

#[test]
fn s117_three_hundred_unchanged_mailboxes_cost_one_round_trip() {
    case()
        .on(&[Offer::All])
        .given(|s| (1..=300).for_each(|n| s.put(There, &format!("Box{n}"), n, "S")))
        // What a pass wrote itself is looked at once more.
        .given(|_| {})
        .when(|_| {})
        .then(|s| {
            let before = ["AUTHENTICATE", "NAMESPACE", "CAPABILITY", "ENABLE", "ID", "LOGOUT"];
            let commands = s.server.commands().into_iter();
            let work: Vec<String> =
                commands.map(|c| c.name).filter(|n| !before.contains(&n.as_str())).collect();
            assert_eq!(work, ["LIST"]);
            assert_eq!(s.outcome.report.mailboxes.len(), 301);
        })
        .run();
}
