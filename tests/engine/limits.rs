//! What is kept back, fetched on request, replaced, or kept for a while.

use super::*;

/// Limits touch the local copy and nothing else: the server hears no command that changes anything.
#[tokio::test(flavor = "multi_thread")]
async fn limits_leave_mail_on_the_server_and_take_old_copies_away() {
    let mut world = world(|a| a.sync.limits.max_messages = Some(3));
    let inbox = world.server.mailbox("INBOX");
    // Oldest first: flagged, unread, seen, and three newer ones.
    for (n, flags) in [(1, "\\Seen \\Flagged"), (2, ""), (3, "\\Seen"), (4, "\\Seen")] {
        inbox.append(&mail(n), &flags.split_whitespace().collect::<Vec<_>>(), None);
    }
    inbox.append(&mail(5), &["\\Seen"], None);
    inbox.append(&mail(6), &["\\Seen"], None);
    let subjects = |world: &World| {
        let files = world.files("INBOX");
        let mut n: Vec<u8> = files.values().map(|b| b[b.len() - 2] - b'0').collect();
        n.sort_unstable();
        n
    };
    let quiet = async |world: &World| {
        world.server.clear_commands();
        let again = world.sync_ok().await[&MailboxName::inbox()];
        assert_eq!(Counters { skipped: 0, ..again }, Counters::default());
        let said = world.server.commands();
        assert!(!said.iter().any(|c| c.is_mutating()), "{said:?}");
        again.skipped
    };
    world.sync_ok().await;
    assert_eq!(subjects(&world), [1, 2, 4, 5, 6]);
    assert_eq!(quiet(&world).await, 1);
    // New mail pushes the oldest seen copy out, and only here.
    inbox.append(&mail(7), &["\\Seen"], None);
    world.sync_ok().await;
    assert_eq!(subjects(&world), [1, 2, 5, 6, 7]);
    assert_eq!(inbox.messages().len(), 7);
    assert_eq!(quiet(&world).await, 2);
    // A flag rescues it.
    inbox.add_flags(4, &["\\Flagged"]);
    world.sync_ok().await;
    assert_eq!(subjects(&world), [1, 2, 4, 5, 6, 7]);
    // With a wider limit the rest comes back, although nothing moved on either side.
    world.account.sync.limits.max_messages = None;
    world.sync_ok().await;
    assert_eq!(subjects(&world), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(quiet(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_or_old_message_is_skipped_and_comes_when_it_is_asked_for() {
    let world = world(|a| {
        a.sync.limits.max_size = Some(1000);
        a.sync.limits.max_age = Some(Duration::from_secs(30 * 86_400));
    });
    let inbox = world.server.mailbox("INBOX");
    let mut large = mail(1);
    large.extend_from_slice(&[b'x'; 2000]);
    inbox.append(&large, &[], None);
    inbox.append(&mail(2), &["\\Seen"], Some(1_000_000_000));
    inbox.append(&mail(3), &["\\Seen"], None);
    let counters = world.sync_ok().await[&MailboxName::inbox()];
    assert_eq!((counters.downloaded, counters.skipped), (1, 2));
    let ledger = world.ledger();
    let row = ledger.mailbox(&MailboxName::inbox()).unwrap();
    let skipped = ledger.skipped(row.id).unwrap();
    assert_eq!(skipped[0].size, Some(large.len() as u64));
    assert_eq!((skipped[0].reason.as_str(), skipped[1].reason.as_str()), ("max_size", "max_age"));
    let uids = skipped.iter().map(|s| s.uid).collect();
    ledger.apply(row.id, &[Change::Limit(LimitChange::Want(uids))]).unwrap();
    drop(ledger);
    assert_eq!(world.sync_ok().await[&MailboxName::inbox()].downloaded, 2);
    // They stay, although the limits still say otherwise.
    world.assert_quiet().await;
    assert_eq!(world.files("INBOX").len(), 3);
}

/// Drafts are rewritten in place; the server gets one new message, and only then loses the old one.
#[tokio::test(flavor = "multi_thread")]
async fn s083_a_draft_that_was_rewritten_replaces_the_old_one_exactly_once() {
    let world = world(|_| {});
    let drafts = world.server.mailbox("Drafts");
    drafts.append(&mail(1), &["\\Draft", "\\Seen"], Some(1_000_000_000));
    drafts.append(&mail(2), &["\\Draft", "\\Seen"], Some(1_000_000_000));
    world.sync_ok().await;
    world.assert_quiet().await;
    let dir = world.account.maildir.join("Drafts");
    let files = world.files("Drafts");
    let (name, _) = files.iter().find(|(_, b)| b.ends_with(b"hello 1\n")).unwrap();
    let path = dir.join(name);
    let rewrite = |text: &[u8], age: u64| {
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    rewrite(b"Message-ID: <1@x>\nSubject: 1\n\nhello again, and longer\n", 60);
    let counters = world.sync_ok().await;
    assert_eq!(counters[&MailboxName("Drafts".into())].uploaded, 1);
    let there = drafts.messages();
    assert_eq!(there.len(), 2, "the old text is gone");
    let new = there.iter().find(|m| m.bytes.ends_with(b"hello again, and longer\r\n")).unwrap();
    assert!(new.flags.iter().any(|f| f == "\\Draft"));
    assert_eq!(world.server.mailbox("Trash").messages().len(), 0, "nobody wants old drafts there");
    assert!(path.exists());
    world.assert_quiet().await;

    // A file that is being written is left alone until it stands still.
    rewrite(b"half a dra", 0);
    let counters = world.sync_ok().await;
    assert_eq!(counters[&MailboxName("Drafts".into())].uploaded, 1);
    world.assert_quiet().await;

    // Touched, but the same.
    rewrite(b"half a dra", 5);
    world.assert_quiet().await;

    // Rewritten and removed at once: an ordinary deletion.
    rewrite(b"never seen", 60);
    std::fs::remove_file(&path).unwrap();
    world.sync_ok().await;
    assert_eq!(drafts.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quarantine_keeps_what_the_server_removed_for_as_long_as_it_should() {
    for (keep, n_left) in [(Duration::from_secs(3600), 1), (Duration::ZERO, 0)] {
        let world = world(|a| a.sync.quarantine = keep);
        let inbox = world.server.mailbox("INBOX");
        let uid = inbox.append(&mail(1), &["\\Seen"], None);
        inbox.append(&mail(2), &["\\Seen"], None);
        world.sync_ok().await;
        inbox.expunge(uid);
        world.sync_ok().await;
        assert_eq!(world.files("INBOX").len(), 1);
        // The names of the days it keeps are whole seconds: the next one has to come.
        let begin = std::time::Instant::now();
        let left = loop {
            world.sync_ok().await;
            let dir = world.account.maildir.join(".postrider/quarantine");
            let left = std::fs::read_dir(dir).unwrap().count();
            if left == n_left || begin.elapsed() > Duration::from_secs(5) {
                break left;
            }
        };
        assert_eq!(left, n_left, "{keep:?}");
    }
}
