//! One attempt, and one copy for Sent, beside the queue. Floor 4.

use std::sync::Arc;

use super::Attempted;
use super::intake::HEAD_BYTES;
use crate::engine::offload::offload;
use crate::model::account::SentCopy;
use crate::model::failure::Failure;
use crate::model::outbox::{Broken, Envelope, Item, Phase};
use crate::ports::outbox::{Copy, DotGate, Job, OutboxLedger, SentFiler, Spool, Submit};
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

/// Files the copy, unless somebody else does.
pub(super) async fn file_copy<P: Spool, L: OutboxLedger, F: SentFiler>(
    spool: Arc<P>,
    ledger: Arc<L>,
    filer: Arc<F>,
    item: Item,
    wish: SentCopy,
) -> Result<(), Failure> {
    let made = offload(move || {
        let Some(account) = item.account.clone() else { return Ok(None) };
        let wanted = match wish {
            SentCopy::None | SentCopy::Server => false,
            SentCopy::Append => true,
            SentCopy::Auto => !ledger.server_files(&account)?,
        };
        if !wanted {
            return Ok(None);
        }
        let Some(kept) = spool.kept()?.remove(&item.id) else { return Ok(None) };
        let skip = Header::parse(&spool.head(&kept, HEAD_BYTES)?).stripped(Audience::Sent);
        Ok(Some(Copy { account, path: kept.path, skip, message_id: item.message_id }))
    });
    match made.await? {
        Some(copy) => filer.file(&copy).await,
        None => Ok(()),
    }
}
