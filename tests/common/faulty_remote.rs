//! The server's side of a process that meets its fate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use postrider::model::failure::Failure;
use postrider::model::flags::{FlagDelta, Permanent};
use postrider::model::ids::{MailboxName, Uid, UidValidity};
use postrider::model::view::{Evidence, RemoteMailbox, RemoteView};
use postrider::ports::remote::*;

use super::faulty::Faulty;

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

    fn can_expunge(&self) -> bool {
        self.inner.can_expunge()
    }

    fn can_move(&self) -> bool {
        self.inner.can_move()
    }

    fn is_near(&self) -> bool {
        self.inner.is_near()
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

    async fn copies(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
    ) -> Result<Vec<(Uid, Uid)>, Failure> {
        self.inner.copies(from, uids, to).await
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
