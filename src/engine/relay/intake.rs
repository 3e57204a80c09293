//! From a dropped file to a queued item, on the blocking pool. Floor 4.

use std::collections::BTreeMap;
use std::path::Path;

use tracing::warn;

use crate::model::failure::{Failure, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Item, Phase, Reason, Recipient, RecipientState};
use crate::model::status::Micros;
use crate::ports::outbox::{Dropped, Kept, OutboxLedger, Scan, Spool};
use crate::rules::envelope::{Header, Unsendable};
use crate::rules::relay;
use crate::rules::report::report;
use crate::rules::senders::account_for;

use super::RelaySetup;

/// What one look took in.
pub(super) struct Taken {
    pub(super) items: Vec<Item>,
    /// What is ours now and could not be completed.
    pub(super) stuck: Vec<(Item, Failure)>,
    /// Whether there is more.
    pub(super) more: bool,
    /// Whether used mail came in such a number that all of it is held.
    pub(super) flooded: bool,
}

/// Claims what was dropped, a batch at a time: the rows first, then the renames, then the envelopes.
pub(super) fn take_in(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
    scan: &Scan,
    flooded: bool,
) -> Result<Taken, Failure> {
    let (mut items, mut stuck) = (Vec::new(), Vec::new());
    for odd in scan.odd.iter().take(BATCH) {
        note(set_aside(spool, ledger, setup, &odd.path, &odd.why).map(|item| items.push(item)));
    }
    let now = (setup.clock)();
    let (mut batch, mut rows, mut left) = (Vec::new(), Vec::new(), 0);
    let mut n_used = 0;
    for dropped in &scan.ready {
        let named = OutboxId(dropped.name.clone());
        let submitted = ledger.submitted(&named)?.is_some();
        n_used += usize::from(dropped.is_used && !submitted);
        if batch.len() >= BATCH {
            left += 1;
            continue;
        }
        // A time of its own for each, so that no two can have one id.
        let at = now.saturating_add(u64::try_from(batch.len()).unwrap_or_default());
        let id = if submitted { named } else { relay::new_id(at, (setup.random)()) };
        rows.push(Item::claimed(id.clone(), now));
        let is_used = dropped.is_used && !submitted;
        batch.push((Dropped { is_used, ..dropped.clone() }, id));
    }
    let flooded = flooded || n_used > USED_MAX;
    ledger.put_all(&rows)?;
    let claimed = spool.claim(&batch);
    let mut fresh = Vec::new();
    for (((dropped, id), row), claimed) in batch.into_iter().zip(rows).zip(claimed) {
        match claimed {
            Ok(kept) if kept.trashed => note(cancel(spool, ledger, &id, Some(&kept))),
            Ok(kept) => match prepared(spool, ledger, setup, row.clone(), kept) {
                Ok((mut item, kept)) => {
                    doubt(spool, &mut item, &kept, &dropped, flooded)?;
                    fresh.push(item);
                }
                Err(failure) => stuck.push((row, failure)),
            },
            Err(failure) => {
                ledger.forget(&[id])?;
                if failure.scope == Scope::Message {
                    let aside =
                        set_aside(spool, ledger, setup, &dropped.path, &failure.to_string());
                    note(aside.map(|item| items.push(item)));
                } else {
                    // One bad file stops no other.
                    note(Err(failure));
                }
            }
        }
    }
    ledger.put_all(&fresh)?;
    let more = left > 0 && !fresh.is_empty();
    items.extend(fresh);
    Ok(Taken { items, stuck, more, flooded })
}

fn note(result: Result<(), Failure>) {
    if let Err(failure) = result {
        warn!(%failure, "a file in the outbox cannot be taken");
    }
}

/// Parks something that is no message, so that it is seen and nothing happens to it.
fn set_aside(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
    path: &Path,
    why: &str,
) -> Result<Item, Failure> {
    // Later than all that this look claims.
    let now = (setup.clock)().saturating_add(1000);
    let mut item = Item::claimed(relay::new_id(now, (setup.random)()), now);
    item.phase = Phase::Failed;
    item.reason = Some(Reason { name: "NotSupported".to_owned(), text: why.to_owned() });
    ledger.put(&item)?;
    spool.set_aside(path, &item.id, &report(&item, now, b""))?;
    Ok(item)
}

