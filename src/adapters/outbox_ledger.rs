//! What the outbox remembers, in `outbox.sqlite` (WAL, `synchronous=FULL`). Floor 3.
//!
//! Every call of [`OutboxLedger`] is one durable transaction. `postrider sendmail` opens the same file
//! from another process, so a busy database is waited for.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::model::account::OnUncertain;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{AccountName, OutboxId};
use crate::model::outbox::{
    Address, CopyState, Item, Phase, Reason, Recipient, RecipientState, Submitted,
};
use crate::model::status::Micros;
use crate::ports::outbox::OutboxLedger;

/// The outbox ledger.
#[derive(Debug)]
pub struct SqliteOutbox {
    db: Mutex<Connection>,
    path: String,
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
        Ok(Self { db: Mutex::new(opened), path: shown })
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

    fn write(&self, f: impl FnOnce(&Transaction<'_>) -> Result<(), Wrong>) -> Result<(), Failure> {
        let mut db = self.db();
        let done = db
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(Wrong::from)
            .and_then(|tx| f(&tx).and_then(|()| Ok(tx.commit()?)));
        done.map_err(|wrong| classify(&wrong, &self.path, "write"))
    }
}

impl OutboxLedger for SqliteOutbox {
    fn submit(&self, id: &OutboxId, submitted: &Submitted, now: Micros) -> Result<(), Failure> {
        let sender = submitted.sender.as_ref().map(|s| s.as_ref().map_or("", Address::as_str));
        self.write(|tx| {
            tx.execute(
                "INSERT INTO submitted(id, sender, recipients, from_header, at)
                 VALUES(?1, ?2, ?3, ?4, ?5)",
                params![
                    id.0,
                    sender,
                    join(&submitted.recipients),
                    submitted.from_header,
                    signed(now)
                ],
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
        self.write(|tx| write_item(tx, item))
    }

    fn put_accepted(&self, item: &Item, accepted: &[Address], now: Micros) -> Result<(), Failure> {
        self.write(|tx| {
            write_item(tx, item)?;
            let mut insert = tx.prepare_cached(
                "INSERT OR REPLACE INTO done(msgid, addr, at) VALUES(?1, ?2, ?3)",
            )?;
            for address in accepted {
                insert.execute(params![item.message_id, address.key(), signed(now)])?;
            }
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

    fn forget(&self, id: &OutboxId) -> Result<(), Failure> {
        self.write(|tx| {
            tx.execute("DELETE FROM rcpt WHERE item_id = ?1", [&id.0])?;
            tx.execute("DELETE FROM item WHERE id = ?1", [&id.0])?;
            tx.execute("DELETE FROM submitted WHERE id = ?1", [&id.0])?;
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

    fn server_files(&self, account: &AccountName) -> Result<bool, Failure> {
        self.read(|db| {
            let sql = "SELECT files FROM server WHERE account = ?1";
            Ok(db.query_row(sql, [&account.0], |row| row.get(0)).optional()?.unwrap_or(false))
        })
    }

    fn set_server_files(&self, account: &AccountName, files: bool) -> Result<(), Failure> {
        self.write(|tx| {
            let sql = "INSERT OR REPLACE INTO server(account, files) VALUES(?1, ?2)";
            tx.execute(sql, params![account.0, files])?;
            Ok(())
        })
    }

    fn prune(&self, before: Micros) -> Result<(), Failure> {
        self.write(|tx| {
            tx.execute("DELETE FROM done WHERE at < ?1", [signed(before)])?;
            tx.execute(
                "DELETE FROM submitted WHERE at < ?1 AND id NOT IN (SELECT id FROM item)",
                [signed(before)],
            )?;
            Ok(())
        })
    }
}

fn write_item(tx: &Transaction<'_>, item: &Item) -> Result<(), Wrong> {
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

fn read_item(row: &Row<'_>) -> Result<Item, Wrong> {
    let phase: String = row.get("phase")?;
    let copy: String = row.get("copy")?;
    let sender: Option<String> = row.get("sender")?;
    let reason = match (row.get("err")?, row.get("reply")?) {
        (Some(name), Some(text)) => Some(Reason { name, text }),
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

fn read_recipients(db: &Connection, id: &OutboxId) -> Result<Vec<Recipient>, Wrong> {
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

/// Makes the file before SQLite does, so that it is never readable by others.
fn private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    // It is there already, or opening it will say what is wrong.
    drop(made);
}

fn join(addresses: &[Address]) -> String {
    addresses.iter().map(|address| format!("{address}\n")).collect()
}

fn address(text: &str) -> Result<Address, Wrong> {
    Address::new(text).ok_or_else(|| Wrong::Odd(text.to_owned()))
}

fn signed(time: Micros) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
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
const VERSION: i64 = 1;
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS item(
  id TEXT PRIMARY KEY, account TEXT, sender TEXT, msgid TEXT NOT NULL, size INTEGER NOT NULL,
  queued_at INTEGER NOT NULL, hold_until INTEGER NOT NULL,
  phase TEXT NOT NULL CHECK(phase IN ('claimed','queued','held','sending','dot','uncertain','accepted','sent_copy','failed')),
  tries INTEGER NOT NULL, next_try INTEGER NOT NULL, err TEXT, reply TEXT,
  copy TEXT NOT NULL CHECK(copy IN ('not_yet','due','done')), on_uncertain TEXT) STRICT;
CREATE TABLE IF NOT EXISTS rcpt(
  item_id TEXT NOT NULL REFERENCES item(id), n INTEGER NOT NULL, addr TEXT NOT NULL,
  st TEXT NOT NULL CHECK(st IN ('pending','accepted','deferred','failed')), reply TEXT,
  PRIMARY KEY(item_id, addr)) STRICT;
CREATE TABLE IF NOT EXISTS done(
  msgid TEXT NOT NULL, addr TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(msgid, addr)) STRICT;
CREATE TABLE IF NOT EXISTS submitted(
  id TEXT PRIMARY KEY, sender TEXT, recipients TEXT NOT NULL, from_header INTEGER NOT NULL,
  at INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS server(account TEXT PRIMARY KEY, files INTEGER NOT NULL) STRICT;
";
const ITEMS: &str = "SELECT * FROM item ORDER BY queued_at, id";
const PUT: &str = "
INSERT INTO item(id, account, sender, msgid, size, queued_at, hold_until, phase, tries, next_try,
                 err, reply, copy, on_uncertain)
VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT(id) DO UPDATE SET account = ?2, sender = ?3, msgid = ?4, size = ?5, queued_at = ?6,
  hold_until = ?7, phase = ?8, tries = ?9, next_try = ?10, err = ?11, reply = ?12, copy = ?13,
  on_uncertain = ?14";

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Item {
        let mut item = Item::claimed(OutboxId("i".to_owned()), 5);
        item.account = Some(AccountName("work".to_owned()));
        item.sender = Address::new("me@x.org");
        item.message_id = "<m@x>".to_owned();
        item.reason = Some(Reason { name: "Offline".to_owned(), text: "t".to_owned() });
        item.on_uncertain = Some(OnUncertain::Retry);
        item.recipients = ["b@x", "a@x"]
            .iter()
            .map(|to| Recipient {
                address: Address::new(to).unwrap(),
                state: RecipientState::Deferred,
                reply: Some("450 later".to_owned()),
            })
            .collect();
        item
    }

    #[test]
    fn items_come_back_as_they_were_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        for phase in Phase::ALL {
            let mut item = item();
            item.phase = phase;
            SqliteOutbox::open(dir.path()).unwrap().put(&item).unwrap();
            assert_eq!(SqliteOutbox::open(dir.path()).unwrap().items().unwrap(), [item]);
        }
    }

    #[test]
    fn deliveries_are_remembered_until_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = SqliteOutbox::open(dir.path()).unwrap();
        let (item, to) = (item(), [Address::new("a@X").unwrap()]);
        ledger.put_accepted(&item, &to, 100).unwrap();
        assert_eq!(ledger.delivered("<m@x>", &to, 50).unwrap().len(), 1);
        assert_eq!(ledger.delivered("<m@x>", &to, 101).unwrap().len(), 0);
        assert_eq!(ledger.delivered("<other@x>", &to, 50).unwrap().len(), 0);
        ledger.prune(101).unwrap();
        assert_eq!(ledger.delivered("<m@x>", &to, 50).unwrap().len(), 0);
        ledger.forget(&item.id).unwrap();
        assert_eq!(ledger.items().unwrap(), []);
    }

    #[test]
    fn arguments_are_seen_by_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = SqliteOutbox::open(dir.path()).unwrap();
        let id = OutboxId("i".to_owned());
        for sender in [None, Some(None), Some(Address::new("f@x"))] {
            let recipients = vec![Address::new("\"a b\"@x").unwrap()];
            let given = Submitted { sender, recipients, from_header: true };
            SqliteOutbox::open(dir.path()).unwrap().submit(&id, &given, 7).unwrap();
            assert_eq!(daemon.submitted(&id).unwrap(), Some(given));
            daemon.forget(&id).unwrap();
        }
        assert_eq!(daemon.submitted(&id).unwrap(), None);
        let account = AccountName("w".to_owned());
        assert!(!daemon.server_files(&account).unwrap());
        daemon.set_server_files(&account, true).unwrap();
        assert!(daemon.server_files(&account).unwrap());
    }

    #[test]
    fn a_newer_ledger_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = SqliteOutbox::open(dir.path()).unwrap();
        ledger.db().pragma_update(None, "user_version", VERSION + 1).unwrap();
        let failure = SqliteOutbox::open(dir.path()).unwrap_err();
        assert_eq!(failure.remedy, Remedy::Never, "{failure}");
    }
}
