//! Items and addresses as rows. Floor 3.

use rusqlite::{Connection, Row, Transaction, params};

use super::Wrong;
use crate::model::account::OnUncertain;
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Address, CopyState, Item, Phase, Reason, Recipient, RecipientState};
use crate::model::status::Micros;

pub(super) fn write_item(tx: &Transaction<'_>, item: &Item) -> Result<(), Wrong> {
    let (name, text) = match &item.reason {
        Some(reason) => (Some(&reason.name), Some(&reason.text)),
        None => (None, None),
    };
    let on_uncertain = item.on_uncertain.map(|wish| match wish {
        OnUncertain::Hold => "hold",
        OnUncertain::Retry => "retry",
    });
    tx.prepare_cached(PUT)?.execute(params![
        item.id.0,
        item.account.as_ref().map(AccountName::as_str),
        item.sender.as_ref().map(Address::as_str),
        item.message_id,
        i64::try_from(item.size).unwrap_or(i64::MAX),
        signed(item.queued_at),
        signed(item.hold_until),
        item.phase.as_str(),
        item.tries,
        signed(item.next_try),
        name,
        text,
        item.copy.as_str(),
        on_uncertain,
    ])?;
    tx.prepare_cached("DELETE FROM rcpt WHERE item_id = ?1")?.execute([&item.id.0])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO rcpt(item_id, n, addr, st, reply) VALUES(?1, ?2, ?3, ?4, ?5)",
    )?;
    for (n, one) in item.recipients.iter().enumerate() {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        insert.execute(params![
            item.id.0,
            n,
            one.address.as_str(),
            one.state.as_str(),
            one.reply
        ])?;
    }
    Ok(())
}

pub(super) fn read_item(row: &Row<'_>) -> Result<Item, Wrong> {
    let phase: String = row.get("phase")?;
    let copy: String = row.get("copy")?;
    let sender: Option<String> = row.get("sender")?;
    let reason = match (row.get("err")?, row.get("reply")?) {
        (Some(name), Some(text)) => Some(Reason { name: today(name), text }),
        _ => None,
    };
    let on_uncertain = match row.get::<_, Option<String>>("on_uncertain")?.as_deref() {
        Some("hold") => Some(OnUncertain::Hold),
        Some("retry") => Some(OnUncertain::Retry),
        _ => None,
    };
    Ok(Item {
        id: OutboxId(row.get("id")?),
        account: row.get::<_, Option<String>>("account")?.map(AccountName),
        sender: sender.as_deref().map(address).transpose()?,
        message_id: row.get("msgid")?,
        size: unsigned(row.get("size")?),
        queued_at: unsigned(row.get("queued_at")?),
        hold_until: unsigned(row.get("hold_until")?),
        phase: Phase::parse(&phase).ok_or(Wrong::Odd(phase))?,
        tries: row.get("tries")?,
        next_try: unsigned(row.get("next_try")?),
        reason,
        copy: CopyState::parse(&copy).ok_or(Wrong::Odd(copy))?,
        on_uncertain,
        recipients: Vec::new(),
    })
}

/// Names that the first version of the ledger had.
fn today(name: String) -> String {
    match name.as_str() {
        "Held" | "Draft" => "Paused".to_owned(),
        "Refused" => "Protocol".to_owned(),
        _ => name,
    }
}

pub(super) fn read_recipients(db: &Connection, id: &OutboxId) -> Result<Vec<Recipient>, Wrong> {
    let mut select =
        db.prepare_cached("SELECT addr, st, reply FROM rcpt WHERE item_id = ?1 ORDER BY n")?;
    let mut rows = select.query([&id.0])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let (addr, state): (String, String) = (row.get(0)?, row.get(1)?);
        let state = RecipientState::parse(&state).ok_or(Wrong::Odd(state))?;
        all.push(Recipient { address: address(&addr)?, state, reply: row.get(2)? });
    }
    Ok(all)
}

pub(super) fn join(addresses: &[Address]) -> String {
    addresses.iter().map(|address| format!("{address}\n")).collect()
}

pub(super) fn address(text: &str) -> Result<Address, Wrong> {
    Address::new(text).ok_or_else(|| Wrong::Odd(text.to_owned()))
}

pub(super) fn signed(time: Micros) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

const PUT: &str = "
INSERT INTO item(id, account, sender, msgid, size, queued_at, hold_until, phase, tries, next_try,
                 err, reply, copy, on_uncertain)
VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT(id) DO UPDATE SET account = ?2, sender = ?3, msgid = ?4, size = ?5, queued_at = ?6,
  hold_until = ?7, phase = ?8, tries = ?9, next_try = ?10, err = ?11, reply = ?12, copy = ?13,
  on_uncertain = ?14";
