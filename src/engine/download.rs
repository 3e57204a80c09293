//! Fetched mail on its way to disk: staged while more arrives, then made durable batch by batch.
//! Floor 4.
//!
//! Order of a batch: content durable, intent in the ledger, names visible and durable, and with the
//! next transaction the ledger says done. One barrier and one transaction per batch.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::engine::crew::Crew;
use crate::engine::observe::agreed;
use crate::engine::offload::offload;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::flags::Flag;
use crate::model::ids::{Base, MailboxName, Uid};
use crate::model::view::{RemoteView, Sub};
use crate::ports::ledger::{Change, Ledger, MailboxId};
use crate::ports::local::{Landing, Local, Scan, Staging};
use crate::ports::remote::{Connector, FetchSink, Fetched, Header, Wanted};

/// What a download did.
#[derive(Debug, Default)]
pub(super) struct Downloaded {
    /// Messages that are in the Maildir and in the ledger now.
    pub(super) n_done: u32,
    /// Messages whose twin was there already.
    pub(super) n_twins: u32,
    /// Messages that could not be fetched.
    pub(super) n_failed: u32,
}

/// Where and what.
pub(super) struct Target<L, G> {
    pub(super) local: Arc<L>,
    pub(super) ledger: Arc<G>,
    pub(super) mailbox: MailboxName,
    pub(super) id: MailboxId,
}

/// Files that may be the message that is fetched.
pub(super) struct Twins {
    pub(super) by_uid: BTreeMap<Uid, Vec<Base>>,
    pub(super) scan: Arc<Scan>,
    pub(super) view: Arc<RemoteView>,
}

/// Looks whether a message that was fetched is here already; answers what the ledger has to learn then, and
/// nothing if it is new.
pub(super) type FindTwin<S> = Box<dyn FnMut(&Header, &S) -> Result<Option<Change>, Failure> + Send>;

/// Called with the messages and bytes that became durable and visible.
pub(super) type OnBatch = Box<dyn FnMut(&[Landing], u64) + Send>;

/// Fetches `wanted`; what arrived before a failure is kept.
pub(super) async fn download<L: Local, G: Ledger, C: Connector>(
    (remote, crew): (&mut C::Remote, &Crew<C>),
    target: Target<L, G>,
    wanted: &[Wanted],
    twins: Twins,
    on_batch: OnBatch,
) -> (Downloaded, Result<(), Failure>) {
    let find_twin = twins.finder((&target.local, &target.mailbox));
    let (mut sink, writing) = writer(target, find_twin, on_batch);
    let fetching = async {
        let fetched = crew.fetch(remote, wanted, &mut sink).await;
        drop(sink);
        fetched
    };
    let (fetched, written) = tokio::join!(fetching, writing);
    outcome(fetched, written)
}

/// Where fetched messages go, and the work that stores them, which ends once the sink is dropped.
pub(super) fn writer<L: Local, G: Ledger>(
    target: Target<L, G>,
    find_twin: FindTwin<L::Staging>,
    on_batch: OnBatch,
) -> (Sink, impl Future<Output = Result<Downloaded, Failure>> + Send) {
    let (sender, receiver) = mpsc::channel(QUEUE_ITEMS);
    let budget = Arc::new(Semaphore::new(QUEUE_BYTES));
    let writing = offload(move || write_all(&target, receiver, find_twin, on_batch));
    (Sink { source: 0, next: Arc::default(), sender, budget }, writing)
}

/// What a download came to, from how its two sides ended.
pub(super) fn outcome(
    fetched: Result<(), Failure>,
    written: Result<Downloaded, Failure>,
) -> (Downloaded, Result<(), Failure>) {
    match (fetched, written) {
        // The local cause comes first: the fetch only failed because nobody took its messages.
        (_, Err(failure)) => (Downloaded::default(), Err(failure)),
        (fetched, Ok(downloaded)) => (downloaded, fetched),
    }
}

/// A piece, and which connection it came from: those of a large message belong together.
type Piece = (u32, Fetched, OwnedSemaphorePermit);

pub(super) struct Sink {
    source: u32,
    next: Arc<AtomicU32>,
    sender: mpsc::Sender<Piece>,
    budget: Arc<Semaphore>,
}

/// A clone is for another connection.
impl Clone for Sink {
    fn clone(&self) -> Self {
        let source = self.next.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let (next, sender) = (Arc::clone(&self.next), self.sender.clone());
        Self { source, next, sender, budget: Arc::clone(&self.budget) }
    }
}