/// Holds what its writer may not have finished, and what looks like a mailbox that was copied here.
fn doubt(
    spool: &impl Spool,
    item: &mut Item,
    kept: &Kept,
    dropped: &Dropped,
    flooded: bool,
) -> Result<(), Failure> {
    if item.phase != Phase::Queued {
        return Ok(());
    }
    if flooded && dropped.is_used {
        hold(item, HELD, FLOOD);
    } else if dropped.is_flat {
        let header = Header::parse(&spool.head(kept, HEAD_BYTES)?);
        if let Some(boundary) = header.boundary()
            && spool.ends_early(kept, &boundary)?
        {
            hold(item, HELD, TRUNCATED);
        }
    }
    Ok(())
}

/// Makes the envelope and writes it down.
pub(super) fn prepare(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
    item: Item,
    kept: Kept,
) -> Result<(Item, Kept), Failure> {
    let (item, kept) = prepared(spool, ledger, setup, item, kept)?;
    ledger.put(&item)?;
    Ok((item, kept))
}

/// Makes the envelope, and fixes the bytes of the message for all attempts.
pub(super) fn prepared(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
    mut item: Item,
    mut kept: Kept,
) -> Result<(Item, Kept), Failure> {
    let mut header = Header::parse(&spool.head(&kept, HEAD_BYTES)?);
    if header.has_fields()
        && let Some((at, text)) = header.missing((setup.clock)(), &item.id.0)
    {
        kept = spool.insert(&kept, at, text.as_bytes())?;
        header = Header::parse(&spool.head(&kept, HEAD_BYTES)?);
    }
    item.size = kept.size;
    item.message_id = header.message_id().unwrap_or_default();
    match address(ledger, setup, &mut item, &header)? {
        Ok(()) => {
            item.phase = Phase::Queued;
            guard(ledger, &mut item)?;
            if kept.draft {
                hold(&mut item, HELD, FLAGGED);
            }
        }
        Err(why) => {
            item.reason = Some(Reason { name: why.error_name().to_owned(), text: why.explain() });
            relay::fail(&mut item, &why.explain());
        }
    }
    Ok((item, kept))
}

/// Fills in sender, recipients, account and wishes.
fn address(
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
    item: &mut Item,
    header: &Header,
) -> Result<Result<(), Unsendable>, Failure> {
    if !header.has_fields() {
        return Ok(Err(Unsendable::NoHeader));
    }
    // Behind it there may be a Bcc that must not leave.
    if !header.is_complete && usize::try_from(item.size).unwrap_or(usize::MAX) > HEAD_BYTES {
        return Ok(Err(Unsendable::HeaderTooBig));
    }
    let submitted = ledger.submitted(&item.id)?;
    let wishes = header.wishes();
    let envelope = match header.envelope(submitted.as_ref(), &wishes) {
        Ok(envelope) => envelope,
        Err(why) => return Ok(Err(why)),
    };
    item.recipients = envelope
        .recipients
        .iter()
        .map(|to| Recipient { address: to.clone(), state: RecipientState::Pending, reply: None })
        .collect();
    item.sender.clone_from(&envelope.sender);
    item.on_uncertain = wishes.on_uncertain;
    item.hold_until =
        relay::after(item.queued_at, setup.undo_delay).max(wishes.send_after.from(item.queued_at));
    if item.hold_until == item.queued_at {
        item.hold_until = 0;
    }
    let author = match header.author() {
        Ok(author) => author.or(envelope.sender),
        Err(why) => return Ok(Err(why)),
    };
    let account = match (&wishes.account, &author) {
        (Some(name), _) => named(setup, name),
        (None, Some(author)) => account_for(author, &setup.accounts).cloned(),
        (None, None) => None,
    };
    let Some(account) = account else {
        if let Some(name) = wishes.account {
            let all = setup.accounts.iter().map(|one| one.name.to_string()).collect();
            return Ok(Err(Unsendable::NoSuchAccount(name.0, all)));
        }
        let from = author.map_or_else(|| "<>".to_owned(), |from| from.as_str().to_owned());
        return Ok(Err(Unsendable::NoAccount(from)));
    };
    item.account = Some(account);
    if wishes.hold {
        hold(item, HELD, "its header asks for it: release it to send it");
    }
    if !wishes.wrong.is_empty() {
        let wrong = wishes.wrong.join("; ");
        hold(item, HELD, &format!("{wrong}; correct it, or release it to send it without"));
    }
    Ok(Ok(()))
}

