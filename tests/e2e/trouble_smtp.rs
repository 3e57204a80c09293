//! What goes wrong with the outgoing server is shown, loses nothing, and passes.

use postrider_mailserver::{Action, MailServer, Rule};

use crate::fixture::bus::OUTBOX;
use crate::fixture::daemon::Daemon;
use crate::fixture::dovecot::free_ports;
use crate::fixture::{Letter, PASSWORD, SOON, World, eventually, scripted, shared};

/// A world that sends through the scriptable server and reads from it.
fn world_of(server: &MailServer) -> World {
    let world = World::with_bus();
    world.configure(&format!(
        "{}{}{}timeout = \"5s\"\n",
        world.account("work"),
        scripted::imap_table(server, "work"),
        scripted::smtp_table(server, "work")
    ));
    world
}

fn letter(subject: &str) -> String {
    Letter::new("work@example.org", "a@example.net, b@example.net", subject).text()
}

fn outbox_shows(daemon: &Daemon<'_>, key: &str, n: u64) {
    eventually(&format!("the outbox has {n} {key}"), SOON, || {
        (daemon.status()["outbox"][key] == n).then_some(())
    });
}

/// What the daemon logged about it has this word; nothing is sent, one message waits.
fn waits(world: &World, daemon: &Daemon<'_>, server: &MailServer, word: &str) {
    outbox_shows(daemon, "queued", 1);
    eventually(&format!("the log says {word}"), SOON, || {
        daemon.said().to_lowercase().contains(word).then_some(())
    });
    world.bus.as_ref().unwrap().shows(OUTBOX, "Outbox", "Queued", 1);
    assert!(world.ok(&["status"]).stdout.contains("1 queued"));
    assert!(server.sent().is_empty());
    assert!(world.outbox_files("failed").is_empty());
}

/// Sends it now, and exactly once.
fn recovers(world: &World, daemon: &Daemon<'_>, server: &MailServer) {
    let session = world.bus.as_ref().unwrap();
    session.call(OUTBOX, "Outbox", &["Flush", "as", "0"]);
    server
        .wait_until(SOON, |view| (!view.sent().is_empty()).then_some(()))
        .expect("it is sent after all");
    outbox_shows(daemon, "queued", 0);
    assert_eq!(server.sent().len(), 1);
    assert_eq!(server.sent()[0].recipients, ["a@example.net", "b@example.net"]);
}

#[test]
fn a_refused_connection_keeps_the_message_until_the_server_is_there() {
    let server = scripted::server();
    let world = world_of(&server);
    let good = std::fs::read_to_string(world.config_file()).unwrap();
    let [closed] = free_ports();
    world.configure(&good.replace(&server.smtp_addr().port().to_string(), &closed.to_string()));
    assert_eq!(world.run(&["check"]).code, 69);
    let record = world.record();
    let daemon = world.daemon();
    world.drop_letter("m", &letter("refused connection"));
    waits(&world, &daemon, &server, "connection refused");
    record.has("MessageDeferred", &["Offline"]);
    world.configure(&good);
    world.ok(&["reload"]);
    recovers(&world, &daemon, &server);
    daemon.stop();
}

#[test]
fn an_account_that_only_sends_shows_the_state_of_its_server() {
    let server = scripted::server();
    let world = World::with_bus();
    let good = format!("{}{}", world.account("work"), scripted::smtp_table(&server, "work"));
    let [closed] = free_ports();
    world.configure(&good.replace(&server.smtp_addr().port().to_string(), &closed.to_string()));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    world.drop_letter("m", &letter("nobody there"));
    daemon.reaches("work", "offline");
    assert_eq!(daemon.account("work")["error"]["name"], "Offline");
    world.configure(&good);
    world.ok(&["reload"]);
    eventually("it is sent", SOON, || (server.sent().len() == 1).then_some(()));
    daemon.reaches("work", "idle");
    daemon.stop();
}

#[test]
fn a_refused_login_keeps_the_message_and_is_not_an_attempt() {
    let server = scripted::server();
    let world = world_of(&server);
    let rule = Rule::smtp("AUTH").then(Action::refuse("535 5.7.8 these are not the words"));
    let rule = server.script(rule);
    let ran = world.run(&["check"]);
    assert_eq!(ran.code, 77, "{ran:?}");
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("these are not the words"), "{ran:?}");
    let record = world.record();
    let daemon = world.daemon();
    world.drop_letter("m", &letter("refused login"));
    waits(&world, &daemon, &server, "these are not the words");
    record.has("MessageDeferred", &["AuthFailed"]);
    server.unscript(rule);
    recovers(&world, &daemon, &server);
    daemon.stop();
}

