//! Notifications on the desktop: the test is what shows them, on a real bus.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use postrider_mailserver::{Action, MailServer, Rule};

use crate::fixture::{PASSWORD, SOON, World, eventually, mail, maildir, scripted, shared};

/// What was shown.
#[derive(Debug, Clone)]
struct Notification {
    id: u32,
    replaces: u32,
    summary: String,
    body: String,
    actions: Vec<String>,
    hints: String,
}

/// What shows notifications, and can do what it says.
#[derive(Clone)]
struct Shown {
    capabilities: Vec<String>,
    all: Arc<Mutex<Vec<Notification>>>,
}

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Shown {
    fn get_capabilities(&self) -> Vec<String> {
        self.capabilities.clone()
    }

    #[allow(clippy::too_many_arguments, reason = "the specification has them")]
    #[allow(clippy::needless_pass_by_value, reason = "the bus gives them away")]
    fn notify(
        &self,
        app_name: &str,
        replaces: u32,
        _app_icon: &str,
        summary: &str,
        body: &str,
        actions: Vec<String>,
        hints: HashMap<String, zbus::OwnedVariant>,
        _expire_timeout: i32,
    ) -> u32 {
        assert_eq!(app_name, "postrider");
        let mut all = self.all.lock().unwrap();
        let next = u32::try_from(all.len() + 1).unwrap();
        let id = if replaces > 0 { replaces } else { next };
        let (summary, body) = (summary.to_owned(), body.to_owned());
        let hints = format!("{hints:?}");
        all.push(Notification { id, replaces, summary, body, actions, hints });
        id
    }

    #[zbus(signal)]
    async fn action_invoked(
        emitter: &zbus::object_server::SignalEmitter<'_>,
        id: u32,
        action_key: &str,
    ) -> zbus::Result<()>;
}

/// The desktop, until it is dropped.
struct Desktop {
    shown: Shown,
    runtime: tokio::runtime::Runtime,
    connection: zbus::Connection,
}

const PLACE: &str = "/org/freedesktop/Notifications";

impl Desktop {
    fn of(world: &World, capabilities: &[&str]) -> Self {
        let capabilities = capabilities.iter().map(|word| (*word).to_owned()).collect();
        let shown = Shown { capabilities, all: Arc::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let address = world.bus.as_ref().unwrap().address.clone();
        let connection = runtime.block_on(async {
            let builder = zbus::connection::Builder::address(address.as_str());
            let builder = builder.serve_at(PLACE, shown.clone());
            builder.name("org.freedesktop.Notifications").build().await.unwrap()
        });
        Self { shown, runtime, connection }
    }

    fn all(&self) -> Vec<Notification> {
        self.shown.all.lock().unwrap().clone()
    }

    /// The first lines of all of them.
    fn summaries(&self) -> Vec<String> {
        self.all().into_iter().map(|one| one.summary).collect()
    }

    /// Waits for the `n`th notification, from 1.
    fn nth(&self, n: usize) -> Notification {
        eventually(&format!("notification {n}"), SOON, || self.all().get(n - 1).cloned())
    }

    /// Waits for a notification with this first line.
    fn shows(&self, summary: &str) -> Notification {
        eventually(&format!("{summary:?} is shown"), SOON, || {
            self.all().into_iter().find(|one| one.summary == summary)
        })
    }

    fn press(&self, id: u32, key: &str) {
        self.runtime.block_on(async {
            let server = self.connection.object_server();
            let server = server.interface::<_, Shown>(PLACE).await.unwrap();
            server.signal_emitter().action_invoked(id, key).await.unwrap();
        });
    }
}

/// A world whose account `work` is at the server, with notifications.
fn world(server: &MailServer) -> World {
    let world = World::with_bus();
    let table = scripted::imap_table(server, "work");
    world.configure(&format!("[daemon]\nnotifications = true\n{}{table}", world.account("work")));
    world
}

#[test]
fn the_desktop_hears_of_new_mail_and_once_of_trouble_and_of_no_text() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let imap_table = dovecot.imap_table("work", "desktop");
    let daemon = "[daemon]\nnotifications = true\n";
    world.configure(&format!("{daemon}{}{imap_table}", world.account("work")));
    let mut imap = dovecot.client("desktop");
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let record = world.record();
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(2));
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(3));
    record.has("Notify", &["2 new messages", "work"]);
    std::fs::remove_dir_all(world.maildir().join(".postrider")).unwrap();
    drop(world.run(&["sync"]));
    record.has("Notify", &["work: store-missing", "postrider"]);
    drop(world.run(&["sync"]));
    assert!(daemon.stop().success());
    let said = record.all();
    let notices: Vec<&str> = said.lines().filter(|line| line.contains("\"Notify\"")).collect();
    assert_eq!(notices.len(), 2, "{notices:#?}");
    assert!(!said.contains("number 2"), "a subject crossed the bus");
}

