//! What the ledger knows. Floor 3.

use rusqlite::{Connection, OptionalExtension as _, Result, Row};

use crate::model::event::Consent;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName, ModSeq, Uid, UidValidity};
use crate::model::view::{BaseRow, BaseView, Cursor, RowState, Stamp, Sub};
use crate::ports::local::{Kin, Landing, MailboxId, MailboxRow, PendingAppend};

fn now() -> i64 {
    i64::try_from(super::now_seconds()).unwrap_or(i64::MAX)
}

pub(super) fn root(db: &Connection) -> Result<Option<String>> {
    db.query_row("SELECT v FROM meta WHERE k = 'root'", [], |row| row.get(0)).optional()
}

const MAILBOX: &str = "SELECT id, name, uidvalidity, uidnext, modseq, n_exists, new_ns, cur_ns,
    held + (SELECT count(*) FROM msg WHERE mailbox = m.id AND
        (st = 'landing' OR (st = 'failed' AND next_try <= ?1))),
    EXISTS (SELECT 1 FROM msg WHERE mailbox = m.id), held, consent,
    (SELECT count(*) FROM msg WHERE mailbox = m.id AND st = 'failed')
    FROM mailbox m";

pub(super) fn mailboxes(db: &Connection) -> Result<Vec<MailboxRow>> {
    let mut statement = db.prepare_cached(&format!("{MAILBOX} ORDER BY name"))?;
    statement.query_map([now()], mailbox_row)?.collect()
}

pub(super) fn mailbox(db: &Connection, name: &MailboxName) -> Result<MailboxRow> {
    db.execute("INSERT OR IGNORE INTO mailbox(name) VALUES (?1)", [name.as_str()])?;
    db.prepare_cached(&format!("{MAILBOX} WHERE name = ?2"))?
        .query_row(rusqlite::params![now(), name.as_str()], mailbox_row)
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
        failed: row.get(12)?,
    })
}

pub(super) fn base(db: &Connection, mailbox: MailboxId) -> Result<BaseView> {
    let validity: Option<u32> =
        db.query_row("SELECT validity FROM mailbox WHERE id = ?1", [mailbox], |row| row.get(0))?;
    let mut statement = db.prepare_cached(
        "SELECT id, uid, base, flags, kw, st, next_try FROM msg WHERE mailbox = ?1 AND st <> 'landing'",
    )?;
    let due = now();
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
                "failed" if row.get::<_, i64>(6)? > due => RowState::Waiting,
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
            // It is in its row already, and stays there.
            print: None,
        }))
    })?;
    Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

pub(super) fn appends(db: &Connection, mailbox: MailboxId) -> Result<Vec<PendingAppend>> {
    let mut statement =
        db.prepare_cached("SELECT base, flags, uidnext FROM append WHERE mailbox = ?1")?;
    let rows = statement.query_map([mailbox], |row| {
        Ok(PendingAppend {
            base: Base(row.get(0)?),
            flags: flags(row.get(1)?, ""),
            uidnext: row.get(2)?,
        })
    })?;
    rows.collect()
}

pub(super) fn has_others(db: &Connection, mailbox: MailboxId) -> Result<bool> {
    db.prepare_cached("SELECT EXISTS (SELECT 1 FROM msg WHERE mailbox <> ?1)")?
        .query_row([mailbox], |row| row.get(0))
}

const KIN: &str = "SELECT g.id, g.mailbox, m.name, m.validity, g.uid, g.base, g.flags, g.kw
    FROM msg g JOIN mailbox m ON m.id = g.mailbox
    WHERE g.st = 'synced' AND g.uid IS NOT NULL AND g.base IS NOT NULL";

pub(super) fn kin_by_digest(db: &Connection, digest: &[u8; 32]) -> Result<Vec<Kin>> {
    let mut statement = db.prepare_cached(&format!("{KIN} AND g.hash = ?1"))?;
    let rows = statement.query_map([digest.as_slice()], kin)?;
    Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

pub(super) fn kin_by_evidence(
    db: &Connection,
    not_in: MailboxId,
    size: u64,
    message_id: Option<&str>,
) -> Result<Vec<Kin>> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(&format!(
        "{KIN} AND g.size = ?1 AND g.mailbox <> ?2 AND (?3 IS NULL OR g.msgid = ?3) LIMIT 50"
    ))?;
    let rows = statement.query_map(rusqlite::params![size, not_in, message_id], kin)?;
    Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn kin(row: &Row<'_>) -> Result<Option<Kin>> {
    let (validity, uid): (Option<u32>, u32) = (row.get(3)?, row.get(4)?);
    let (Some(validity), Some(uid)) = (validity.and_then(UidValidity::new), Uid::new(uid)) else {
        return Ok(None);
    };
    Ok(Some(Kin {
        row: row.get(0)?,
        mailbox: row.get(1)?,
        name: MailboxName(row.get(2)?),
        validity,
        uid,
        base: Base(row.get(5)?),
        flags: flags(row.get(6)?, &row.get::<_, String>(7)?),
    }))
}