#[test]
fn a_wrong_password_at_postfix_exits_77_and_an_unknown_ca_76() {
    let servers = shared::servers();
    let world = World::new();
    let account = format!("{}smtp_table", world.account("work"));
    let table = servers.postfix.smtp_table("work");
    let table = format!("{table}user = \"checked\"\n");
    world.configure(&account.replace("smtp_table", &table));
    assert_eq!(world.run(&["check"]).code, 0);
    world.set_password("not-the-password");
    assert_eq!(world.run(&["check"]).code, 77);
    world.set_password(PASSWORD);
    let (ca, stranger) = (&servers.postfix.certs.ca, &servers.postfix.certs.stranger);
    let bad = table.replace(&ca.display().to_string(), &stranger.display().to_string());
    world.configure(&account.replace("smtp_table", &bad));
    assert_eq!(world.run(&["check"]).code, 76);
}

#[test]
fn a_temporary_refusal_is_retried_and_a_permanent_one_parked() {
    let server = scripted::server();
    let world = world_of(&server);
    let rule = Rule::smtp(".").first(1).then(Action::refuse("451 4.3.0 come back later"));
    server.script(rule);
    let record = world.record();
    let daemon = world.daemon();
    world.drop_letter("m", &letter("later"));
    eventually("the refusal is told", SOON, || {
        daemon.said().contains("come back later").then_some(())
    });
    outbox_shows(&daemon, "queued", 1);
    let next = &daemon.status()["outbox"]["next_attempt"];
    assert!(next.is_string(), "a retry is due: {next}");
    assert!(server.sent().is_empty());
    recovers(&world, &daemon, &server);

    let rule = Rule::smtp(".").then(Action::refuse("554 5.7.1 never"));
    let rule = server.script(rule);
    world.drop_letter("n", &letter("never"));
    outbox_shows(&daemon, "failed", 1);
    eventually("the reason is there", SOON, || {
        world.reasons().contains("554 5.7.1 never").then_some(())
    });
    record.has("MessageQueued", &["work"]);
    record.has("MessageDeferred", &[]);
    record.has("MessageSent", &["work", "250 2.0.0 accepted as 1"]);
    record.has("MessageFailed", &["a@example.net", "554 5.7.1 never"]);
    server.unscript(rule);
    assert_eq!(server.sent().len(), 1);
    daemon.stop();
}

#[test]
fn a_recipient_refused_for_now_gets_it_later_and_the_others_only_once() {
    let server = scripted::server();
    let world = world_of(&server);
    let rule = Rule::smtp("RCPT").containing("b@example.net").first(1);
    server.script(rule.then(Action::refuse("450 4.2.1 mailbox busy")));
    let daemon = world.daemon();
    world.drop_letter("m", &letter("one of two"));
    server.wait_until(SOON, |view| (view.sent().len() == 1).then_some(())).expect("the first");
    assert_eq!(server.sent()[0].recipients, ["a@example.net"]);
    outbox_shows(&daemon, "queued", 1);
    world.bus.as_ref().unwrap().call(OUTBOX, "Outbox", &["Flush", "as", "0"]);
    server.wait_until(SOON, |view| (view.sent().len() == 2).then_some(())).expect("the second");
    assert_eq!(server.sent()[1].recipients, ["b@example.net"]);
    assert_eq!(server.sent()[0].bytes, server.sent()[1].bytes, "each attempt has the same bytes");
    outbox_shows(&daemon, "queued", 0);
    daemon.stop();
}

