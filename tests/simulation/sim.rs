//! One seed: people, passes, and what cuts them off; then the laws.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use postrider::adapters::ledger::SqliteLedger;
use postrider::engine::board::Board;
use postrider::engine::pass::Worker;
use postrider::model::account::Account;
use postrider::model::event::AccountReport;
use postrider::model::flags::{Flag, Flags};
use postrider::model::status::{Counters, Status};
use postrider::rules::schedule::message_backoff;

use crate::common::fate::Fate;
use crate::common::faulty::Faulty;
use crate::common::{account, changes_of};
use crate::disk::Disk;
use crate::local::MemLocal;
use crate::model::{Edit, Kind, Model, Side, side, text};
use crate::remote::MemConnector;
use crate::server::{Cut, Offer, Server};

/// A process.
pub(crate) type Process = Worker<Faulty<MemLocal>, Faulty<SqliteLedger>, Faulty<MemConnector>>;

/// Both sides, and the ledger between them.
pub(crate) struct World {
    pub(crate) disk: Arc<Mutex<Disk>>,
    pub(crate) server: Arc<Mutex<Server>>,
    dir: tempfile::TempDir,
    account: Arc<Account>,
}

/// Bytes and flags of the messages of each mailbox that has some, in order.
pub(crate) type Content = BTreeMap<String, Vec<(String, Flags)>>;

impl World {
    pub(crate) fn new(offer: Offer, mailboxes: &[&str]) -> Self {
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let dir = tempfile::tempdir_in(parent).unwrap();
        let mut account = account(dir.path(), 1);
        account.imap.as_mut().unwrap().max_connections = 1;
        account.sync.brake.min = 1000;
        let (mut disk, mut server) = (Disk::default(), Server { offer, ..Server::default() });
        for mailbox in mailboxes.iter().chain(&["Trash"]) {
            disk.make(mailbox);
            server.make(mailbox);
        }
        let (disk, server) = (Arc::new(Mutex::new(disk)), Arc::new(Mutex::new(server)));
        Self { disk, server, dir, account: Arc::new(account) }
    }

    pub(crate) fn process(&self, fate: &Arc<Fate>) -> Process {
        let ledger = SqliteLedger::open(&self.dir.path().join("l.sqlite"), message_backoff);
        let local = Faulty { inner: MemLocal(Arc::clone(&self.disk)), fate: Arc::clone(fate) };
        let ledger = Faulty { inner: ledger.unwrap(), fate: Arc::clone(fate) };
        let inner = MemConnector(Arc::clone(&self.server));
        let connector = Faulty { inner, fate: Arc::clone(fate) };
        let board = Board::new(Status::default()).0;
        let account = Arc::clone(&self.account);
        Worker::new(account, Arc::new(local), Arc::new(ledger), Arc::new(connector), board)
    }

    pub(crate) fn carry_out(&self, edit: &Edit) -> bool {
        edit.carry_out(&mut self.disk.lock().unwrap(), &mut self.server.lock().unwrap())
    }

    pub(crate) fn here(&self) -> Content {
        let disk = self.disk.lock().unwrap();
        let mut content = Content::new();
        for (name, dir) in &disk.dirs {
            for entry in dir.files.values().filter(|e| e.sub.is_some()) {
                let bytes = String::from_utf8_lossy(disk.bytes(entry)).into_owned();
                content.entry(name.clone()).or_default().push((bytes, entry.flags.clone()));
            }
        }
        content.values_mut().for_each(|messages| messages.sort());
        content
    }

    /// What a server that cannot remove has marked is as good as gone.
    pub(crate) fn there(&self) -> Content {
        let server = self.server.lock().unwrap();
        let mut content = Content::new();
        for (name, mailbox) in &server.mailboxes {
            for message in mailbox.messages.values().filter(|m| !m.flags.has(Flag::Trashed)) {
                let bytes = String::from_utf8_lossy(&message.bytes).into_owned();
                content.entry(name.clone()).or_default().push((bytes, message.flags.clone()));
            }
        }
        content.values_mut().for_each(|messages| messages.sort());
        content
    }

