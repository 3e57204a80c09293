//! A read-only audit: do server, Maildir and ledger agree? Floor 4.
//!
//! It writes nothing on any side. What the next sync would do shows up as a difference, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use crate::engine::offload::offload;
use crate::engine::pass::Worker;
use crate::model::failure::Failure;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName, Uid};
use crate::model::view::{BaseRow, RemoteState, RemoteView, RowState};
use crate::ports::ledger::Ledger;
use crate::ports::local::{Local, Scan};
use crate::ports::remote::{Connector, FetchSink, Fetched, Remote, Wanted};

/// What the audit found in one mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// Messages that are on both sides, with the flags that were agreed.
    pub n_agreed: u64,
    /// Messages that a limit left on the server.
    pub n_skipped: u64,
    /// Messages whose bytes were compared.
    pub n_compared: u64,
    /// What does not agree.
    pub findings: Vec<Finding>,
}

/// One thing that does not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The message on the server.
    pub uid: Option<Uid>,
    /// The file.
    pub base: Option<Base>,
    /// What is the matter with it.
    pub what: Difference,
}

/// What can be the matter with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// On the server, and not known here.
    OnlyThere,
    /// In the Maildir, and not known on the server.
    OnlyHere,
    /// It was on both sides, and is gone on the server.
    GoneThere,
    /// It was on both sides, and is gone here.
    GoneHere,
    /// Its flags are not those that were agreed.
    Flags,
    /// It could not be transferred.
    Failed,
    /// Its bytes are not those of the file.
    Bytes,
}

impl Difference {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnlyThere => "only on the server",
            Self::OnlyHere => "only in the Maildir",
            Self::GoneThere => "gone on the server",
            Self::GoneHere => "gone in the Maildir",
            Self::Flags => "flags differ",
            Self::Failed => "could not be transferred",
            Self::Bytes => "bytes differ",
        }
    }
}

impl<L: Local, G: Ledger, C: Connector> Worker<L, G, C> {
    /// Audits every mailbox that is chosen; with `bytes` every message is fetched and compared.
    ///
    /// # Errors
    /// A side could not be looked at.
    pub async fn verify(&mut self, bytes: bool) -> Result<BTreeMap<MailboxName, Audit>, Failure> {
        // Makes sure that nothing is created or swept on the way.
        self.is_dry = true;
        let mut remote = self.connector.connect().await?;
        let mut audits = BTreeMap::new();
        for candidate in self.candidates(&mut remote, &[]).await? {
            let is_there = candidate.remote.as_ref().is_some_and(|m| m.selectable);
            if is_there || candidate.is_local || candidate.row.is_some() {
                let sides = (is_there, candidate.is_local);
                let audit = self.audit(&mut remote, &candidate.name, sides, bytes).await?;
                audits.insert(candidate.name, audit);
            }
        }
        remote.logout().await;
        Ok(audits)
    }

    async fn audit(
        &self,
        remote: &mut C::Remote,
        name: &MailboxName,
        (is_there, is_here): (bool, bool),
        bytes: bool,
    ) -> Result<Audit, Failure> {
        let view = if is_there || name.is_inbox() {
            remote.changes(name, None).await?
        } else {
            return if is_here { self.audit_local(name).await } else { Ok(Audit::default()) };
        };
        let (local, ledger, mailbox) =
            (Arc::clone(&self.local), Arc::clone(&self.ledger), name.clone());
        let (audit, pairs) = offload(move || {
            let row = ledger.mailboxes()?.into_iter().find(|r| r.name == mailbox);
            let scan =
                if local.path(&mailbox).exists() { local.scan(&mailbox)? } else { Scan::default() };
            let mut rows = Vec::new();
            if let Some(row) = row {
                ledger.each(row.id, &mut |row| rows.push(row))?;
            }
            Ok(compare(rows, &view, &scan))
        })
        .await?;
        if bytes { self.compare_bytes(remote, name, audit, pairs).await } else { Ok(audit) }
    }

    /// A mailbox that is not on the server: every file is a finding.
    async fn audit_local(&self, name: &MailboxName) -> Result<Audit, Failure> {
        let (local, mailbox) = (Arc::clone(&self.local), name.clone());
        offload(move || {
            let scan = local.scan(&mailbox)?;
            let rest = scan.messages.sieve().rest().into_iter();
            let only_here =
                |(base, _)| Finding { uid: None, base: Some(base), what: Difference::OnlyHere };
            Ok(Audit { findings: rest.map(only_here).collect(), ..Audit::default() })
        })
        .await
    }

    async fn compare_bytes(
        &self,
        remote: &mut C::Remote,
        name: &MailboxName,
        mut audit: Audit,
        pairs: Vec<(Uid, Base, Option<u32>)>,
    ) -> Result<Audit, Failure> {
        let wanted: Vec<Wanted> =
            pairs.iter().map(|(uid, _, size)| Wanted { uid: *uid, size: *size }).collect();
        let bases = pairs.into_iter().map(|(uid, base, _)| (uid, base)).collect();
        let local = Arc::clone(&self.local);
        let mut sink =
            Comparer { local, mailbox: name.clone(), bases, open: None, audit: &mut audit };
        remote.fetch(&wanted, &mut sink).await?;
        Ok(audit)
    }
}

