//! What control headers ask for, and under which names it is said why a message waits.

use super::*;

/// Drops a message with this header field.
fn drop_with(world: &World, file: &str, field: &str) {
    let text = format!("{field}\nFrom: home@example.com\nTo: a@x.org\nSubject: s\n\nbody\n");
    let tmp = world.root().join("tmp").join(file);
    std::fs::write(&tmp, text).unwrap();
    std::fs::rename(tmp, world.root().join("new").join(file)).unwrap();
}

#[tokio::test]
async fn a_control_header_that_cannot_be_read_holds_the_message_and_says_so() {
    let mut world = World::new();
    let fields = [
        ("X-Postrider-Send-After: garbage", "\"1h\""),
        ("X-Postrider-On-Uncertain: foo", "hold or retry"),
        ("X-Postrider-DSN: nonsense", "failure, delay or never"),
        ("X-Postrider-Hold: perhaps", "yes or no"),
        ("X-Postrider-Envelope-From: nobody", "an address, or <>"),
    ];
    for (n, (field, _)) in fields.iter().enumerate() {
        drop_with(&world, &n.to_string(), field);
    }
    world.until(|status| status.held == 5).await;
    let items = world.ask(Ask::List).await;
    for (field, can) in fields {
        let (name, value) = field.split_once(": ").unwrap();
        let said = |text: &str| text.contains(name) && text.contains(value) && text.contains(can);
        let reasons = items.iter().filter_map(|item| item.reason.as_ref());
        let found: Vec<_> = reasons.filter(|reason| said(&reason.text)).collect();
        assert_eq!(found.len(), 1, "{field}: {items:?}");
        assert_eq!(found[0].name, "Paused");
    }
    assert_eq!(world.seen(), []);
    // A person's word is above it.
    drop(world.ask(Ask::Release(vec![items[0].id.clone()])).await);
    assert!(matches!(world.event().await, OutboxEvent::Sent { .. }));
}

#[tokio::test]
async fn a_message_waits_for_a_duration_and_leaves_without_a_sender() {
    let mut world = World::new();
    drop_with(&world, "1", "X-Postrider-Send-After: 1h");
    world.until(|status| status.queued == 1).await;
    let item = world.ask(Ask::List).await.remove(0);
    assert_eq!(item.hold_until, item.queued_at + 3_600_000_000);
    drop_with(&world, "2", "X-Postrider-Envelope-From: <>");
    let OutboxEvent::Sent { id, .. } = world.event().await else { panic!() };
    assert_ne!(id, item.id);
    let senders = world.server.senders.lock().unwrap().clone();
    assert_eq!(senders, [None]);
}

#[tokio::test]
async fn an_account_that_is_none_is_named_with_those_that_are() {
    let mut world = World::new();
    drop_with(&world, "1", "X-Postrider-Account: nope");
    assert!(matches!(world.event().await, OutboxEvent::Failed { .. }));
    let reason = world.ask(Ask::List).await.remove(0).reason.unwrap();
    for wanted in ["X-Postrider-Account", "\"nope\"", "work, home"] {
        assert!(reason.text.contains(wanted), "{wanted} in {reason:?}");
    }
    assert_eq!(reason.name, "NoSuchAccount");
}

#[tokio::test]
async fn a_message_shows_its_own_reason_or_that_its_account_waits() {
    let mut world = World::new();
    world.drop_mail("0", "home@example.com", "later@x.org");
    let OutboxEvent::Deferred { id: refused, error_name, .. } = world.event().await else {
        panic!()
    };
    assert_eq!(error_name, "Protocol");
    world.server.seen.lock().unwrap().clear();
    world.drop_mail("1", "home@example.com", "doubt@x.org");
    assert!(matches!(world.event().await, OutboxEvent::Uncertain { .. }));
    world.drop_mail("2", "home@example.com", "a@x.org");
    world.until(|status| status.queued == 2).await;
    let items = world.ask(Ask::List).await;
    let reason = |wanted: &dyn Fn(&Item) -> bool| {
        let item = items.iter().find(|item| wanted(item)).unwrap();
        item.reason.clone().unwrap()
    };
    let of_refused = reason(&|item| item.id == refused);
    assert_eq!(of_refused.text, "later@x.org: 450 later", "the server's word about it is gone");
    let untried = reason(&|item| item.tries == 0 && item.phase == Phase::Queued);
    assert!(untried.text.starts_with("its account waits: "), "{untried:?}");
    assert_eq!(untried.name, "Timeout");
}
