//! The ledger of an account: what both sides agreed on, in SQLite. Floor 3.
//!
//! WAL with `synchronous=FULL`: a transaction that was rolled back by a power cut would turn a
//! downloaded file into a new local one. Losing the whole file costs time, never mail.

mod apply;
mod pop;
mod read;
mod schema;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{Base, MailboxName, Uid};
use crate::model::uids::UidSet;
use crate::model::view::{BaseRow, BaseView, RowId, SkippedMessage};
use crate::ports::ledger::{Change, Kin, Ledger, MailboxId, MailboxRow};
use crate::ports::local::Landing;
use crate::ports::remote::Quirk;

/// The ledger file of one account; one writer at a time.
#[derive(Debug)]
pub struct SqliteLedger {
    db: Mutex<Connection>,
    path: PathBuf,
    retry: Retry,
}

/// The delay before a message is tried again that failed so many times before.
pub type Retry = fn(u32) -> Duration;

impl SqliteLedger {
    /// Opens or makes the ledger. A file that is corrupt is moved aside and a new one begun: both
    /// sides are then paired again, and nothing is deleted.
    ///
    /// # Errors
    /// The file cannot be used, or was written by a newer version.
    pub fn open(path: &Path, retry: Retry) -> Result<Self, Failure> {
        match schema::open(path) {
            Ok(db) => Ok(Self { db: Mutex::new(db), path: path.to_path_buf(), retry }),
            Err(schema::OpenError::Corrupt(detail)) => {
                let aside = path.with_extension("sqlite.corrupt");
                tracing::warn!(
                    path = %path.display(), aside = %aside.display(), detail,
                    "the ledger is damaged; it is moved aside and both sides are paired again"
                );
                std::fs::rename(path, &aside)
                    .map_err(|e| Failure::local_io("move the damaged ledger aside", &e))?;
                for extension in ["sqlite-wal", "sqlite-shm"] {
                    drop(std::fs::remove_file(path.with_extension(extension)));
                }
                let db = schema::open(path).map_err(|e| e.into_failure(path))?;
                Ok(Self { db: Mutex::new(db), path: path.to_path_buf(), retry })
            }
            Err(other) => Err(other.into_failure(path)),
        }
    }

    /// Opens a ledger to look at it, beside a daemon that may be writing it.
    ///
    /// # Errors
    /// The file cannot be read, or is not of this version.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let db = schema::read(path).map_err(|e| e.into_failure(path))?;
        Ok(Self { db: Mutex::new(db), path: path.to_path_buf(), retry: |_| Duration::ZERO })
    }

    /// How many messages of a mailbox each limit left on the server.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn skipped_by(&self, mailbox: MailboxId) -> Result<Vec<(String, u32)>, Failure> {
        read::skipped_by(&self.db(), mailbox).map_err(|e| self.classify("read the ledger", &e))
    }

    /// The messages with this Message-ID: mailbox and base name. At most a few, since the id is unique but
    /// for copies.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn with_message_id(&self, id: &str) -> Result<Vec<(MailboxName, Base)>, Failure> {
        let sql = "SELECT mailbox.name, msg.base FROM msg JOIN mailbox ON mailbox.id = msg.mailbox
                   WHERE msg.msgid = ?1 AND msg.base IS NOT NULL LIMIT 20";
        let db = self.db();
        let read = || -> rusqlite::Result<Vec<(MailboxName, Base)>> {
            let mut select = db.prepare_cached(sql)?;
            let rows =
                select.query_map([id], |row| Ok((MailboxName(row.get(0)?), Base(row.get(1)?))))?;
            rows.collect()
        };
        read().map_err(|err| self.classify("find a message by its id", &err))
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn classify(&self, what: &str, err: &rusqlite::Error) -> Failure {
        Failure::new(Scope::Account, Remedy::Later, Kind::LocalIo, what)
            .at(self.path.display().to_string())
            .detail(err)
    }
}

impl Ledger for SqliteLedger {
    fn root(&self) -> Result<Option<String>, Failure> {
        read::root(&self.db()).map_err(|e| self.classify("read the ledger", &e))
    }

    fn set_root(&self, id: &str) -> Result<(), Failure> {
        self.db()
            .execute("INSERT OR REPLACE INTO meta(k, v) VALUES ('root', ?1)", [id])
            .map(|_| ())
            .map_err(|e| self.classify("write the ledger", &e))
    }

    fn quirks(&self) -> Result<BTreeSet<Quirk>, Failure> {
        read::quirks(&self.db()).map_err(|e| self.classify("read the ledger", &e))
    }

    fn learn_quirk(&self, quirk: Quirk) -> Result<(), Failure> {
        let key = format!("quirk:{}", quirk.as_str());
        self.db()
            .execute("INSERT OR REPLACE INTO meta(k, v) VALUES (?1, '1')", [key])
            .map(|_| ())
            .map_err(|e| self.classify("write the ledger", &e))
    }