impl FetchSink for Sink {
    async fn put(&mut self, item: Fetched) -> Result<(), Failure> {
        let bytes = match &item {
            Fetched::Whole(_, body) | Fetched::Chunk(body) => body.len().clamp(1, QUEUE_BYTES),
            Fetched::Begin(_) | Fetched::End | Fetched::Failed(..) => 1,
        };
        let n = u32::try_from(bytes).unwrap_or(1);
        let permit = Arc::clone(&self.budget).acquire_many_owned(n).await.map_err(|_| ended())?;
        self.sender.send((self.source, item, permit)).await.map_err(|_| ended())
    }
}

fn ended() -> Failure {
    Failure::new(Scope::Account, Remedy::Later, Kind::LocalIo, "store fetched mail")
}

/// A batch that was staged.
struct Batch {
    landings: Vec<Landing>,
    failed: Vec<(Uid, Failure)>,
    pairs: Vec<Change>,
    bytes: u64,
}

impl Batch {
    fn new() -> Self {
        Self { landings: Vec::new(), failed: Vec::new(), pairs: Vec::new(), bytes: 0 }
    }

    fn is_empty(&self) -> bool {
        self.landings.is_empty() && self.failed.is_empty() && self.pairs.is_empty()
    }
}

fn write_all<L: Local, G: Ledger>(
    target: &Target<L, G>,
    receiver: mpsc::Receiver<Piece>,
    find_twin: FindTwin<L::Staging>,
    on_batch: OnBatch,
) -> Result<Downloaded, Failure> {
    std::thread::scope(|scope| {
        // A batch is synced while the next one is being written.
        let (to_commit, batches) = blocking::sync_channel::<Batch>(1);
        let committer = scope.spawn(move || commit_all(target, &batches, on_batch));
        let staged = stage_all(target, receiver, find_twin, &to_commit);
        drop(to_commit);
        let committed = committer.join().unwrap_or_else(|_| Err(ended()));
        let mut downloaded = committed?;
        downloaded.n_twins = staged?;
        Ok(downloaded)
    })
}

fn stage_all<L: Local, G: Ledger>(
    target: &Target<L, G>,
    mut receiver: mpsc::Receiver<Piece>,
    find_twin: FindTwin<L::Staging>,
    to_commit: &blocking::SyncSender<Batch>,
) -> Result<u32, Failure> {
    let mut stager =
        Stager { target, find_twin, open: BTreeMap::new(), seen: BTreeSet::new(), n_twins: 0 };
    let mut batch = Batch::new();
    let mut limit = FIRST_BATCH;
    let mut since = Instant::now();
    while let Some((source, item, permit)) = receiver.blocking_recv() {
        if batch.is_empty() {
            since = Instant::now();
        }
        stager.take(source, item, &mut batch)?;
        drop(permit);
        let is_full = batch.landings.len() >= limit
            || batch.bytes >= BATCH_BYTES
            || (receiver.is_empty() && since.elapsed() >= BATCH_AGE);
        if is_full && !batch.is_empty() {
            limit = BATCH;
            to_commit.send(std::mem::replace(&mut batch, Batch::new())).map_err(|_| ended())?;
        }
    }
    // A message that was cut off is dropped with its file.
    if !batch.is_empty() {
        to_commit.send(batch).map_err(|_| ended())?;
    }
    Ok(stager.n_twins)
}

struct Stager<'a, L: Local, G> {
    target: &'a Target<L, G>,
    find_twin: FindTwin<L::Staging>,
    /// Large messages that arrive in pieces, one at most per connection.
    open: BTreeMap<u32, (Header, L::Staging)>,
    seen: BTreeSet<Uid>,
    n_twins: u32,
}

impl<L: Local, G: Ledger> Stager<'_, L, G> {
    fn take(&mut self, source: u32, item: Fetched, batch: &mut Batch) -> Result<(), Failure> {
        match item {
            Fetched::Whole(header, body) => {
                // A server that sends a message twice gets it stored once.
                if !self.seen.insert(header.uid) {
                    return Ok(());
                }
                let mut file = self.target.local.stage(&self.target.mailbox)?;
                write(&mut file, &body)?;
                batch.bytes = batch.bytes.saturating_add(body.len() as u64);
                self.finish(header, file, batch)
            }
            Fetched::Begin(header) => {
                let file = self.target.local.stage(&self.target.mailbox)?;
                if self.seen.contains(&header.uid) {
                    file.discard();
                } else {
                    // What a connection that ended began is begun again by another one.
                    self.open.retain(|_, (open, _)| open.uid != header.uid);
                    self.open.insert(source, (header, file));
                }
                Ok(())
            }
            Fetched::Chunk(chunk) => {
                batch.bytes = batch.bytes.saturating_add(chunk.len() as u64);
                match self.open.get_mut(&source) {
                    Some((_, file)) => write(file, &chunk),
                    None => Ok(()),
                }
            }
            Fetched::End => match self.open.remove(&source) {
                Some((header, file)) => {
                    self.seen.insert(header.uid);
                    self.finish(header, file, batch)
                }
                None => Ok(()),
            },
            Fetched::Failed(uid, failure) => {
                if let Some((_, file)) = self.open.remove(&source) {
                    file.discard();
                }
                batch.failed.push((uid, failure));
                Ok(())
            }
        }
    }

    fn finish(
        &mut self,
        header: Header,
        file: L::Staging,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        if let Some(change) = (self.find_twin)(&header, &file)? {
            file.discard();
            self.n_twins += 1;
            batch.pairs.push(change);
            return Ok(());
        }
        let (base, print) = file.finish(header.date)?;
        let flags = header.flags.unwrap_or_default();
        let sub = if flags.has(Flag::Seen) { Sub::Cur } else { Sub::New };
        let print = Some(print);
        let (uid, date) = (header.uid, header.date);
        batch.landings.push(Landing { uid, base, sub, flags, print, date });
        Ok(())
    }
}

