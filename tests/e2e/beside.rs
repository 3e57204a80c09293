//! What runs beside the sync: the hook for new mail, and notifications on the desktop.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use crate::fixture::maildir::count;
use crate::fixture::process::eventually;
use crate::fixture::{PASSWORD, SOON, World, mail, shared};

/// A configuration with a hook that writes down what it was told.
fn with_hook(world: &World, imap_table: &str, script: &str, more: &str) -> String {
    let mut text = format!("{}{imap_table}", world.account("work"));
    write!(text, "[hooks]\nnew_mail = {{ command = [\"/bin/sh\", \"-c\", '{script}']").unwrap();
    writeln!(text, ", {more} }}").unwrap();
    text
}

#[test]
fn a_hook_runs_once_for_a_burst_of_mail_and_a_hanging_one_is_stopped_and_delays_nothing() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let log = world.path("hook.log");
    let script = format!(
        "echo \"$POSTRIDER_EVENT $POSTRIDER_COUNT $POSTRIDER_MAILBOXES\" >> {}; sleep 600",
        log.display()
    );
    let text = with_hook(
        &world,
        &dovecot.imap_table("work", "hook"),
        &script,
        "debounce = \"1s\", timeout = \"1s\"",
    );
    world.configure(&text);
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let mut imap = dovecot.client("hook");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    for n in 0..3 {
        imap.append("INBOX", "", 1_500_000_000, &mail::numbered(n));
    }
    eventually("the hook ran", SOON, || (said() == "new_mail 3 work/INBOX\n").then_some(()));
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(3));
    eventually("mail comes while the hook hangs", SOON, || {
        (count(&world.mailbox("INBOX")) == 4).then_some(())
    });
    eventually("it is stopped and runs again", SOON, || {
        (said() == "new_mail 3 work/INBOX\nnew_mail 1 work/INBOX\n").then_some(())
    });
    assert!(daemon.stop().success());
    let log = std::fs::read_to_string(world.log(0)).unwrap();
    assert!(log.contains("took too long"), "{log}");
}

#[test]
fn a_sync_without_a_daemon_runs_the_hook_when_mail_came() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let log = world.path("hook.log");
    let script = format!("echo $POSTRIDER_COUNT >> {}; exit 3", log.display());
    world.configure(&with_hook(
        &world,
        &dovecot.imap_table("work", "hook-once"),
        &script,
        "debounce = \"1s\"",
    ));
    world.sync();
    assert!(!log.exists(), "nothing came");
    dovecot.client("hook-once").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let ran = world.ok(&["sync"]);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "1\n");
    assert!(ran.stderr.contains("the hook for new mail failed"), "{ran:?}");
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

/// A desktop that has buttons, played by the test: what it was shown, with its actions.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<Notification>>>);

/// Its first line, and its actions.
type Notification = (String, Vec<String>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Shown {
    fn get_capabilities(&self) -> Vec<String> {
        vec!["body".to_owned(), "actions".to_owned()]
    }

    #[allow(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &self,
        _app_name: &str,
        _replaces_id: u32,
        _app_icon: &str,
        summary: &str,
        _body: &str,
        actions: Vec<String>,
        _hints: HashMap<String, zbus::OwnedVariant>,
        _expire_timeout: i32,
    ) -> u32 {
        let mut shown = self.0.lock().unwrap();
        shown.push((summary.to_owned(), actions));
        u32::try_from(shown.len()).unwrap()
    }

    #[zbus(signal)]
    async fn action_invoked(
        emitter: &zbus::object_server::SignalEmitter<'_>,
        id: u32,
        action_key: &str,
    ) -> zbus::Result<()>;
}

#[test]
fn the_button_under_a_notification_tries_a_refused_login_again() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let imap_table = dovecot.imap_table("work", "button");
    let daemon = "[daemon]\nnotifications = true\n";
    world.configure(&format!("{daemon}{}{imap_table}", world.account("work")));
    let shown = Shown::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let path = "/org/freedesktop/Notifications";
    let address = world.bus.as_ref().unwrap().address.clone();
    let desktop = runtime.block_on(async {
        let builder = zbus::connection::Builder::address(address.as_str());
        let builder = builder.serve_at(path, shown.clone());
        builder.name("org.freedesktop.Notifications").build().await.unwrap()
    });
    world.set_password("wrong");
    let daemon = world.daemon();
    daemon.reaches("work", "needs-login");
    let id = eventually("it is shown with a button", SOON, || {
        let shown = shown.0.lock().unwrap();
        let is_meant = |(summary, actions): &Notification| {
            summary == "work: needs-login" && actions == &["retry", "Try again"]
        };
        shown.iter().position(is_meant).map(|at| u32::try_from(at + 1).unwrap())
    });
    world.set_password(PASSWORD);
    runtime.block_on(async {
        let server = desktop.object_server();
        let server = server.interface::<_, Shown>(path).await.unwrap();
        server.signal_emitter().action_invoked(id, "retry").await.unwrap();
    });
    daemon.reaches("work", "idle");
    assert!(daemon.stop().success());
}
