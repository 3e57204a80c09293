use super::*;
use crate::model::flags::Flags;
use crate::model::ids::{Base, ModSeq, Uid, UidValidity};
use crate::model::view::{Cursor, RowState, Stamp, Sub};
use crate::ports::ledger::OneSide;

const RETRY: Retry = |_| Duration::from_secs(60);

fn ledger() -> (tempfile::TempDir, SqliteLedger) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(&dir.path().join("a.sqlite"), RETRY).unwrap();
    (dir, ledger)
}

fn uid(n: u32) -> Uid {
    Uid::new(n).unwrap()
}

fn all(ledger: &SqliteLedger, id: MailboxId) -> Vec<BaseRow> {
    let mut rows = Vec::new();
    ledger.each(id, &mut |row| rows.push(row)).unwrap();
    rows
}

fn landing(n: u32) -> Landing {
    let flags = Flags::from_letters("FS");
    Landing {
        uid: uid(n),
        base: Base(format!("b{n}")),
        sub: Sub::New,
        flags,
        print: None,
        date: None,
    }
}

#[test]
fn a_landing_is_no_part_of_the_base_until_it_landed() {
    let (_dir, ledger) = ledger();
    let id = ledger.mailbox(&MailboxName::inbox()).unwrap().id;
    ledger.apply(id, &[Change::Land(landing(1)), Change::Land(landing(2))]).unwrap();
    assert!(all(&ledger, id).is_empty());
    assert_eq!(ledger.landings(id).unwrap(), [landing(1), landing(2)]);
    ledger.apply(id, &[Change::Landed(vec![uid(1)]), Change::Unland(uid(2))]).unwrap();
    let rows = all(&ledger, id);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].flags.letters(), "FS");
    assert!(ledger.landings(id).unwrap().is_empty());
}

#[test]
fn a_cursor_comes_back_and_failed_rows_are_counted_and_wait() {
    let (_dir, ledger) = ledger();
    let id = ledger.mailbox(&MailboxName::inbox()).unwrap().id;
    let cursor = Cursor {
        uidvalidity: UidValidity::new(7).unwrap(),
        uidnext: 9,
        modseq: ModSeq(u64::from(u32::MAX) + 5),
        exists: 3,
    };
    let stamp = Stamp { new_ns: -1, cur_ns: i64::MAX };
    let failed = Change::Failed { uid: Some(uid(4)), base: None, reason: "why".into() };
    ledger.apply(id, &[Change::Cursor(Some(cursor), Some(stamp)), failed]).unwrap();
    let row = ledger.mailbox(&MailboxName::inbox()).unwrap();
    assert_eq!((row.cursor, row.stamp), (Some(cursor), Some(stamp)));
    // It counts, but it is not due: a pass may be skipped meanwhile.
    assert_eq!((row.failed, row.unsettled), (1, 0));
    assert_eq!(all(&ledger, id)[0].state, RowState::Waiting);
    assert_eq!(ledger.mailboxes().unwrap(), [row]);
}

#[test]
fn a_void_keeps_the_files_known_and_forgets_the_server() {
    let (_dir, ledger) = ledger();
    let id = ledger.mailbox(&MailboxName::inbox()).unwrap().id;
    let pair = Change::Pair {
        uid: uid(1),
        base: Base("a".into()),
        flags: Flags::none(),
        print: None,
        date: None,
    };
    let validity = Change::Validity(UidValidity::new(1).unwrap());
    ledger.apply(id, &[validity, pair, Change::Land(landing(2))]).unwrap();
    ledger.apply(id, &[Change::Void]).unwrap();
    let base = BaseView { rows: all(&ledger, id), ..ledger.known(id).unwrap() };
    assert_eq!(base.uidvalidity, None);
    assert_eq!(base.rows.len(), 1);
    assert_eq!((base.rows[0].uid, base.rows[0].state), (None, RowState::Orphan));
}

#[test]
fn a_new_pair_replaces_what_knew_one_side() {
    let (_dir, ledger) = ledger();
    let id = ledger.mailbox(&MailboxName::inbox()).unwrap().id;
    let pair = |n, name: &str| Change::Pair {
        uid: uid(n),
        base: Base(name.into()),
        flags: Flags::none(),
        print: None,
        date: None,
    };
    ledger.apply(id, &[pair(1, "a")]).unwrap();
    let row = all(&ledger, id)[0].row;
    ledger.apply(id, &[Change::Orphan(row, OneSide::Local), pair(2, "a")]).unwrap();
    let rows = all(&ledger, id);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].uid, rows[0].state), (Some(uid(2)), RowState::Paired));
}

