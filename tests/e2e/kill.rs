//! The process may die at any instant.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::fixture::maildir::{deliver, entries, local};
use crate::fixture::process::{Running, tied};
use crate::fixture::world::BINARY;
use crate::fixture::{World, mail, shared};

const N_MESSAGES: usize = 600;
const N_KILLS: u32 = 20;
const N_UPLOADS: usize = 200;
const N_UPLOAD_KILLS: u32 = 10;

#[test]
fn killed_twenty_times_in_the_first_sync_each_message_is_there_exactly_once() {
    let (seed, mut rng) = seeded();
    let dovecot = shared::dovecot();
    let mut imap = dovecot.client("killed");
    imap.create("Archive");
    for n in 0..N_MESSAGES {
        let mailbox = if n % 4 == 0 { "Archive" } else { "INBOX" };
        let flags = if n % 3 == 0 { "\\Seen" } else { "" };
        imap.append(mailbox, flags, 1_500_000_000, &mail::mixed(&mut rng, n));
    }
    let server = imap.fingerprint();
    let expected = ["INBOX", "Archive"].map(|mailbox| {
        let messages = imap.messages(mailbox);
        bag(messages.iter().map(|message| local(&message.bytes)))
    });
    let table = dovecot.imap_table("work", "killed");
    let world = World::new();
    world.configure(&format!("{}{table}", world.account("work")));
    let whole = Instant::now();
    world.sync();
    let mut whole = whole.elapsed();
    drop(world);
    let (mut round, mut interrupted) = (0, 0);
    while interrupted < N_KILLS {
        round += 1;
        assert!(round <= 4 * N_KILLS, "the moments miss the sync: {whole:?}, seed {seed}");
        let world = World::new();
        world.configure(&format!("{}{table}", world.account("work")));
        let moment = whole.mul_f64(rng.f64());
        if killed_after(&world, moment) {
            interrupted += 1;
        } else {
            // It ended before: the machine was busier when the whole was measured.
            whole = moment;
        }
        // Whatever is visible is whole.
        for (mailbox, expected) in ["INBOX", "Archive"].iter().zip(&expected) {
            for (bytes, n) in here(&world, mailbox) {
                let most = expected.get(&bytes).copied().unwrap_or(0);
                assert!(n <= most, "round {round}, {moment:?}: {mailbox} has {n}, not {most}");
            }
        }
        world.sync();
        for (mailbox, expected) in ["INBOX", "Archive"].iter().zip(&expected) {
            assert!(here(&world, mailbox) == *expected, "round {round}, {moment:?}: {mailbox}");
        }
        crate::transfer::assert_all_zero(&world.sync());
        assert_eq!(imap.fingerprint(), server, "round {round}, {moment:?}: the server changed");
    }
    println!("a whole sync takes {whole:?}; {interrupted} of {round} were interrupted");
}

#[test]
fn killed_in_the_first_upload_each_message_is_on_the_server_exactly_once() {
    let (seed, mut rng) = seeded();
    let dovecot = shared::dovecot();
    let letter = |n: usize| String::from_utf8(local(&mail::numbered(n))).unwrap();
    let expected = bag((0..N_UPLOADS).map(mail::numbered));
    let (mut whole, mut interrupted) = (Duration::ZERO, 0);
    for round in 0..=N_UPLOAD_KILLS {
        let world = World::new();
        let user = format!("upload-{round}");
        let table = dovecot.imap_table("work", &user);
        world.configure(&format!("{}{table}", world.account("work")));
        world.sync();
        for n in 0..N_UPLOADS {
            deliver(&world.mailbox("INBOX"), &format!("1500000000.{n}"), "S", &letter(n));
        }
        // The first round is not interrupted, and tells how long it takes.
        let begin = Instant::now();
        if round > 0 {
            interrupted += u32::from(killed_after(&world, whole.mul_f64(rng.f64())));
        }
        world.sync();
        whole = whole.max(begin.elapsed());
        let there = dovecot.client(&user).messages("INBOX");
        let there = bag(there.into_iter().map(|message| message.bytes));
        assert!(there == expected, "round {round}, seed {seed}: {} messages", there.len());
        let here = here(&world, "INBOX");
        assert!(here.len() == N_UPLOADS && here.values().all(|n| *n == 1), "round {round}");
        crate::transfer::assert_all_zero(&world.sync());
    }
    println!("{interrupted} of {N_UPLOAD_KILLS} uploads were interrupted");
}

/// Random moments that can be had again.
pub(crate) fn seeded() -> (u64, Rng) {
    let seed = std::env::var("POSTRIDER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("POSTRIDER_TEST_SEED={seed}");
    (seed, Rng::with_seed(seed))
}

/// Kills a sync after this time; whether it was still running.
pub(crate) fn killed_after(world: &World, moment: Duration) -> bool {
    let mut command = tied(Path::new(BINARY));
    command.arg("sync");
    world.surround(&mut command);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut sync = Running::start("postrider sync", command);
    let was_running = sync.ends_within(moment).is_none();
    sync.kill();
    was_running
}

fn here(world: &World, mailbox: &str) -> BTreeMap<Vec<u8>, usize> {
    bag(entries(&world.mailbox(mailbox)).iter().map(|entry| entry.bytes()))
}

fn bag(all: impl Iterator<Item = Vec<u8>>) -> BTreeMap<Vec<u8>, usize> {
    let mut bag = BTreeMap::new();
    for bytes in all {
        *bag.entry(bytes).or_default() += 1;
    }
    bag
}
