//! Local mail on its way to the server: APPEND, then the ledger. Floor 4.

use std::sync::Arc;

use crate::engine::offload::offload;
use crate::model::failure::{Failure, Scope};
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName};
use crate::model::view::Fingerprint;
use crate::ports::ledger::{Change, Ledger, MailboxId};
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

/// Appends messages. An APPEND whose fate is not known leaves no row: the message is new on both sides then,
/// and a pass pairs what is new by evidence before it uploads anything.
pub(super) async fn upload<L: Local, G: Ledger, R: Remote>(
    remote: &mut R,
    (local, ledger): (&Arc<L>, &Arc<G>),
    (mailbox, id): (&MailboxName, MailboxId),
    messages: Vec<Seen>,
) -> (Uploaded, Result<(), Failure>) {
    let mut total = Uploaded::default();
    for batch in messages.chunks(BATCH) {
        let result = one_batch(remote, (local, ledger), (mailbox, id), batch, &mut total).await;
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
    batch: &[Seen],
    total: &mut Uploaded,
) -> Result<(), Failure> {
    let (sent, uploads) = {
        let (local, mailbox, batch) = (Arc::clone(local), mailbox.clone(), batch.to_vec());
        offload(move || open_batch(&*local, &mailbox, &batch)).await?
    };
    let (answers, result) = remote.append(mailbox, uploads).await;
    let mut changes = Vec::new();
    for (sent, answer) in sent.into_iter().zip(answers) {
        match answer {
            Appended::Stored(Some(uid)) => {
                total.n_done += 1;
                let Sent { base, flags, print, date } = sent;
                let (print, date) = (Some(print), Some(date));
                changes.push(Change::Pair { uid, base, flags, print, date });
            }
            Appended::Stored(None) => total.n_unknown += 1,
            Appended::Refused(failure) => {
                total.n_failed += 1;
                tracing::warn!(%mailbox, %failure, "a message was refused by the server");
                let reason = failure.to_string();
                changes.push(Change::Failed { uid: None, base: Some(sent.base), reason });
            }
        }
    }
    let ledger = Arc::clone(ledger);
    offload(move || ledger.apply(id, &changes)).await?;
    result
}

/// A message as it is sent.
struct Sent {
    base: Base,
    flags: Flags,
    print: Fingerprint,
    date: i64,
}

/// Opens the files that are still there.
fn open_batch<L: Local>(
    local: &L,
    mailbox: &MailboxName,
    batch: &[Seen],
) -> Result<(Vec<Sent>, Vec<Upload>), Failure> {
    let (mut sent, mut uploads) = (Vec::new(), Vec::new());
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
        let (base, flags) = (seen.0.clone(), upload.flags.clone());
        sent.push(Sent { base, flags, print: upload.print.clone(), date: upload.date });
        uploads.push(upload);
    }
    Ok((sent, uploads))
}

/// Messages per transaction and pipelined burst.
const BATCH: usize = 128;
