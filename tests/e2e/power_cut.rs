//! The power may fail at any instant: what is durable by then must agree with what was said to the
//! server, and with what the ledger believes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fastrand::Rng;
use postrider_mailserver::{MailServer, MailboxHandle};
use rustix::process::Signal;

use crate::fixture::disk::Machine;
use crate::fixture::maildir::{Entry, deliver, entries, local};
use crate::fixture::process::{Running, tied};
use crate::fixture::world::BINARY;
use crate::fixture::{World, mail, scripted};
use crate::kill::seeded;
use crate::transfer::assert_all_zero;

const N_MESSAGES: usize = 300;
const N_CUTS: u32 = 12;

#[test]
fn the_first_sync_survives_power_cuts() {
    let (seed, mut rng) = seeded();
    let server = scripted::server();
    for n in 0..N_MESSAGES {
        let mailbox = server.mailbox(if n % 4 == 0 { "Drafts" } else { "INBOX" });
        let flags: &[&str] = if n % 3 == 0 { &["\\Seen"] } else { &[] };
        mailbox.append(&mail::mixed(&mut rng, n), flags, Some(1_500_000_000));
    }
    let expected = ["INBOX", "Drafts"].map(|name| (name, there(&server.mailbox(name))));
    let mut whole = whole_sync(&machine(&server, Machine::with_one_disk));
    let (mut round, mut interrupted) = (0, 0);
    while interrupted < N_CUTS {
        round += 1;
        assert!(round <= 3 * N_CUTS, "the moments miss the sync: {whole:?}, seed {seed}");
        let build = if round % 2 == 0 { Machine::with_one_disk } else { Machine::with_two_disks };
        let machine = machine(&server, build);
        let moment = whole.mul_f64(rng.f64());
        if cut_after(&machine, moment, &mut rng) {
            interrupted += 1;
        } else {
            whole = moment;
        }
        let what = format!("round {round}, cut after {moment:?}, seed {seed}");
        for (name, expected) in &expected {
            assert_whole(&machine.world, name, expected, &what);
        }
        settle(&machine.world, &what);
        for (name, expected) in &expected {
            assert_same(&here(&machine.world, name), expected, &format!("{name} here, {what}"));
            let there = there(&server.mailbox(name));
            assert_same(&there, expected, &format!("{name} there, {what}"));
        }
        assert_verified(&machine.world, &what);
    }
    println!("a whole sync takes {whole:?}; {interrupted} of {round} were interrupted");
}

#[test]
fn changes_and_deletions_survive_power_cuts_of_one_disk() {
    assert_changes_survive(Machine::with_one_disk);
}

#[test]
fn changes_and_deletions_survive_power_cuts_of_two_disks() {
    assert_changes_survive(Machine::with_two_disks);
}

#[test]
fn uploads_survive_power_cuts_of_one_disk() {
    assert_uploads_survive(Machine::with_one_disk);
}

#[test]
fn uploads_survive_power_cuts_of_two_disks() {
    assert_uploads_survive(Machine::with_two_disks);
}

fn assert_changes_survive(build: fn(World) -> Machine) {
    let server = scripted::server();
    let mut account = Account::new(&server);
    let (seed, mut rng) = seeded();
    for _ in 0..200 {
        account.arrives(&mut rng);
    }
    account.changing(build, (seed, rng), |account, machine, rng| {
        for _ in 0..60 {
            account.arrives(rng);
        }
        for _ in 0..30 {
            account.is_flagged_there(rng);
        }
        for _ in 0..10 {
            account.is_flagged_here(machine, rng);
            account.is_deleted_there(rng);
        }
        for _ in 0..4 {
            account.is_deleted_here(machine, rng);
        }
    });
}

fn assert_uploads_survive(build: fn(World) -> Machine) {
    let server = scripted::server();
    Account::new(&server).changing(build, seeded(), |account, machine, _| {
        for _ in 0..40 {
            account.is_written_here(machine);
        }
    });
}

/// What INBOX and Trash must come to, on both sides, whenever the power is cut on the way.
struct Account<'a> {
    server: &'a MailServer,
    next: usize,
    /// By bytes as on the wire.
    inbox: Contents,
    trash: Contents,
    /// What has a change coming already: one each.
    touched: BTreeSet<Vec<u8>>,
}

/// The flags of each message with these bytes.
type Contents = BTreeMap<Vec<u8>, Vec<BTreeSet<String>>>;

impl<'a> Account<'a> {
    fn new(server: &'a MailServer) -> Self {
        let (inbox, trash, touched) = Default::default();
        Self { server, next: 0, inbox, trash, touched }
    }

