//! The port of a Maildir over a disk in memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use postrider::model::failure::Failure;
use postrider::model::flags::{Flag, FlagDelta, Flags};
use postrider::model::ids::{Base, MailboxName, Uid, UidValidity};
use postrider::model::status::Watch;
use postrider::model::view::{Fingerprint, LocalMessage, Stamp, Sub};
use postrider::ports::hints::HintBox;
use postrider::ports::local::*;
use postrider::ports::remote::Upload;
use sha2::{Digest, Sha256};

use crate::disk::{Disk, Entry, Inode, expressible, info, missing, print_of};

/// The Maildirs on a disk.
#[derive(Clone)]
pub(crate) struct MemLocal(pub(crate) Arc<Mutex<Disk>>);

impl MemLocal {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    fn change(&self) -> MutexGuard<'_, Disk> {
        let mut disk = self.disk();
        disk.n_changes += 1;
        disk
    }
}

/// A file in `tmp/`.
pub(crate) struct MemStaging {
    disk: Arc<Mutex<Disk>>,
    mailbox: String,
    bytes: Vec<u8>,
}

impl Write for MemStaging {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staging for MemStaging {
    fn finish(self, date: Option<i64>) -> Result<(Base, Fingerprint), Failure> {
        let print = print_of(&self.bytes);
        let mut disk = self.disk.lock().unwrap();
        let n = disk.tick();
        let date = date.unwrap_or(0);
        disk.inodes.insert(n, Inode { bytes: self.bytes, date, is_durable: false });
        let base = format!("{n}.ours");
        let entry = Entry { sub: None, flags: Flags::none(), inode: n };
        disk.dir(&self.mailbox)?.files.insert(base.clone(), entry);
        Ok((Base(base), print))
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    fn discard(self) {}
}

struct Blind;

impl LocalWatcher for Blind {
    fn add(&mut self, _mailbox: &MailboxName) {}

    fn state(&self) -> Watch {
        Watch::default()
    }
}

impl Local for MemLocal {
    type Staging = MemStaging;

    fn open_root(&self, expected: Option<&str>) -> Result<String, Failure> {
        let mut disk = self.disk();
        let id = disk.root.get_or_insert_with(|| "root".to_owned()).clone();
        assert!(expected.is_none_or(|e| e == id));
        Ok(id)
    }

    fn epoch(&self) -> Result<u64, Failure> {
        Ok(self.disk().epoch)
    }

    fn set_epoch(&self, epoch: u64) -> Result<(), Failure> {
        self.change().epoch = epoch;
        Ok(())
    }

    fn watch(&self, _hints: Arc<HintBox>) -> Box<dyn LocalWatcher> {
        Box::new(Blind)
    }

    fn known_elsewhere(
        &self,
        _mailbox: &MailboxName,
        _validity: UidValidity,
        _bases: &[Base],
    ) -> Vec<(Base, Uid)> {
        Vec::new()
    }

    fn mailboxes(&self) -> Result<Vec<MailboxName>, Failure> {
        Ok(self.disk().dirs.keys().map(|name| MailboxName(name.clone())).collect())
    }

    fn create(&self, mailbox: &MailboxName) -> Result<(), Failure> {
        self.change().make(mailbox.as_str());
        Ok(())
    }

    fn rename(&self, from: &MailboxName, to: &MailboxName) -> Result<(), Failure> {
        self.change().rename(from.as_str(), to.as_str());
        Ok(())
    }

    fn remove(&self, mailbox: &MailboxName) -> Result<bool, Failure> {
        let mut disk = self.change();
        let is_empty = disk.dirs.get(mailbox.as_str()).is_some_and(|d| d.files.is_empty());
        if is_empty {
            disk.dirs.remove(mailbox.as_str());
            disk.sync(mailbox.as_str());
        }
        Ok(is_empty)
    }

    fn path(&self, mailbox: &MailboxName) -> PathBuf {
        PathBuf::from("/nowhere").join(mailbox.as_str())
    }

    fn stamp(&self, mailbox: &MailboxName) -> Result<Stamp, Failure> {
        Ok(self.disk().listing(mailbox.as_str(), |_| false)?.stamp)
    }

    fn scan(&self, mailbox: &MailboxName) -> Result<Scan, Failure> {
        self.disk().listing(mailbox.as_str(), |_| true)
    }

    fn attest(&self, mailbox: &MailboxName, since: Stamp) -> bool {
        self.disk().attest(mailbox.as_str(), since)
    }

    fn attested(&self, mailbox: &MailboxName) -> Result<Option<Stamp>, Failure> {
        Ok(self.disk().attested(mailbox.as_str()))
    }

    fn find(&self, mailbox: &MailboxName, files: &[(Base, Flags)]) -> Result<Scan, Failure> {
        let wanted: BTreeSet<&str> = files.iter().map(|(base, _)| base.0.as_str()).collect();
        self.disk().listing(mailbox.as_str(), |base| wanted.contains(base))
    }

    fn stage(&self, mailbox: &MailboxName) -> Result<MemStaging, Failure> {
        let (disk, mailbox) = (Arc::clone(&self.0), mailbox.as_str().to_owned());
        Ok(MemStaging { disk, mailbox, bytes: Vec::new() })
    }

