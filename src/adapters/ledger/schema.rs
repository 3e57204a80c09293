//! Opens the ledger and brings its tables to the current version. Floor 3.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// The version of the tables below.
const VERSION: i64 = 5;

const TABLES: &str = "
CREATE TABLE meta(k TEXT PRIMARY KEY, v TEXT NOT NULL) STRICT;
CREATE TABLE mailbox(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    validity INTEGER, uidvalidity INTEGER, uidnext INTEGER, modseq INTEGER, n_exists INTEGER,
    new_ns INTEGER, cur_ns INTEGER, held INTEGER NOT NULL DEFAULT 0,
    consent TEXT CHECK(consent IN ('confirm','reject')), limits TEXT) STRICT;
CREATE TABLE msg(
    id INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL REFERENCES mailbox(id),
    uid INTEGER, base TEXT, sub INTEGER NOT NULL DEFAULT 1,
    flags INTEGER NOT NULL, kw TEXT NOT NULL DEFAULT '',
    st TEXT NOT NULL CHECK(st IN
        ('landing','synced','orphan','failed','skipped','wanted','expiring','replaced')),
    msgid TEXT, size INTEGER, hash BLOB, date INTEGER, pinned INTEGER NOT NULL DEFAULT 0,
    reason TEXT, tries INTEGER NOT NULL DEFAULT 0, next_try INTEGER NOT NULL DEFAULT 0, name TEXT,
    CHECK(uid IS NOT NULL OR base IS NOT NULL)) STRICT;
";

const INDICES: &str = "
CREATE UNIQUE INDEX msg_uid ON msg(mailbox, uid) WHERE uid IS NOT NULL;
CREATE UNIQUE INDEX msg_base ON msg(mailbox, base) WHERE base IS NOT NULL;
CREATE INDEX msg_name ON msg(name) WHERE name IS NOT NULL;
CREATE INDEX msg_hash ON msg(substr(hash, 1, 8)) WHERE hash IS NOT NULL;
CREATE INDEX msg_size ON msg(size) WHERE size IS NOT NULL;
CREATE INDEX msg_todo ON msg(mailbox, st) WHERE st <> 'synced';
";

const POP: &str = "
CREATE TABLE pop(
    mailbox INTEGER NOT NULL REFERENCES mailbox(id), uid INTEGER NOT NULL, key TEXT NOT NULL,
    octets INTEGER NOT NULL, at INTEGER NOT NULL, gone INTEGER NOT NULL DEFAULT 0,
    moved INTEGER NOT NULL DEFAULT 0, asked INTEGER NOT NULL DEFAULT 0,
    cuts INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(mailbox, uid)) STRICT;
CREATE UNIQUE INDEX pop_key ON pop(mailbox, key);
";

const NAMES: &str = "
ALTER TABLE msg ADD COLUMN name TEXT;
CREATE INDEX msg_name ON msg(name) WHERE name IS NOT NULL;
";

/// What was about to be uploaded was written down, and nobody read it: what a lost answer leaves is found by
/// looking at the server.
const NO_INTENTS: &str = "DROP TABLE IF EXISTS append;";

/// Why the ledger could not be opened.
pub(super) enum OpenError {
    /// The file is no database, or a damaged one.
    Corrupt(String),
    /// A newer version wrote it.
    Newer(i64),
    /// Anything else.
    Other(String),
}

impl OpenError {
    pub(super) fn into_failure(self, path: &Path) -> Failure {
        let failure = Failure::new(Scope::Account, Remedy::Never, Kind::LocalIo, "open the ledger")
            .at(path.display().to_string());
        match self {
            Self::Corrupt(detail) | Self::Other(detail) => failure.detail(detail),
            Self::Newer(version) => failure
                .detail(format!("it was written by a newer version (schema {version})"))
                .cure("install that version again"),
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(err: rusqlite::Error) -> Self {
        match err.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Corrupt(err.to_string())
            }
            _ => Self::Other(err.to_string()),
        }
    }
}

pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    // SQLite would make the file by umask; it is ours alone.
    let made = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.map_err(|e| OpenError::Other(e.to_string()))?;
    // A ledger that was closed in good order leaves no WAL behind; reading all of it takes time
    // that grows with the mailbox.
    let wal = path.with_extension("sqlite-wal").metadata();
    let was_interrupted = wal.is_ok_and(|wal| wal.len() > 0);
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "cache_size", -6144)?;
    // A back-fill writes the same index pages again and again: each checkpoint writes them all.
    db.pragma_update(None, "wal_autocheckpoint", 4000)?;
    if was_interrupted {
        let check: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(OpenError::Corrupt(check));
        }
    }
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => {
            let tx = db.transaction()?;
            for part in [TABLES, INDICES, POP] {
                tx.execute_batch(part)?;
            }
            tx.pragma_update(None, "user_version", VERSION)?;
            tx.commit()?;
        }
        1 => from_version_1(&mut db)?,
        2 => later(&mut db, &[POP, NAMES, NO_INTENTS])?,
        3 => later(&mut db, &[NAMES, NO_INTENTS])?,
        4 => later(&mut db, &[NO_INTENTS])?,
        VERSION => {}
        newer => return Err(OpenError::Newer(newer)),
    }
    db.set_prepared_statement_cache_capacity(32);
    // A plan is not made again for each value (measured: a fifth of the work of a first POP3 sync).
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(db)
}

/// Opens a ledger to look at it, beside a process that may be writing it: nothing is made, mended or
/// brought up to date.
pub(super) fn read(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        VERSION => Ok(db),
        newer if newer > VERSION => Err(OpenError::Newer(newer)),
        _ => Err(OpenError::Other("it is of an older version; the next sync updates it".into())),
    }
}

/// Limits came: SQLite cannot change a CHECK, so that the tables are written anew. All or nothing.
fn from_version_1(db: &mut Connection) -> Result<(), OpenError> {
    // A table that others refer to cannot be replaced while that is checked; it does nothing within
    // a transaction.
    db.pragma_update(None, "foreign_keys", false)?;
    let tx = db.transaction()?;
    tx.execute_batch(
        "ALTER TABLE mailbox RENAME TO mailbox_1; ALTER TABLE msg RENAME TO msg_1;
         DROP INDEX msg_uid; DROP INDEX msg_base; DROP INDEX msg_hash; DROP INDEX msg_size;
         DROP INDEX msg_todo; ALTER TABLE meta RENAME TO meta_1;",
    )?;
    tx.execute_batch(TABLES)?;
    tx.execute_batch(
        "INSERT INTO meta SELECT k, v FROM meta_1;
         INSERT INTO mailbox(id, name, validity, uidvalidity, uidnext, modseq, n_exists, new_ns,
             cur_ns, held, consent)
         SELECT id, name, validity, uidvalidity, uidnext, modseq, n_exists, new_ns, cur_ns, held,
             consent FROM mailbox_1;
         INSERT INTO msg(id, mailbox, uid, base, sub, flags, kw, st, msgid, size, hash, reason, tries,
             next_try)
         SELECT id, mailbox, uid, base, sub, flags, kw, st, msgid, size, hash, reason, tries, next_try
             FROM msg_1;
         DROP TABLE msg_1; DROP TABLE append; DROP TABLE mailbox_1; DROP TABLE meta_1;",
    )?;
    tx.execute_batch(INDICES)?;
    tx.execute_batch(POP)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

/// What changed since: POP3 came with version 3, the server's names of messages with 4, the intents of uploads
/// went with 5.
fn later(db: &mut Connection, parts: &[&str]) -> Result<(), OpenError> {
    let tx = db.transaction()?;
    parts.iter().try_for_each(|part| tx.execute_batch(part))?;
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(tx.commit()?)
}