#[test]
fn s123_killed_before_the_reply_to_the_dot_it_is_held_and_never_sent_twice() {
    let server = scripted::server();
    let world = world_of(&server);
    let rule = server.script(Rule::smtp(".").then(Action::HangAfter));
    let daemon = world.daemon();
    world.drop_letter("m", &letter("uncertain"));
    server.wait_until(SOON, |view| (view.hanging(rule) > 0).then_some(())).expect("it hangs");
    daemon.kill();
    server.clear_script();
    server.clear_commands();
    let daemon = world.daemon();
    outbox_shows(&daemon, "uncertain", 1);
    daemon.reaches("work", "idle");
    let session = world.bus.as_ref().unwrap();
    session.shows(OUTBOX, "Outbox", "Uncertain", 1);
    assert_eq!(daemon.status()["state"], "attention");
    session.call(OUTBOX, "Outbox", &["Flush", "as", "0"]);
    world.ok(&["sync"]);
    outbox_shows(&daemon, "uncertain", 1);
    let again = server.commands().into_iter().filter(|c| c.name == "DATA").count();
    assert_eq!(again, 0, "it was sent a second time");
    assert_eq!(world.outbox_files("cur").len(), 1, "and it is kept");
    daemon.stop();
}

#[test]
fn s122_killed_before_the_dot_it_is_sent_once_after_the_restart() {
    let server = scripted::server();
    let world = world_of(&server);
    let rule = server.script(Rule::smtp("MAIL").then(Action::HangBefore));
    let daemon = world.daemon();
    world.drop_letter("m", &letter("before the dot"));
    server.wait_until(SOON, |view| (view.hanging(rule) > 0).then_some(())).expect("it hangs");
    daemon.kill();
    server.clear_script();
    let daemon = world.daemon();
    server.wait_until(SOON, |view| (!view.sent().is_empty()).then_some(())).expect("it is sent");
    outbox_shows(&daemon, "queued", 0);
    assert_eq!(server.sent().len(), 1);
    daemon.stop();
}

#[test]
fn a_limit_of_the_provider_ages_and_fails_no_message_and_holds_up_no_other_account() {
    let (server, other) = (scripted::server(), scripted::server());
    let world = World::with_bus();
    world.configure(&format!(
        "{}{}sent_copy = \"none\"\n{}{}sent_copy = \"none\"\n",
        world.account("work"),
        scripted::smtp_table(&server, "work"),
        world.account("home"),
        scripted::smtp_table(&other, "home")
    ));
    let daemon = world.daemon();
    // Said of a recipient, of a message, of the login, by different providers.
    // The login comes first: later ones find a connection that is open.
    for (n, (stage, words, minutes)) in [
        ("AUTH", "454 4.7.0 Too many connections, please retry after 1200 seconds", 15..25),
        (".", "550 5.4.5 Daily user sending limit exceeded", 50..70),
        ("RCPT", "451 4.7.1 Rate limit exceeded, try again in 30 minutes", 25..36),
        ("MAIL", "550 5.7.232 Your tenant exceeded its daily limit", 50..70),
    ]
    .into_iter()
    .enumerate()
    {
        let subject = format!("limited {n}");
        let rule = server.script(Rule::smtp(stage).then(Action::refuse(words)));
        world.drop_letter(&format!("w{n}"), &letter(&subject));
        eventually(&format!("{stage}: its words are shown"), SOON, || {
            let found = daemon.account("work");
            found["error"]["text"].as_str().is_some_and(|text| text.contains(words)).then_some(())
        });
        outbox_shows(&daemon, "failed", 0);
        let outbox = &daemon.status()["outbox"];
        assert_eq!(outbox["queued"], 1, "{stage}: {outbox}");
        let next = outbox["next_attempt"].as_str().unwrap();
        let next = chrono::DateTime::parse_from_rfc3339(next).unwrap();
        let wait = (next.to_utc() - chrono::Utc::now()).num_minutes();
        assert!(minutes.contains(&wait), "{stage}: the next attempt is in {wait} min");
        let mine = Letter::new("home@example.org", "a@example.net", &subject).text();
        world.drop_letter(&format!("h{n}"), &mine);
        eventually("the other account sends", SOON, || (other.sent().len() == n + 1).then_some(()));
        assert!(server.sent().len() == n && world.outbox_files("failed").is_empty());
        let item = &world.ok(&["outbox", "--json"]).json()[0];
        assert_eq!((&item["phase"], &item["tries"]), (&"queued".into(), &0.into()), "{item}");
        server.unscript(rule);
        world.ok(&["outbox", "retry"]);
        eventually("it is sent", SOON, || (server.sent().len() == n + 1).then_some(()));
        outbox_shows(&daemon, "queued", 0);
    }
    daemon.stop();
}