    pub(crate) fn n_changes(&self) -> usize {
        self.disk.lock().unwrap().n_changes + self.server.lock().unwrap().n_changes
    }

    /// Passes until one has nothing to do, and one more.
    pub(crate) async fn rest(&self, process: &mut Process) -> Result<(), String> {
        for _ in 0..PASSES_MAX {
            let report = process.once(&[]).await;
            if let Some(error) = report.error {
                return Err(format!("a calm pass failed: {error:?}"));
            }
            if is_quiet(&report.mailboxes.into_values().collect::<Vec<_>>()) {
                let before = self.n_changes();
                process.once(&[]).await;
                let n_more = self.n_changes() - before;
                return if n_more == 0 { Ok(()) } else { Err("a second run does things".into()) };
            }
        }
        Err(format!("no rest after {PASSES_MAX} passes"))
    }
}

fn is_quiet(counters: &[Counters]) -> bool {
    counters.iter().all(|c| changes_of(*c) == Counters::default())
}

struct Sim {
    world: World,
    model: Model,
    rng: Rng,
    process: Process,
    trace: String,
}

/// Runs a seed; what went wrong, with all that happened before.
pub(crate) async fn simulate(seed: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let offer =
        Offer { has_uidplus: rng.u8(..4) > 0, has_condstore: rng.bool(), has_move: rng.bool() };
    let mailboxes = ["INBOX", "Archive", "Lists"];
    let world = World::new(offer, &mailboxes);
    let process = world.process(&Fate::calm());
    let mailboxes = mailboxes.iter().map(|m| (*m).to_owned()).collect();
    let model = Model { known: Vec::new(), mailboxes };
    let trace = format!("{offer:?}\n");
    let mut sim = Sim { world, model, rng, process, trace };
    let result = sim.run().await;
    result.map_err(|what| format!("seed {seed}: {what}\n{}", sim.trace))
}

impl Sim {
    fn told(&mut self, what: impl fmt::Display) {
        writeln!(self.trace, "{what}").unwrap();
    }

