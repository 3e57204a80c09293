//! What the ledger knows. Floor 3.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Result, Row};

use crate::model::event::Consent;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName, ModSeq, Uid, UidValidity};
use crate::model::uids::UidSet;
use crate::model::view::{BaseRow, BaseView, Cursor, RowId, RowState, SkippedMessage, Stamp, Sub};
use crate::ports::ledger::{Kin, MailboxId, MailboxRow, Way};
use crate::ports::local::Landing;
use crate::ports::remote::Quirk;

fn now() -> i64 {
    i64::try_from(super::now_seconds()).unwrap_or(i64::MAX)
}

pub(super) fn root(db: &Connection) -> Result<Option<String>> {
    db.query_row("SELECT v FROM meta WHERE k = 'root'", [], |row| row.get(0)).optional()
}

pub(super) fn quirks(db: &Connection) -> Result<BTreeSet<Quirk>> {
    let mut statement = db.prepare_cached("SELECT k FROM meta WHERE k LIKE 'quirk:%'")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    let names = names.collect::<Result<Vec<_>>>()?;
    let is_named =
        |quirk: &Quirk| names.iter().any(|n| n.strip_prefix("quirk:") == Some(quirk.as_str()));
    // A name of another version means nothing to this one.
    Ok(Quirk::ALL.into_iter().filter(is_named).collect())
}

pub(super) fn epoch(db: &Connection) -> Result<Option<u64>> {
    let text: Option<String> =
        db.query_row("SELECT v FROM meta WHERE k = 'epoch'", [], |row| row.get(0)).optional()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

const MAILBOX: &str = "SELECT id, name, uidvalidity, uidnext, modseq, n_exists, new_ns, cur_ns,
    held + (SELECT count(*) FROM msg WHERE mailbox = m.id AND st <> 'synced' AND
        (st IN ('landing', 'wanted', 'expiring', 'replaced') OR (st = 'failed' AND next_try <= ?1))),
    EXISTS (SELECT 1 FROM msg WHERE mailbox = m.id AND uid IS NOT NULL) OR
    EXISTS (SELECT 1 FROM msg WHERE mailbox = m.id AND base IS NOT NULL), held, consent,
    (SELECT count(*) FROM msg WHERE mailbox = m.id AND st <> 'synced' AND st = 'failed'),
    (SELECT count(*) FROM msg WHERE mailbox = m.id AND st <> 'synced' AND
        st IN ('skipped', 'wanted')), limits,
    EXISTS (SELECT 1 FROM meta WHERE k = 'leave.' || m.id),
    EXISTS (SELECT 1 FROM meta WHERE k = 'come.' || m.id),
    EXISTS (SELECT 1 FROM msg WHERE mailbox = m.id AND base IS NOT NULL)
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
        skipped: row.get(13)?,
        limits: row.get(14)?,
        has_files: row.get(17)?,
        halves: [(Way::Leave, row.get(15)?), (Way::Come, row.get(16)?)]
            .into_iter()
            .filter_map(|(way, is_open)| Some(way).filter(|_| is_open))
            .collect(),
    })
}

/// What the columns of a row are, for [`base_row`].
const ROW: &str = "SELECT id, uid, base, flags, kw, st, next_try, size, date, pinned
    FROM msg WHERE mailbox = ?1";

fn base_row(row: &Row<'_>, due: i64) -> Result<BaseRow> {
    let uid: Option<u32> = row.get(1)?;
    let state = match row.get_ref(5)?.as_str()? {
        "orphan" => RowState::Orphan,
        "failed" if row.get::<_, i64>(6)? > due => RowState::Waiting,
        "failed" => RowState::Failed,
        "skipped" => RowState::Skipped,
        "wanted" => RowState::Wanted,
        "expiring" => RowState::Expiring,
        "replaced" => RowState::Replaced,
        _ => RowState::Paired,
    };
    let size: Option<i64> = row.get(7)?;
    Ok(BaseRow {
        row: row.get(0)?,
        uid: uid.and_then(Uid::new),
        base: row.get::<_, Option<String>>(2)?.map(Base),
        flags: flags(row.get(3)?, row.get_ref(4)?.as_str()?),
        state,
        size: size.and_then(|n| u64::try_from(n).ok()),
        date: row.get(8)?,
        is_pinned: row.get(9)?,
    })
}

