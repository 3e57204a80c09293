//! One attempt, and one copy for Sent, beside the queue. Floor 4.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::Attempted;
use super::intake::HEAD_BYTES;
use crate::engine::offload::offload;
use crate::model::account::SentCopy;
use crate::model::failure::Failure;
use crate::model::outbox::{Broken, Envelope, Item, Phase};
use crate::ports::outbox::{Copy, DotGate, Job, OutboxLedger, SentFiler, Sighting, Spool, Submit};
use crate::rules::envelope::{Audience, Header};

/// Makes one attempt; the ledger knows before the wire does.
pub(super) async fn attempt<P: Spool, L: OutboxLedger, S: Submit>(
    spool: Arc<P>,
    ledger: Arc<L>,
    submit: Arc<S>,
    item: Item,
) -> Attempted {
    let gate = Gate { ledger: Arc::clone(&ledger), item: item.clone() };
    let begun = offload(move || begin(&*spool, &*ledger, &item)).await;
    match begun {
        Ok(Some(job)) => Attempted::Submitted(submit.submit(&job, &gate).await),
        Ok(None) => Attempted::Changed,
        Err(failure) => Attempted::Submitted(Err(Broken { failure, after_dot: false })),
    }
}

/// Writes that the attempt begins, and makes the job from the file as it is now.
fn begin(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    item: &Item,
) -> Result<Option<Job>, Failure> {
    // Fresh, since a mail program may have changed the flags in its name.
    let Some(kept) = spool.kept()?.remove(&item.id) else { return Ok(None) };
    let Some(account) = item.account.clone().filter(|_| !kept.draft && !kept.trashed) else {
        return Ok(None);
    };
    let skip = Header::parse(&spool.head(&kept, HEAD_BYTES)?).stripped(Audience::Recipients);
    ledger.put(item)?;
    let envelope = Envelope { sender: item.sender.clone(), recipients: item.open() };
    Ok(Some(Job { account, path: kept.path, skip, envelope }))
}

struct Gate<L> {
    ledger: Arc<L>,
    item: Item,
}

impl<L: OutboxLedger> DotGate for Gate<L> {
    async fn open(&self) -> Result<(), Failure> {
        let mut item = self.item.clone();
        item.phase = Phase::Dot;
        let ledger = Arc::clone(&self.ledger);
        offload(move || ledger.put(&item)).await
    }
}

/// Files the copy, unless somebody else does: the server's own gets some time to come.
pub(super) async fn file_copy<P: Spool, L: OutboxLedger, F: SentFiler>(
    (spool, ledger, filer): (Arc<P>, Arc<L>, Arc<F>),
    item: Item,
    wish: SentCopy,
    wait: Duration,
) -> Result<(), Failure> {
    let Some(account) = item.account.clone() else { return Ok(()) };
    match wish {
        SentCopy::None | SentCopy::Server => return Ok(()),
        SentCopy::Append => {}
        SentCopy::Auto => {
            let (asked, whose) = (Arc::clone(&ledger), account.clone());
            if offload(move || asked.server_files(&whose)).await? {
                return Ok(());
            }
            match filer.sighting(&account, &item.message_id, wait).await? {
                Sighting::None => {}
                Sighting::Local => return Ok(()),
                Sighting::Server => {
                    info!(%account, "the server files sent messages itself");
                    return offload(move || ledger.set_server_files(&account, true)).await;
                }
            }
        }
    }
    let made = offload(move || {
        let Some(kept) = spool.kept()?.remove(&item.id) else { return Ok(None) };
        let skip = Header::parse(&spool.head(&kept, HEAD_BYTES)?).stripped(Audience::Sent);
        Ok(Some(Copy { account, path: kept.path, skip, message_id: item.message_id }))
    });
    match made.await? {
        Some(copy) => filer.file(&copy).await,
        None => Ok(()),
    }
}

/// Whether the copy that the server files of what it took is in Sent, or comes within `wait`.
pub(super) async fn is_in_sent<L: OutboxLedger, F: SentFiler>(
    ledger: Arc<L>,
    filer: Arc<F>,
    item: Item,
    wait: Duration,
) -> Result<bool, Failure> {
    let Some(account) = item.account else { return Ok(false) };
    let whose = account.clone();
    if !offload(move || ledger.server_files(&whose)).await? {
        return Ok(false);
    }
    // A copy that a mail program made before it sent says nothing about the server.
    Ok(filer.sighting(&account, &item.message_id, wait).await? == Sighting::Server)
}
