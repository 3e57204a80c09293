//! A Maildir in memory that forgets, when the power is cut, what nobody made durable.
//!
//! What a mail reader does is durable at once: it is not under test. A directory is durable as it
//! was when it was last synced, with its modification time; a file whose content was not synced is
//! empty afterwards, which is the worst that a file system does.

use std::collections::BTreeMap;

use postrider::model::failure::{Failure, Kind, Remedy, Scope};
use postrider::model::flags::Flags;
use postrider::model::listing::ListingBuilder;
use postrider::model::view::{Evidence, Fingerprint, Stamp, Sub};
use postrider::ports::local::{Landing, Scan};
use postrider::rules::header::message_id;
use sha2::{Digest, Sha256};

/// A file by its name: where it lies and which content it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sub: Option<Sub>,
    pub(crate) flags: Flags,
    pub(crate) inode: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Dir {
    /// By base name; without a sub they lie in `tmp/`.
    pub(crate) files: BTreeMap<String, Entry>,
    stamp: i64,
    /// The stamp since which the engine attests that nobody else changed anything.
    attested: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub(crate) bytes: Vec<u8>,
    pub(crate) date: i64,
    pub(crate) is_durable: bool,
}

type Dirs = BTreeMap<String, Dir>;

/// Everything on the disk, and what of it survives.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) dirs: Dirs,
    durable: Dirs,
    pub(crate) inodes: BTreeMap<u64, Inode>,
    pub(crate) quarantine: Vec<Vec<u8>>,
    clock: u64,
    /// Steps that others could see.
    pub(crate) n_changes: usize,
    /// The number of the newest pass that changed something.
    pub(crate) epoch: u64,
    pub(crate) root: Option<String>,
}

impl Disk {
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(crate) fn dir(&mut self, mailbox: &str) -> Result<&mut Dir, Failure> {
        self.dirs.get_mut(mailbox).ok_or_else(|| missing(mailbox))
    }

    /// A name in a directory changed.
    pub(crate) fn touch(&mut self, mailbox: &str) {
        let now = i64::try_from(self.tick()).unwrap();
        if let Some(dir) = self.dirs.get_mut(mailbox) {
            dir.stamp = now;
        }
    }

    /// Begins to note what others change; false if they did already.
    pub(crate) fn attest(&mut self, mailbox: &str, since: Stamp) -> bool {
        let Some(dir) = self.dirs.get_mut(mailbox) else { return false };
        dir.attested = Some(dir.stamp).filter(|now| *now == since.cur_ns);
        dir.attested.is_some()
    }

    /// The stamp now, if nobody else changed anything.
    pub(crate) fn attested(&mut self, mailbox: &str) -> Option<Stamp> {
        let dir = self.dirs.get_mut(mailbox)?;
        let still = dir.attested.take().filter(|at| *at == dir.stamp)?;
        Some(Stamp { new_ns: still, cur_ns: still })
    }

