//! What the ledger knows. Floor 3.

use rusqlite::{Connection, OptionalExtension as _, Result, Row};

use crate::model::event::Consent;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName, ModSeq, Uid, UidValidity};
use crate::model::view::{BaseRow, BaseView, Cursor, Evidence, RowState, Stamp, Sub};
use crate::ports::local::{Landing, MailboxId, MailboxRow, PendingAppend};

pub(super) fn root(db: &Connection) -> Result<Option<String>> {
    db.query_row("SELECT v FROM meta WHERE k = 'root'", [], |row| row.get(0)).optional()
}

const MAILBOX: &str = "SELECT id, name, uidvalidity, uidnext, modseq, n_exists, new_ns, cur_ns,
    held + (SELECT count(*) FROM msg WHERE mailbox = m.id AND st <> 'synced' AND st <> 'orphan'),
    EXISTS (SELECT 1 FROM msg WHERE mailbox = m.id), held, consent
    FROM mailbox m";

pub(super) fn mailboxes(db: &Connection) -> Result<Vec<MailboxRow>> {
    let mut statement = db.prepare_cached(&format!("{MAILBOX} ORDER BY name"))?;
    statement.query_map([], mailbox_row)?.collect()
}

pub(super) fn mailbox(db: &Connection, name: &MailboxName) -> Result<MailboxRow> {
    db.execute("INSERT OR IGNORE INTO mailbox(name) VALUES (?1)", [name.as_str()])?;
    db.prepare_cached(&format!("{MAILBOX} WHERE name = ?1"))?
        .query_row([name.as_str()], mailbox_row)
}

fn mailbox_row(row: &Row<'_>) -> Result<MailboxRow> {
    let validity: Option<u32> = row.get(2)?;
    let uidnext: Option<u32> = row.get(3)?;
    let modseq: Option<i64> = row.get(4)?;
    let exists: Option<u32> = row.get(5)?;
    let cursor = match (validity.and_then(UidValidity::new), uidnext, exists) {
        (Some(uidvalidity), Some(uidnext), Some(exists)) => {
            let modseq = ModSeq(u64::try_from(modseq.unwrap_or(0)).unwrap_or(0));
            Some(Cursor { uidvalidity, uidnext, modseq, exists })
        }
        _ => None,
    };
    let stamp = match (row.get(6)?, row.get(7)?) {
        (Some(new_ns), Some(cur_ns)) => Some(Stamp { new_ns, cur_ns }),
        _ => None,
    };
    let name = MailboxName(row.get(1)?);
    Ok(MailboxRow {
        id: row.get(0)?,
        name,
        cursor,
        stamp,
        unsettled: row.get(8)?,
        is_known: row.get(9)?,
        held: row.get(10)?,
        consent: match row.get::<_, Option<String>>(11)?.as_deref() {
            Some("confirm") => Some(Consent::Confirm),
            Some("reject") => Some(Consent::Reject),
            _ => None,
        },
    })
}

pub(super) fn base(db: &Connection, mailbox: MailboxId) -> Result<BaseView> {
    let validity: Option<u32> =
        db.query_row("SELECT validity FROM mailbox WHERE id = ?1", [mailbox], |row| row.get(0))?;
    let mut statement = db.prepare_cached(
        "SELECT id, uid, base, flags, kw, st FROM msg WHERE mailbox = ?1 AND st <> 'landing'",
    )?;
    let rows = statement.query_map([mailbox], |row| {
        let uid: Option<u32> = row.get(1)?;
        let state: String = row.get(5)?;
        Ok(BaseRow {
            row: row.get(0)?,
            uid: uid.and_then(Uid::new),
            base: row.get::<_, Option<String>>(2)?.map(Base),
            flags: flags(row.get(3)?, &row.get::<_, String>(4)?),
            state: match state.as_str() {
                "orphan" => RowState::Orphan,
                "failed" => RowState::Failed,
                _ => RowState::Paired,
            },
        })
    })?;
    Ok(BaseView {
        rows: rows.collect::<Result<_>>()?,
        uidvalidity: validity.and_then(UidValidity::new),
    })
}

fn flags(bits: u8, keywords: &str) -> Flags {
    Flags::from_parts(bits, keywords.split(' ').filter(|k| !k.is_empty()).map(str::to_owned))
}

pub(super) fn landings(db: &Connection, mailbox: MailboxId) -> Result<Vec<Landing>> {
    let mut statement = db.prepare_cached(
        "SELECT uid, base, sub, flags, kw FROM msg WHERE mailbox = ?1 AND st = 'landing'",
    )?;
    let rows = statement.query_map([mailbox], |row| {
        let sub: i64 = row.get(2)?;
        Ok(Uid::new(row.get(0)?).map(|uid| Landing {
            uid,
            base: Base(row.get(1).unwrap_or_default()),
            sub: if sub == 0 { Sub::New } else { Sub::Cur },
            flags: flags(row.get(3).unwrap_or(0), &row.get::<_, String>(4).unwrap_or_default()),
        }))
    })?;
    Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

pub(super) fn appends(db: &Connection, mailbox: MailboxId) -> Result<Vec<PendingAppend>> {
    let mut statement = db.prepare_cached(
        "SELECT base, flags, uidnext, msgid, wire_bytes FROM append WHERE mailbox = ?1",
    )?;
    let rows = statement.query_map([mailbox], |row| {
        let wire_bytes = u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0);
        let message_id: Option<String> = row.get(3)?;
        Ok(PendingAppend {
            base: Base(row.get(0)?),
            flags: flags(row.get(1)?, ""),
            uidnext: row.get(2)?,
            evidence: message_id.map(|message_id| Evidence { message_id, size: wire_bytes }),
            wire_bytes,
        })
    })?;
    rows.collect()
}