    fn epoch(&self) -> Result<Option<u64>, Failure> {
        read::epoch(&self.db()).map_err(|e| self.classify("read the ledger", &e))
    }

    fn set_epoch(&self, epoch: u64) -> Result<(), Failure> {
        self.db()
            .execute("INSERT OR REPLACE INTO meta(k, v) VALUES ('epoch', ?1)", [epoch.to_string()])
            .map(|_| ())
            .map_err(|e| self.classify("write the ledger", &e))
    }

    fn mailboxes(&self) -> Result<Vec<MailboxRow>, Failure> {
        read::mailboxes(&self.db()).map_err(|e| self.classify("read the ledger", &e))
    }

    fn mailbox(&self, name: &MailboxName) -> Result<MailboxRow, Failure> {
        read::mailbox(&self.db(), name).map_err(|e| self.classify("read the ledger", &e))
    }

    fn rename(&self, mailbox: MailboxId, to: &MailboxName) -> Result<(), Failure> {
        apply::rename(&mut self.db(), mailbox, to)
            .map_err(|e| self.classify("write the ledger", &e))
    }

    fn forget(&self, mailbox: MailboxId) -> Result<(), Failure> {
        apply::forget(&mut self.db(), mailbox).map_err(|e| self.classify("write the ledger", &e))
    }

    fn known(&self, mailbox: MailboxId) -> Result<BaseView, Failure> {
        read::known(&self.db(), mailbox).map_err(|e| self.classify("read the ledger", &e))
    }

    fn each(&self, mailbox: MailboxId, visit: &mut dyn FnMut(BaseRow)) -> Result<(), Failure> {
        read::each(&self.db(), mailbox, visit).map_err(|e| self.classify("read the ledger", &e))
    }

    fn rows(&self, mailbox: MailboxId, uids: &UidSet) -> Result<Vec<BaseRow>, Failure> {
        read::rows(&self.db(), mailbox, uids).map_err(|e| self.classify("read the ledger", &e))
    }

    fn replaced(&self, mailbox: MailboxId) -> Result<Vec<(RowId, Base)>, Failure> {
        read::replaced(&self.db(), mailbox).map_err(|e| self.classify("read the ledger", &e))
    }

    fn digest(&self, row: RowId) -> Result<Option<[u8; 32]>, Failure> {
        read::digest(&self.db(), row).map_err(|e| self.classify("read the ledger", &e))
    }

    fn skipped(&self, mailbox: MailboxId) -> Result<Vec<SkippedMessage>, Failure> {
        read::skipped(&self.db(), mailbox).map_err(|e| self.classify("read the ledger", &e))
    }

    fn tally(&self, mailbox: MailboxId) -> Result<(u32, u32), Failure> {
        read::tally(&self.db(), mailbox).map_err(|e| self.classify("read the ledger", &e))
    }

    fn landings(&self, mailbox: MailboxId) -> Result<Vec<Landing>, Failure> {
        read::landings(&self.db(), mailbox).map_err(|e| self.classify("read the ledger", &e))
    }

    fn has_others(&self, mailbox: MailboxId) -> Result<bool, Failure> {
        read::has_others(&self.db(), mailbox).map_err(|e| self.classify("read the ledger", &e))
    }

    fn kin_by_digest(&self, digest: &[u8; 32]) -> Result<Vec<Kin>, Failure> {
        read::kin_by_digest(&self.db(), digest).map_err(|e| self.classify("read the ledger", &e))
    }

    fn kin_by_evidence(
        &self,
        not_in: MailboxId,
        size: u64,
        message_id: Option<&str>,
    ) -> Result<Vec<Kin>, Failure> {
        read::kin_by_evidence(&self.db(), not_in, size, message_id)
            .map_err(|e| self.classify("read the ledger", &e))
    }

    fn kin_by_id(&self, not_in: MailboxId, id: &str) -> Result<Vec<Kin>, Failure> {
        read::kin_by_id(&self.db(), not_in, id).map_err(|e| self.classify("read the ledger", &e))
    }

    fn named_halves(&self, mailbox: MailboxId) -> Result<Vec<(String, Base)>, Failure> {
        read::named_halves(&self.db(), mailbox).map_err(|e| self.classify("read the ledger", &e))
    }

    fn nameless(&self, mailbox: MailboxId, first: u32) -> Result<Vec<Uid>, Failure> {
        read::nameless(&self.db(), mailbox, first).map_err(|e| self.classify("read the ledger", &e))
    }

    fn apply(&self, mailbox: MailboxId, changes: &[Change]) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        apply::apply(&mut self.db(), mailbox, changes, self.retry)
            .map_err(|e| self.classify("write the ledger", &e))
    }
}

/// The wall clock, for when a message that failed is tried again.
fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
