//! What the outbox remembers, in `outbox.sqlite` (WAL, `synchronous=FULL`). Floor 3.
//!
//! Every call of [`OutboxLedger`] is durable when it returns; calls that come at the same time share a
//! transaction, and with it the one sync of the disk that costs. `postrider sendmail` opens the same file
//! from another process, so a busy database is waited for.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{Address, Item, Submitted};
use crate::model::status::Micros;
use crate::ports::outbox::OutboxLedger;

use rows::{address, join, read_item, read_recipients, signed, unsigned, write_item};

mod rows;

/// The outbox ledger.
#[derive(Debug)]
pub struct SqliteOutbox {
    db: Mutex<Connection>,
    waiting: Mutex<VecDeque<Waiting>>,
    path: String,
}

type Change = Box<dyn Fn(&Transaction<'_>) -> Result<(), Wrong> + Send>;

/// A change that waits for a transaction, and who waits for it.
struct Waiting {
    change: Change,
    done: Sender<Result<(), Wrong>>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("{0}")]
    Sql(#[from] rusqlite::Error),
    #[error("the ledger is of version {0}, this program knows up to {VERSION}")]
    Newer(i64),
    #[error("a value of the ledger makes no sense: {0}")]
    Odd(String),
}

impl SqliteOutbox {
    /// Opens `outbox.sqlite` in the state directory, and makes it when it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, is damaged, or comes from a newer version.
    pub fn open(state: &Path) -> Result<Self, Failure> {
        let path = state.join("outbox.sqlite");
        let shown = path.display().to_string();
        let opened = Self::prepare(&path).map_err(|wrong| classify(&wrong, &shown, "open"))?;
        Ok(Self { db: Mutex::new(opened), waiting: Mutex::default(), path: shown })
    }

    fn prepare(path: &Path) -> Result<Connection, Wrong> {
        private(path);
        let mut db = Connection::open(path)?;
        db.busy_timeout(BUSY)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            return Err(Wrong::Newer(version));
        }
        if version < VERSION {
            // Immediate, so that two processes that start together do not both make the tables.
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            tx.execute_batch(SCHEMA)?;
            if version == 1 {
                tx.execute_batch(FROM_1)?;
            }
            tx.pragma_update(None, "user_version", VERSION)?;
            tx.commit()?;
        }
        Ok(db)
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic inside rolled its transaction back, so the connection is whole.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T, Wrong>) -> Result<T, Failure> {
        f(&self.db()).map_err(|wrong| classify(&wrong, &self.path, "read"))
    }

    /// Makes a change durable, together with all others that wait at that moment: whoever gets the database
    /// first commits for those behind.
    fn write(
        &self,
        change: impl Fn(&Transaction<'_>) -> Result<(), Wrong> + Send + 'static,
    ) -> Result<(), Failure> {
        let (done, answer) = std::sync::mpsc::channel();
        self.queue().push_back(Waiting { change: Box::new(change), done });
        let mut db = self.db();
        let mine = answer.try_recv().unwrap_or_else(|_| {
            let batch: Vec<Waiting> = self.queue().drain(..).collect();
            commit(&mut db, &batch);
            answer.try_recv().unwrap_or_else(|_| Err(Wrong::Odd("no answer".to_owned())))
        });
        mine.map_err(|wrong| classify(&wrong, &self.path, "write"))
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits all changes in one transaction; if that fails, each in its own, so that one that cannot be
/// made spoils no other.
fn commit(db: &mut Connection, batch: &[Waiting]) {
    let together = transact(db, batch);
    for one in batch {
        let result = match (&together, batch.len()) {
            (Ok(()), _) => Ok(()),
            (Err(_), 2..) => transact(db, std::slice::from_ref(one)),
            (Err(_), _) => break,
        };
        // Whoever waited may be gone.
        drop(one.done.send(result));
    }
    if let (Err(wrong), [one]) = (together, batch) {
        drop(one.done.send(Err(wrong)));
    }
}

fn transact(db: &mut Connection, batch: &[Waiting]) -> Result<(), Wrong> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    batch.iter().try_for_each(|one| (one.change)(&tx))?;
    Ok(tx.commit()?)
}

impl OutboxLedger for SqliteOutbox {
    fn submit(&self, id: &OutboxId, submitted: &Submitted, now: Micros) -> Result<(), Failure> {
        let sender = submitted.sender.as_ref().map(|s| s.as_ref().map_or("", Address::as_str));
        let (id, sender) = (id.clone(), sender.map(str::to_owned));
        let (recipients, from_header) = (join(&submitted.recipients), submitted.from_header);
        self.write(move |tx| {
            tx.execute(
                "INSERT INTO submitted(id, sender, recipients, from_header, at)
                 VALUES(?1, ?2, ?3, ?4, ?5)",
                params![id.0, sender, recipients, from_header, signed(now)],
            )?;
            Ok(())
        })
    }

    fn submitted(&self, id: &OutboxId) -> Result<Option<Submitted>, Failure> {
        self.read(|db| {
            let sql = "SELECT sender, recipients, from_header FROM submitted WHERE id = ?1";
            let row = |row: &Row<'_>| {
                Ok((row.get::<_, Option<String>>(0)?, row.get::<_, String>(1)?, row.get(2)?))
            };
            let Some((sender, recipients, from_header)) =
                db.query_row(sql, [&id.0], row).optional()?
            else {
                return Ok(None);
            };
            let sender = match sender {
                None => None,
                Some(text) if text.is_empty() => Some(None),
                Some(text) => Some(Some(address(&text)?)),
            };
            let recipients =
                recipients.split_terminator('\n').map(address).collect::<Result<_, _>>()?;
            Ok(Some(Submitted { sender, recipients, from_header }))
        })
    }

    fn put(&self, item: &Item) -> Result<(), Failure> {
        let item = item.clone();
        self.write(move |tx| write_item(tx, &item))
    }

    fn put_all(&self, items: &[Item]) -> Result<(), Failure> {
        let items = items.to_vec();
        self.write(move |tx| items.iter().try_for_each(|item| write_item(tx, item)))
    }

    fn put_accepted(&self, item: &Item, accepted: &[Address], now: Micros) -> Result<(), Failure> {
        let (item, accepted) = (item.clone(), accepted.to_vec());
        self.write(move |tx| {
            write_item(tx, &item)?;
            let mut insert = tx.prepare_cached(
                "INSERT OR REPLACE INTO done(msgid, addr, at) VALUES(?1, ?2, ?3)",
            )?;
            for address in &accepted {
                insert.execute(params![item.message_id, address.key(), signed(now)])?;
            }
            Ok(())
        })
    }

    fn put_parted(&self, whole: &Item, part: &Item) -> Result<(), Failure> {
        let (whole, part) = (whole.clone(), part.clone());
        self.write(move |tx| {
            write_item(tx, &whole)?;
            write_item(tx, &part)?;
            tx.execute(
                "INSERT OR REPLACE INTO submitted(id, sender, recipients, from_header, at)
                 SELECT ?2, sender, recipients, from_header, at FROM submitted WHERE id = ?1",
                [&whole.id.0, &part.id.0],
            )?;
            Ok(())
        })
    }

    fn items(&self) -> Result<Vec<Item>, Failure> {
        self.read(|db| {
            let mut select = db.prepare_cached(ITEMS)?;
            let mut rows = select.query([])?;
            let mut items = Vec::new();
            while let Some(row) = rows.next()? {
                let mut item = read_item(row)?;
                item.recipients = read_recipients(db, &item.id)?;
                items.push(item);
            }
            Ok(items)
        })
    }

    fn forget(&self, ids: &[OutboxId]) -> Result<(), Failure> {
        let ids = ids.to_vec();
        self.write(move |tx| {
            for sql in FORGET {
                let mut delete = tx.prepare_cached(sql)?;
                for id in &ids {
                    delete.execute([&id.0])?;
                }
            }
            Ok(())
        })
    }

    fn delivered(
        &self,
        message_id: &str,
        recipients: &[Address],
        since: Micros,
    ) -> Result<Vec<(Address, Micros)>, Failure> {
        self.read(|db| {
            let sql = "SELECT at FROM done WHERE msgid = ?1 AND addr = ?2 AND at >= ?3";
            let mut select = db.prepare_cached(sql)?;
            let mut found = Vec::new();
            for address in recipients {
                let key = params![message_id, address.key(), signed(since)];
                if let Some(at) = select.query_row(key, |row| row.get(0)).optional()? {
                    found.push((address.clone(), unsigned(at)));
                }
            }
            Ok(found)
        })
    }

    fn server_files(&self, account: &AccountName) -> Result<Option<bool>, Failure> {
        self.read(|db| {
            let sql = "SELECT files FROM server WHERE account = ?1";
            Ok(db.query_row(sql, [&account.0], |row| row.get(0)).optional()?)
        })
    }

    fn set_server_files(&self, account: &AccountName, files: bool) -> Result<(), Failure> {
        let account = account.clone();
        self.write(move |tx| {
            let sql = "INSERT OR REPLACE INTO server(account, files) VALUES(?1, ?2)";
            tx.execute(sql, params![account.0, files])?;
            Ok(())
        })
    }

    fn prune(&self, before: Micros) -> Result<(), Failure> {
        self.write(move |tx| {
            tx.execute("DELETE FROM done WHERE at < ?1", [signed(before)])?;
            tx.execute(
                "DELETE FROM submitted WHERE at < ?1 AND id NOT IN (SELECT id FROM item)",
                [signed(before)],
            )?;
            Ok(())
        })
    }
}

/// Makes the file before SQLite does, so that it is never readable by others.
fn private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    // It is there already, or opening it will say what is wrong.
    drop(made);
}

