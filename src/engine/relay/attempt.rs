//! One attempt, and one copy for Sent, beside the queue. Floor 4.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::intake::HEAD_BYTES;
use super::{Answers, Attempted, Gate};
use crate::engine::offload::offload;
use crate::model::account::SentCopy;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Address, Broken, Envelope, Item, Outcome, Verdict};
use crate::ports::outbox::{Copy, Job, OutboxLedger, SentFiler, Sighting, Spool, Submit};
use crate::rules::envelope::{Audience, Header};

/// Makes one attempt; the ledger knows before the wire does.
pub(super) async fn attempt<P: Spool, L: OutboxLedger, S: Submit>(
    spool: Arc<P>,
    submit: Arc<S>,
    gate: Gate<L>,
    item: Item,
) -> Attempted {
    let ledger = gate.ledger();
    let begun = offload(move || begin(&*spool, &*ledger, &item)).await;
    match begun {
        Ok(Some((job, answers))) => {
            Attempted::Submitted(submit.submit(&job, &gate).await, Some(answers))
        }
        Ok(None) => Attempted::Changed,
        Err(failure) => {
            Attempted::Submitted(Err(Broken { failure, after_dot: false, in_mail: false }), None)
        }
    }
}

/// Makes the job from the file as it is now. That an attempt begins is not written down: until the dot
/// may leave, it makes no difference to anybody who finds the message after a crash.
fn begin(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    item: &Item,
) -> Result<Option<(Job, Answers)>, Failure> {
    // Fresh, since a mail program may have changed the flags in its name.
    let Some(kept) = spool.find(&item.id)? else { return Ok(None) };
    let Some(account) = item.account.clone().filter(|_| !kept.draft && !kept.trashed) else {
        return Ok(None);
    };
    let header = Header::parse(&spool.head(&kept, HEAD_BYTES)?);
    // Somebody wrote into it: whom it is for has to be read anew.
    if kept.size != item.size || !is_of(item, &header, ledger)? {
        return Ok(None);
    }
    let skip = header.stripped(Audience::Recipients);
    let envelope = Envelope { sender: item.sender.clone(), recipients: item.batch() };
    let (dsn, utf8_header) = (header.wishes().dsn, header.has_utf8());
    let answers = Answers { originals: header.originals(), is_forward: !header.is_answer() };
    let job = Job { account, path: kept.path, skip, envelope, dsn, utf8_header };
    Ok(Some((job, answers)))
}

/// Whether a header still says what the item was made of.
fn is_of(item: &Item, header: &Header, ledger: &impl OutboxLedger) -> Result<bool, Failure> {
    let submitted = ledger.submitted(&item.id)?;
    let Ok(envelope) = header.envelope(submitted.as_ref(), &header.wishes()) else {
        return Ok(false);
    };
    let those = item.recipients.iter().map(|one| one.address.key());
    Ok(header.message_id().unwrap_or_default() == item.message_id
        && envelope.sender == item.sender
        && envelope.recipients.iter().map(Address::key).eq(those))
}

/// Files the copies of one account, unless somebody else does: the server's own get some time to come.
/// Answers what became of each; of none that is left to the next start, because this one ends.
pub(super) async fn file_copies<P: Spool, L: OutboxLedger, F: SentFiler>(
    (spool, ledger, filer): (Arc<P>, Arc<L>, Arc<F>),
    account: AccountName,
    items: Vec<Item>,
    (wish, wait): (SentCopy, Duration),
    mut stop: watch::Receiver<bool>,
) -> Vec<(OutboxId, Result<(), Failure>)> {
    let all = |result: Result<(), Failure>| {
        items.iter().map(|item| (item.id.clone(), result.clone())).collect()
    };
    let there = match wish {
        SentCopy::None | SentCopy::Server => return all(Ok(())),
        SentCopy::Append => Ok(vec![Sighting::None; items.len()]),
        SentCopy::Auto => {
            let seen = sightings(&ledger, &filer, &account, &items, wait);
            match unless_stopped(&mut stop, seen).await {
                Some(seen) => seen,
                None => return Vec::new(),
            }
        }
    };
    let there = match there {
        Ok(there) => there,
        Err(failure) => return all(Err(failure)),
    };
    let mut filed = Vec::new();
    for (item, seen) in items.into_iter().zip(there) {
        if *stop.borrow() {
            break;
        }
        let id = item.id.clone();
        let result = match seen {
            Sighting::Local | Sighting::Server => Ok(()),
            Sighting::None => file_one(&spool, &filer, account.clone(), item).await,
        };
        filed.push((id, result));
    }
    filed
}

