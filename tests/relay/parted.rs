//! Whom a message was refused for is parked at once; it goes on for the others.

use std::time::Instant;

use super::*;

/// Event of a message that was refused for some and waits for others.
async fn refused(world: &mut World) -> (OutboxId, Vec<(String, String)>) {
    loop {
        let event = world.event().await;
        if let OutboxEvent::Failed { id, recipients } = event {
            return (id, recipients);
        }
        assert!(matches!(event, OutboxEvent::Deferred { .. }), "{event:?}");
    }
}

fn parked(world: &World) -> Vec<String> {
    let files = std::fs::read_dir(world.root().join("failed")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_refused_recipient_is_parked_at_once_and_once_while_another_waits() {
    let mut world = World::new();
    world.drop_mail("m", "home@example.com", "soon@x.org, no@x.org, a@x.org");
    let (id, recipients) = refused(&mut world).await;
    assert_eq!(recipients, [("no@x.org".to_owned(), "550 no".to_owned())]);
    world.until(|status| status.failed == 1 && status.queued == 1).await;
    let part = format!("{id}-1");
    assert_eq!(parked(&world), [part.clone(), format!("{part}.reason")]);
    let text = std::fs::read_to_string(world.root().join("failed").join(&part)).unwrap();
    assert!(text.ends_with("Subject: s\n\nbody\n"), "{text}");
    let reason = world.root().join("failed").join(format!("{part}.reason"));
    let reason = std::fs::read_to_string(reason).unwrap();
    for wanted in ["no@x.org: 550 no", "a@x.org: has it", &format!("soon@x.org: goes on as {id}")] {
        assert!(reason.contains(wanted), "{wanted} in {reason}");
    }
    let mut world = world.restart().await;
    world.until(|status| status.failed == 1 && status.queued == 1).await;
    // The new scripted server counts from the start again.
    drop(world.ask(Ask::Flush(vec![id.clone()])).await);
    drop(world.ask(Ask::Flush(vec![id])).await);
    world.until(|status| status.queued == 0).await;
    while count(&world.root().join("cur")) > 0 {
        drop(world.ask(Ask::List).await);
    }
    assert!(world.seen().iter().all(|(_, to)| to == &["soon@x.org"]), "{:?}", world.seen());
    assert_eq!(parked(&world).len(), 2, "parked a second time");
    let left = world.ask(Ask::List).await;
    assert_eq!((left.len(), left[0].id.0.as_str()), (1, part.as_str()));
}

#[tokio::test]
async fn the_parked_part_is_a_message_of_its_own() {
    let mut world = World::new();
    for file in ["1", "2"] {
        world.drop_mail(file, "home@example.com", "later@x.org, no@x.org");
    }
    let (one, _) = refused(&mut world).await;
    let (two, _) = refused(&mut world).await;
    let part = |id: &OutboxId| OutboxId(format!("{id}-1"));
    // Whoever refused it is asked again, and nobody else.
    drop(world.ask(Ask::Flush(vec![part(&one)])).await);
    assert_eq!(world.seen().last().unwrap().1, ["no@x.org"]);
    world.until(|status| status.failed == 2).await;
    // The message that goes on can be cancelled, or the parked part of it.
    drop(world.ask(Ask::Cancel(vec![one.clone(), part(&two)])).await);
    let mut left: Vec<OutboxId> =
        world.ask(Ask::List).await.into_iter().map(|item| item.id).collect();
    left.sort();
    assert_eq!(left, [part(&one), two.clone()]);
    assert_eq!(parked(&world), [part(&one).0, format!("{}.reason", part(&one))]);
    // What is released is read anew, and stays parted.
    drop(world.ask(Ask::Hold(vec![two.clone()])).await);
    drop(world.ask(Ask::Release(vec![two.clone()])).await);
    drop(world.ask(Ask::Flush(vec![two])).await);
    assert_eq!(world.seen().last().unwrap().1, ["later@x.org"]);
}

#[tokio::test]
async fn a_crash_while_it_was_parked_leaves_one_copy() {
    let mut world = World::new();
    world.drop_mail("m", "home@example.com", "later@x.org, no@x.org");
    let (id, _) = refused(&mut world).await;
    world.until(|status| status.failed == 1).await;
    world.stop.send(true).unwrap();
    timeout(LIMIT, world.task).await.unwrap().unwrap();
    // As if it had been killed before the rows: the copy is there, and the ledger knows the verdict.
    let ledger = SqliteOutbox::open(world.dir.path()).unwrap();
    let items = ledger.items().unwrap();
    let part = items.iter().find(|item| item.id != id).unwrap();
    let mut whole = items.iter().find(|item| item.id == id).unwrap().clone();
    whole.recipients[1] = part.recipients[1].clone();
    ledger.put(&whole).unwrap();
    ledger.forget(std::slice::from_ref(&part.id)).unwrap();
    drop(ledger);
    let mut world = World::start(world.dir);
    world.until(|status| status.failed == 1 && status.queued == 1).await;
    assert_eq!(parked(&world), [part.id.0.clone(), format!("{}.reason", part.id)]);
}

#[tokio::test]
async fn a_settled_message_is_parked_before_its_copy_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let long = RelaySetup { sent_wait: Duration::from_secs(3600), ..setup() };
    let mut world = World::start_as(dir, long);
    world.drop_mail("m", "work@example.com", "a@x.org, no@x.org");
    let (id, _) = refused(&mut world).await;
    world.until(|status| status.failed == 1).await;
    drop(world.ask(Ask::List).await);
    assert_eq!(parked(&world), [id.0.clone(), format!("{id}.reason")]);
    assert_eq!(count(&world.dir.path().join("Sent/cur")), 0);
    // A stop does not wait for the copy, and the next start files it from where the message is.
    let world = world.restart().await;
    let sent = world.dir.path().join("Sent/cur");
    let until = Instant::now() + LIMIT;
    while count(&sent) == 0 {
        assert!(Instant::now() < until, "no copy");
        drop(world.ask(Ask::List).await);
    }
}

#[tokio::test]
async fn the_last_attempt_is_made_when_retry_for_is_over_and_not_later() {
    let policy = RelayPolicy { retry_for: Duration::from_secs(2), on_uncertain: OnUncertain::Hold };
    let mut world = World::start_as(tempfile::tempdir().unwrap(), RelaySetup { policy, ..setup() });
    let begin = Instant::now();
    world.drop_mail("m", "home@example.com", "later@x.org");
    let (_, recipients) = refused(&mut world).await;
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(8), "{took:?}");
    assert!(recipients[0].1.contains("retry_for"), "{recipients:?}");
    assert_eq!(world.seen().len(), 2, "a last attempt when the time was over");
}

#[tokio::test]
async fn a_stop_waits_for_a_message_at_its_dot_and_for_nothing_else() {
    let world = World::new();
    world.drop_mail("1", "home@example.com", "slow@x.org");
    world.drop_mail("2", "work@example.com", "hang@x.org");
    let until = Instant::now() + LIMIT;
    while world.seen().len() < 2 {
        assert!(Instant::now() < until, "{:?}", world.seen());
        drop(world.ask(Ask::List).await);
    }
    let mut world = world.restart().await;
    // The one that was at its dot has an answer, and the other was never there.
    world.until(|status| status.sending && status.uncertain == 0).await;
    let until = Instant::now() + LIMIT;
    while world.seen().is_empty() {
        assert!(Instant::now() < until, "it is not sent");
        drop(world.ask(Ask::List).await);
    }
    assert_eq!(world.seen(), [("work".to_owned(), vec!["hang@x.org".to_owned()])]);
}
