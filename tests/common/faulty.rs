//! The ports of a process that meets its fate.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use postrider::model::failure::Failure;
use postrider::model::flags::{FlagDelta, Flags};
use postrider::model::ids::{Base, MailboxName, Uid, UidValidity};
use postrider::model::status::Watch;
use postrider::model::uids::UidSet;
use postrider::model::view::{BaseRow, BaseView, Fingerprint, RowId, SkippedMessage, Stamp};
use postrider::ports::hints::HintBox;
use postrider::ports::ledger::*;
use postrider::ports::local::*;
use postrider::ports::remote::*;

use super::fate::Fate;

pub(crate) struct Faulty<T> {
    pub(crate) inner: T,
    pub(crate) fate: Arc<Fate>,
}

/// A staged file whose writes are no steps of their own: nobody sees them.
pub(crate) struct FaultyStaging<S> {
    inner: S,
    fate: Arc<Fate>,
}

impl<S: Staging> Write for FaultyStaging<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.inner.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<S: Staging> Staging for FaultyStaging<S> {
    fn finish(self, date: Option<i64>) -> Result<(Base, Fingerprint), Failure> {
        let Self { inner, fate } = self;
        fate.run("finish", || inner.finish(date))
    }

    fn digest(&self) -> [u8; 32] {
        self.inner.digest()
    }

    fn discard(self) {
        self.inner.discard();
    }
}

/// Sees nothing by itself.
struct Closed(Watch);

impl LocalWatcher for Closed {
    fn add(&mut self, _mailbox: &MailboxName) {}

    fn state(&self) -> Watch {
        self.0
    }
}

impl<L: Local> Local for Faulty<L> {
    type Staging = FaultyStaging<L::Staging>;

    fn open_root(&self, expected: Option<&str>) -> Result<String, Failure> {
        self.fate.run("open_root", || self.inner.open_root(expected))
    }

    fn epoch(&self) -> Result<u64, Failure> {
        self.inner.epoch()
    }

    fn set_epoch(&self, epoch: u64) -> Result<(), Failure> {
        self.fate.run("set_epoch", || self.inner.set_epoch(epoch))
    }

    fn watch(&self, hints: Arc<HintBox>) -> Box<dyn LocalWatcher> {
        match self.fate.eyes {
            Some(state) => {
                *self.fate.hints.lock().unwrap() = Some(hints);
                Box::new(Closed(state))
            }
            None => self.inner.watch(hints),
        }
    }

    fn known_elsewhere(
        &self,
        mailbox: &MailboxName,
        validity: UidValidity,
        bases: &[Base],
    ) -> Vec<(Base, Uid)> {
        self.inner.known_elsewhere(mailbox, validity, bases)
    }

    fn mailboxes(&self) -> Result<Vec<MailboxName>, Failure> {
        self.inner.mailboxes()
    }

    fn create(&self, mailbox: &MailboxName) -> Result<(), Failure> {
        self.fate.run("create", || self.inner.create(mailbox))
    }

    fn rename(&self, from: &MailboxName, to: &MailboxName) -> Result<(), Failure> {
        self.fate.run("rename", || self.inner.rename(from, to))
    }

    fn remove(&self, mailbox: &MailboxName) -> Result<bool, Failure> {
        self.fate.run("remove", || self.inner.remove(mailbox))
    }

    fn path(&self, mailbox: &MailboxName) -> PathBuf {
        self.inner.path(mailbox)
    }

    fn stamp(&self, mailbox: &MailboxName) -> Result<Stamp, Failure> {
        self.inner.stamp(mailbox)
    }

    fn scan(&self, mailbox: &MailboxName) -> Result<Scan, Failure> {
        self.fate.meet("scan")?;
        self.inner.scan(mailbox)
    }

    fn attest(&self, mailbox: &MailboxName, since: Stamp) -> bool {
        self.inner.attest(mailbox, since)
    }

    fn attested(&self, mailbox: &MailboxName) -> Result<Option<Stamp>, Failure> {
        self.fate.meet("attested")?;
        self.inner.attested(mailbox)
    }

    fn find(&self, mailbox: &MailboxName, files: &[(Base, Flags)]) -> Result<Scan, Failure> {
        self.inner.find(mailbox, files)
    }

    fn stage(&self, mailbox: &MailboxName) -> Result<Self::Staging, Failure> {
        self.fate.meet("stage")?;
        let fate = Arc::clone(&self.fate);
        Ok(FaultyStaging { inner: self.inner.stage(mailbox)?, fate })
    }