#[test]
fn the_button_under_a_notification_tries_a_refused_login_again() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let imap_table = dovecot.imap_table("work", "button");
    let daemon = "[daemon]\nnotifications = true\n";
    world.configure(&format!("{daemon}{}{imap_table}", world.account("work")));
    let desktop = Desktop::of(&world, &["body", "actions"]);
    world.set_password("wrong");
    let daemon = world.daemon();
    daemon.reaches("work", "needs-login");
    let shown = desktop.shows("work: needs-login");
    assert_eq!(shown.actions, ["retry", "Try again"]);
    world.set_password(PASSWORD);
    // A button of somebody else's notification is not ours.
    desktop.press(shown.id + 100, "retry");
    desktop.press(shown.id, "retry");
    daemon.reaches("work", "idle");
    assert!(daemon.stop().success());
}

#[test]
fn a_first_sync_is_quiet_and_mail_that_comes_together_is_told_together() {
    let server = scripted::server();
    let inbox = server.mailbox("INBOX");
    for n in 0..30 {
        inbox.append(&mail::numbered(n), &[], None);
    }
    let world = world(&server);
    let desktop = Desktop::of(&world, &["body", "actions"]);
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 30);
    // Twelve are there when it looks again; one of them was read elsewhere already.
    world.ok(&["pause"]);
    daemon.reaches("work", "paused");
    for n in 30..42 {
        inbox.append(&mail::numbered(n), &[], None);
    }
    inbox.append(&mail::numbered(42), &["\\Seen"], None);
    world.ok(&["resume"]);
    let told = desktop.nth(1);
    assert_eq!((&*told.summary, &*told.body), ("12 new messages", "work"));
    assert!(told.hints.contains("email.arrived") && told.hints.contains("postrider"), "{told:?}");
    inbox.append(&mail::numbered(43), &[], None);
    let next = desktop.nth(2);
    assert_eq!((&*next.summary, next.replaces), ("1 new message", told.id), "it takes its place");
    assert_eq!(desktop.all().len(), 2, "{:?}", desktop.summaries());
    assert!(daemon.stop().success());
}

#[test]
fn a_trouble_is_told_once_for_each_time_that_it_begins_and_without_buttons_where_there_are_none() {
    let server = scripted::server();
    let world = world(&server);
    let desktop = Desktop::of(&world, &["body"]);
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let refuse = || {
        for command in ["AUTHENTICATE", "LOGIN"] {
            let text = "NO [AUTHENTICATIONFAILED] <who>?";
            server.script(Rule::imap(command).then(Action::refuse(text)));
        }
        server.disconnect_all();
        daemon.reaches("work", "needs-login");
    };
    refuse();
    for _ in 0..4 {
        assert_eq!(world.run(&["sync"]).code, 77);
    }
    server.clear_script();
    world.ok(&["resume"]);
    daemon.reaches("work", "idle");
    refuse();
    let (first, second) = (desktop.nth(1), desktop.nth(2));
    assert_eq!(desktop.summaries(), ["work: needs-login", "work: needs-login"]);
    assert!(first.actions.is_empty() && second.actions.is_empty(), "{first:?}");
    assert_eq!(second.replaces, first.id);
    assert!(first.body.contains("&lt;who&gt;"), "the words of the server are no markup: {first:?}");
    assert!(first.hints.contains("U8(2)"), "{first:?}");
    // Another kind of trouble is told as well.
    server.clear_script();
    world.ok(&["resume"]);
    daemon.reaches("work", "idle");
    std::fs::remove_dir_all(world.maildir().join(".postrider")).unwrap();
    drop(world.run(&["sync"]));
    assert_eq!(desktop.nth(3).summary, "work: store-missing");
    assert!(daemon.stop().success());
}

#[test]
fn without_anybody_who_shows_notifications_mail_comes_all_the_same() {
    let server = scripted::server();
    let world = world(&server);
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    eventually("mail comes", SOON, || (maildir::count(&world.mailbox("INBOX")) == 1).then_some(()));
    // The desktop comes later than the service.
    let desktop = Desktop::of(&world, &["body"]);
    server.mailbox("INBOX").append(&mail::numbered(2), &[], None);
    let told = desktop.nth(1);
    assert!(told.summary.ends_with("new message") || told.summary.ends_with("new messages"));
    assert!(daemon.stop().success());
}