    fn barrier(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<(), Failure> {
        let mut disk = self.change();
        for landing in staged {
            let inode = disk.dir(mailbox.as_str())?.files[&landing.base.0].inode;
            disk.inodes.get_mut(&inode).unwrap().is_durable = true;
        }
        disk.sync(mailbox.as_str());
        Ok(())
    }

    fn promote(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<(), Failure> {
        let mut disk = self.change();
        disk.ours(|disk| staged.iter().try_for_each(|l| disk.land(mailbox.as_str(), l)))?;
        disk.sync(mailbox.as_str());
        Ok(())
    }

    fn settle(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<Vec<Settled>, Failure> {
        let mut disk = self.change();
        let mut settled = Vec::new();
        for landing in staged {
            match disk.dir(mailbox.as_str())?.files.get(&landing.base.0).map(|e| e.sub) {
                Some(Some(_)) => settled.push(Settled::Visible),
                Some(None) => {
                    disk.land(mailbox.as_str(), landing)?;
                    settled.push(Settled::Visible);
                }
                None => settled.push(Settled::Nowhere),
            }
        }
        disk.sync(mailbox.as_str());
        Ok(settled)
    }

    fn set_flags(
        &self,
        mailbox: &MailboxName,
        changes: &[(Seen, FlagDelta)],
    ) -> Result<Vec<(Base, Flags)>, Failure> {
        let mut disk = self.change();
        let mut done = Vec::new();
        for ((base, _), delta) in changes {
            let Some(file) = disk.dir(mailbox.as_str())?.files.get_mut(&base.0) else { continue };
            file.flags = expressible(&file.flags.apply(delta));
            if file.flags.has(Flag::Seen) {
                file.sub = Some(Sub::Cur);
            }
            done.push((base.clone(), file.flags.clone()));
            disk.ours(|disk| disk.touch(mailbox.as_str()));
        }
        disk.sync(mailbox.as_str());
        Ok(done)
    }

    fn quarantine(&self, mailbox: &MailboxName, seen: &[Seen]) -> Result<(), Failure> {
        let mut disk = self.change();
        for (base, _) in seen {
            if let Some(entry) = disk.dir(mailbox.as_str())?.files.remove(&base.0) {
                let bytes = disk.bytes(&entry).to_vec();
                disk.quarantine.push(bytes);
                disk.ours(|disk| disk.touch(mailbox.as_str()));
            }
        }
        disk.sync(mailbox.as_str());
        Ok(())
    }

    fn sweep(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn open(&self, mailbox: &MailboxName, seen: &Seen) -> Result<Option<Upload>, Failure> {
        let disk = self.disk();
        let found = disk.dirs.get(mailbox.as_str()).and_then(|d| d.files.get(&seen.0.0));
        let Some(entry) = found else { return Ok(None) };
        let bytes = disk.bytes(entry);
        let fail = |e: io::Error| Failure::local_io("keep a file in memory", &e);
        let memory = rustix::fs::memfd_create("upload", rustix::fs::MemfdFlags::CLOEXEC);
        let mut file = File::from(memory.map_err(|e| fail(e.into()))?);
        file.write_all(bytes).and_then(|()| file.rewind()).map_err(fail)?;
        let (disk_bytes, print) = (bytes.len() as u64, print_of(bytes));
        let date = disk.inodes[&entry.inode].date;
        Ok(Some(Upload { file, disk_bytes, print, flags: entry.flags.clone(), date }))
    }

    fn dates(&self, mailbox: &MailboxName) -> Result<Vec<(Seen, i64)>, Failure> {
        let disk = self.disk();
        let dir = disk.dirs.get(mailbox.as_str()).ok_or_else(|| missing(mailbox.as_str()))?;
        let seen = |(base, entry): (&String, &Entry)| {
            let (flags, info) = (entry.flags.clone(), info(entry));
            let message = LocalMessage { sub: entry.sub?, flags, info };
            Some(((Base(base.clone()), message), disk.inodes[&entry.inode].date))
        };
        Ok(dir.files.iter().filter_map(seen).collect())
    }

    fn fingerprints(
        &self,
        mailbox: &MailboxName,
        seen: &[Seen],
    ) -> Result<Vec<(Base, Fingerprint)>, Failure> {
        let disk = self.disk();
        let dir = disk.dirs.get(mailbox.as_str()).ok_or_else(|| missing(mailbox.as_str()))?;
        let print =
            |(base, _): &Seen| Some((base.clone(), print_of(disk.bytes(dir.files.get(&base.0)?))));
        Ok(seen.iter().filter_map(print).collect())
    }

    fn relocate(
        &self,
        from: &MailboxName,
        to: &MailboxName,
        seen: &[Seen],
    ) -> Result<Vec<Base>, Failure> {
        let mut disk = self.change();
        let mut moved = Vec::new();
        for (base, _) in seen {
            if disk.dir(from.as_str())?.files.contains_key(&base.0) {
                disk.ours(|disk| disk.shift(from.as_str(), to.as_str(), &base.0));
                moved.push(base.clone());
            }
        }
        Ok(moved)
    }

    fn translate(
        &self,
        _from: &MailboxName,
        _to: &MailboxName,
        _files: &[(Seen, Flags)],
    ) -> Result<Vec<Base>, Failure> {
        // Here files have flags, and no letters.
        Ok(Vec::new())
    }
}
