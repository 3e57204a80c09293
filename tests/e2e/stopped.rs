//! What is known while no service runs, and what a running one does for a command that changes nothing.

use crate::fixture::maildir::count;
use crate::fixture::{World, mail, scripted, shared};

#[test]
fn the_last_pass_is_remembered_when_nothing_runs() {
    let server = scripted::server();
    let world = World::alone();
    let table = scripted::imap_table(&server, "work");
    world.configure(&format!("{}{table}", world.account("work")));
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    world.sync();
    let status = world.ok(&["status", "--json"]).json();
    let account = status["accounts"][0].clone();
    assert!(account["last_sync"].is_string() && account["last_success"].is_string(), "{account}");
    assert!(account["mailboxes"][0]["last_sync"].is_string(), "{account}");
    assert!(account["error"].is_null(), "{account}");
    let shown = world.ok(&["mailboxes"]).stdout;
    assert!(shown.contains("ago"), "{shown}");

    drop(server);
    assert_eq!(world.run(&["sync"]).code, 69);
    let status = world.ok(&["status", "--json"]).json();
    let after = &status["accounts"][0];
    assert_eq!(after["error"]["name"], "Offline", "{after}");
    assert_eq!(after["last_success"], account["last_success"], "{after}");
}

#[test]
fn a_running_daemon_rehearses_a_sync_and_changes_nothing() {
    let dovecot = shared::dovecot();
    let world = World::alone();
    let table = dovecot.imap_table("work", "rehearsed");
    world.configure(&format!(
        "[daemon]\nbus = \"private\"\n{}{table}push = []\n",
        world.account("work")
    ));
    // With the mailboxes there, nothing but a poll makes the daemon look.
    world.sync();
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let mut imap = dovecot.client("rehearsed");
    imap.append("INBOX", "", 1_700_000_000, &mail::numbered(1));
    let last = daemon.account("work")["last_sync"].clone();
    let ran = world.ok(&["sync", "--dry-run", "--json"]);
    let inbox = ran.json()["accounts"][0]["mailboxes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|mailbox| mailbox["name"] == "INBOX")
        .cloned()
        .unwrap();
    assert_eq!(inbox["downloaded"], 1, "{ran:?}");
    assert_eq!(count(&world.mailbox("INBOX")), 0, "nothing was done");
    assert_eq!(daemon.account("work")["last_sync"], last, "it was no sync");
    world.sync();
    assert_eq!(count(&world.mailbox("INBOX")), 1);
    daemon.stop();
}
