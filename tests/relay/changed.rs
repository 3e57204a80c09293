//! Messages that are not what was taken in, and those that would stop others.

use super::*;

/// Drops a message that waits for an hour.
async fn waiting(world: &mut World, to: &str) -> (OutboxId, std::path::PathBuf) {
    let text = format!(
        "X-Postrider-Send-After: 1h\nFrom: home@example.com\nTo: {to}\nMessage-ID: <w@x>\nSubject: s\n\nbody\n"
    );
    std::fs::write(world.root().join("tmp/w"), text).unwrap();
    std::fs::rename(world.root().join("tmp/w"), world.root().join("new/w")).unwrap();
    world.until(|status| status.queued == 1).await;
    let id = world.ask(Ask::List).await.remove(0).id;
    let path = world.root().join("cur").join(format!("{id}:2,"));
    (id, path)
}

async fn listed(world: &World, wanted: impl Fn(&Item) -> bool) -> Item {
    let until = std::time::Instant::now() + LIMIT;
    loop {
        let items = world.ask(Ask::List).await;
        if let Some(item) = items.iter().find(|item| wanted(item)) {
            return item.clone();
        }
        assert!(std::time::Instant::now() < until, "{items:?}");
        tokio::task::yield_now().await;
    }
}

fn to(item: &Item) -> Vec<&str> {
    item.recipients.iter().map(|one| one.address.as_str()).collect()
}

#[tokio::test]
async fn a_waiting_message_that_somebody_edits_is_read_anew() {
    let mut world = World::new();
    let (id, path) = waiting(&mut world, "a@x.org").await;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("a@x.org", "b@x.org")).unwrap();
    let item = listed(&world, |item| to(item) == ["b@x.org"]).await;
    assert!(item.phase == Phase::Queued && item.hold_until > item.queued_at, "{item:?}");
    // What is held stays held, and shows whom it is for.
    world.ask(Ask::Hold(vec![id.clone()])).await;
    std::fs::write(&path, text.replace("a@x.org", "c@x.org")).unwrap();
    let item = listed(&world, |item| to(item) == ["c@x.org"]).await;
    assert_eq!(item.phase, Phase::Held);
    // Nothing is sent of a file that was cut down to nothing.
    std::fs::write(&path, "").unwrap();
    let item = listed(&world, |item| item.phase == Phase::Failed).await;
    assert!(item.reason.unwrap().text.contains("no header"), "and the reason says so");
    assert_eq!(world.seen(), []);
}

#[tokio::test]
async fn a_file_that_was_edited_unseen_is_found_out_before_it_is_sent() {
    let mut world = World::new();
    let (id, path) = waiting(&mut world, "a@x.org").await;
    world.stop.send(true).unwrap();
    timeout(LIMIT, world.task).await.unwrap().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("a@x.org", "b@x.org").replace("After: 1h", "After: 1s"))
        .unwrap();
    let ledger = SqliteOutbox::open(world.dir.path()).unwrap();
    let mut item = ledger.items().unwrap().remove(0);
    item.hold_until = 0;
    ledger.put(&item).unwrap();
    drop(ledger);
    let mut world = World::start(world.dir);
    let OutboxEvent::Sent { id: sent, .. } = world.event().await else { panic!() };
    assert_eq!((sent, world.seen()), (id, vec![("home".to_owned(), vec!["b@x.org".to_owned()])]));
}

#[tokio::test]
async fn a_link_in_the_place_of_a_message_is_parked_and_not_followed() {
    let mut world = World::new();
    let (id, path) = waiting(&mut world, "a@x.org").await;
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let item = listed(&world, |item| item.phase == Phase::Failed).await;
    assert!(item.reason.unwrap().text.contains("symbolic link"));
    assert!(world.root().join(format!("failed/{id}.reason")).exists());
}

#[tokio::test]
async fn nobody_is_forgotten_when_the_word_on_the_others_is_lost() {
    let mut world = World::new();
    world.drop_mail("m", "home@example.com", "doubt@x.org, later@x.org, no@x.org");
    let OutboxEvent::Uncertain { id } = world.event().await else { panic!() };
    world.server.seen.lock().unwrap().clear();
    world.ask(Ask::Resolve(id.clone(), Decision::Sent)).await;
    let until = std::time::Instant::now() + LIMIT;
    while world.seen().is_empty() {
        assert!(std::time::Instant::now() < until, "the one refused for now is forgotten");
        drop(world.ask(Ask::List).await);
    }
    assert_eq!(world.seen()[0].1, ["later@x.org"], "and whoever has it gets it once");
    let parked = listed(&world, |item| item.phase == Phase::Failed).await;
    let states: Vec<&str> = parked.recipients.iter().map(|one| one.state.as_str()).collect();
    assert_eq!(states, ["accepted", "elsewhere", "failed"], "{parked:?}");
}

