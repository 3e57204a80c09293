//! The loop of an account: when it goes to the server, and when it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use postrider::engine::account::{Drive, Order};
use postrider::engine::jobs::Jobs;
use postrider::engine::pop;
use postrider::model::account::Leave;
use postrider::model::event::Consent;
use postrider::model::ids::{AccountName, MailboxName};
use postrider_mailserver::{Action, MailServer, Rule, View};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{Home, mail, n_said, server};

const SOON: Duration = Duration::from_secs(20);

struct Running {
    orders: mpsc::Sender<Order>,
    jobs: Jobs,
    stop: CancellationToken,
    join: JoinHandle<()>,
}

impl Running {
    fn start(home: &Home, server: &MailServer, leave: Leave, poll_interval: Duration) -> Self {
        let (orders, receiver) = mpsc::channel(8);
        let (jobs, stop) = (Jobs::default(), CancellationToken::new());
        let drive = Drive {
            orders: receiver,
            jobs: jobs.clone(),
            poll_interval,
            push: Vec::new(),
            max_connections: 1,
            redial: std::sync::Arc::default(),
            stop: stop.clone(),
        };
        let join = tokio::spawn(pop::run(home.worker(server, leave), drive));
        Self { orders, jobs, stop, join }
    }

    /// Asks for a sync and waits for it; the error's name, if it failed.
    async fn sync(&self, mailboxes: &[&str]) -> Option<String> {
        let home = AccountName("home".to_owned());
        let job = self.jobs.begin(vec![home.clone()]);
        let names = mailboxes.iter().map(|name| MailboxName((*name).to_owned())).collect();
        self.orders.send(Order::Sync(job, names)).await.unwrap();
        let result = tokio::time::timeout(SOON, self.jobs.wait(job)).await.unwrap().unwrap();
        let accounts: BTreeMap<_, _> = result.accounts;
        accounts[&home].error.as_ref().map(|error| error.code.clone())
    }

    async fn end(self) {
        self.stop.cancel();
        self.join.await.unwrap();
    }
}

fn filled(n: u32) -> MailServer {
    let server = server(&[]);
    for n in 1..=n {
        server.mailbox("INBOX").append(&mail(n), &[], None);
    }
    server
}

/// Waits until the server was asked so many times for this.
async fn said(server: &MailServer, name: &str, n: usize) {
    let found = |view: &View<'_>| {
        let count = view.commands().iter().filter(|c| c.name == name).count();
        (count >= n).then_some(())
    };
    assert!(server.wait_for(SOON, found).await.is_some(), "{n} times {name}");
}

#[tokio::test]
async fn it_polls_and_holds_no_connection_between() {
    let (server, home) = (filled(1), Home::new());
    let running = Running::start(&home, &server, Leave::Forever, Duration::from_millis(50));
    said(&server, "QUIT", 3).await;
    assert_eq!(n_said(&server, "RETR"), 1);
    assert_eq!(running.sync(&["Else"]).await.as_deref(), Some("NoSuchMailbox"));
    assert_eq!(running.sync(&["INBOX"]).await, None);
    running.end().await;
}

#[tokio::test]
async fn what_is_held_back_causes_no_logins_and_a_word_is_followed_at_once() {
    let (server, home) = (filled(12), Home::new());
    let hour = Duration::from_secs(3600);
    let running = Running::start(&home, &server, Leave::UntilMoved, hour);
    assert_eq!(running.sync(&[]).await, None);
    for file in home.files() {
        std::fs::remove_file(file).unwrap();
    }
    assert_eq!(running.sync(&[]).await, None);
    let before = n_said(&server, "AUTH");
    // A change of the directory is a hint, and this one is not worth a session.
    std::fs::write(home.mailbox().join("cur/own:2,"), "Subject: x\n\nx\n").unwrap();
    let logins = move |view: &View<'_>| {
        let n = view.commands().iter().filter(|c| c.name == "AUTH").count();
        (n > before).then_some(n)
    };
    assert_eq!(server.wait_for(Duration::from_secs(5), logins).await, None);
    let inbox = MailboxName::inbox();
    running.orders.send(Order::Decide(inbox, Consent::Confirm)).await.unwrap();
    let is_empty = |view: &View<'_>| view.messages("INBOX").is_empty().then_some(());
    assert!(server.wait_for(SOON, is_empty).await.is_some());
    assert_eq!(n_said(&server, "AUTH"), before + 1);
    running.end().await;
}

#[tokio::test]
async fn a_refused_login_is_tried_twice_and_then_a_person_is_asked() {
    let (server, home) = (filled(1), Home::new());
    let rule = server.script(Rule::pop3("AUTH").then(Action::refuse("-ERR [AUTH] wrong")));
    let hour = Duration::from_secs(3600);
    let running = Running::start(&home, &server, Leave::Forever, hour);
    said(&server, "AUTH", 2).await;
    server.unscript(rule);
    assert_eq!(running.sync(&[]).await, None);
    assert_eq!((n_said(&server, "AUTH"), home.here().len()), (3, 1));
    running.end().await;
}

#[tokio::test]
async fn a_mailbox_that_is_in_use_is_tried_again_by_itself() {
    let (server, home) = (filled(1), Home::new());
    let words = "-ERR [IN-USE] somebody else is in";
    server.script(Rule::pop3("AUTH").first(3).then(Action::refuse(words)));
    let hour = Duration::from_secs(3600);
    let running = Running::start(&home, &server, Leave::Forever, hour);
    said(&server, "RETR", 1).await;
    assert_eq!(n_said(&server, "AUTH"), 4);
    running.end().await;
}

#[tokio::test]
async fn logins_are_as_far_apart_as_the_server_wants_unless_a_person_asks() {
    let (server, home) = (filled(1), Home::new());
    server.reconfigure(|config| config.pop3_login_delay = Some(3600));
    let often = Duration::from_millis(1);
    let running = Running::start(&home, &server, Leave::Forever, often);
    said(&server, "QUIT", 1).await;
    for n in 2..=4 {
        assert_eq!(running.sync(&[]).await, None);
        assert_eq!(n_said(&server, "AUTH"), n, "no poll came between");
    }
    running.end().await;
}

#[tokio::test]
async fn a_paused_account_leaves_the_server_alone() {
    let (server, home) = (filled(1), Home::new());
    let running = Running::start(&home, &server, Leave::Forever, Duration::from_secs(3600));
    assert_eq!(running.sync(&[]).await, None);
    running.orders.send(Order::Pause(0)).await.unwrap();
    assert_eq!(running.sync(&[]).await.as_deref(), Some("Busy"));
    running.orders.send(Order::Resume).await.unwrap();
    assert_eq!(running.sync(&[]).await, None);
    running.end().await;
}