    async fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.usize(2..=5) {
            for _ in 0..self.rng.usize(3..=8) {
                self.edit();
            }
            for _ in 0..self.rng.usize(..=2) {
                self.disturbed().await;
            }
            if self.rng.bool() {
                self.rest().await?;
                if self.rng.u8(..6) == 0 {
                    self.rename();
                    self.disturbed().await;
                    self.rest().await?;
                }
            }
        }
        self.rest().await
    }

    fn edit(&mut self) {
        let Some(edit) = self.model.edit(&mut self.rng) else { return };
        if self.world.carry_out(&edit) {
            self.told(format!("{edit:?}"));
            self.model.note(&edit);
        }
    }

    /// Nothing but its messages shows that a mailbox was renamed, so that an empty one is left out.
    fn rename(&mut self) {
        let from = self.model.mailboxes.last().unwrap().clone();
        if !self.world.here().contains_key(&from) {
            return;
        }
        let (to, side) = (format!("{from}x"), side(&mut self.rng));
        self.told(format!("{side:?} renames {from}"));
        match side {
            Side::Here => self.world.disk.lock().unwrap().rename(&from, &to),
            Side::There => {
                let mut server = self.world.server.lock().unwrap();
                let moved = server.mailboxes.remove(&from).unwrap();
                server.mailboxes.insert(to.clone(), moved);
            }
        }
        self.model.renamed(&from, &to);
    }

    /// A pass that is cut off, or that somebody edits under.
    async fn disturbed(&mut self) {
        match self.rng.u8(..8) {
            0..=4 => {
                let (at, is_after) = (self.rng.usize(1..=40), self.rng.bool());
                let is_power_cut = self.rng.bool();
                let report = self.world.process(&Fate::new(at, is_after)).once(&[]).await;
                if report.error.is_none() {
                    return self.told("a pass");
                }
                self.told(format!("killed at {at}, after {is_after}, power {is_power_cut}"));
                if is_power_cut {
                    self.world.disk.lock().unwrap().power_cut();
                }
                self.process = self.world.process(&Fate::calm());
            }
            5..=6 => {
                let cut = if self.rng.bool() { Cut::Before } else { Cut::After };
                let at = self.rng.usize(..6);
                self.world.server.lock().unwrap().cut_in = Some((at, cut));
                let report = self.process.once(&[]).await;
                self.world.server.lock().unwrap().cut_in = None;
                self.told(format!("line cut {at} {cut:?}: {}", said(&report)));
            }
            _ => self.interrupted().await,
        }
    }

    async fn interrupted(&mut self) {
        let Some(edit) = self.model.edit(&mut self.rng) else { return };
        let steps = ["scan", "changes", "fetch", "barrier", "apply", "append", "store", "open"];
        let step = *self.rng.choice(&steps).unwrap();
        let is_done = Arc::new(Mutex::new(false));
        let fate = {
            let (edit, is_done) = (edit.clone(), Arc::clone(&is_done));
            let (disk, server) = (Arc::clone(&self.world.disk), Arc::clone(&self.world.server));
            Fate::interrupted(step, move || {
                let happened =
                    edit.carry_out(&mut disk.lock().unwrap(), &mut server.lock().unwrap());
                *is_done.lock().unwrap() = happened;
            })
        };
        let report = self.world.process(&fate).once(&[]).await;
        let is_done = *is_done.lock().unwrap();
        self.told(format!("before {step}: {is_done} {edit:?}; {}", said(&report)));
        if is_done {
            self.model.note(&edit);
        }
    }

    async fn rest(&mut self) -> Result<(), String> {
        self.told("rest");
        self.world.rest(&mut self.process).await?;
        self.model.rested();
        self.laws()
    }

    fn laws(&self) -> Result<(), String> {
        let (here, there) = (self.world.here(), self.world.there());
        if here != there {
            return Err(format!("the sides differ:\nhere  {here:#?}\nthere {there:#?}"));
        }
        let is_whole = |(body, _): &(String, Flags)| body.ends_with("end\n");
        if !here.values().flatten().all(is_whole) {
            return Err(format!("a partial file: {here:?}"));
        }
        (0..self.model.known.len()).try_for_each(|n| self.law_of(n, &here))
    }

    fn law_of(&self, n: usize, content: &Content) -> Result<(), String> {
        let known = &self.model.known[n];
        let bytes = String::from_utf8(text(n)).unwrap();
        let mut found: Vec<(&str, &Flags)> = Vec::new();
        for (mailbox, messages) in content {
            let same = messages.iter().filter(|(body, _)| *body == bytes);
            found.extend(same.map(|(_, flags)| (mailbox.as_str(), flags)));
        }
        let n_found = found.len();
        if known.kind == Kind::Contested {
            let is_fine = (n_found > 0 || known.n_deleted > 0) && n_found <= 1 + known.n_spread;
            return if is_fine { Ok(()) } else { Err(format!("{n} is at {found:?}: {known:?}")) };
        }
        found.retain(|(mailbox, _)| *mailbox != "Trash");
        let wanted: Vec<(&str, &Flags)> =
            known.places.iter().map(|(mailbox, flags)| (mailbox.as_str(), flags)).collect();
        let has_uidplus = self.world.server.lock().unwrap().offer.has_uidplus;
        let n_left = if has_uidplus { 0 } else { known.n_moved_here };
        if found != wanted || n_found - found.len() > known.n_deleted + n_left {
            return Err(format!("{n} is at {found:?} of {n_found}: {known:?}"));
        }
        Ok(())
    }
}

fn said(report: &AccountReport) -> String {
    report.error.as_ref().map_or_else(|| "well".to_owned(), |e| e.text.clone())
}

const PASSES_MAX: usize = 6;
