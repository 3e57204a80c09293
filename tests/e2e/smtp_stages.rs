//! Every stage of the dialogue refuses, or the power of the process ends there: nothing is lost, nothing is
//! sent twice, and the one window in which nobody can know is reported.

use postrider_mailserver::{Action, Config, MailServer, Rule};

use crate::fixture::daemon::Daemon;
use crate::fixture::{Letter, SOON, World, eventually, scripted};

const STAGES: [&str; 7] = ["GREETING", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "."];
/// What the server says before it speaks of a message is about the account.
const OF_ACCOUNT: [&str; 3] = ["GREETING", "EHLO", "AUTH"];

fn world_of(server: &MailServer) -> World {
    let world = World::with_bus();
    world.configure(&format!(
        "{}{}sent_copy = \"none\"\n",
        world.account("work"),
        scripted::smtp_table(server, "work")
    ));
    world
}

fn shows(daemon: &Daemon<'_>, what: &str, counts: [u64; 3]) {
    eventually(&format!("{what}: {counts:?} queued, uncertain, failed"), SOON, || {
        let outbox = &daemon.status()["outbox"];
        let now = ["queued", "uncertain", "failed"].map(|key| outbox[key].as_u64().unwrap());
        (now == counts).then_some(())
    });
}

/// How often the server accepted a message with this subject.
fn n_accepted(server: &MailServer, subject: &str) -> usize {
    let needle = format!("Subject: {subject}\r\n").into_bytes();
    let all = server.sent().into_iter();
    all.filter(|m| memchr::memmem::find(&m.bytes, &needle).is_some()).count()
}

fn drop_letter(world: &World, subject: &str) {
    let letter = Letter::new("work@example.org", "a@x.org, b@x.org", subject);
    world.drop_letter(subject, &letter.text());
}

fn slug(stage: &str) -> String {
    stage.replace('.', "dot").to_lowercase()
}

#[test]
fn a_refusal_for_now_at_any_stage_is_retried_and_sent_once() {
    let server = scripted::server();
    let world = world_of(&server);
    for stage in STAGES {
        let subject = format!("later-{}", slug(stage));
        let rule = server.script(Rule::smtp(stage).then(Action::refuse("451 4.3.0 not now")));
        let daemon = world.daemon();
        drop_letter(&world, &subject);
        eventually(&format!("{stage}: the refusal is heard"), SOON, || {
            daemon.said().contains("not now").then_some(())
        });
        shows(&daemon, stage, [1, 0, 0]);
        assert_eq!(n_accepted(&server, &subject), 0, "{stage}");
        server.unscript(rule);
        world.ok(&["outbox", "retry"]);
        shows(&daemon, stage, [0, 0, 0]);
        assert_eq!(n_accepted(&server, &subject), 1, "{stage}");
        daemon.stop();
    }
}

#[test]
fn a_refusal_for_good_parks_the_message_and_one_of_the_account_does_not() {
    let server = scripted::server();
    let world = world_of(&server);
    for stage in STAGES {
        let subject = format!("never-{}", slug(stage));
        let rule = server.script(Rule::smtp(stage).then(Action::refuse("554 5.7.1 never here")));
        let daemon = world.daemon();
        drop_letter(&world, &subject);
        eventually(&format!("{stage}: the refusal is heard"), SOON, || {
            daemon.said().contains("never here").then_some(())
        });
        if OF_ACCOUNT.contains(&stage) {
            shows(&daemon, stage, [1, 0, 0]);
        } else {
            shows(&daemon, stage, [0, 0, 1]);
            eventually("the report is there", SOON, || {
                world.reasons().contains("554 5.7.1 never here").then_some(())
            });
            assert!(world.reasons().contains("Action: failed"), "{}", world.reasons());
        }
        server.unscript(rule);
        let listed = world.ok(&["outbox", "--json"]).json();
        world.ok(&["outbox", "retry", listed[0]["id"].as_str().unwrap()]);
        shows(&daemon, stage, [0, 0, 0]);
        assert_eq!(n_accepted(&server, &subject), 1, "{stage}");
        daemon.stop();
    }
    assert!(world.outbox_files("failed").is_empty());
}

#[test]
fn a_kill_at_any_stage_loses_nothing_and_only_behind_the_dot_it_is_uncertain() {
    let server = scripted::server();
    let world = world_of(&server);
    for stage in STAGES {
        let subject = format!("kill-{}", slug(stage));
        let hang = if stage == "." { Action::HangAfter } else { Action::HangBefore };
        let rule = server.script(Rule::smtp(stage).then(hang));
        let daemon = world.daemon();
        drop_letter(&world, &subject);
        let hangs = server.wait_until(SOON, |view| (view.hanging(rule) > 0).then_some(()));
        hangs.unwrap_or_else(|| panic!("{stage} does not hang"));
        daemon.kill();
        server.clear_script();
        let daemon = world.daemon();
        if stage == "." {
            shows(&daemon, stage, [0, 1, 0]);
            let shown = world.ok(&["outbox", "show"]).stdout;
            assert!(shown.contains("uncertain") && shown.contains("resolve"), "{shown}");
            let listed = world.ok(&["outbox", "--json"]).json();
            world.ok(&["outbox", "resolve", listed[0]["id"].as_str().unwrap(), "sent"]);
        }
        // A daemon that has just started shows an empty outbox until it has read it.
        eventually(&format!("{stage}: it is sent"), SOON, || {
            (n_accepted(&server, &subject) > 0).then_some(())
        });
        shows(&daemon, stage, [0, 0, 0]);
        // Behind the dot it took the message, and nobody heard of it.
        assert_eq!(n_accepted(&server, &subject), 1, "{stage}");
        daemon.stop();
    }
}

#[test]
fn a_goodbye_that_fails_spoils_nothing() {
    let server = scripted::server();
    let world = world_of(&server);
    server.script(Rule::smtp("QUIT").then(Action::CutBefore));
    server.script(Rule::smtp("RSET").then(Action::CutBefore));
    let daemon = world.daemon();
    for n in 0..3 {
        drop_letter(&world, &format!("bye-{n}"));
    }
    eventually("all are sent", SOON, || (server.sent().len() == 3).then_some(()));
    shows(&daemon, "bye", [0, 0, 0]);
    assert!((0..3).all(|n| n_accepted(&server, &format!("bye-{n}")) == 1));
    daemon.stop();
}

#[test]
fn a_message_of_100_mib_goes_out_in_little_memory() {
    let server = MailServer::start(Config { smtp_bytes_max: 200 << 20, ..scripted::config() });
    let server = server.unwrap();
    let world = world_of(&server);
    let daemon = world.daemon();
    let mut text = Letter::new("work@example.org", "a@x.org", "large").text();
    let line = "x".repeat(75) + "\n";
    while text.len() < 100 << 20 {
        text.push_str(&line);
    }
    world.drop_letter("large", &text);
    eventually("it is sent", SOON * 3, || (server.sent().len() == 1).then_some(()));
    let n_lines = text.lines().count();
    assert_eq!(server.sent()[0].bytes.iter().filter(|byte| **byte == b'\n').count(), n_lines + 2);
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("the daemon's peak was {peak_kib} KiB");
    assert!(peak_kib < 64 * 1024, "{peak_kib} KiB");
    daemon.stop();
}
