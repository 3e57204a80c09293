//! What people do on both sides, and what has to come of it.
//!
//! Each message belongs to one kind, so that what has to be in the end is known exactly wherever
//! nobody contradicts anybody:
//!
//! - *here* and *there*: only this side touches it; it ends as this side has it.
//! - *flags*: both sides change flags, each its own; it ends with the flags of both.
//! - *contested*: either side does anything at any time. It is not lost unless somebody deleted it,
//!   and there are not more of it than copies, and moves of both sides, explain.
//!
//! What cannot be known is left out narrowly: between an edit of a message of the first three kinds
//! and the next rest of both sides nobody edits it again. A pass that was cut off may have moved it
//! on the server without the ledger knowing, and a second move meanwhile leaves no trace to tell it
//! from a copy. And where a server cannot remove single messages, a message that was moved here may
//! be in the Trash as well: if the answer to the move was lost, what it left behind looks deleted.

use std::collections::BTreeMap;

use fastrand::Rng;
use postrider::model::flags::Flags;

use crate::disk::{Disk, KEYWORDS};
use crate::server::Server;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Here,
    There,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Here,
    There,
    Flags,
    Contested,
}

/// A message by its number.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) kind: Kind,
    /// Where it is and with which flags; of a contested one only where it began.
    pub(crate) places: BTreeMap<String, Flags>,
    /// How often it was deleted.
    pub(crate) n_deleted: usize,
    /// How often it was moved here.
    pub(crate) n_moved_here: usize,
    /// How many more of it there may be: copies, and moves of a contested one.
    pub(crate) n_spread: usize,
    is_busy: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Deliver(Flags),
    Flag(Flags),
    Move(String),
    Copy(String),
    Delete,
}

/// What somebody does with a message.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) side: Side,
    pub(crate) n: usize,
    pub(crate) place: String,
    pub(crate) act: Act,
}

pub(crate) fn text(n: usize) -> Vec<u8> {
    format!("Message-ID: <{n}@x>\nSubject: {n}\n\nhello {n}\nend\n").into_bytes()
}

impl Edit {
    /// Whether the message was there for it.
    pub(crate) fn carry_out(&self, disk: &mut Disk, server: &mut Server) -> bool {
        let bytes = text(self.n);
        if let Act::Deliver(flags) = &self.act {
            match self.side {
                Side::Here => disk.deliver(&self.place, &bytes, flags.clone()),
                Side::There => drop(server.add(&self.place, &bytes, flags.clone(), 1_000_000_000)),
            }
            return true;
        }
        match self.side {
            Side::Here => disk.find(&self.place, &bytes).is_some_and(|base| self.here(disk, &base)),
            Side::There => {
                server.find(&self.place, &bytes).is_some_and(|uid| self.there(server, uid))
            }
        }
    }

    fn here(&self, disk: &mut Disk, base: &str) -> bool {
        match &self.act {
            Act::Deliver(_) => return false,
            Act::Flag(flags) => disk.flag(&self.place, base, flags.clone()),
            Act::Move(to) if disk.dirs.contains_key(to) => disk.shift(&self.place, to, base),
            Act::Copy(to) if disk.dirs.contains_key(to) => disk.copy(&self.place, to, base),
            Act::Move(_) | Act::Copy(_) => return false,
            Act::Delete => disk.delete(&self.place, base),
        }
        true
    }

    fn there(&self, server: &mut Server, uid: u32) -> bool {
        match &self.act {
            Act::Deliver(_) => return false,
            Act::Flag(flags) => server.flag(&self.place, uid, flags.clone()),
            Act::Move(to) | Act::Copy(to) if !server.mailboxes.contains_key(to) => return false,
            Act::Move(to) => {
                let _new = server.copy(&self.place, to, uid);
                drop(server.expunge(&self.place, uid));
            }
            Act::Copy(to) => {
                let _new = server.copy(&self.place, to, uid);
            }
            Act::Delete => drop(server.expunge(&self.place, uid)),
        }
        true
    }
}

/// Every message that ever was.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) known: Vec<Known>,
    pub(crate) mailboxes: Vec<String>,
}