impl Twins {
    fn finder<L: Local>(
        mut self,
        (local, mailbox): (&Arc<L>, &MailboxName),
    ) -> FindTwin<L::Staging> {
        let (local, mailbox) = (Arc::clone(local), mailbox.clone());
        Box::new(move |header, file| {
            let Some(base) = self.find(&*local, &mailbox, header.uid, file)? else {
                return Ok(None);
            };
            let flags = agreed(&self.view, &self.scan, header.uid, &base);
            let (uid, date) = (header.uid, header.date);
            Ok(Some(Change::Pair { uid, base, flags, print: None, date }))
        })
    }

    /// A file with the same bytes that is nobody else's twin.
    fn find<L: Local>(
        &mut self,
        local: &L,
        mailbox: &MailboxName,
        uid: Uid,
        file: &L::Staging,
    ) -> Result<Option<Base>, Failure> {
        let Some(bases) = self.by_uid.get(&uid) else { return Ok(None) };
        let seen: Vec<_> = bases
            .iter()
            .filter_map(|b| self.scan.messages.get(b).map(|m| (b.clone(), m)))
            .collect();
        let digest = file.digest();
        let prints = local.fingerprints(mailbox, &seen)?;
        let found = prints.into_iter().find(|(_, p)| p.digest == digest).map(|(base, _)| base);
        if let Some(base) = &found {
            for bases in self.by_uid.values_mut() {
                bases.retain(|b| b != base);
            }
        }
        Ok(found)
    }
}

fn write(file: &mut impl std::io::Write, bytes: &[u8]) -> Result<(), Failure> {
    file.write_all(bytes).map_err(|e| {
        let failure = Failure::local_io("write a fetched message", &e);
        if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            failure.cure("free some space on this file system; the transfer goes on by itself")
        } else {
            failure
        }
    })
}

fn commit_all<L: Local, G: Ledger>(
    target: &Target<L, G>,
    batches: &blocking::Receiver<Batch>,
    mut on_batch: OnBatch,
) -> Result<Downloaded, Failure> {
    let mut downloaded = Downloaded::default();
    let mut landed: Vec<Uid> = Vec::new();
    while let Ok(batch) = batches.recv() {
        target.local.barrier(&target.mailbox, &batch.landings)?;
        let mut changes = vec![Change::Landed(std::mem::take(&mut landed))];
        changes.extend(batch.pairs);
        for (uid, failure) in &batch.failed {
            let reason = failure.to_string();
            changes.push(Change::Failed { uid: Some(*uid), base: None, reason });
        }
        changes.extend(batch.landings.iter().cloned().map(Change::Land));
        target.ledger.apply(target.id, &changes)?;
        target.local.promote(&target.mailbox, &batch.landings)?;
        landed.extend(batch.landings.iter().map(|l| l.uid));
        downloaded.n_done += u32::try_from(batch.landings.len()).unwrap_or(u32::MAX);
        downloaded.n_failed += u32::try_from(batch.failed.len()).unwrap_or(u32::MAX);
        on_batch(&batch.landings, batch.bytes);
    }
    if !landed.is_empty() {
        target.ledger.apply(target.id, &[Change::Landed(landed)])?;
    }
    Ok(downloaded)
}

/// Messages and bytes between the connection and the disk.
const QUEUE_ITEMS: usize = 256;
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// A batch: this many messages, this many bytes, or this old.
const BATCH: usize = 500;
const FIRST_BATCH: usize = 50;
const BATCH_BYTES: u64 = 32 * 1024 * 1024;
const BATCH_AGE: Duration = Duration::from_millis(250);
