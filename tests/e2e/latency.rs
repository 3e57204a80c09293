//! How long things take in the running daemon: printed, not judged.

use std::time::{Duration, Instant};

use crate::fixture::maildir::{Entry, containing};
use crate::fixture::{Letter, SOON, World, eventually, mail, scripted, shared};

const N_ROUNDS: usize = 11;

#[test]
fn mail_flags_and_the_outbox_travel_while_the_daemon_runs() {
    let server = scripted::server();
    let world = World::alone();
    world.configure(&scripted::account(&world, &server));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    server.wait_until(SOON, |view| (view.idling("INBOX") > 0).then_some(())).expect("IDLE");
    let inbox = server.mailbox("INBOX");
    let (mut arrivals, mut flags, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..N_ROUNDS {
        let begin = Instant::now();
        let uid = inbox.append(&mail::numbered(n), &[], None);
        let entry = arrives(&world, n);
        arrivals.push(begin.elapsed());

        let begin = Instant::now();
        entry.set_flags("S");
        let is_seen = || inbox.message(uid).is_some_and(|m| m.flags.contains("\\Seen"));
        eventually("the flag travels", SOON, || is_seen().then_some(()));
        flags.push(begin.elapsed());

        let letter = Letter::new("work@example.org", "you@example.net", &format!("letter {n}"));
        let begin = Instant::now();
        world.drop_letter(&format!("letter-{n}"), &letter.text());
        server
            .wait_until(SOON, |view| (view.sent().len() == n + 1).then_some(()))
            .expect("the letter is accepted");
        sent.push(begin.elapsed());
    }
    println!("server append to file in new/:    median {:?}", median(arrivals));
    println!("local flag to server:             median {:?}", median(flags));
    println!("dropped file to acceptance:       median {:?}", median(sent));
    daemon.stop();
}

#[test]
fn mail_and_flags_travel_while_the_daemon_runs_beside_dovecot() {
    let dovecot = shared::dovecot();
    let world = World::alone();
    let table = dovecot.imap_table("work", "latency");
    world.configure(&format!("{}{table}", world.account("work")));
    let mut imap = dovecot.client("latency");
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let (mut arrivals, mut flags) = (Vec::new(), Vec::new());
    for n in 0..N_ROUNDS {
        let uid = imap.append("INBOX", "", 1_700_000_000, &mail::numbered(n));
        let begin = Instant::now();
        let entry = arrives(&world, n);
        arrivals.push(begin.elapsed());

        let begin = Instant::now();
        entry.set_flags("S");
        eventually("the flag travels", SOON, || {
            imap.flags("INBOX", uid).contains("\\Seen").then_some(())
        });
        flags.push(begin.elapsed());
    }
    // Dovecot itself waits 500 ms before it tells a client in IDLE.
    println!("Dovecot append to file in new/:   median {:?}", median(arrivals));
    println!("local flag to Dovecot, over TLS:  median {:?}", median(flags));
    daemon.stop();
}

fn arrives(world: &World, n: usize) -> Entry {
    let text = format!("This is number {n}.");
    let inbox = world.mailbox("INBOX");
    let entry =
        eventually("the message arrives", SOON, || containing(&inbox, &text).into_iter().next());
    assert_eq!(entry.sub, "new");
    entry
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