    fn barrier(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<(), Failure> {
        self.fate.run("barrier", || self.inner.barrier(mailbox, staged))
    }

    /// A kill can come between any two renames of a batch.
    fn promote(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<(), Failure> {
        let mut batches = self.fate.batches(staged);
        batches.try_for_each(|b| self.fate.run("promote", || self.inner.promote(mailbox, b)))
    }

    fn settle(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<Vec<Settled>, Failure> {
        self.fate.run("settle", || self.inner.settle(mailbox, staged))
    }

    fn set_flags(
        &self,
        mailbox: &MailboxName,
        changes: &[(Seen, FlagDelta)],
    ) -> Result<Vec<(Base, Flags)>, Failure> {
        let mut done = Vec::new();
        for batch in self.fate.batches(changes) {
            let set = || self.inner.set_flags(mailbox, batch);
            done.extend(self.fate.run("set_flags", set)?);
        }
        Ok(done)
    }

    fn quarantine(&self, mailbox: &MailboxName, seen: &[Seen]) -> Result<(), Failure> {
        let mut batches = self.fate.batches(seen);
        batches.try_for_each(|b| self.fate.run("quarantine", || self.inner.quarantine(mailbox, b)))
    }

    fn sweep(&self) -> Result<(), Failure> {
        self.inner.sweep()
    }

    fn open(&self, mailbox: &MailboxName, seen: &Seen) -> Result<Option<Upload>, Failure> {
        self.fate.meet("open")?;
        self.inner.open(mailbox, seen)
    }

    fn dates(&self, mailbox: &MailboxName) -> Result<Vec<(Seen, i64)>, Failure> {
        self.inner.dates(mailbox)
    }

    fn fingerprints(
        &self,
        mailbox: &MailboxName,
        seen: &[Seen],
    ) -> Result<Vec<(Base, Fingerprint)>, Failure> {
        self.inner.fingerprints(mailbox, seen)
    }

    fn relocate(
        &self,
        from: &MailboxName,
        to: &MailboxName,
        seen: &[Seen],
    ) -> Result<Vec<Base>, Failure> {
        let mut moved = Vec::new();
        for batch in self.fate.batches(seen) {
            let relocate = || self.inner.relocate(from, to, batch);
            moved.extend(self.fate.run("relocate", relocate)?);
        }
        Ok(moved)
    }

    fn translate(
        &self,
        from: &MailboxName,
        to: &MailboxName,
        files: &[(Seen, Flags)],
    ) -> Result<Vec<Base>, Failure> {
        self.fate.run("translate", || self.inner.translate(from, to, files))
    }
}

impl<G: Ledger> Ledger for Faulty<G> {
    fn root(&self) -> Result<Option<String>, Failure> {
        self.inner.root()
    }

    fn set_root(&self, id: &str) -> Result<(), Failure> {
        self.fate.run("set_root", || self.inner.set_root(id))
    }

    fn quirks(&self) -> Result<BTreeSet<Quirk>, Failure> {
        self.inner.quirks()
    }

    fn learn_quirk(&self, quirk: Quirk) -> Result<(), Failure> {
        self.fate.run("learn_quirk", || self.inner.learn_quirk(quirk))
    }

    fn epoch(&self) -> Result<Option<u64>, Failure> {
        self.inner.epoch()
    }

    fn set_epoch(&self, epoch: u64) -> Result<(), Failure> {
        self.fate.run("set_epoch", || self.inner.set_epoch(epoch))
    }

    fn mailboxes(&self) -> Result<Vec<MailboxRow>, Failure> {
        self.inner.mailboxes()
    }

    fn mailbox(&self, name: &MailboxName) -> Result<MailboxRow, Failure> {
        self.fate.run("mailbox", || self.inner.mailbox(name))
    }

    fn rename(&self, mailbox: MailboxId, to: &MailboxName) -> Result<(), Failure> {
        self.fate.run("rename", || self.inner.rename(mailbox, to))
    }

    fn forget(&self, mailbox: MailboxId) -> Result<(), Failure> {
        self.fate.run("forget", || self.inner.forget(mailbox))
    }

    fn known(&self, mailbox: MailboxId) -> Result<BaseView, Failure> {
        self.inner.known(mailbox)
    }

    fn each(&self, mailbox: MailboxId, visit: &mut dyn FnMut(BaseRow)) -> Result<(), Failure> {
        self.inner.each(mailbox, visit)
    }

    fn rows(&self, mailbox: MailboxId, uids: &UidSet) -> Result<Vec<BaseRow>, Failure> {
        self.inner.rows(mailbox, uids)
    }

    fn replaced(&self, mailbox: MailboxId) -> Result<Vec<(RowId, Base)>, Failure> {
        self.inner.replaced(mailbox)
    }

    fn digest(&self, row: RowId) -> Result<Option<[u8; 32]>, Failure> {
        self.inner.digest(row)
    }

    fn skipped(&self, mailbox: MailboxId) -> Result<Vec<SkippedMessage>, Failure> {
        self.inner.skipped(mailbox)
    }

    fn tally(&self, mailbox: MailboxId) -> Result<(u32, u32), Failure> {
        self.inner.tally(mailbox)
    }

    fn landings(&self, mailbox: MailboxId) -> Result<Vec<Landing>, Failure> {
        self.inner.landings(mailbox)
    }

    fn has_others(&self, mailbox: MailboxId) -> Result<bool, Failure> {
        self.inner.has_others(mailbox)
    }

    fn kin_by_digest(&self, digest: &[u8; 32]) -> Result<Vec<Kin>, Failure> {
        self.inner.kin_by_digest(digest)
    }

    fn kin_by_evidence(
        &self,
        not_in: MailboxId,
        size: u64,
        message_id: Option<&str>,
    ) -> Result<Vec<Kin>, Failure> {
        self.inner.kin_by_evidence(not_in, size, message_id)
    }

    fn kin_by_id(&self, not_in: MailboxId, id: &str) -> Result<Vec<Kin>, Failure> {
        self.inner.kin_by_id(not_in, id)
    }

    fn named_halves(&self, mailbox: MailboxId) -> Result<Vec<(String, Base)>, Failure> {
        self.inner.named_halves(mailbox)
    }

    fn nameless(&self, mailbox: MailboxId, first: u32) -> Result<Vec<Uid>, Failure> {
        self.inner.nameless(mailbox, first)
    }

    fn apply(&self, mailbox: MailboxId, changes: &[Change]) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        self.fate.run("apply", || self.inner.apply(mailbox, changes))
    }
}
