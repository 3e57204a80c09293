//! From a dropped file to a queued item, on the blocking pool. Floor 4.

use crate::model::failure::Failure;
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Item, Phase, Reason, Recipient, RecipientState};
use crate::model::status::Micros;
use crate::ports::outbox::{Dropped, Kept, OutboxLedger, Spool};
use crate::rules::envelope::{Header, Unsendable, account_for};
use crate::rules::relay;

use super::RelaySetup;

/// Claims a dropped file: the row first, then the rename, then the envelope.
pub(super) fn take_in(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
    dropped: &Dropped,
) -> Result<Option<(Item, Kept)>, Failure> {
    let now = (setup.clock)();
    let named = OutboxId(dropped.name.clone());
    let id = match ledger.submitted(&named)? {
        Some(_) => named,
        None => relay::new_id(now, (setup.random)()),
    };
    let item = Item::claimed(id, now);
    ledger.put(&item)?;
    let kept = match spool.claim(dropped, &item.id) {
        Ok(kept) => kept,
        Err(failure) => {
            ledger.forget(&item.id)?;
            return Err(failure);
        }
    };
    if kept.trashed {
        cancel(spool, ledger, &item.id, Some(&kept))?;
        return Ok(None);
    }
    prepare(spool, ledger, setup, item, kept).map(Some)
}

/// Makes the envelope, and fixes the bytes of the message for all attempts.
pub(super) fn prepare(
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
                hold(&mut item, DRAFT, "the flag D holds it: remove the flag to send it");
            }
        }
        Err(why) => {
            item.reason = Some(Reason { name: why.error_name().to_owned(), text: why.explain() });
            relay::fail(&mut item, &why.explain());
        }
    }
    ledger.put(&item)?;
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
    item.hold_until = relay::after(item.queued_at, setup.undo_delay).max(wishes.send_after);
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
        let from = author.map_or_else(|| "<>".to_owned(), |from| from.as_str().to_owned());
        return Ok(Err(Unsendable::NoAccount(from)));
    };
    item.account = Some(account);
    if wishes.hold {
        hold(item, HELD, "its header asks for it: release it to send it");
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
        spool.remove(kept)?;
    }
    ledger.forget(id)
}

/// Ends an accepted message.
pub(super) fn finish(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    item: &Item,
) -> Result<(), Failure> {
    let kept = spool.kept()?.remove(&item.id);
    cancel(spool, ledger, &item.id, kept.as_ref())
}

/// Moves a failed message to `failed/`, with its reason.
pub(super) fn park(spool: &impl Spool, item: &Item) -> Result<(), Failure> {
    match spool.kept()?.remove(&item.id) {
        Some(kept) => spool.park(&item.id, &kept, &relay::report(item)),
        None => Ok(()),
    }
}

/// What a start finds, settled with the directory.
pub(super) struct Found {
    pub(super) items: Vec<Item>,
    pub(super) files: std::collections::BTreeMap<OutboxId, Kept>,
    /// Whose fate is not known: the Sent mailbox may tell.
    pub(super) doubts: Vec<OutboxId>,
}

/// Reads ledger and directory at the start and settles where they differ.
pub(super) fn restore(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
) -> Result<Found, Failure> {
    let now: Micros = (setup.clock)();
    ledger.prune(now.saturating_sub(REPLAY_MICROS))?;
    let mut files = spool.kept()?;
    let parked = spool.parked()?;
    let (mut items, mut doubts) = (Vec::new(), Vec::new());
    for mut item in ledger.items()? {
        let before = item.phase;
        relay::resume(&mut item, now, &setup.policy);
        match (files.get(&item.id).cloned(), item.phase) {
            (Some(kept), Phase::Claimed) => {
                let (item, kept) = prepare(spool, ledger, setup, item, kept)?;
                files.insert(item.id.clone(), kept);
                items.push(item);
            }
            (None, Phase::Failed) if parked.contains(&item.id) => items.push(item),
            // Claimed but never moved: it is still where it was dropped. The others were deleted,
            // which cancels, or finished just before the row went.
            (None, _) => ledger.forget(&item.id)?,
            (Some(_), _) => {
                if matches!(before, Phase::Dot | Phase::Uncertain) {
                    doubts.push(item.id.clone());
                }
                if item.phase != before {
                    ledger.put(&item)?;
                }
                items.push(item);
            }
        }
    }
    let strangers: Vec<OutboxId> =
        files.keys().filter(|id| !items.iter().any(|item| item.id == **id)).cloned().collect();
    for id in strangers {
        let Some(kept) = files.get(&id).cloned() else { continue };
        let (mut item, kept) = prepare(spool, ledger, setup, Item::claimed(id, now), kept)?;
        if item.phase == Phase::Queued {
            hold(
                &mut item,
                HELD,
                "the ledger does not know it, so it may have been sent: release it to send it",
            );
            ledger.put(&item)?;
        }
        files.insert(item.id.clone(), kept);
        items.push(item);
    }
    Ok(Found { items, files, doubts })
}

pub(super) const HEAD_BYTES: usize = 1024 * 1024;
pub(super) const HELD: &str = "Held";
pub(super) const DRAFT: &str = "Draft";
const REPLAY_MICROS: Micros = 7 * 24 * 3600 * 1_000_000;
