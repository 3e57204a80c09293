//! Changes of the ledger, one transaction for a batch. Floor 3.

use rusqlite::{Connection, OptionalExtension as _, Result, Transaction, params};

use super::{Retry, now_seconds};
use crate::model::event::Consent;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName, Uid};
use crate::model::view::{Cursor, RemoteMessage, Stamp, Sub};
use crate::ports::ledger::{Change, LimitChange, MailboxId, OneSide, Way};
use crate::ports::local::Landing;

pub(super) fn apply(
    db: &mut Connection,
    mailbox: MailboxId,
    changes: &[Change],
    retry: Retry,
) -> Result<()> {
    let tx = db.transaction()?;
    for change in changes {
        one(&tx, mailbox, change, retry)?;
    }
    tx.commit()
}

fn one(tx: &Transaction<'_>, mailbox: MailboxId, change: &Change, retry: Retry) -> Result<()> {
    match change {
        Change::Land(landing) => pair(tx, mailbox, landing, "landing"),
        Change::Landed(uids) => landed(tx, mailbox, uids),
        Change::Unland(uid) => {
            let sql = "DELETE FROM msg WHERE mailbox = ?1 AND uid = ?2 AND st = 'landing'";
            run(tx, sql, params![mailbox, uid.get()])
        }
        Change::Pair { uid, base, flags, print, date } => {
            let landing = Landing {
                uid: *uid,
                base: base.clone(),
                sub: Sub::Cur,
                flags: flags.clone(),
                print: print.clone(),
                date: *date,
            };
            pair(tx, mailbox, &landing, "synced")
        }
        Change::Rebase(row, base) => {
            run(tx, "UPDATE msg SET base = ?2 WHERE id = ?1", params![row, base.0])
        }
        Change::Agree(row, flags) => {
            let sql = "UPDATE msg SET flags = ?2, kw = ?3 WHERE id = ?1";
            run(tx, sql, params![row, flags.bits(), keywords(flags)])
        }
        Change::Forget(row) => run(tx, "DELETE FROM msg WHERE id = ?1", params![row]),
        Change::Replace(row) => run(tx, REPLACE, params![row]),
        Change::Restore(row) => run(tx, RESTORE, params![row]),
        Change::Stray(base) => {
            let sql =
                "INSERT OR IGNORE INTO msg(mailbox, base, flags, st) VALUES (?1,?2,0,'orphan')";
            run(tx, sql, params![mailbox, base.0])
        }
        Change::Orphan(row, side) => orphan(tx, *row, *side),
        Change::Limit(change) => limit(tx, mailbox, change),
        Change::Failed { uid, base, reason } => {
            failed(tx, mailbox, (*uid, base.as_ref()), reason, retry)
        }
        Change::Validity(validity) => {
            let sql = "UPDATE mailbox SET validity = ?2 WHERE id = ?1";
            run(tx, sql, params![mailbox, validity.get()])
        }
        Change::Void => void(tx, mailbox),
        Change::Named(names) => set_names(tx, mailbox, names),
        Change::Halved(way) => set_halved(tx, mailbox, *way, true),
        Change::Whole(way) => set_halved(tx, mailbox, *way, false),
        Change::Cursor(cursor, stamp) => set_cursor(tx, mailbox, *cursor, *stamp),
        Change::Consent(consent) => set_consent(tx, mailbox, *consent),
        Change::Held(n) => {
            run(tx, "UPDATE mailbox SET held = ?2 WHERE id = ?1", params![mailbox, n])
        }
        Change::Pop(change) => super::pop::apply(tx, mailbox, change),
    }
}

