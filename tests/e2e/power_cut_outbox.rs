//! The power may fail while mail is sent: none is lost, and none is sent twice unasked.

use std::time::{Duration, Instant};

use postrider_mailserver::{Action, MailServer, Rule, View};
use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::disk::Machine;
use crate::fixture::{Letter, SOON, World, eventually, scripted};
use crate::kill::seeded;

/// Power cuts at random moments, and as many between the final dot and its reply.
const N_CUTS: u32 = 3;
const N_LETTERS: u32 = 4;

#[test]
fn what_is_in_the_outbox_survives_power_cuts_of_one_disk() {
    assert_survives(Machine::with_one_disk);
}

#[test]
fn what_is_in_the_outbox_survives_power_cuts_of_two_disks() {
    assert_survives(Machine::with_two_disks);
}

fn assert_survives(build: fn(World) -> Machine) {
    let (seed, mut rng) = seeded();
    let server = scripted::server();
    let world = World::with_bus();
    world.configure(&scripted::account(&world, &server));
    let machine = build(world);
    let (mut all, whole) = undisturbed(&machine, &server);
    let mut n_uncertain = 0;
    for round in 1..=2 * N_CUTS {
        let what = format!("round {round}, seed {seed}");
        let mut daemon = machine.world.daemon();
        let switch = machine.switch();
        // Half of them at the one instant that nobody can decide later.
        let nth = rng.u32(1..=N_LETTERS);
        let hangs = (round % 2 == 0)
            .then(|| server.script(Rule::smtp(".").nth(nth).then(Action::HangAfter)));
        let letters = drop_letters(&machine, round);
        if let Some(rule) = hangs {
            let hanging = |view: &View<'_>| view.hanging(rule) > 0;
            server.wait_until(SOON, |view| hanging(view).then_some(())).expect("it hangs");
        } else {
            let ended = daemon.process().ends_within(whole.mul_f64(rng.f64()));
            assert_eq!(ended, None, "{what}");
        }
        // Whoever has no power sends no dot. A daemon that goes on for a moment may: ext4 that is shut down can
        // answer a sync and lose it all the same (a plain SQLite writer lost an acknowledged commit in 2 of 60 such
        // cuts).
        daemon.signal(Signal::STOP);
        switch.cut();
        daemon.kill();
        server.clear_script();
        machine.power_up();
        n_uncertain += recover(&machine.world, &server, &letters, &what);
        all.extend(letters);
    }
    let daemon = machine.world.daemon();
    settles(&machine.world, &server, &all, &format!("seed {seed}"));
    daemon.stop();
    println!("sending takes {whole:?}; {n_uncertain} were uncertain");
    assert!(n_uncertain > 0, "no cut hit what it was aimed at, seed {seed}");
}

/// Drops letters durably; returns their Message-IDs.
fn drop_letters(machine: &Machine, round: u32) -> Vec<String> {
    let letters = (1..=N_LETTERS).map(|n| {
        let id = format!("<{round}.{n}@example.org>");
        let letter = Letter::new("work@example.org", "a@example.net", &format!("cut {round}.{n}"));
        machine
            .world
            .drop_letter(&format!("r{round}n{n}"), &letter.field("Message-ID", &id).text());
        id
    });
    let letters = letters.collect();
    machine.sync_disks();
    letters
}

/// Sends the letters of round 0, and tells how long that takes. Their copies are not filed yet.
fn undisturbed(machine: &Machine, server: &MailServer) -> (Vec<String>, Duration) {
    let daemon = machine.world.daemon();
    let begin = Instant::now();
    let letters = drop_letters(machine, 0);
    let are_sent = |view: &View<'_>| view.sent().len() == letters.len();
    server.wait_until(SOON, |view| are_sent(view).then_some(())).expect("all are sent");
    let whole = begin.elapsed();
    daemon.stop();
    (letters, whole)
}

/// Starts it again; returns how many it does not send again by itself, which a person decides.
fn recover(world: &World, server: &MailServer, letters: &[String], what: &str) -> usize {
    let daemon = world.daemon();
    let uncertain = eventually("only the uncertain are left to send", SOON, || {
        let mut listed = listed(world);
        // The copy for Sent may wait.
        listed.retain(|one| !["accepted", "sent_copy"].map(Value::from).contains(&one["phase"]));
        let is_rest = listed.iter().all(|one| one["phase"] == "uncertain");
        (is_rest && world.outbox_files("new").is_empty()).then_some(listed)
    });
    assert!(uncertain.len() <= 1, "one at a time is between dot and reply, {what}: {uncertain:?}");
    for id in letters {
        let n = n_sent(server, id);
        let is_this = |one: &&Value| one["message_id"] == id.as_str();
        match uncertain.iter().find(is_this) {
            None => assert_eq!(n, 1, "{id} was sent {n} times, {what}"),
            Some(item) => {
                assert!(n <= 1, "{id} was sent {n} times, and held after that, {what}");
                let decision = if n == 0 { "resend" } else { "sent" };
                world.ok(&["outbox", "resolve", item["id"].as_str().unwrap(), decision]);
            }
        }
    }
    let are_sent = |server: &MailServer| letters.iter().all(|id| n_sent(server, id) == 1);
    eventually("what was to be sent again is", SOON, || are_sent(server).then_some(()));
    daemon.stop();
    uncertain.len()
}

/// In the end each was sent once, has its one copy in Sent, and nothing is left here.
fn settles(world: &World, server: &MailServer, letters: &[String], what: &str) {
    eventually(&format!("the outbox is empty, {what}"), SOON, || {
        let is_empty = ["new", "cur"].iter().all(|dir| world.outbox_files(dir).is_empty());
        is_empty.then_some(())
    });
    for id in letters {
        assert_eq!(n_sent(server, id), 1, "{id}, {what}");
        // Filed here first, and uploaded by the pass that follows.
        eventually(&format!("the copy of {id} is in Sent, {what}"), SOON, || {
            (n_copies(server, id) > 0).then_some(())
        });
    }
    for id in letters {
        assert_eq!(n_copies(server, id), 1, "copies of {id} in Sent, {what}");
    }
    assert!(world.outbox_files("failed").is_empty(), "{what}");
}

fn n_copies(server: &MailServer, id: &str) -> usize {
    let copies = server.mailbox("Sent").messages();
    copies.iter().filter(|copy| contains(&copy.bytes, id)).count()
}

fn listed(world: &World) -> Vec<Value> {
    let listed = world.ok(&["outbox", "list", "--json"]).json();
    listed.as_array().unwrap().clone()
}

fn n_sent(server: &MailServer, id: &str) -> usize {
    server.sent().iter().filter(|sent| contains(&sent.bytes, id)).count()
}

fn contains(bytes: &[u8], id: &str) -> bool {
    memchr::memmem::find(bytes, id.as_bytes()).is_some()
}