pub(super) fn known(db: &Connection, mailbox: MailboxId) -> Result<BaseView> {
    let validity: Option<u32> =
        db.query_row("SELECT validity FROM mailbox WHERE id = ?1", [mailbox], |row| row.get(0))?;
    let due = now();
    let mut odd = db.prepare_cached(&format!("{ROW} AND st <> 'synced' AND st <> 'landing'"))?;
    let rows: Vec<BaseRow> =
        odd.query_map([mailbox], |row| base_row(row, due))?.collect::<Result<_>>()?;
    // Answered from the index alone. A landing is settled before anybody asks.
    let mut all = db.prepare_cached(
        "SELECT uid FROM msg WHERE mailbox = ?1 AND uid IS NOT NULL ORDER BY uid",
    )?;
    let mut found = Ok(());
    let uids = all.query_map([mailbox], |row| row.get::<_, u32>(0))?;
    let uids: UidSet =
        uids.map_while(|uid| uid.map_err(|e| found = Err(e)).ok()).filter_map(Uid::new).collect();
    found?;
    // What a limit left there is no part of what the brake weighs deletions against.
    let n_skipped = rows.iter().filter(|r| r.state == RowState::Skipped).count();
    let n_local = rows.iter().filter(|r| r.uid.is_none()).count();
    let n_known = uids.len().saturating_add(n_local).saturating_sub(n_skipped);
    Ok(BaseView { rows, uids, n_known, uidvalidity: validity.and_then(UidValidity::new) })
}

pub(super) fn each(
    db: &Connection,
    mailbox: MailboxId,
    visit: &mut dyn FnMut(BaseRow),
) -> Result<()> {
    let due = now();
    // Two indexed halves; without them every mailbox would read the whole table.
    for half in ["uid IS NOT NULL AND st <> 'landing'", "uid IS NULL AND st <> 'synced'"] {
        let mut statement = db.prepare_cached(&format!("{ROW} AND {half}"))?;
        let mut rows = statement.query([mailbox])?;
        while let Some(row) = rows.next()? {
            visit(base_row(row, due)?);
        }
    }
    Ok(())
}

pub(super) fn rows(db: &Connection, mailbox: MailboxId, uids: &UidSet) -> Result<Vec<BaseRow>> {
    let due = now();
    let mut found = Vec::new();
    let mut statement =
        db.prepare_cached(&format!("{ROW} AND uid BETWEEN ?2 AND ?3 AND st <> 'landing'"))?;
    for range in uids.ranges() {
        let some = statement
            .query_map([mailbox, i64::from(*range.start()), i64::from(*range.end())], |row| {
                base_row(row, due)
            })?;
        for row in some {
            found.push(row?);
        }
    }
    Ok(found)
}

pub(super) fn replaced(db: &Connection, mailbox: MailboxId) -> Result<Vec<(RowId, Base)>> {
    let mut statement = db.prepare_cached(
        "SELECT id, reason FROM msg WHERE mailbox = ?1 AND st <> 'synced' AND st = 'replaced'",
    )?;
    statement.query_map([mailbox], |row| Ok((row.get(0)?, Base(row.get(1)?))))?.collect()
}

pub(super) fn digest(db: &Connection, row: RowId) -> Result<Option<[u8; 32]>> {
    let hash = db
        .prepare_cached("SELECT hash FROM msg WHERE id = ?1")?
        .query_row([row], |row| row.get::<_, Option<Vec<u8>>>(0))
        .optional()?;
    Ok(hash.flatten().and_then(|hash| hash.try_into().ok()))
}

