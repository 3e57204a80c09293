//! The outbox where no daemon runs: commands look after it themselves.

use crate::fixture::{Letter, World, maildir, scripted, shared};

fn letter(subject: &str) -> String {
    Letter::new("work@example.org", "a@example.net", subject).text()
}

fn spool(world: &World, subject: &str) -> String {
    let ran = world.run_with(&["send"], &letter(subject));
    assert!(ran.code == 0 && ran.stderr.contains("the daemon is not running"), "{ran:?}");
    ran.stdout.trim().to_owned()
}

#[test]
fn the_queue_is_listed_and_steered_without_a_daemon() {
    let server = scripted::server();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), scripted::smtp_table(&server, "work")));
    assert_eq!(world.ok(&["sendmail", "-bp"]).stdout, "Mail queue is empty\n");
    let ids = ["held", "cancelled", "sent"].map(|subject| spool(&world, subject));
    let queue = world.ok(&["sendmail", "-bp"]).stdout;
    for id in &ids {
        assert!(queue.contains(id) && queue.contains("a@example.net"), "{queue}");
    }
    world.ok(&["outbox", "hold", &ids[0]]);
    world.ok(&["outbox", "cancel", &ids[1]]);
    assert_eq!(world.run(&["outbox", "hold", "nope"]).code, 67);
    let listed = world.ok(&["outbox", "--json"]).json();
    let listed: Vec<(&str, &str)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), one["phase"].as_str().unwrap()))
        .collect();
    assert_eq!(listed, [(ids[0].as_str(), "held"), (ids[2].as_str(), "queued")]);
    assert!(server.sent().is_empty(), "looking and steering send nothing");

    let ran = world.ok(&["sendmail", "-q"]);
    assert_eq!((ran.stdout.as_str(), server.sent().len()), ("", 1), "{ran:?}");
    world.ok(&["outbox", "release", &ids[0]]);
    assert_eq!(server.sent().len(), 1, "released, and not sent by that");
    let ran = world.ok(&["outbox", "retry"]);
    assert_eq!(ran.stdout, "tried 1: 1 sent, 0 left in the outbox\n");
    assert_eq!(server.sent().len(), 2);
    assert_eq!(world.ok(&["sendmail", "-bp"]).stdout, "Mail queue is empty\n");
    assert!(world.outbox_files("cur").is_empty());

    // A server that is away lets it wait, and the command says so.
    world.configure(&format!(
        "{}[account.work.smtp]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n",
        world.account("work")
    ));
    let id = spool(&world, "away");
    let ran = world.run(&["sendmail", "-q"]);
    assert!(ran.code == 75 && ran.stderr.contains("127.0.0.1:9"), "{ran:?}");
    let ran = world.run(&["outbox", "retry"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (75, "tried 1: 0 sent, 1 left in the outbox\n"));
    let ran = world.ok(&["sync"]);
    assert!(ran.stdout.contains("outbox") && ran.stdout.contains("1 wait"), "{ran:?}");
    assert!(world.ok(&["outbox"]).stdout.contains(&id));
}

#[test]
fn a_message_is_meant_before_anybody_took_it_in() {
    let world = World::new();
    world.configure(&format!(
        "{}[account.work.smtp]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n",
        world.account("work")
    ));
    // More than are taken in at once.
    let ids: Vec<String> = (0..40).map(|n| spool(&world, &n.to_string())).collect();
    world.ok(&["outbox", "cancel", &ids[39]]);
    let listed = world.ok(&["outbox", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 39);
}

#[test]
fn a_sync_without_a_daemon_sends_what_waits_and_files_it() {
    let servers = shared::servers();
    let world = World::new();
    world.configure(
        &format!(
            "{}{}{}",
            world.account("work"),
            servers.dovecot.imap_table("work", "errand"),
            servers.postfix.smtp_table("work")
        )
        .replace("[account.work.smtp]", "[account.work.smtp]\nsent_copy = \"append\""),
    );
    let mut imap = servers.dovecot.client("errand");
    spool(&world, "errand 1");
    // Whoever names what he wants gets no more.
    world.ok(&["sync", "work/INBOX"]);
    world.ok(&["sync", "--dry-run"]);
    assert!(servers.postfix.accepted("Subject: errand 1\n").is_empty());
    let document = world.ok(&["sync", "--json"]).json();
    assert_eq!((&document["ok"], &document["outbox"]["sent"]), (&true.into(), &1.into()));
    assert_eq!(servers.postfix.accepted("Subject: errand 1\n").len(), 1);
    let document = world.ok(&["sync", "--json"]).json();
    assert!(document["outbox"].is_null(), "nothing is there any more: {document}");
    assert_eq!(maildir::count(&world.mailbox("Sent")), 1);
    world.ok(&["sync"]);
    assert_eq!(imap.count("Sent"), 1);
    assert_eq!(servers.postfix.accepted("Subject: errand 1\n").len(), 1, "once");
}
