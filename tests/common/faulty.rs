//! The ports of a process that meets its fate.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postrider::model::failure::Failure;
use postrider::model::flags::{FlagDelta, Flags, Permanent};
use postrider::model::ids::{Base, MailboxName, Uid, UidValidity};
use postrider::model::uids::UidSet;
use postrider::model::view::{
    BaseRow, BaseView, Evidence, Fingerprint, RemoteMailbox, RemoteView, RowId, SkippedMessage,
    Stamp,
};
use postrider::ports::hints::HintBox;
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

impl<L: Local> Local for Faulty<L> {
    type Staging = FaultyStaging<L::Staging>;

    fn open_root(&self, expected: Option<&str>) -> Result<String, Failure> {
        self.fate.run("open_root", || self.inner.open_root(expected))
    }

    fn watch(&self, hints: Arc<HintBox>) -> Box<dyn LocalWatcher> {
        self.inner.watch(hints)
    }

    fn mailboxes(&self) -> Result<Vec<MailboxName>, Failure> {
        self.inner.mailboxes()
    }

    fn create(&self, mailbox: &MailboxName) -> Result<(), Failure> {
        self.fate.run("create", || self.inner.create(mailbox))
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
        self.fate.run("learn", || self.inner.learn_quirk(quirk))
    }

    fn mailboxes(&self) -> Result<Vec<MailboxRow>, Failure> {
        self.inner.mailboxes()
    }

    fn mailbox(&self, name: &MailboxName) -> Result<MailboxRow, Failure> {
        self.fate.run("mailbox", || self.inner.mailbox(name))
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

    fn appends(&self, mailbox: MailboxId) -> Result<Vec<PendingAppend>, Failure> {
        self.inner.appends(mailbox)
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

    fn apply(&self, mailbox: MailboxId, changes: &[Change]) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        self.fate.run("apply", || self.inner.apply(mailbox, changes))
    }
}

impl<C: Connector> Connector for Faulty<C> {
    type Remote = Faulty<C::Remote>;

    async fn connect(&self) -> Result<Self::Remote, Failure> {
        let inner = self.inner.connect().await?;
        Ok(Faulty { inner, fate: Arc::clone(&self.fate) })
    }
}

impl<R: Remote> Remote for Faulty<R> {
    fn can_push(&self) -> bool {
        self.inner.can_push()
    }

    fn can_notify(&self) -> bool {
        self.inner.can_notify()
    }

    fn quirks(&self) -> &BTreeSet<Quirk> {
        self.inner.quirks()
    }

    fn expect(&mut self, quirks: &BTreeSet<Quirk>) {
        self.inner.expect(quirks);
    }

    fn permanent(&self) -> &Permanent {
        self.inner.permanent()
    }

    async fn mailboxes(&mut self) -> Result<Vec<RemoteMailbox>, Failure> {
        self.inner.mailboxes().await
    }

    async fn create(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        let step = self.fate.before("create")?;
        self.inner.create(mailbox).await?;
        self.fate.after(step, ())
    }

    async fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<(), Failure> {
        let step = self.fate.before("rename")?;
        self.inner.rename(from, to).await?;
        self.fate.after(step, ())
    }

    async fn delete(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        let step = self.fate.before("delete")?;
        self.inner.delete(mailbox).await?;
        self.fate.after(step, ())
    }

    async fn open(&mut self, mailbox: &MailboxName, validity: UidValidity) -> Result<(), Failure> {
        self.inner.open(mailbox, validity).await
    }

    async fn changes(
        &mut self,
        mailbox: &MailboxName,
        known: Option<Known<'_>>,
    ) -> Result<RemoteView, Failure> {
        self.fate.meet("changes")?;
        self.inner.changes(mailbox, known).await
    }

    async fn fetch<S: FetchSink>(
        &mut self,
        wanted: &[Wanted],
        sink: &mut S,
    ) -> Result<(), Failure> {
        self.fate.meet("fetch")?;
        self.inner.fetch(wanted, sink).await
    }

    async fn evidence(&mut self, first: u32) -> Result<Vec<(Uid, Evidence)>, Failure> {
        self.inner.evidence(first).await
    }

    /// A kill can come between any two messages of a burst; the answer is lost with the process.
    async fn append(
        &mut self,
        mailbox: &MailboxName,
        uploads: Vec<Upload>,
    ) -> (Vec<Appended>, Result<(), Failure>) {
        let mut all = Vec::new();
        let batches: Vec<Vec<Upload>> = if self.fate.is_split {
            uploads.into_iter().map(|upload| vec![upload]).collect()
        } else {
            vec![uploads]
        };
        for batch in batches {
            let step = match self.fate.before("append") {
                Ok(step) => step,
                Err(failure) => return (all, Err(failure)),
            };
            let (done, result) = self.inner.append(mailbox, batch).await;
            if let Err(failure) = self.fate.after(step, ()) {
                return (all, Err(failure));
            }
            all.extend(done);
            if result.is_err() {
                return (all, result);
            }
        }
        (all, Ok(()))
    }

    async fn set_flags(
        &mut self,
        validity: UidValidity,
        uids: &[Uid],
        delta: &FlagDelta,
    ) -> Result<(), Failure> {
        let fate = Arc::clone(&self.fate);
        for batch in fate.batches(uids) {
            let step = fate.before("store")?;
            self.inner.set_flags(validity, batch, delta).await?;
            self.fate.after(step, ())?;
        }
        Ok(())
    }

    async fn remove(
        &mut self,
        validity: UidValidity,
        uids: &[Uid],
        removal: &Removal,
    ) -> Result<Removed, Failure> {
        let mut removed = Removed::Gone;
        let fate = Arc::clone(&self.fate);
        for batch in fate.batches(uids) {
            let step = fate.before("expunge")?;
            removed = self.inner.remove(validity, batch, removal).await?;
            self.fate.after(step, ())?;
        }
        Ok(removed)
    }

    async fn relocate(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
        how: Relocation,
    ) -> Result<Vec<(Uid, Uid)>, Failure> {
        let mut told = Vec::new();
        let fate = Arc::clone(&self.fate);
        for batch in fate.batches(uids) {
            let step = fate.before("move")?;
            told.extend(self.inner.relocate(from, batch, to, how).await?);
            self.fate.after(step, ())?;
        }
        Ok(told)
    }

    async fn gone(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
    ) -> Result<BTreeSet<Uid>, Failure> {
        self.inner.gone(from, uids).await
    }

    async fn begin_wait(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        self.inner.begin_wait(mailbox).await
    }

    async fn wait(&mut self, mailbox: &MailboxName, limit: Duration) -> Result<Woken, Failure> {
        self.inner.wait(mailbox, limit).await
    }

    async fn begin_notify(&mut self) -> Result<bool, Failure> {
        self.inner.begin_notify().await
    }

    async fn wait_any(&mut self, limit: Duration) -> Result<Heard, Failure> {
        self.inner.wait_any(limit).await
    }

    async fn logout(self) {
        self.inner.logout().await;
    }
}