    /// What the engine does itself, in directories that it attests.
    pub(crate) fn ours<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let still = |dir: &Dir| dir.attested == Some(dir.stamp);
        let kept: Vec<String> =
            self.dirs.iter().filter(|(_, dir)| still(dir)).map(|(name, _)| name.clone()).collect();
        let done = work(self);
        for name in kept {
            if let Some(dir) = self.dirs.get_mut(&name) {
                dir.attested = Some(dir.stamp);
            }
        }
        done
    }

    pub(crate) fn sync(&mut self, mailbox: &str) {
        match self.dirs.get(mailbox) {
            Some(dir) => drop(self.durable.insert(mailbox.to_owned(), dir.clone())),
            None => drop(self.durable.remove(mailbox)),
        }
    }

    pub(crate) fn power_cut(&mut self) {
        self.dirs = self.durable.clone();
        for inode in self.inodes.values_mut().filter(|i| !i.is_durable) {
            inode.bytes.clear();
            inode.is_durable = true;
        }
    }

    pub(crate) fn bytes(&self, entry: &Entry) -> &[u8] {
        &self.inodes[&entry.inode].bytes
    }

    pub(crate) fn make(&mut self, mailbox: &str) {
        self.dirs.entry(mailbox.to_owned()).or_default();
        self.sync(mailbox);
    }

    /// A mail reader delivers a file.
    pub(crate) fn deliver(&mut self, mailbox: &str, bytes: &[u8], flags: Flags) {
        let (n, date) = (self.tick(), 1_000_000_000);
        self.inodes.insert(n, Inode { bytes: bytes.to_vec(), date, is_durable: true });
        let sub = Some(if flags.is_empty() { Sub::New } else { Sub::Cur });
        let entry = Entry { sub, flags, inode: n };
        self.put(mailbox, &format!("1000000000.{n}.mua"), entry);
    }

    fn put(&mut self, mailbox: &str, base: &str, entry: Entry) {
        self.dirs.get_mut(mailbox).unwrap().files.insert(base.to_owned(), entry);
        self.touch(mailbox);
        self.sync(mailbox);
    }

    /// The visible file of a mailbox that has these bytes.
    pub(crate) fn find(&self, mailbox: &str, bytes: &[u8]) -> Option<String> {
        let files = &self.dirs.get(mailbox)?.files;
        let is_it = |e: &Entry| e.sub.is_some() && self.bytes(e) == bytes;
        files.iter().find(|(_, e)| is_it(e)).map(|(base, _)| base.clone())
    }

    /// A mail reader changes flags.
    pub(crate) fn flag(&mut self, mailbox: &str, base: &str, flags: Flags) {
        let mut entry = self.dirs[mailbox].files[base].clone();
        (entry.sub, entry.flags) = (Some(Sub::Cur), flags);
        self.put(mailbox, base, entry);
    }

    /// A mail reader moves a file.
    pub(crate) fn shift(&mut self, from: &str, to: &str, base: &str) {
        let entry = self.dirs[from].files[base].clone();
        self.put(to, base, entry);
        self.delete(from, base);
    }

    pub(crate) fn copy(&mut self, from: &str, to: &str, base: &str) {
        let mut entry = self.dirs[from].files[base].clone();
        let inode = self.inodes[&entry.inode].clone();
        entry.inode = self.tick();
        self.inodes.insert(entry.inode, inode);
        let name = format!("1000000000.{}.mua", entry.inode);
        self.put(to, &name, entry);
    }

    pub(crate) fn delete(&mut self, mailbox: &str, base: &str) {
        self.dirs.get_mut(mailbox).unwrap().files.remove(base);
        self.touch(mailbox);
        self.sync(mailbox);
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if let Some(dir) = self.dirs.remove(from) {
            self.dirs.insert(to.to_owned(), dir);
        }
        self.sync(from);
        self.sync(to);
    }

    pub(crate) fn land(&mut self, mailbox: &str, landing: &Landing) -> Result<(), Failure> {
        let dir = self.dir(mailbox)?;
        let file = dir.files.get_mut(&landing.base.0).ok_or_else(|| missing(mailbox))?;
        (file.sub, file.flags) = (Some(landing.sub), expressible(&landing.flags));
        self.touch(mailbox);
        Ok(())
    }

    pub(crate) fn listing(
        &self,
        mailbox: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Scan, Failure> {
        let dir = self.dirs.get(mailbox).ok_or_else(|| missing(mailbox))?;
        let mut builder = ListingBuilder::default();
        for (base, entry) in dir.files.iter().filter(|(base, _)| is_wanted(base)) {
            if let Some(sub) = entry.sub {
                builder.add(base, &info(entry), sub, &entry.flags);
            }
        }
        let stamp = Stamp { new_ns: dir.stamp, cur_ns: dir.stamp };
        let keywords = KEYWORDS.iter().map(|k| (*k).to_owned()).collect();
        Ok(Scan { messages: builder.finish().0, stamp, steady: true, keywords })
    }
}

pub(crate) fn info(entry: &Entry) -> String {
    let is_plain = entry.sub == Some(Sub::New) && entry.flags.is_empty();
    if is_plain { String::new() } else { format!(":2,{}", entry.flags) }
}

pub(crate) fn expressible(flags: &Flags) -> Flags {
    let keywords = flags.keywords.iter().filter(|k| KEYWORDS.contains(&k.as_str()));
    Flags::from_parts(flags.bits(), keywords.cloned())
}

pub(crate) fn missing(mailbox: &str) -> Failure {
    let what = format!("list {mailbox}");
    Failure::new(Scope::Mailbox, Remedy::Later, Kind::StoreMissing, what)
}

/// What bytes are recognised by.
pub(crate) fn print_of(bytes: &[u8]) -> Fingerprint {
    let lines = bytes.iter().filter(|b| **b == b'\n').count();
    let evidence = Evidence { message_id: message_id(bytes), size: (bytes.len() + lines) as u64 };
    Fingerprint { evidence, digest: Sha256::digest(bytes).into() }
}

/// The keywords that file names can say.
pub(crate) const KEYWORDS: [&str; 2] = ["later", "todo"];