/// None when the outbox stops first.
pub(super) async fn unless_stopped<T>(
    stop: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => None,
        done = work => Some(done),
    }
}

/// Looks which messages are in Sent by themselves, and learns from it who files: a server that did and
/// no longer does is found out as well, since its copies are looked for every time.
async fn sightings<L: OutboxLedger, F: SentFiler>(
    ledger: &Arc<L>,
    filer: &Arc<F>,
    account: &AccountName,
    items: &[Item],
    wait: Duration,
) -> Result<Vec<Sighting>, Failure> {
    let ids: Vec<String> = items.iter().map(|item| item.message_id.clone()).collect();
    let (asked, whose) = (Arc::clone(ledger), account.clone());
    let known = offload(move || asked.server_files(&whose)).await?;
    // A second copy would be ours: one that is known to file them gets longest, and one that nobody knows longer.
    let wait = match known {
        Some(true) => wait.saturating_mul(KNOWN_PATIENCE),
        Some(false) => wait,
        None => wait.saturating_mul(STRANGER_PATIENCE),
    };
    let seen = filer.sightings(account, &ids, wait).await?;
    let by_server = seen.contains(&Sighting::Server);
    let by_nobody = seen.contains(&Sighting::None);
    if Some(by_server) != known && (by_server || by_nobody) {
        info!(%account, by_server, "whether the server files sent messages itself");
        let (ledger, account) = (Arc::clone(ledger), account.clone());
        offload(move || ledger.set_server_files(&account, by_server)).await?;
    }
    Ok(seen)
}

async fn file_one<P: Spool, F: SentFiler>(
    spool: &Arc<P>,
    filer: &Arc<F>,
    account: AccountName,
    item: Item,
) -> Result<(), Failure> {
    let spool = Arc::clone(spool);
    let made = offload(move || {
        let Some(kept) = spool.find_anywhere(&item.id)? else { return Ok(None) };
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
    if offload(move || ledger.server_files(&whose)).await? != Some(true) {
        return Ok(false);
    }
    // A copy that a mail program made before it sent says nothing about the server.
    let seen = filer.sightings(&account, &[item.message_id], wait).await?;
    Ok(seen.first() == Some(&Sighting::Server))
}

/// What is known of an attempt that panicked: nothing.
pub(super) fn panicked() -> Attempted {
    let failure = Failure::new(Scope::Account, Remedy::Later, Kind::Protocol, "send the message")
        .detail("the attempt panicked")
        .cure("report this, with the log");
    Attempted::Submitted(Err(Broken { failure, after_dot: true, in_mail: true }), None)
}

/// Logs whom the server did not take.
pub(super) fn tell_refusals(id: &OutboxId, account: &AccountName, outcome: &Outcome) {
    for (_, verdict) in &outcome.verdicts {
        match verdict {
            Verdict::Accepted(_) => {}
            Verdict::Deferred(reply) => warn!(queue_id = %id, %account, %reply, "refused for now"),
            Verdict::Refused(reply) => warn!(queue_id = %id, %account, %reply, "refused"),
        }
    }
}

/// How many times longer a server that files by itself may take.
const KNOWN_PATIENCE: u32 = 10;
const STRANGER_PATIENCE: u32 = 2;