impl Model {
    /// A new message, or something that happens to one.
    pub(crate) fn edit(&self, rng: &mut Rng) -> Option<Edit> {
        if self.known.is_empty() || (self.known.len() < MESSAGES_MAX && rng.u8(..4) == 0) {
            return Some(self.delivery(rng));
        }
        let n = rng.usize(..self.known.len());
        let known = &self.known[n];
        if known.is_busy && known.kind != Kind::Contested {
            return None;
        }
        let side = match known.kind {
            Kind::Here => Side::Here,
            Kind::There => Side::There,
            Kind::Flags | Kind::Contested => side(rng),
        };
        let (place, act) = match known.kind {
            Kind::Contested => {
                let place = self.mailbox(rng);
                let act = self.act(rng, &place, &BTreeMap::new());
                (place, act?)
            }
            Kind::Here | Kind::There => {
                let place = rng.choice(known.places.keys())?.clone();
                let act = self.act(rng, &place, &known.places);
                (place, act?)
            }
            Kind::Flags => {
                let (place, flags) = known.places.first_key_value()?;
                let others = if side == Side::Here { THERE } else { HERE };
                let own = if side == Side::Here { HERE } else { THERE };
                let kept = Flags::from_letters(others).bits() & flags.bits();
                let bits = kept | (Flags::from_letters(own).bits() & rng.u8(..));
                (place.clone(), Act::Flag(Flags::from_parts(bits, flags.keywords.clone())))
            }
        };
        Some(Edit { side, n, place, act })
    }

    fn delivery(&self, rng: &mut Rng) -> Edit {
        let (n, place) = (self.known.len(), self.mailbox(rng));
        let side = match kind(n) {
            Kind::Here => Side::Here,
            Kind::There => Side::There,
            Kind::Flags | Kind::Contested => side(rng),
        };
        Edit { side, n, place, act: Act::Deliver(flags(rng)) }
    }

    fn mailbox(&self, rng: &mut Rng) -> String {
        rng.choice(&self.mailboxes).unwrap().clone()
    }

    fn act(&self, rng: &mut Rng, place: &str, taken: &BTreeMap<String, Flags>) -> Option<Act> {
        let is_free = |m: &&String| m.as_str() != place && !taken.contains_key(m.as_str());
        let target = rng.choice(self.mailboxes.iter().filter(is_free).collect::<Vec<_>>());
        match rng.u8(..8) {
            0..=2 => Some(Act::Flag(flags(rng))),
            3..=4 => Some(Act::Move(target?.clone())),
            5 => Some(Act::Copy(target?.clone())),
            _ => Some(Act::Delete),
        }
    }

    /// An edit happened.
    pub(crate) fn note(&mut self, edit: &Edit) {
        if let Act::Deliver(flags) = &edit.act {
            let places = BTreeMap::from([(edit.place.clone(), flags.clone())]);
            let kind = kind(edit.n);
            let (n_deleted, n_moved_here, n_spread) = (0, 0, 0);
            let known = Known { kind, places, n_deleted, n_moved_here, n_spread, is_busy: true };
            self.known.insert(edit.n, known);
            return;
        }
        let known = &mut self.known[edit.n];
        known.is_busy = true;
        let is_exact = known.kind != Kind::Contested;
        match &edit.act {
            Act::Deliver(_) => {}
            Act::Flag(flags) if is_exact => {
                drop(known.places.insert(edit.place.clone(), flags.clone()))
            }
            Act::Flag(_) => {}
            Act::Move(to) if is_exact => {
                known.n_moved_here += usize::from(edit.side == Side::Here);
                let flags = known.places.remove(&edit.place).unwrap();
                known.places.insert(to.clone(), flags);
            }
            Act::Copy(to) if is_exact => {
                let flags = known.places[&edit.place].clone();
                known.places.insert(to.clone(), flags);
            }
            Act::Move(_) | Act::Copy(_) => known.n_spread += 1,
            Act::Delete => {
                known.n_deleted += 1;
                if is_exact {
                    known.places.remove(&edit.place);
                }
            }
        }
    }

    pub(crate) fn renamed(&mut self, from: &str, to: &str) {
        self.mailboxes.retain(|m| m != from);
        self.mailboxes.push(to.to_owned());
        for known in &mut self.known {
            if let Some(flags) = known.places.remove(from) {
                known.places.insert(to.to_owned(), flags);
            }
            known.is_busy = true;
        }
    }

    /// Both sides came to rest.
    pub(crate) fn rested(&mut self) {
        self.known.iter_mut().for_each(|k| k.is_busy = false);
    }
}

fn kind(n: usize) -> Kind {
    [Kind::Here, Kind::There, Kind::Flags, Kind::Contested][n % 4]
}

pub(crate) fn side(rng: &mut Rng) -> Side {
    if rng.bool() { Side::Here } else { Side::There }
}

/// Flags but `\Deleted`, which is how a server says that it cannot remove, and `\Draft`.
fn flags(rng: &mut Rng) -> Flags {
    let bits = rng.u8(..) & Flags::from_letters("FPRS").bits();
    let bits = if rng.u8(..3) == 0 { 0 } else { bits };
    let keyword = (rng.u8(..4) == 0).then(|| KEYWORDS[rng.usize(..KEYWORDS.len())].to_owned());
    Flags::from_parts(bits, keyword)
}

const HERE: &str = "FR";
const THERE: &str = "PS";
const MESSAGES_MAX: usize = 12;