fn classify(wrong: &Wrong, path: &str, what: &str) -> Failure {
    let remedy = match wrong {
        Wrong::Sql(_) => Remedy::Later,
        Wrong::Newer(_) | Wrong::Odd(_) => Remedy::Never,
    };
    let failure =
        Failure::new(Scope::Daemon, remedy, Kind::LocalIo, format!("{what} the outbox ledger"))
            .at(path)
            .detail(wrong);
    match wrong {
        Wrong::Newer(_) => failure.cure("run the newer version of postrider"),
        Wrong::Sql(_) | Wrong::Odd(_) => failure.cure("check the disk and the file's permissions"),
    }
}

const BUSY: Duration = Duration::from_secs(10);
const VERSION: i64 = 2;
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS item(
  id TEXT PRIMARY KEY, account TEXT, sender TEXT, msgid TEXT NOT NULL, size INTEGER NOT NULL,
  queued_at INTEGER NOT NULL, hold_until INTEGER NOT NULL,
  phase TEXT NOT NULL CHECK(phase IN ('claimed','queued','held','sending','dot','uncertain','accepted','sent_copy','failed')),
  tries INTEGER NOT NULL, next_try INTEGER NOT NULL, err TEXT, reply TEXT,
  copy TEXT NOT NULL CHECK(copy IN ('not_yet','due','done')), on_uncertain TEXT) STRICT;