#[test]
fn a_damaged_file_is_set_aside_and_a_newer_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sqlite");
    std::fs::write(&path, b"this is not a database, but long enough to look at").unwrap();
    let ledger = SqliteLedger::open(&path, RETRY).unwrap();
    assert!(ledger.mailboxes().unwrap().is_empty());
    assert!(dir.path().join("a.sqlite.corrupt").exists());
    ledger.db().pragma_update(None, "user_version", 99).unwrap();
    drop(ledger);
    let failure = SqliteLedger::open(&path, RETRY).unwrap_err();
    assert!(failure.to_string().contains("newer version"), "{failure}");
}

#[test]
fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, _ledger) = ledger();
    let mode = std::fs::metadata(dir.path().join("a.sqlite")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_a_server_was_caught_at_is_remembered() {
    let (_dir, ledger) = ledger();
    assert!(ledger.quirks().unwrap().is_empty());
    for quirk in [Quirk::NoQresync, Quirk::NoQresync, Quirk::DoubtCondstore] {
        ledger.learn_quirk(quirk).unwrap();
    }
    ledger.set_root("r").unwrap();
    let known = ledger.quirks().unwrap();
    assert_eq!(known, BTreeSet::from([Quirk::NoQresync, Quirk::DoubtCondstore]));
}

/// The tables as version 1 made them, with a row of each kind.
const VERSION_1: &str = "
CREATE TABLE meta(k TEXT PRIMARY KEY, v TEXT NOT NULL) STRICT;
CREATE TABLE mailbox(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    validity INTEGER, uidvalidity INTEGER, uidnext INTEGER, modseq INTEGER, n_exists INTEGER,
    new_ns INTEGER, cur_ns INTEGER, held INTEGER NOT NULL DEFAULT 0,
    consent TEXT CHECK(consent IN ('confirm','reject'))) STRICT;
CREATE TABLE msg(
    id INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL REFERENCES mailbox(id),
    uid INTEGER, base TEXT, sub INTEGER NOT NULL DEFAULT 1,
    flags INTEGER NOT NULL, kw TEXT NOT NULL DEFAULT '',
    st TEXT NOT NULL CHECK(st IN ('landing','synced','orphan','failed')),
    msgid TEXT, size INTEGER, hash BLOB,
    reason TEXT, tries INTEGER NOT NULL DEFAULT 0, next_try INTEGER NOT NULL DEFAULT 0, CHECK(uid IS NOT NULL OR base IS NOT NULL)) STRICT;
CREATE UNIQUE INDEX msg_uid ON msg(mailbox, uid) WHERE uid IS NOT NULL;
CREATE UNIQUE INDEX msg_base ON msg(mailbox, base) WHERE base IS NOT NULL;
CREATE INDEX msg_hash ON msg(hash) WHERE hash IS NOT NULL;
CREATE INDEX msg_size ON msg(size, msgid) WHERE size IS NOT NULL;
CREATE INDEX msg_todo ON msg(mailbox, st) WHERE st <> 'synced';
CREATE TABLE append(
    mailbox INTEGER NOT NULL REFERENCES mailbox(id), base TEXT NOT NULL,
    flags INTEGER NOT NULL, uidnext INTEGER NOT NULL,
    PRIMARY KEY(mailbox, base)) STRICT;
INSERT INTO meta VALUES ('root', 'r');
INSERT INTO mailbox(id, name, validity, held) VALUES (3, 'INBOX', 7, 2);
INSERT INTO msg(id, mailbox, uid, base, flags, kw, st, size) VALUES (9, 3, 5, 'b', 16, 'x', 'synced', 44);
INSERT INTO msg(id, mailbox, base, flags, st) VALUES (10, 3, 'c', 0, 'orphan');
PRAGMA user_version = 1;
";

#[test]
fn a_ledger_of_version_1_keeps_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sqlite");
    Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
    let ledger = SqliteLedger::open(&path, RETRY).unwrap();
    assert_eq!(ledger.root().unwrap().as_deref(), Some("r"));
    let inbox = ledger.mailbox(&MailboxName::inbox()).unwrap();
    assert_eq!((inbox.id, inbox.held), (3, 2));
    let rows = all(&ledger, 3);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].row, rows[0].size), (9, Some(44)));
    assert_eq!(rows[0].flags.to_string(), "S+x");
    // Everything works on it, foreign keys included.
    ledger.apply(3, &[Change::Forget(10), Change::Land(landing(6))]).unwrap();
    drop(ledger);
    assert_eq!(SqliteLedger::open(&path, RETRY).unwrap().landings(3).unwrap().len(), 1);
}

