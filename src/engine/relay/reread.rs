//! Reading a message again that was taken in before, on the blocking pool. Floor 4.

use super::RelaySetup;
use super::intake::prepared;
use crate::model::failure::Failure;
use crate::model::outbox::{Item, Phase, Reason, RecipientState};
use crate::model::status::Micros;
use crate::ports::outbox::{Kept, OutboxLedger, Spool};
use crate::rules::relay;
use crate::rules::report::report;

/// Makes the envelope of a message that waited, for its file may be another by now, and lets it go.
pub(super) fn reread(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
    old: &Item,
    kept: Kept,
    now: Micros,
) -> Result<(Item, Kept), Failure> {
    let (mut item, kept) = anew(spool, ledger, setup, old, kept)?;
    // A person's word is above a guard's, and above what the header asked for.
    if matches!(item.phase, Phase::Queued | Phase::Held) {
        (item.phase, item.reason, item.hold_until, item.next_try) = (Phase::Queued, None, now, now);
    }
    ledger.put(&item)?;
    Ok((item, kept))
}

/// Makes the envelope of a message whose file was changed while it waits: what is held stays so, and what was tried
/// keeps its time.
pub(super) fn renew(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
    old: &Item,
    kept: Kept,
) -> Result<(Item, Kept), Failure> {
    let (mut item, kept) = anew(spool, ledger, setup, old, kept)?;
    match (item.phase, old.phase) {
        (Phase::Queued | Phase::Held, Phase::Held) => {
            (item.phase, item.reason) = (Phase::Held, old.reason.clone());
        }
        (Phase::Queued, _) => {
            (item.tries, item.next_try) = (old.tries, old.next_try);
            item.reason.clone_from(&old.reason);
        }
        _ => {}
    }
    ledger.put(&item)?;
    Ok((item, kept))
}

/// Reads a message as if it came just now; whoever has it does not get it again.
fn anew(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    setup: &RelaySetup,
    old: &Item,
    kept: Kept,
) -> Result<(Item, Kept), Failure> {
    let fresh = Item::claimed(old.id.clone(), old.queued_at);
    let (mut item, kept) = prepared(spool, ledger, setup, fresh, kept)?;
    for one in &mut item.recipients {
        let key = one.address.key();
        if let Some(before) = old.recipients.iter().find(|old| old.address.key() == key)
            && matches!(before.state, RecipientState::Accepted | RecipientState::Elsewhere)
        {
            one.clone_from(before);
        }
    }
    item.copy = old.copy;
    Ok((item, kept))
}

/// Parks what has the name of a message and is no file of ours; none where nothing has it.
pub(super) fn park_replaced(
    spool: &impl Spool,
    ledger: &impl OutboxLedger,
    mut item: Item,
    now: Micros,
) -> Result<Option<Item>, Failure> {
    let Some(odd) = spool.replaced(&item.id)? else { return Ok(None) };
    relay::fail(&mut item, &odd.why);
    item.reason = Some(Reason { name: "NotSupported".to_owned(), text: odd.why });
    ledger.put(&item)?;
    spool.set_aside(&odd.path, &item.id, &report(&item, now, b""))?;
    Ok(Some(item))
}
