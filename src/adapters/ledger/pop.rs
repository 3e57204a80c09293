//! What is known about a POP3 maildrop. Floor 3.
//!
//! A key has a row from the first time that it is listed, and a number; what became of the message stands
//! in the row of that number in `msg`, as it does for IMAP.

use rusqlite::{OptionalExtension as _, Result, Row, Transaction, params};

use super::apply::run;
use super::{SqliteLedger, now_seconds};
use crate::model::failure::Failure;
use crate::model::ids::{Base, Uid};
use crate::model::pop::{PopKnown, PopState};
use crate::ports::ledger::MailboxId;
use crate::ports::pop::{PopChange, PopLedger};

impl PopLedger for SqliteLedger {
    fn pop_each(
        &self,
        mailbox: MailboxId,
        visit: &mut dyn FnMut(PopKnown),
    ) -> std::result::Result<(), Failure> {
        let db = self.db();
        let mut each = || -> Result<()> {
            let due = i64::try_from(now_seconds()).unwrap_or(i64::MAX);
            let mut statement = db.prepare_cached(EACH)?;
            let mut rows = statement.query([mailbox])?;
            while let Some(row) = rows.next()? {
                if let Some(known) = known(row, due)? {
                    visit(known);
                }
            }
            Ok(())
        };
        each().map_err(|e| self.classify("read the ledger", &e))
    }

    fn pop_next(&self, mailbox: MailboxId) -> std::result::Result<u32, Failure> {
        let db = self.db();
        let next =
            || -> Result<u32> { db.prepare_cached(NEXT)?.query_row([mailbox], |r| r.get(0)) };
        next().map_err(|e| self.classify("read the ledger", &e))
    }

    fn pop_unlisted(
        &self,
        mailbox: MailboxId,
        digest: &[u8; 32],
    ) -> std::result::Result<Option<(Uid, Base)>, Failure> {
        let db = self.db();
        let find = || -> Result<Option<(u32, String)>> {
            db.prepare_cached(UNLISTED)?
                .query_row(params![mailbox, digest.as_slice()], |r| Ok((r.get(0)?, r.get(1)?)))
                .optional()
        };
        let found = find().map_err(|e| self.classify("read the ledger", &e))?;
        Ok(found.and_then(|(uid, base)| Some((Uid::new(uid)?, Base(base)))))
    }
}

fn known(row: &Row<'_>, due: i64) -> Result<Option<PopKnown>> {
    let Some(uid) = Uid::new(row.get(0)?) else { return Ok(None) };
    let octets: i64 = row.get(2)?;
    let state = match row.get_ref(7)?.as_str_or_null().unwrap_or_default() {
        None => PopState::Named,
        Some("failed") if row.get::<_, i64>(8)? > due => PopState::Waiting,
        Some("failed") => PopState::Failed,
        Some("skipped") => PopState::Skipped,
        Some("wanted") => PopState::Wanted,
        Some(_) => PopState::Stored,
    };
    Ok(Some(PopKnown {
        uid,
        key: row.get(1)?,
        octets: u64::try_from(octets).unwrap_or(0),
        at: row.get(3)?,
        is_listed: row.get::<_, i64>(4)? == 0,
        is_moved: row.get(5)?,
        is_asked: row.get(6)?,
        state,
        base: row.get::<_, Option<String>>(9)?.map(Base),
    }))
}

