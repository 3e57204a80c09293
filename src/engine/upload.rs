//! Local mail on its way to the server: intent, APPEND, commit. Floor 4.

use std::sync::Arc;

use crate::engine::offload::offload;
use crate::model::failure::{Failure, Scope};
use crate::model::ids::MailboxName;
use crate::model::view::Fingerprint;
use crate::ports::ledger::{Change, Ledger, MailboxId, PendingAppend};
use crate::ports::local::{Local, Seen};
use crate::ports::remote::{Appended, Remote, Upload};

/// What an upload did.
#[derive(Debug, Default)]
pub(super) struct Uploaded {
    /// Messages that the server has and whose UID is known.
    pub(super) n_done: u32,
    /// Messages that it refused.
    pub(super) n_failed: u32,
    /// Messages that it has, whose UID has to be looked for.
    pub(super) n_unknown: u32,
}

/// Appends messages. An APPEND whose fate is not known stays in the ledger as planned; the next
/// pass looks on the server before it ever repeats it.
pub(super) async fn upload<L: Local, G: Ledger, R: Remote>(
    remote: &mut R,
    (local, ledger): (&Arc<L>, &Arc<G>),
    (mailbox, id): (&MailboxName, MailboxId),
    uidnext: u32,
    messages: Vec<Seen>,
) -> (Uploaded, Result<(), Failure>) {
    let mut total = Uploaded::default();
    for batch in messages.chunks(BATCH) {
        let result =
            one_batch(remote, (local, ledger), (mailbox, id), uidnext, batch, &mut total).await;
        if result.is_err() {
            return (total, result);
        }
    }
    (total, Ok(()))
}

async fn one_batch<L: Local, G: Ledger, R: Remote>(
    remote: &mut R,
    (local, ledger): (&Arc<L>, &Arc<G>),
    (mailbox, id): (&MailboxName, MailboxId),
    uidnext: u32,
    batch: &[Seen],
    total: &mut Uploaded,
) -> Result<(), Failure> {
    let (planned, uploads) = {
        let (local, ledger) = (Arc::clone(local), Arc::clone(ledger));
        let (mailbox, batch) = (mailbox.clone(), batch.to_vec());
        offload(move || plan_batch(&*local, &*ledger, &mailbox, id, uidnext, &batch)).await?
    };
    let (answers, result) = remote.append(mailbox, uploads).await;
    let mut changes = Vec::new();
    for ((append, print, date), answer) in planned.into_iter().zip(answers) {
        match answer {
            Appended::Stored(Some(uid)) => {
                total.n_done += 1;
                changes.push(Change::DropAppend(append.base.clone()));
                let (base, flags) = (append.base, append.flags);
                changes.push(Change::Pair {
                    uid,
                    base,
                    flags,
                    print: Some(print),
                    date: Some(date),
                });
            }
            Appended::Stored(None) => total.n_unknown += 1,
            Appended::Refused(failure) => {
                total.n_failed += 1;
                tracing::warn!(%mailbox, %failure, "a message was refused by the server");
                changes.push(Change::DropAppend(append.base.clone()));
                let reason = failure.to_string();
                changes.push(Change::Failed { uid: None, base: Some(append.base), reason });
            }
        }
    }
    let ledger = Arc::clone(ledger);
    offload(move || ledger.apply(id, &changes)).await?;
    result
}

/// An APPEND that is about to happen, what its message is recognised by, and its date.
type Intent = (PendingAppend, Fingerprint, i64);

/// Opens the files and records the intents, before the first byte is sent.
fn plan_batch<L: Local, G: Ledger>(
    local: &L,
    ledger: &G,
    mailbox: &MailboxName,
    id: MailboxId,
    uidnext: u32,
    batch: &[Seen],
) -> Result<(Vec<Intent>, Vec<Upload>), Failure> {
    let (mut planned, mut uploads, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for seen in batch {
        let upload = match local.open(mailbox, seen) {
            Ok(Some(upload)) => upload,
            // Deleted meanwhile: then it is not to be uploaded.
            Ok(None) => continue,
            Err(failure) if failure.scope == Scope::Message => {
                tracing::warn!(%mailbox, %failure, "a message cannot be read for upload");
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let flags = upload.flags.clone();
        let append = PendingAppend { base: seen.0.clone(), flags, uidnext };
        changes.push(Change::PlanAppend(append.clone()));
        planned.push((append, upload.print.clone(), upload.date));
        uploads.push(upload);
    }
    ledger.apply(id, &changes)?;
    Ok((planned, uploads))
}

/// Messages per intent transaction and pipelined burst.
const BATCH: usize = 128;