/// Holds the three against each other; answers the pairs as well, with their sizes there.
fn compare(
    rows: Vec<BaseRow>,
    view: &RemoteView,
    scan: &Scan,
) -> (Audit, Vec<(Uid, Base, Option<u32>)>) {
    let (mut audit, mut pairs) = (Audit::default(), Vec::new());
    let mut sieve = scan.messages.sieve();
    let mut unknown: BTreeSet<Uid> = view.listed().uids().collect();
    for row in rows {
        let mine = row.base.as_ref().and_then(|base| sieve.take(base));
        let theirs = row.uid.map(|uid| view.state(uid));
        if let Some(uid) = row.uid {
            unknown.remove(&uid);
        }
        let what = match (theirs, mine, row.state) {
            (_, _, RowState::Failed | RowState::Waiting) => Some(Difference::Failed),
            (Some(RemoteState::Gone), _, _) => Some(Difference::GoneThere),
            (Some(_), None, _) if row.base.is_none() => {
                audit.n_skipped = audit.n_skipped.saturating_add(1);
                None
            }
            (Some(_), None, _) => Some(Difference::GoneHere),
            (None, Some(_), _) => Some(Difference::OnlyHere),
            (None, None, _) => None,
            (Some(state), Some(mine), _) => {
                let (flags, size) = match state {
                    RemoteState::Seen(m) => (m.flags, m.size),
                    RemoteState::Gone | RemoteState::Unchanged => (None, None),
                };
                let mut mine = mine.flags;
                let unsaid = row.flags.keywords.iter().filter(|k| !scan.keywords.contains(*k));
                mine.keywords.extend(unsaid.cloned());
                if let (Some(uid), Some(base)) = (row.uid, row.base.clone()) {
                    pairs.push((uid, base, size));
                }
                let is_same = flags.is_none_or(|theirs| theirs == mine);
                audit.n_agreed = audit.n_agreed.saturating_add(u64::from(is_same));
                (!is_same).then_some(Difference::Flags)
            }
        };
        if let Some(what) = what {
            audit.findings.push(Finding { uid: row.uid, base: row.base, what });
        }
    }
    let only_there = |uid| Finding { uid: Some(uid), base: None, what: Difference::OnlyThere };
    audit.findings.extend(unknown.into_iter().map(only_there));
    let only_here = |(base, _)| Finding { uid: None, base: Some(base), what: Difference::OnlyHere };
    audit.findings.extend(sieve.rest().into_iter().map(only_here));
    (audit, pairs)
}

/// Compares what is fetched with the files, piece by piece.
struct Comparer<'a, L> {
    local: Arc<L>,
    mailbox: MailboxName,
    bases: BTreeMap<Uid, Base>,
    /// The message that arrives, its file, and whether they are the same so far.
    open: Option<(Uid, Option<File>, bool)>,
    audit: &'a mut Audit,
}

impl<L: Local> Comparer<'_, L> {
    async fn file(&self, uid: Uid) -> Result<Option<File>, Failure> {
        let Some(base) = self.bases.get(&uid).cloned() else { return Ok(None) };
        let (local, mailbox) = (Arc::clone(&self.local), self.mailbox.clone());
        offload(move || {
            let scan = local.find(&mailbox, &[(base.clone(), Flags::none())])?;
            let Some(message) = scan.messages.get(&base) else { return Ok(None) };
            Ok(local.open(&mailbox, &(base, message))?.map(|upload| upload.file))
        })
        .await
    }

    fn more(&mut self, bytes: &[u8]) {
        if let Some((_, Some(file), is_same)) = &mut self.open {
            let mut mine = vec![0; bytes.len()];
            *is_same = *is_same && file.read_exact(&mut mine).is_ok() && mine == bytes;
        }
    }

    fn end(&mut self) {
        let Some((uid, file, is_same)) = self.open.take() else { return };
        let Some(mut file) = file else { return };
        self.audit.n_compared = self.audit.n_compared.saturating_add(1);
        let is_whole = file.read(&mut [0]).is_ok_and(|n| n == 0);
        if !(is_same && is_whole) {
            let base = self.bases.get(&uid).cloned();
            let what = Difference::Bytes;
            self.audit.findings.push(Finding { uid: Some(uid), base, what });
        }
    }
}

impl<L: Local> FetchSink for Comparer<'_, L> {
    async fn put(&mut self, item: Fetched) -> Result<(), Failure> {
        match item {
            Fetched::Whole(header, body) => {
                self.open = Some((header.uid, self.file(header.uid).await?, true));
                self.more(&body);
                self.end();
            }
            Fetched::Begin(header) => {
                self.open = Some((header.uid, self.file(header.uid).await?, true));
            }
            Fetched::Chunk(bytes) => self.more(&bytes),
            Fetched::End => self.end(),
            Fetched::Failed(uid, _) => {
                let base = self.bases.get(&uid).cloned();
                let what = Difference::Failed;
                self.audit.findings.push(Finding { uid: Some(uid), base, what });
            }
        }
        Ok(())
    }
}
