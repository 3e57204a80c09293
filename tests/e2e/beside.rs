//! What runs beside the sync: the hook for new mail.

use std::fmt::Write as _;

use crate::fixture::maildir::count;
use crate::fixture::process::eventually;
use crate::fixture::{SOON, World, mail, shared};

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