#[tokio::test]
async fn a_full_transaction_is_followed_by_another_at_once() {
    let mut world = World::new();
    let to: Vec<String> = (0..7).map(|n| format!("crowd.{n}@x.org")).collect();
    world.drop_mail("m", "home@example.com", &to.join(", "));
    assert!(matches!(world.event().await, OutboxEvent::Deferred { .. }));
    while !matches!(world.event().await, OutboxEvent::Sent { .. }) {}
    let sizes: Vec<usize> = world.seen().iter().map(|(_, to)| to.len()).collect();
    assert_eq!(sizes, [7, 5, 3, 1], "two are taken at a time");
}

#[tokio::test]
async fn a_message_that_breaks_every_connection_stops_no_other() {
    let mut world = World::new();
    world.drop_mail("0", "home@example.com", "cut@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Deferred { .. }));
    world.drop_mail("1", "home@example.com", "a@x.org");
    world.until(|status| status.queued == 2).await;
    let ids: Vec<OutboxId> = world.ask(Ask::List).await.into_iter().map(|item| item.id).collect();
    drop(world.ask(Ask::Flush(ids.clone())).await);
    let item = listed(&world, |item| item.tries > 0).await;
    assert_eq!(item.id, ids[0], "then it ages");
    let last = world.seen().pop().unwrap();
    assert!(world.seen().contains(&("home".to_owned(), vec!["a@x.org".to_owned()])), "{last:?}");
}

#[tokio::test]
async fn mail_of_an_account_with_another_name_goes_by_that_and_of_none_is_parked() {
    let mut world = World::new();
    let (id, _) = waiting(&mut world, "a@x.org").await;
    world.stop.send(true).unwrap();
    timeout(LIMIT, world.task).await.unwrap().unwrap();
    let mut renamed = setup();
    renamed.accounts[1].name = name("new");
    let mut world = World::start_as(world.dir, renamed);
    let item = listed(&world, |item| item.id == id).await;
    assert_eq!((item.account, item.phase), (Some(name("new")), Phase::Queued));
    world.stop.send(true).unwrap();
    timeout(LIMIT, world.task).await.unwrap().unwrap();
    // One that is not enabled keeps its mail.
    let mut resting = setup();
    let mut home = resting.accounts.remove(1);
    home.name = name("new");
    resting.resting.push(home);
    world = World::start_as(world.dir, resting);
    world.ask(Ask::Flush(vec![id.clone()])).await;
    let item = listed(&world, |item| item.id == id).await;
    assert!(item.reason.unwrap().text.contains("enabled = true"));
    assert_eq!(world.seen(), []);
    world.stop.send(true).unwrap();
    timeout(LIMIT, world.task).await.unwrap().unwrap();
    let mut gone = setup();
    gone.accounts.remove(1);
    let world = World::start_as(world.dir, gone);
    let item = listed(&world, |item| item.phase == Phase::Failed).await;
    assert_eq!(item.reason.unwrap().name, "NoAccountForSender");
}

#[tokio::test]
async fn a_parked_message_that_somebody_took_away_is_forgotten_and_not_sent() {
    let mut world = World::new();
    world.drop_mail("m", "home@example.com", "no@x.org");
    let OutboxEvent::Failed { id, .. } = world.event().await else { panic!() };
    world.until(|status| status.failed == 1).await;
    drop(world.ask(Ask::List).await);
    std::fs::remove_file(world.root().join("failed").join(&id.0)).unwrap();
    let (reply, answer) = oneshot::channel();
    let what = Ask::Flush(vec![id.clone()]);
    world.requests.send(Request { what, reply }).await.unwrap();
    let refused = timeout(LIMIT, answer).await.unwrap().unwrap().unwrap_err();
    assert!(refused.to_string().contains("failed/"), "{refused}");
    world.until(|status| status.failed == 0).await;
    assert_eq!(count(&world.root().join("failed")), 0, "its reason goes as well");
}