pub(super) fn skipped(db: &Connection, mailbox: MailboxId) -> Result<Vec<SkippedMessage>> {
    let mut statement = db.prepare_cached(
        "SELECT uid, size, date, coalesce(reason, '') FROM msg
         WHERE mailbox = ?1 AND st <> 'synced' AND st IN ('skipped', 'wanted') ORDER BY uid",
    )?;
    let rows = statement.query_map([mailbox], |row| {
        let size: Option<i64> = row.get(1)?;
        let (date, reason) = (row.get(2)?, row.get(3)?);
        let size = size.and_then(|n| u64::try_from(n).ok());
        Ok(Uid::new(row.get(0)?).map(|uid| SkippedMessage { uid, size, date, reason }))
    })?;
    Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

pub(super) fn skipped_by(db: &Connection, mailbox: MailboxId) -> Result<Vec<(String, u32)>> {
    db.prepare_cached(
        "SELECT coalesce(reason, ''), count(*) FROM msg
         WHERE mailbox = ?1 AND st <> 'synced' AND st IN ('skipped', 'wanted') GROUP BY 1 ORDER BY 1",
    )?
    .query_map([mailbox], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

pub(super) fn tally(db: &Connection, mailbox: MailboxId) -> Result<(u32, u32)> {
    db.prepare_cached(
        "SELECT count(*), coalesce(sum((flags & 16) = 0), 0) FROM msg
         WHERE mailbox = ?1 AND base IS NOT NULL",
    )?
    .query_row([mailbox], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn flags(bits: u8, keywords: &str) -> Flags {
    Flags::from_parts(bits, keywords.split(' ').filter(|k| !k.is_empty()).map(str::to_owned))
}

pub(super) fn landings(db: &Connection, mailbox: MailboxId) -> Result<Vec<Landing>> {
    let mut statement = db.prepare_cached(
        "SELECT uid, base, sub, flags, kw FROM msg
         WHERE mailbox = ?1 AND st <> 'synced' AND st = 'landing'",
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
            date: None,
        }))
    })?;
    Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

pub(super) fn has_others(db: &Connection, mailbox: MailboxId) -> Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM mailbox m WHERE m.id <> ?1 AND
         EXISTS (SELECT 1 FROM msg WHERE mailbox = m.id AND uid IS NOT NULL))",
    )?
    .query_row([mailbox], |row| row.get(0))
}

const KIN: &str = "SELECT g.id, g.mailbox, m.name, m.validity, g.uid, g.base, g.flags, g.kw
    FROM msg g JOIN mailbox m ON m.id = g.mailbox
    WHERE g.st = 'synced' AND g.uid IS NOT NULL AND g.base IS NOT NULL";

pub(super) fn kin_by_digest(db: &Connection, digest: &[u8; 32]) -> Result<Vec<Kin>> {
    let mut statement = db.prepare_cached(&format!(
        "{KIN} AND substr(g.hash, 1, 8) = substr(?1, 1, 8) AND g.hash = ?1"
    ))?;
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

pub(super) fn kin_by_id(db: &Connection, not_in: MailboxId, id: &str) -> Result<Vec<Kin>> {
    let sql = format!("{KIN} AND g.name = ?1 AND g.mailbox <> ?2 LIMIT 50");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params![id, not_in], kin)?;
    Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

pub(super) fn named_halves(db: &Connection, mailbox: MailboxId) -> Result<Vec<(String, Base)>> {
    let sql = "SELECT name, base FROM msg WHERE mailbox = ?1 AND st <> 'synced' AND uid IS NULL AND
        name IS NOT NULL AND base IS NOT NULL";
    let mut statement = db.prepare_cached(sql)?;
    statement.query_map([mailbox], |row| Ok((row.get(0)?, Base(row.get(1)?))))?.collect()
}

pub(super) fn nameless(db: &Connection, mailbox: MailboxId, first: u32) -> Result<Vec<Uid>> {
    let sql = "SELECT uid FROM msg WHERE mailbox = ?1 AND uid >= ?2 AND base IS NOT NULL AND
        name IS NULL";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(rusqlite::params![mailbox, first], |row| row.get(0))?;
    Ok(rows.collect::<Result<Vec<u32>>>()?.into_iter().filter_map(Uid::new).collect())
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
