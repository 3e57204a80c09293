//! What is known while no service runs, and what a running one does for a command that changes nothing.

use serde_json::Value;

use crate::fixture::maildir::{containing, count};
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

#[test]
fn a_rehearsal_tells_deletions_and_moves_of_both_sides_as_they_come() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let user = "foretold";
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", user)));
    let mut imap = dovecot.client(user);
    for mailbox in ["Archive", "Trash"] {
        imap.create(mailbox);
    }
    let uids: Vec<u32> = (1..=8)
        .map(|n| imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(n)))
        .collect();
    world.sync();
    let file = |n: usize| {
        containing(&world.mailbox("INBOX"), &format!("This is number {n}.")).remove(0).path
    };
    // Two go here, one moves here; one goes there, one moves there.
    std::fs::remove_file(file(1)).unwrap();
    std::fs::remove_file(file(2)).unwrap();
    let moved = file(3);
    let name = moved.file_name().unwrap();
    std::fs::rename(&moved, world.mailbox("Archive").join("cur").join(name)).unwrap();
    imap.expunge("INBOX", uids[3]);
    imap.move_to("INBOX", uids[4], "Archive");
    let before = imap.fingerprint();
    let counters = |report: &Value, mailbox: &str, names: &[&str]| -> Vec<u64> {
        let mailboxes = report["accounts"][0]["mailboxes"].as_array().unwrap();
        let found = mailboxes.iter().find(|one| one["name"] == mailbox).unwrap();
        names.iter().map(|name| found[*name].as_u64().unwrap()).collect()
    };
    let gone = ["deleted_remote", "deleted_local", "held"];
    let came = ["uploaded", "downloaded", "moved_remote", "moved_local"];
    let told = world.ok(&["sync", "--dry-run", "--json"]).json();
    assert_eq!(imap.fingerprint(), before, "nothing was done");
    let done = world.sync();
    for report in [&told, &done] {
        assert_eq!(counters(report, "INBOX", &gone), [2, 1, 0], "{report}");
        assert_eq!(counters(report, "Archive", &came), [0, 0, 1, 1], "{report}");
    }
}