fn named(setup: &RelaySetup, name: &AccountName) -> Option<AccountName> {
    setup.accounts.iter().find(|account| account.name == *name).map(|account| account.name.clone())
}

/// Holds what was sent already, and what its header holds.
fn guard(ledger: &impl OutboxLedger, item: &mut Item) -> Result<(), Failure> {
    if item.reason.as_ref().is_some_and(|reason| reason.name == HELD) {
        item.phase = Phase::Held;
        return Ok(());
    }
    let since = item.queued_at.saturating_sub(REPLAY_MICROS);
    let open = item.open();
    let delivered = ledger.delivered(&item.message_id, &open, since)?;
    if !open.is_empty() && delivered.len() == open.len() {
        hold(
            item,
            HELD,
            "already sent to all its recipients within 7 days: release it to send it again",
        );
    }
    Ok(())
}

pub(super) fn hold(item: &mut Item, name: &str, text: &str) {
    item.phase = Phase::Held;
    item.reason = Some(Reason { name: name.to_owned(), text: text.to_owned() });
}

/// Forgets a message, unsent: the file first, so that it cannot come back without its row.
pub(super) fn cancel(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    id: &OutboxId,
    kept: Option<&Kept>,
) -> Result<(), Failure> {
    if let Some(kept) = kept {
        spool.remove(std::slice::from_ref(kept))?;
    }
    ledger.forget(std::slice::from_ref(id))
}

/// Ends accepted messages. `files` says where they were when somebody looked.
pub(super) fn finish(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    ids: &[OutboxId],
    files: &BTreeMap<OutboxId, Kept>,
) -> Result<(), Failure> {
    let mut kept: Vec<Kept> = ids.iter().filter_map(|id| files.get(id).cloned()).collect();
    spool.remove(&kept)?;
    kept.clear();
    for id in ids {
        // A mail program may have changed its name in the meantime.
        kept.extend(spool.find(id)?);
    }
    if !kept.is_empty() {
        spool.remove(&kept)?;
    }
    ledger.forget(ids)
}

/// Moves a failed message to `failed/`, with a report that says why.
pub(super) fn park(spool: &impl Spool, item: &Item, now: Micros) -> Result<(), Failure> {
    match spool.find(&item.id)? {
        Some(kept) => spool.park(&item.id, &kept, &why_parked(spool, item, &kept, now)?),
        None => Ok(()),
    }
}

/// Parks a copy of a message for those who were parted from it: the file first, then both rows. False when
/// the message is gone.
pub(super) fn park_part(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    (whole, part): (&Item, &Item),
    now: Micros,
) -> Result<bool, Failure> {
    let Some(kept) = spool.find(&whole.id)? else { return Ok(false) };
    spool.park_copy(&part.id, &kept, &why_parked(spool, part, &kept, now)?)?;
    ledger.put_parted(whole, part)?;
    Ok(true)
}

fn why_parked(
    spool: &impl Spool,
    item: &Item,
    kept: &Kept,
    now: Micros,
) -> Result<String, Failure> {
    let head = spool.head(kept, HEAD_BYTES)?;
    let header = head.get(..Header::parse(&head).bytes()).unwrap_or(&head);
    Ok(report(item, now, header))
}

pub(super) const HEAD_BYTES: usize = 1024 * 1024;
/// The name of all that waits for a person.
pub(super) const HELD: &str = "Paused";
pub(super) const FLAGGED: &str = "the flag D holds it: remove the flag to send it";
const BATCH: usize = 32;
/// So many messages that were in a mailbox before may be dropped at once.
const USED_MAX: usize = 20;
const FLOOD: &str = "more than 20 old or read messages came at once, as if a mailbox was copied here: \
                     release it to send it, or cancel it";
const TRUNCATED: &str = "it looks truncated, the end of its last part is missing: \
                         cancel it and drop the whole message, or release it as it is";
pub(super) const REPLAY_MICROS: Micros = 7 * 24 * 3600 * 1_000_000;
