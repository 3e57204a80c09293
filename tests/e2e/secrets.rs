//! The password never shows. Each world of these tests looks for it when it ends; here it is made
//! as hard as it can be.

use crate::fixture::{Letter, SOON, World, eventually, mail, maildir, shared};

#[test]
fn the_password_is_in_no_log_state_or_status_even_at_the_highest_log_level() {
    let servers = shared::servers();
    let world = World::with_bus();
    world.configure(&format!(
        "[daemon]\nlog = \"trace\"\n{}{}{}",
        world.account("work"),
        servers.dovecot.imap_table("work", "secrets"),
        servers.postfix.smtp_table("work")
    ));
    servers.dovecot.client("secrets").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let daemon = world.daemon_with(&[("POSTRIDER_LOG", "trace")]);
    daemon.reaches("work", "idle");
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 1);
    world.drop_letter("m", &Letter::new("work@example.org", "a@example.net", "secret 1").text());
    eventually("it is sent", SOON, || servers.postfix.accepted("secret 1").pop());
    for args in [&["status"][..], &["status", "--json"], &["mailboxes"], &["check"], &["sync"]] {
        world.ok(args);
    }
    world.set_password("not-the-password");
    world.run(&["check"]);
    assert!(daemon.said().lines().count() > 20, "nothing is logged at trace: {}", daemon.said());
    daemon.stop();
    world.assert_no_secret();
}
