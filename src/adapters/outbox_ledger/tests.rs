use super::*;
use crate::model::account::OnUncertain;
use crate::model::outbox::{Phase, Reason, Recipient, RecipientState};

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
    ledger.forget(std::slice::from_ref(&item.id)).unwrap();
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
        daemon.forget(std::slice::from_ref(&id)).unwrap();
    }
    assert_eq!(daemon.submitted(&id).unwrap(), None);
    let account = AccountName("w".to_owned());
    assert_eq!(daemon.server_files(&account).unwrap(), None);
    daemon.set_server_files(&account, true).unwrap();
    assert_eq!(daemon.server_files(&account).unwrap(), Some(true));
}

#[test]
fn a_ledger_of_version_1_is_taken_over_and_knows_the_new_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outbox.sqlite");
    let old = SCHEMA.replace(",'elsewhere'", "");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&old).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    let mut item = item();
    let tx = db.unchecked_transaction().unwrap();
    write_item(&tx, &item).unwrap();
    tx.commit().unwrap();
    drop(db);
    let ledger = SqliteOutbox::open(dir.path()).unwrap();
    assert_eq!(ledger.items().unwrap(), [item.clone()]);
    item.recipients[0].state = RecipientState::Elsewhere;
    ledger.put(&item).unwrap();
    assert_eq!(ledger.items().unwrap(), [item]);
}

#[test]
fn a_newer_ledger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = SqliteOutbox::open(dir.path()).unwrap();
    ledger.db().pragma_update(None, "user_version", VERSION + 1).unwrap();
    let failure = SqliteOutbox::open(dir.path()).unwrap_err();
    assert_eq!(failure.remedy, Remedy::Never, "{failure}");
}