    /// Cuts the power during one pass after the other, each with changes of its own.
    fn changing(
        &mut self,
        build: fn(World) -> Machine,
        (seed, mut rng): (u64, Rng),
        mut change: impl FnMut(&mut Self, &Machine, &mut Rng),
    ) {
        let machine = machine(self.server, build);
        settle(&machine.world, "the first pass");
        let (mut whole, mut round, mut interrupted) = (Duration::ZERO, 0, 0);
        while interrupted < N_CUTS / 2 {
            assert!(round <= 2 * N_CUTS, "the moments miss the sync: {whole:?}, seed {seed}");
            self.touched.clear();
            change(self, &machine, &mut rng);
            machine.sync_disks();
            // The first round is not interrupted, and tells how long it takes.
            if round == 0 {
                whole = whole_sync(&machine);
            } else {
                let moment = whole.mul_f64(rng.f64());
                interrupted += u32::from(cut_after(&machine, moment, &mut rng));
            }
            let what = format!("round {round}, seed {seed}");
            assert_whole(&machine.world, "INBOX", &self.known(), &what);
            settle(&machine.world, &what);
            self.check(&machine.world, &what);
            round += 1;
        }
        println!("a pass takes {whole:?}; {interrupted} of {round} were interrupted");
    }

    /// All that may be in INBOX here: also what is to go.
    fn known(&self) -> Contents {
        let mut known = self.inbox.clone();
        for bytes in &self.touched {
            known.entry(bytes.clone()).or_insert_with(|| vec![BTreeSet::new()]);
        }
        known
    }

    fn check(&self, world: &World, what: &str) {
        for (name, expected) in [("INBOX", &self.inbox), ("Trash", &self.trash)] {
            let there = there(&self.server.mailbox(name));
            assert_same(&there, expected, &format!("{name} there, {what}"));
            assert_same(&here(world, name), expected, &format!("{name} here, {what}"));
        }
        assert_verified(world, what);
    }

    fn arrives(&mut self, rng: &mut Rng) {
        self.next += 1;
        let bytes = [mail::numbered(self.next), "long ".repeat(rng.usize(..4000)).into()].concat();
        self.server.mailbox("INBOX").append(&bytes, &[], None);
        self.inbox.insert(bytes, vec![BTreeSet::new()]);
    }

    fn is_written_here(&mut self, machine: &Machine) {
        self.next += 1;
        let bytes = mail::numbered(self.next);
        let text = String::from_utf8(local(&bytes)).unwrap();
        let name = format!("1500000000.{}", self.next);
        deliver(&machine.world.mailbox("INBOX"), &name, "S", &text);
        self.inbox.insert(bytes, vec![BTreeSet::from(["\\Seen".to_owned()])]);
    }

    fn is_flagged_there(&mut self, rng: &mut Rng) {
        let (uid, bytes) = self.pick_there(rng);
        self.server.mailbox("INBOX").add_flags(uid, &["\\Flagged"]);
        self.inbox.get_mut(&bytes).unwrap()[0].insert("\\Flagged".to_owned());
    }

    fn is_deleted_there(&mut self, rng: &mut Rng) {
        let (uid, bytes) = self.pick_there(rng);
        self.server.mailbox("INBOX").expunge(uid);
        self.inbox.remove(&bytes);
    }

    fn is_flagged_here(&mut self, machine: &Machine, rng: &mut Rng) {
        let (entry, bytes) = self.pick_here(machine, rng);
        let flags: BTreeSet<char> = entry.flags.chars().chain(['S']).collect();
        entry.set_flags(&flags.into_iter().collect::<String>());
        self.inbox.get_mut(&bytes).unwrap()[0].insert("\\Seen".to_owned());
    }

    fn is_deleted_here(&mut self, machine: &Machine, rng: &mut Rng) {
        let (entry, bytes) = self.pick_here(machine, rng);
        std::fs::remove_file(entry.path).unwrap();
        let flags = self.inbox.remove(&bytes).unwrap();
        self.trash.insert(bytes, flags);
    }

    /// A message that is not touched yet.
    fn pick_there(&mut self, rng: &mut Rng) -> (u32, Vec<u8>) {
        let all = self.server.mailbox("INBOX").messages();
        loop {
            let message = &all[rng.usize(..all.len())];
            if self.touched.insert(message.bytes.to_vec()) {
                return (message.uid, message.bytes.to_vec());
            }
        }
    }

