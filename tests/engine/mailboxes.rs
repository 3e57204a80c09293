//! Mailboxes that come, go, are renamed, or are restored.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_subscribed_to_is_synced_where_that_is_asked_for() {
    for lacking in [&[][..], &[Capability::ListStatus, Capability::ListExtended][..]] {
        let world = World::new(without(lacking), |a| a.sync.subscribed_only = true);
        for (name, is_subscribed) in [("Lists", true), ("Noise", false)] {
            world.server.create_mailbox(name);
            world.server.mailbox(name).set_subscribed(is_subscribed);
            world.server.mailbox(name).append(&mail(1), &[], None);
        }
        let counters = world.sync_ok().await;
        assert!(counters.contains_key(&MailboxName("Lists".into())), "{lacking:?}");
        assert!(!counters.contains_key(&MailboxName("Noise".into())), "{lacking:?}");
        assert!(counters.contains_key(&MailboxName::inbox()));
        assert!(!world.account.maildir.join("Noise").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_personal_namespace_is_no_part_of_the_names() {
    let config =
        Config { delimiter: Some('.'), namespace_prefix: "INBOX.".into(), ..Config::default() };
    let world = World::new(config, |_| {});
    world.server.create_mailbox("INBOX.Work.2026");
    world.server.mailbox("INBOX.Work.2026").append(&mail(1), &[], None);
    world.sync_ok().await;
    assert_eq!(world.files("Work/2026").len(), 1);
    std::fs::create_dir_all(world.account.maildir.join("Mine")).unwrap();
    for sub in ["tmp", "new", "cur"] {
        std::fs::create_dir(world.account.maildir.join("Mine").join(sub)).unwrap();
    }
    world.sync_ok().await;
    assert!(world.server.mailboxes().contains(&"INBOX.Mine".to_owned()));
    world.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_whose_directory_is_gone_stops_no_other() {
    let world = world(|_| {});
    world.server.create_mailbox("Old");
    let old = world.server.mailbox("Old");
    old.append(&mail(1), &["\\Seen"], None);
    world.sync_ok().await;
    let name = world.files("Old").into_keys().next().unwrap();
    let from = world.account.maildir.join("Old").join(&name);
    std::fs::rename(from, world.path("INBOX").join(&name)).unwrap();
    std::fs::remove_dir_all(world.account.maildir.join("Old")).unwrap();
    let report = world.sync().await;
    let error = report.error.unwrap();
    assert!(error.text.contains("\"Old\""), "{}", error.text);
    assert_eq!(report.mailboxes[&MailboxName::inbox()].uploaded, 1);
    assert_eq!(world.server.mailbox("INBOX").messages().len(), 1);
    assert_eq!(old.messages().len(), 1, "nothing is deleted because a directory is gone");
}

/// A mailbox with one below it is renamed by `rename`: the other side follows, and nothing is transferred.
async fn follows_a_rename(rename: impl Fn(&World)) {
    let world = world(|_| {});
    for name in ["Old", "Old/sub", "Other"] {
        world.server.create_mailbox(name);
        for n in 1..=12 {
            world.server.mailbox(name).append(&mail(n), &["\\Seen"], None);
        }
    }
    world.sync_ok().await;
    world.assert_quiet().await;
    let before = (world.files("Old"), world.files("Old/sub"));
    rename(&world);
    world.server.clear_commands();
    let counters = world.sync_ok().await;
    assert_eq!(counters[&mailbox("New")], Counters::default());
    assert_eq!((world.files("New"), world.files("New/sub")), before);
    assert!(!world.account.maildir.join("Old").exists());
    let names = world.server.mailboxes();
    assert!(!names.iter().any(|n| n.starts_with("Old")), "{names:?}");
    assert_eq!(world.server.mailbox("New/sub").messages().len(), 12);
    world.assert_no_transfer();
    world.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s096_a_mailbox_renamed_there_is_renamed_here() {
    follows_a_rename(|world| assert!(world.server.rename_mailbox("Old", "New"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s097_a_mailbox_renamed_here_is_renamed_there() {
    follows_a_rename(|world| {
        let root = &world.account.maildir;
        std::fs::rename(root.join("Old"), root.join("New")).unwrap();
        world.server.clear_commands();
    })
    .await;
}

/// Where nothing can be expunged, all that is left of a mailbox may be marks: its directory holds nothing
/// that could be missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_held_only_what_was_deleted_is_not_missed() {
    let config = without(&[Capability::UidPlus]);
    let world = World::new(config, |a| a.sync.delete = DeletePolicy::Expunge);
    world.server.create_mailbox("Old");
    world.server.mailbox("Old").append(&mail(1), &["\\Seen"], None);
    world.sync_ok().await;
    let (name, _) = world.files("Old").pop_first().unwrap();
    std::fs::remove_file(world.path("Old").join(name)).unwrap();
    world.sync_ok().await;
    world.sync_ok().await;
    let left = world.server.mailbox("Old").messages();
    assert!(left[0].flags.iter().any(|flag| flag == "\\Deleted"), "{left:?}");
    let root = &world.account.maildir;
    std::fs::rename(root.join("Old"), root.join("New")).unwrap();
    world.sync_ok().await;
    world.assert_quiet().await;
    assert!(world.server.mailboxes().contains(&"New".to_owned()));
    assert_eq!(world.server.mailbox("Old").messages().len(), 1, "nothing was deleted by it");
}

/// Before the second look at one mailbox others are looked at that changed here: not one that the server
/// has no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_here_does_not_ask_for_a_mailbox_that_is_gone_there() {
    let world = world(|_| {});
    for name in ["INBOX", "Gone"] {
        world.server.create_mailbox(name);
        world.server.mailbox(name).append(&mail(1), &["\\Seen"], None);
        world.server.mailbox(name).append(&mail(2), &["\\Seen"], None);
    }
    world.sync_ok().await;
    world.server.delete_mailbox("Gone");
    world.sync_ok().await;
    drop_mail(&world.path("Gone"), "new.in.gone:2,S", &mail(3));
    let (name, _) = world.files("INBOX").pop_first().unwrap();
    std::fs::remove_file(world.path("INBOX").join(name)).unwrap();
    let counters = world.sync_ok().await;
    assert_eq!(counters[&mailbox("INBOX")].deleted_remote, 1);
    assert_eq!(world.files("Gone").len(), 3, "it is kept as it is");
}

/// What is removed on one side goes on the other only if it is empty there and that is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn s098_a_removed_mailbox_is_kept_unless_it_is_empty() {
    for removes in [false, true] {
        let world = world(|a| a.sync.remove_mailboxes = removes);
        for name in ["Empty", "Full", "Gone", "Mine"] {
            world.server.create_mailbox(name);
        }
        for name in ["Full", "Mine"] {
            world.server.mailbox(name).append(&mail(1), &[], None);
        }
        world.sync_ok().await;
        let root = world.account.maildir.clone();
        world.server.delete_mailbox("Empty");
        world.server.delete_mailbox("Full");
        std::fs::remove_dir_all(root.join("Gone")).unwrap();
        std::fs::remove_dir_all(root.join("Mine")).unwrap();
        let report = world.sync().await;
        // Its mail is on the server, and its directory is gone: that is for a person to say.
        assert!(report.error.unwrap().text.contains("Mine"));
        let names = world.server.mailboxes();
        assert_eq!(root.join("Empty").exists(), !removes);
        assert_eq!(names.iter().any(|n| n == "Gone"), !removes, "{names:?}");
        assert!(!names.iter().any(|n| n == "Empty" || n == "Full"), "{names:?}");
        assert!(names.iter().any(|n| n == "Mine"), "{names:?}");
        assert_eq!(world.files("Full").len(), 1, "never with mail in it");
    }
}

/// A backup brings back what was deleted and lacks what came since. Neither is taken
/// for the user's doing.
#[tokio::test(flavor = "multi_thread")]
async fn s110_a_maildir_or_a_ledger_from_an_old_backup_deletes_and_uploads_nothing() {
    for is_maildir in [true, false] {
        let world = world(|_| {});
        let inbox = world.server.mailbox("INBOX");
        for n in 1..=8 {
            inbox.append(&mail(n), &["\\Seen"], None);
        }
        world.sync_ok().await;
        let backup = world.dir.path().join("backup");
        let ledger = world.dir.path().join("work.sqlite");
        if is_maildir {
            copy_dir(&world.account.maildir, &backup);
        } else {
            std::fs::copy(&ledger, &backup).unwrap();
        }
        // Two were deleted since, and three came.
        inbox.expunge(1);
        world.sync_ok().await;
        inbox.expunge(2);
        for n in 9..=11 {
            inbox.append(&mail(n), &["\\Seen"], None);
        }
        world.sync_ok().await;
        world.assert_quiet().await;
        let there = inbox.messages().len();
        if is_maildir {
            std::fs::remove_dir_all(&world.account.maildir).unwrap();
            std::fs::rename(&backup, &world.account.maildir).unwrap();
        } else {
            std::fs::rename(&backup, &ledger).unwrap();
        }
        world.server.clear_commands();
        world.sync_ok().await;
        world.sync_ok().await;
        let said = world.server.commands();
        assert!(!said.iter().any(|c| c.is_mutating()), "{is_maildir}: {said:?}");
        assert_eq!(inbox.messages().len(), there, "{is_maildir}");
        let files = world.files("INBOX").len();
        // What the backup brought back is kept here, and is no new mail.
        assert_eq!(files, if is_maildir { 11 } else { 9 }, "{is_maildir}");
        world.assert_quiet().await;
        // From here on everything is as usual.
        let (name, _) =
            world.files("INBOX").into_iter().find(|(_, b)| b.ends_with(b"hello 9\n")).unwrap();
        std::fs::remove_file(world.path("INBOX").join(name)).unwrap();
        world.sync_ok().await;
        assert_eq!(inbox.messages().len(), there - 1, "{is_maildir}");
    }
}
