//! One connection that is told about every mailbox (NOTIFY), and what is done without it.

use std::time::{Duration, Instant};

use postrider_mailserver::{Action, Capability, Config, MailServer, Rule};

use crate::fixture::daemon::Daemon;
use crate::fixture::maildir::containing;
use crate::fixture::{SOON, World, eventually, mail, scripted, shared};

/// Waits until the account's mailboxes are noticed in this way.
fn is_noticed_by(daemon: &Daemon<'_>, push: &str) {
    eventually(&format!("changes are noticed by {push}"), SOON, || {
        (daemon.account("work")["push"] == push).then_some(())
    });
}

#[test]
fn mail_to_any_mailbox_arrives_at_once_beside_dovecot() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let table = dovecot.imap_table("work", "notified");
    world.configure(&format!("{}{table}push = [\"INBOX\"]\n", world.account("work")));
    let mut imap = dovecot.client("notified");
    imap.create("Lists");
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    is_noticed_by(&daemon, "notify");
    for (n, mailbox) in ["Lists", "INBOX", "Lists"].into_iter().enumerate() {
        imap.append(mailbox, "", 1_700_000_000, &mail::numbered(n));
        let begin = Instant::now();
        let text = format!("This is number {n}.");
        eventually("the message arrives", SOON, || {
            containing(&world.mailbox(mailbox), &text).into_iter().next()
        });
        // Dovecot itself waits 500 ms; a poll would come after minutes.
        assert!(begin.elapsed() < Duration::from_secs(5), "{mailbox}: {:?}", begin.elapsed());
    }
    // A mailbox that appears is synced as well, and one that is renamed does no harm.
    imap.create("Fresh");
    imap.append("Fresh", "", 1_700_000_000, &mail::numbered(7));
    eventually("the new mailbox arrives", SOON, || {
        containing(&world.mailbox("Fresh"), "This is number 7.").into_iter().next()
    });
    let status = daemon.account("work");
    let mailboxes = status["mailboxes"].as_array().unwrap();
    assert!(mailboxes.iter().all(|mailbox| mailbox["push"] == "notify"), "{status}");
    daemon.stop();
}

fn notifying() -> MailServer {
    let config = scripted::config();
    let capabilities = config.capabilities.with(Capability::Notify);
    MailServer::start(Config { capabilities, ..config }).unwrap()
}

fn configured(server: &MailServer) -> World {
    let world = World::new();
    world.configure(&format!(
        "{}{}[account.work.sync]\nmailboxes = [\"*\", \"!Noise\"]\n",
        world.account("work"),
        scripted::imap_table(server, "work")
    ));
    world
}

#[test]
fn a_server_that_refuses_to_notify_is_waited_for_by_idle() {
    let server = notifying();
    server.script(Rule::imap("NOTIFY").then(Action::refuse("NO not for you")));
    let world = configured(&server);
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    is_noticed_by(&daemon, "idle");
    server.wait_until(SOON, |view| (view.idling("INBOX") > 0).then_some(())).expect("IDLE");
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    eventually("the message arrives", SOON, || {
        containing(&world.mailbox("INBOX"), "This is number 1.").into_iter().next()
    });
    daemon.stop();
}

#[test]
fn a_server_that_has_too_much_to_tell_is_waited_for_by_idle() {
    let server = notifying();
    let world = configured(&server);
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    is_noticed_by(&daemon, "notify");
    server.wait_until(SOON, |view| (view.idling("") > 0).then_some(())).expect("IDLE");
    // What is not synced stays so, whatever is told of it.
    server.mailbox("Noise").append(&mail::numbered(0), &[], None);
    server.mailbox("Drafts").append(&mail::numbered(1), &[], None);
    eventually("the message arrives", SOON, || {
        containing(&world.mailbox("Drafts"), "This is number 1.").into_iter().next()
    });
    server.wait_until(SOON, |view| (view.idling("") > 0).then_some(())).expect("IDLE");
    server.inject(b"* OK [NOTIFICATIONOVERFLOW] too much\r\n");
    is_noticed_by(&daemon, "idle");
    server.wait_until(SOON, |view| (view.idling("INBOX") > 0).then_some(())).expect("IDLE");
    assert!(!world.mailbox("Noise").exists());
    daemon.stop();
}