    fn pick_here(&mut self, machine: &Machine, rng: &mut Rng) -> (Entry, Vec<u8>) {
        let all = entries(&machine.world.mailbox("INBOX"));
        loop {
            let entry = &all[rng.usize(..all.len())];
            let bytes = wire(&entry.bytes());
            // It may be gone there already.
            if self.inbox.contains_key(&bytes) && self.touched.insert(bytes.clone()) {
                return (entry.clone(), bytes);
            }
        }
    }
}

fn machine(server: &MailServer, build: fn(World) -> Machine) -> Machine {
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), scripted::imap_table(server, "work")));
    build(world)
}

fn whole_sync(machine: &Machine) -> Duration {
    let begin = Instant::now();
    machine.world.sync();
    begin.elapsed()
}

/// Cuts the power this long after the start of a pass, and mounts again; whether it still ran.
fn cut_after(machine: &Machine, moment: Duration, rng: &mut Rng) -> bool {
    let switch = machine.switch();
    let mut command = tied(Path::new(BINARY));
    command.arg("sync");
    machine.world.surround(&mut command);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut sync = Running::start("postrider sync", command);
    let was_running = sync.ends_within(moment).is_none();
    // Either it sees no more after the cut, or it lives on for a moment with every access failing.
    if rng.bool() {
        sync.signal(Signal::STOP);
    }
    switch.cut();
    sync.kill();
    machine.power_up();
    was_running
}

/// Syncs until there is nothing to do.
fn settle(world: &World, what: &str) {
    let mut ran = world.run(&["sync", "--json"]);
    for _ in 0..6 {
        let is_still = |mailbox: &serde_json::Value| {
            let counters = mailbox.as_object().unwrap().iter().filter(|(key, _)| *key != "name");
            counters.into_iter().all(|(_, value)| *value == 0)
        };
        let is_settled = ran.code == 0
            && ran.json()["accounts"]
                .as_array()
                .unwrap()
                .iter()
                .all(|account| account["mailboxes"].as_array().unwrap().iter().all(is_still));
        if is_settled {
            assert_all_zero(&ran.json());
            return;
        }
        ran = world.run(&["sync", "--json"]);
    }
    panic!("it does not settle, {what}: {ran:?}");
}

/// Asserts that all that is visible is complete, and there no more often than on the server.
fn assert_whole(world: &World, mailbox: &str, known: &Contents, what: &str) {
    for (bytes, found) in here(world, mailbox) {
        let most = known.get(&bytes).map_or(0, Vec::len);
        let n_bytes = bytes.len();
        assert!(found.len() <= most, "{mailbox}: {n_bytes} bytes, {found:?}, not {most}, {what}");
    }
}

fn assert_same(found: &Contents, expected: &Contents, what: &str) {
    assert_eq!(brief(found), brief(expected), "{what}");
    assert!(found == expected, "the same subjects and sizes, and other bytes: {what}");
}

fn assert_verified(world: &World, what: &str) {
    let ran = world.run(&["verify", "work", "--bytes"]);
    assert_eq!(ran.code, 0, "{what}: {ran:?}");
}

fn there(mailbox: &MailboxHandle) -> Contents {
    contents(mailbox.messages().into_iter().map(|m| (m.bytes.to_vec(), m.flags)))
}

fn here(world: &World, mailbox: &str) -> Contents {
    let flag = |letter: char| match letter {
        'S' => "\\Seen".to_owned(),
        'F' => "\\Flagged".to_owned(),
        other => other.to_string(),
    };
    contents(
        entries(&world.mailbox(mailbox))
            .iter()
            .map(|entry| (wire(&entry.bytes()), entry.flags.chars().map(flag).collect())),
    )
}

fn contents(all: impl Iterator<Item = (Vec<u8>, BTreeSet<String>)>) -> Contents {
    let mut contents = Contents::new();
    for (bytes, flags) in all {
        // Bare line feeds are not told apart: `verify --bytes` does.
        contents.entry(wire(&local(&bytes))).or_default().push(flags);
    }
    contents
}

/// With the line ends of the wire.
fn wire(bytes: &[u8]) -> Vec<u8> {
    local(bytes).into_iter().fold(Vec::new(), |mut out, byte| {
        if byte == b'\n' {
            out.push(b'\r');
        }
        out.push(byte);
        out
    })
}

/// Short enough to be read when two are not equal.
fn brief(contents: &Contents) -> Vec<(String, usize, &Vec<BTreeSet<String>>)> {
    let one = |(bytes, flags)| {
        let bytes: &Vec<u8> = bytes;
        let text = String::from_utf8_lossy(bytes);
        let subject = text.lines().find(|line| line.starts_with("Subject")).unwrap_or_default();
        (subject.to_owned(), bytes.len(), flags)
    };
    contents.iter().map(one).collect()
}