#[test]
fn s107_a_migration_that_is_cut_off_is_made_again_and_keeps_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sqlite");
    let mut db = Connection::open(&path).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.execute_batch(VERSION_1).unwrap();
    // A cache this small spills what is not committed into the files, as a large ledger does.
    db.pragma_update(None, "cache_size", 1).unwrap();
    db.pragma_update(None, "cache_spill", 1).unwrap();
    let tx = db.transaction().unwrap();
    tx.execute_batch(
        "ALTER TABLE msg RENAME TO msg_1; CREATE TABLE msg(x TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO msg SELECT hex(randomblob(100)) FROM n; DROP TABLE msg_1;",
    )
    .unwrap();
    // The machine dies here: what is on the disk now is all there is.
    let after = tempfile::tempdir().unwrap();
    for name in ["a.sqlite", "a.sqlite-wal"] {
        std::fs::copy(dir.path().join(name), after.path().join(name)).unwrap();
    }
    drop(tx);
    let spilt = after.path().join("a.sqlite-wal").metadata().unwrap().len();
    assert!(spilt > 500_000, "half of it is on the disk: {spilt}");
    let ledger = SqliteLedger::open(&after.path().join("a.sqlite"), RETRY).unwrap();
    assert_eq!(ledger.root().unwrap().as_deref(), Some("r"));
    let rows = all(&ledger, 3);
    assert_eq!((rows.len(), rows[0].row, rows[0].size), (2, 9, Some(44)));
}

#[test]
fn a_ledger_of_version_3_gets_a_place_for_names_and_keeps_its_rows() {
    let (dir, ledger) = ledger();
    let path = dir.path().join("a.sqlite");
    let id = ledger.mailbox(&MailboxName::inbox()).unwrap().id;
    ledger.apply(id, &[Change::Land(landing(6)), Change::Landed(vec![uid(6)])]).unwrap();
    // As version 3 left it.
    ledger
        .db()
        .execute_batch(
            "DROP INDEX msg_name; ALTER TABLE msg DROP COLUMN name; PRAGMA user_version = 3",
        )
        .unwrap();
    drop(ledger);
    let ledger = SqliteLedger::open(&path, RETRY).unwrap();
    assert_eq!(ledger.nameless(id, 1).unwrap(), [uid(6)]);
    ledger.apply(id, &[Change::Named(vec![(uid(6), "M1".to_owned())])]).unwrap();
    assert!(ledger.nameless(id, 1).unwrap().is_empty());
    assert_eq!(all(&ledger, id).len(), 1);
}

#[test]
fn a_ledger_of_version_4_loses_its_intents_and_keeps_its_rows() {
    let (dir, ledger) = ledger();
    let path = dir.path().join("a.sqlite");
    let id = ledger.mailbox(&MailboxName::inbox()).unwrap().id;
    ledger.apply(id, &[Change::Land(landing(6)), Change::Landed(vec![uid(6)])]).unwrap();
    // As version 4 left it after a crash in an upload.
    ledger
        .db()
        .execute_batch(
            "CREATE TABLE append(mailbox INTEGER NOT NULL REFERENCES mailbox(id), base TEXT NOT NULL,
             flags INTEGER NOT NULL, uidnext INTEGER NOT NULL, PRIMARY KEY(mailbox, base)) STRICT;
             INSERT INTO append SELECT id, 'b', 0, 7 FROM mailbox; PRAGMA user_version = 4",
        )
        .unwrap();
    drop(ledger);
    let ledger = SqliteLedger::open(&path, RETRY).unwrap();
    assert_eq!(all(&ledger, id).len(), 1);
    // A mailbox that something referred to can be forgotten.
    ledger.forget(id).unwrap();
}