/// Renames a mailbox; one of the new name that knows no message gives way.
pub(super) fn rename(db: &mut Connection, mailbox: MailboxId, to: &MailboxName) -> Result<()> {
    let tx = db.transaction()?;
    let other: Option<MailboxId> = tx
        .query_row("SELECT id FROM mailbox WHERE name = ?1", [to.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(other) = other.filter(|other| *other != mailbox) {
        forget_in(&tx, other)?;
    }
    run(&tx, "UPDATE mailbox SET name = ?2 WHERE id = ?1", params![mailbox, to.as_str()])?;
    tx.commit()
}

/// Forgets a mailbox with all its rows.
pub(super) fn forget(db: &mut Connection, mailbox: MailboxId) -> Result<()> {
    let tx = db.transaction()?;
    forget_in(&tx, mailbox)?;
    tx.commit()
}

fn forget_in(tx: &Transaction<'_>, mailbox: MailboxId) -> Result<()> {
    for table in ["msg", "pop"] {
        tx.execute(&format!("DELETE FROM {table} WHERE mailbox = ?1"), [mailbox])?;
    }
    tx.execute("DELETE FROM mailbox WHERE id = ?1", [mailbox]).map(drop)
}

fn landed(tx: &Transaction<'_>, mailbox: MailboxId, uids: &[Uid]) -> Result<()> {
    let mut statement = tx.prepare_cached(
        "UPDATE msg SET st = 'synced' WHERE mailbox = ?1 AND uid = ?2 AND st = 'landing'",
    )?;
    uids.iter().try_for_each(|uid| statement.execute(params![mailbox, uid.get()]).map(drop))
}

pub(super) fn run(tx: &Transaction<'_>, sql: &str, params: impl rusqlite::Params) -> Result<()> {
    tx.prepare_cached(sql)?.execute(params).map(drop)
}

fn limit(tx: &Transaction<'_>, mailbox: MailboxId, change: &LimitChange) -> Result<()> {
    match change {
        LimitChange::Skip(message, why) => skip(tx, mailbox, message, why),
        LimitChange::Expire(row, why) => {
            let sql = "UPDATE msg SET st = 'expiring', reason = ?2 WHERE id = ?1";
            run(tx, sql, params![row, why])
        }
        LimitChange::Expired(row) => {
            let sql =
                "UPDATE msg SET st = 'skipped', base = NULL WHERE id = ?1 AND st = 'expiring'";
            run(tx, sql, params![row])
        }
        LimitChange::Want(uids) => want(tx, mailbox, uids),
        LimitChange::Kept(limits) => {
            run(tx, "UPDATE mailbox SET limits = ?2 WHERE id = ?1", params![mailbox, limits])
        }
    }
}

/// Messages that a limit left on the server, or that failed, are due at once.
fn want(tx: &Transaction<'_>, mailbox: MailboxId, uids: &[Uid]) -> Result<()> {
    let mut statement = tx.prepare_cached(
        "UPDATE msg SET st = 'wanted' WHERE mailbox = ?1 AND uid = ?2 AND base IS NULL
         AND st IN ('skipped', 'failed', 'orphan')",
    )?;
    uids.iter().try_for_each(|uid| statement.execute(params![mailbox, uid.get()]).map(drop))
}

fn skip(
    tx: &Transaction<'_>,
    mailbox: MailboxId,
    message: &RemoteMessage,
    why: &str,
) -> Result<()> {
    let flags = message.flags.clone().unwrap_or_default();
    tx.prepare_cached(
        "INSERT OR IGNORE INTO msg(mailbox, uid, flags, kw, st, reason, size, date)
         VALUES (?1,?2,?3,?4,'skipped',?5,?6,?7)",
    )?
    .execute(params![
        mailbox,
        message.uid.get(),
        flags.bits(),
        keywords(&flags),
        why,
        message.size,
        message.date
    ])
    .map(drop)
}

fn set_consent(tx: &Transaction<'_>, mailbox: MailboxId, consent: Option<Consent>) -> Result<()> {
    let word = consent.map(|c| match c {
        Consent::Confirm => "confirm",
        Consent::Reject => "reject",
    });
    tx.prepare_cached("UPDATE mailbox SET consent = ?2 WHERE id = ?1")?
        .execute(params![mailbox, word])
        .map(drop)
}

fn keywords(flags: &Flags) -> String {
    flags.keywords.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Writes a pair; half rows that know only one of its sides are replaced.
fn pair(tx: &Transaction<'_>, mailbox: MailboxId, landing: &Landing, state: &str) -> Result<()> {
    let (uid, base, flags) = (landing.uid.get(), &landing.base.0, &landing.flags);
    let before: Option<bool> = tx
        .prepare_cached("SELECT st = 'wanted' OR pinned FROM msg WHERE mailbox = ?1 AND uid = ?2")?
        .query_row(params![mailbox, uid], |row| row.get(0))
        .optional()?;
    // What a person asked for stays, whatever a limit says.
    let is_pinned = before == Some(true);
    // The name of a file that lands is new.
    if before.is_some() || state != "landing" {
        let sql = "DELETE FROM msg WHERE mailbox = ?1 AND (uid = ?2 OR base = ?3)";
        run(tx, sql, params![mailbox, uid, base])?;
    }
    let sub = i64::from(landing.sub == Sub::Cur);
    let print = landing.print.as_ref();
    tx.prepare_cached(
        "INSERT INTO msg(mailbox, uid, base, sub, flags, kw, st, msgid, size, hash, date, pinned)
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
    )?
    .execute(params![
        mailbox,
        uid,
        base,
        sub,
        flags.bits(),
        keywords(flags),
        state,
        print.map(|p| p.evidence.message_id.as_str()),
        print.map(|p| i64::try_from(p.evidence.size).unwrap_or(i64::MAX)),
        print.map(|p| p.digest.as_slice()),
        landing.date,
        is_pinned,
    ])
    .map(drop)
}

fn orphan(tx: &Transaction<'_>, row: i64, side: OneSide) -> Result<()> {
    let sql = match side {
        OneSide::Remote => "UPDATE msg SET base = NULL, st = 'orphan' WHERE id = ?1",
        OneSide::Local => "UPDATE msg SET uid = NULL, st = 'orphan' WHERE id = ?1",
    };
    tx.prepare_cached(sql)?.execute([row]).map(drop)
}

fn failed(
    tx: &Transaction<'_>,
    mailbox: MailboxId,
    (uid, base): (Option<Uid>, Option<&Base>),
    reason: &str,
    retry: Retry,
) -> Result<()> {
    let (uid, base) = (uid.map(Uid::get), base.map(|b| b.0.as_str()));
    let tries: u32 = tx
        .prepare_cached(
            "SELECT coalesce(max(tries), 0) FROM msg WHERE mailbox = ?1 AND (uid = ?2 OR base = ?3)",
        )?
        .query_row(params![mailbox, uid, base], |row| row.get(0))?;
    tx.prepare_cached("DELETE FROM msg WHERE mailbox = ?1 AND (uid = ?2 OR base = ?3)")?
        .execute(params![mailbox, uid, base])?;
    let next_try = now_seconds().saturating_add(retry(tries).as_secs());
    tx.prepare_cached(
        "INSERT INTO msg(mailbox, uid, base, flags, st, reason, tries, next_try)
         VALUES (?1,?2,?3,0,'failed',?4,?5,?6)",
    )?
    .execute(params![
        mailbox,
        uid,
        base,
        reason,
        tries.saturating_add(1),
        i64::try_from(next_try).unwrap_or(i64::MAX)
    ])
    .map(drop)
}

/// UIDVALIDITY changed: every UID is void. What is in the Maildir stays known as local only, so
/// that it is neither deleted nor taken for new mail.
pub(super) fn void(tx: &Transaction<'_>, mailbox: MailboxId) -> Result<()> {
    tx.execute("DELETE FROM msg WHERE mailbox = ?1 AND base IS NULL", [mailbox])?;
    tx.execute(
        "UPDATE msg SET uid = NULL, st = 'orphan' WHERE mailbox = ?1 AND st <> 'landing'",
        [mailbox],
    )?;
    tx.execute("DELETE FROM msg WHERE mailbox = ?1 AND st = 'landing'", [mailbox])?;
    tx.execute(
        "UPDATE mailbox SET validity = NULL, uidvalidity = NULL, uidnext = NULL, modseq = NULL,
         n_exists = NULL WHERE id = ?1",
        [mailbox],
    )
    .map(drop)
}

fn set_names(tx: &Transaction<'_>, mailbox: MailboxId, names: &[(Uid, String)]) -> Result<()> {
    let sql = "UPDATE msg SET name = ?3 WHERE mailbox = ?1 AND uid = ?2";
    let mut statement = tx.prepare_cached(sql)?;
    let mut set = |uid: Uid, name: &str| statement.execute(params![mailbox, uid.get(), name]);
    names.iter().try_for_each(|(uid, name)| set(*uid, name).map(drop))
}

/// What [`super::read::mailboxes`] reads again.
fn set_halved(tx: &Transaction<'_>, mailbox: MailboxId, way: Way, is_open: bool) -> Result<()> {
    let key = match way {
        Way::Leave => "leave",
        Way::Come => "come",
    };
    let sql = if is_open {
        "INSERT OR REPLACE INTO meta(k, v) VALUES (?1 || '.' || ?2, '')"
    } else {
        "DELETE FROM meta WHERE k = ?1 || '.' || ?2"
    };
    run(tx, sql, params![key, mailbox])
}

fn set_cursor(
    tx: &Transaction<'_>,
    mailbox: MailboxId,
    cursor: Option<Cursor>,
    stamp: Option<Stamp>,
) -> Result<()> {
    let modseq = cursor.map(|c| i64::try_from(c.modseq.0).unwrap_or(0));
    tx.prepare_cached(
        "UPDATE mailbox SET uidvalidity = ?2, uidnext = ?3, modseq = ?4, n_exists = ?5,
         new_ns = ?6, cur_ns = ?7 WHERE id = ?1",
    )?
    .execute(params![
        mailbox,
        cursor.map(|c| c.uidvalidity.get()),
        cursor.map(|c| c.uidnext),
        modseq,
        cursor.map(|c| c.exists),
        stamp.map(|s| s.new_ns),
        stamp.map(|s| s.cur_ns)
    ])
    .map(drop)
}

/// The base name waits in the reason until the new content is on the server.
const REPLACE: &str = "UPDATE msg SET st = 'replaced', reason = base, base = NULL WHERE id = ?1";
const RESTORE: &str = "UPDATE msg SET st = 'synced', base = reason, reason = NULL
    WHERE id = ?1 AND st = 'replaced'";
