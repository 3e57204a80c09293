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
use crate::model::ids::{Base, MailboxName, Uid};
use crate::model::listing::Sieve;
use crate::model::view::{BaseRow, LocalMessage, RemoteState, RemoteView, RowState};
use crate::ports::ledger::Ledger;
use crate::ports::local::{Local, Scan, Seen};
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
    /// Audits every mailbox that is chosen; with `bytes` every message is fetched and compared. The
    /// worker is a dry one: nothing is created or swept on the way.
    ///
    /// # Errors
    /// A side could not be looked at.
    pub async fn verify(&mut self, bytes: bool) -> Result<BTreeMap<MailboxName, Audit>, Failure> {
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
            let mut comparison = Comparison::new(&view, &scan);
            if let Some(row) = row {
                ledger.each(row.id, &mut |row| comparison.look(row))?;
            }
            Ok(comparison.finish())
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
            Ok(Audit { findings: rest.map(only_here).collect(), ..Audit::default() })
        })
        .await
    }

    async fn compare_bytes(
        &self,
        remote: &mut C::Remote,
        name: &MailboxName,
        mut audit: Audit,
        pairs: Vec<Pair>,
    ) -> Result<Audit, Failure> {
        let wanted: Vec<Wanted> =
            pairs.iter().map(|(uid, size, _)| Wanted { uid: *uid, size: *size }).collect();
        let files = pairs.into_iter().map(|(uid, _, seen)| (uid, seen)).collect();
        let local = Arc::clone(&self.local);
        let mut sink =
            Comparer { local, mailbox: name.clone(), files, open: None, audit: &mut audit };
        remote.fetch(&wanted, &mut sink).await?;
        Ok(audit)
    }
}

/// A message that both sides have: its UID, its size there, and its file.
type Pair = (Uid, Option<u32>, Seen);

/// Holds the three against each other, row by row.
struct Comparison<'a> {
    view: &'a RemoteView,
    scan: &'a Scan,
    sieve: Sieve<'a>,
    unknown: BTreeSet<Uid>,
    audit: Audit,
    pairs: Vec<Pair>,
}

impl<'a> Comparison<'a> {
    fn new(view: &'a RemoteView, scan: &'a Scan) -> Self {
        let unknown = view.listed().uids().collect();
        let sieve = scan.messages.sieve();
        Self { view, scan, sieve, unknown, audit: Audit::default(), pairs: Vec::new() }
    }

    fn look(&mut self, row: BaseRow) {
        let mine = row.base.as_ref().and_then(|base| self.sieve.take(base));
        let theirs = row.uid.map(|uid| self.view.state(uid));
        if let Some(uid) = row.uid {
            self.unknown.remove(&uid);
        }
        let what = match (theirs, mine, row.state) {
            (_, _, RowState::Failed | RowState::Waiting) => Some(Difference::Failed),
            (Some(RemoteState::Gone), _, _) => Some(Difference::GoneThere),
            (Some(_), None, RowState::Skipped | RowState::Wanted) => {
                self.audit.n_skipped = self.audit.n_skipped.saturating_add(1);
                None
            }
            (Some(_), None, _) if row.base.is_none() => None,
            (Some(_), None, _) => Some(Difference::GoneHere),
            (None, Some(_), _) => Some(Difference::OnlyHere),
            (None, None, _) => None,
            (Some(state), Some(mine), _) => self.both(&row, state, mine),
        };
        if let Some(what) = what {
            self.audit.findings.push(Finding { uid: row.uid, base: row.base, what });
        }
    }

    fn both(
        &mut self,
        row: &BaseRow,
        state: RemoteState,
        mine: LocalMessage,
    ) -> Option<Difference> {
        let (flags, size) = match state {
            RemoteState::Seen(message) => (message.flags, message.size),
            RemoteState::Gone | RemoteState::Unchanged => (None, None),
        };
        let mut shown = mine.flags.clone();
        let unsaid = row.flags.keywords.iter().filter(|k| !self.scan.keywords.contains(*k));
        shown.keywords.extend(unsaid.cloned());
        if let (Some(uid), Some(base)) = (row.uid, row.base.clone()) {
            self.pairs.push((uid, size, (base, mine)));
        }
        let is_same = flags.is_none_or(|theirs| theirs == shown);
        self.audit.n_agreed = self.audit.n_agreed.saturating_add(u64::from(is_same));
        (!is_same).then_some(Difference::Flags)
    }

    fn finish(mut self) -> (Audit, Vec<Pair>) {
        let only_there = |uid| Finding { uid: Some(uid), base: None, what: Difference::OnlyThere };
        self.audit.findings.extend(self.unknown.into_iter().map(only_there));
        self.audit.findings.extend(self.sieve.rest().into_iter().map(only_here));
        (self.audit, self.pairs)
    }
}

fn only_here((base, _): Seen) -> Finding {
    Finding { uid: None, base: Some(base), what: Difference::OnlyHere }
}

/// Compares what is fetched with the files, piece by piece.
struct Comparer<'a, L> {
    local: Arc<L>,
    mailbox: MailboxName,
    files: BTreeMap<Uid, Seen>,
    /// The message that arrives, its file, and whether they are the same so far.
    open: Option<(Uid, Option<File>, bool)>,
    audit: &'a mut Audit,
}

impl<L: Local> Comparer<'_, L> {
    async fn file(&self, uid: Uid) -> Result<Option<File>, Failure> {
        let Some(seen) = self.files.get(&uid).cloned() else { return Ok(None) };
        let (local, mailbox) = (Arc::clone(&self.local), self.mailbox.clone());
        offload(move || Ok(local.open(&mailbox, &seen)?.map(|upload| upload.file))).await
    }

    fn find(&mut self, uid: Uid, what: Difference) {
        let base = self.files.get(&uid).map(|(base, _)| base.clone());
        self.audit.findings.push(Finding { uid: Some(uid), base, what });
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
            self.find(uid, Difference::Bytes);
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
            Fetched::Failed(uid, _) => self.find(uid, Difference::Failed),
        }
        Ok(())
    }
}