CREATE TABLE IF NOT EXISTS rcpt(
  item_id TEXT NOT NULL REFERENCES item(id), n INTEGER NOT NULL, addr TEXT NOT NULL,
  st TEXT NOT NULL CHECK(st IN ('pending','accepted','deferred','failed','elsewhere')), reply TEXT,
  PRIMARY KEY(item_id, addr)) STRICT;
CREATE TABLE IF NOT EXISTS done(
  msgid TEXT NOT NULL, addr TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(msgid, addr)) STRICT;
CREATE TABLE IF NOT EXISTS submitted(
  id TEXT PRIMARY KEY, sender TEXT, recipients TEXT NOT NULL, from_header INTEGER NOT NULL,
  at INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS server(account TEXT PRIMARY KEY, files INTEGER NOT NULL) STRICT;
";
/// Version 1 knew no recipients that another message is for.
const FROM_1: &str = "
ALTER TABLE rcpt RENAME TO rcpt_1;
CREATE TABLE rcpt(
  item_id TEXT NOT NULL REFERENCES item(id), n INTEGER NOT NULL, addr TEXT NOT NULL,
  st TEXT NOT NULL CHECK(st IN ('pending','accepted','deferred','failed','elsewhere')), reply TEXT,
  PRIMARY KEY(item_id, addr)) STRICT;
INSERT INTO rcpt SELECT item_id, n, addr, st, reply FROM rcpt_1;
DROP TABLE rcpt_1;
";
const FORGET: [&str; 3] = [
    "DELETE FROM rcpt WHERE item_id = ?1",
    "DELETE FROM item WHERE id = ?1",
    "DELETE FROM submitted WHERE id = ?1",
];
const ITEMS: &str = "SELECT * FROM item ORDER BY queued_at, id";
#[cfg(test)]
mod tests;