pub(super) fn apply(tx: &Transaction<'_>, mailbox: MailboxId, change: &PopChange) -> Result<()> {
    let each = |sql: &str, uids: &[Uid]| -> Result<()> {
        let mut statement = tx.prepare_cached(sql)?;
        uids.iter().try_for_each(|uid| statement.execute(params![mailbox, uid.get()]).map(drop))
    };
    let each_at = |sql: &str, uids: &[Uid], at: i64| -> Result<()> {
        let mut statement = tx.prepare_cached(sql)?;
        uids.iter().try_for_each(|uid| statement.execute(params![mailbox, uid.get(), at]).map(drop))
    };
    match change {
        PopChange::Known { uid, key, octets, at } => {
            let octets = i64::try_from(*octets).unwrap_or(i64::MAX);
            run(tx, KNOWN, params![mailbox, uid.get(), key, octets, at])
        }
        PopChange::Begun(uids, at) => each_at(&set("at = ?3"), uids, *at),
        PopChange::Listed(uids) => each(&set("gone = 0"), uids),
        PopChange::Unlisted(uids, at) => each_at(&set("gone = max(?3, 1)"), uids, *at),
        PopChange::Moved(uids) => each(&set("moved = 1"), uids),
        PopChange::Asked(uids) => each(&set("asked = 1"), uids),
        PopChange::Rekeyed { known, stand_in } => rekey(tx, mailbox, *known, *stand_in),
        PopChange::Forget(uids) => {
            each("DELETE FROM msg WHERE mailbox = ?1 AND uid = ?2", uids)?;
            each("DELETE FROM pop WHERE mailbox = ?1 AND uid = ?2", uids)
        }
        PopChange::Prune(before) => {
            run(tx, PRUNE_MESSAGES, params![mailbox, before])?;
            run(tx, PRUNE_KEYS, params![mailbox, before])
        }
    }
}

fn set(what: &str) -> String {
    format!("UPDATE pop SET {what} WHERE mailbox = ?1 AND uid = ?2")
}

fn rekey(tx: &Transaction<'_>, mailbox: MailboxId, known: Uid, stand_in: Uid) -> Result<()> {
    let sql = "SELECT key, octets FROM pop WHERE mailbox = ?1 AND uid = ?2";
    let new: Option<(String, i64)> = tx
        .prepare_cached(sql)?
        .query_row(params![mailbox, stand_in.get()], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let Some((key, octets)) = new else { return Ok(()) };
    apply(tx, mailbox, &PopChange::Forget(vec![stand_in]))?;
    run(
        tx,
        "UPDATE pop SET key = ?3, octets = ?4, gone = 0, asked = 0 WHERE mailbox = ?1 AND uid = ?2",
        params![mailbox, known.get(), key, octets],
    )
}

const EACH: &str =
    "SELECT p.uid, p.key, p.octets, p.at, p.gone, p.moved, p.asked, m.st, m.next_try,
    m.base FROM pop p LEFT JOIN msg m ON m.mailbox = p.mailbox AND m.uid = p.uid
    WHERE p.mailbox = ?1 ORDER BY p.key";

const NEXT: &str = "SELECT 1 + max(
    coalesce((SELECT max(uid) FROM pop WHERE mailbox = ?1), 0),
    coalesce((SELECT max(uid) FROM msg WHERE mailbox = ?1), 0))";

const UNLISTED: &str = "SELECT p.uid, m.base FROM msg m JOIN pop p ON p.mailbox = m.mailbox AND
    p.uid = m.uid WHERE m.mailbox = ?1 AND m.hash IS NOT NULL AND
    substr(m.hash, 1, 8) = substr(?2, 1, 8) AND m.hash = ?2 AND p.gone > 0 AND p.asked = 0 LIMIT 1";

const KNOWN: &str = "INSERT INTO pop(mailbox, uid, key, octets, at) VALUES (?1,?2,?3,?4,?5)";

/// What a person moved or deleted here and the server dropped on our word is done.
const PRUNE_MESSAGES: &str = "DELETE FROM msg WHERE mailbox = ?1 AND uid IN
    (SELECT uid FROM pop WHERE mailbox = ?1 AND asked = 1 AND gone BETWEEN 1 AND ?2)";
const PRUNE_KEYS: &str =
    "DELETE FROM pop WHERE mailbox = ?1 AND asked = 1 AND gone BETWEEN 1 AND ?2";
