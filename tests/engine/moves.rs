//! Messages that change their mailbox.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_move_here_is_a_move_there_whatever_the_reader_calls_the_file() {
    let lacking: [&[Capability]; 3] = [&[], &[Capability::Move], &[Capability::CondStore]];
    for lacking in lacking {
        let world = World::new(without(lacking), |_| {});
        let (inbox, archive) = (world.server.mailbox("INBOX"), {
            world.server.create_mailbox("Archive/2026");
            world.server.mailbox("Archive/2026")
        });
        for n in 1..=20 {
            inbox.append(&mail(n), &["\\Seen"], None);
        }
        world.sync_ok().await;
        world.server.clear_commands();
        let names: Vec<String> = world.files("INBOX").into_keys().collect();
        let target = world.account.maildir.join("Archive/2026/cur");
        // One keeps its name, one is flagged on the way, one gets a name of its own.
        let plain = names[0].strip_prefix("cur/").unwrap();
        std::fs::rename(world.path("INBOX").join(&names[0]), target.join(plain)).unwrap();
        let flagged = names[1].strip_prefix("cur/").unwrap().replace(":2,S", ":2,FS");
        std::fs::rename(world.path("INBOX").join(&names[1]), target.join(flagged)).unwrap();
        std::fs::rename(world.path("INBOX").join(&names[2]), target.join("mine:2,S")).unwrap();
        let counters = world.sync_ok().await;
        let done = counters[&MailboxName("Archive/2026".into())];
        assert_eq!((done.moved_remote, done.uploaded, done.downloaded), (3, 0, 0), "{lacking:?}");
        assert_eq!((inbox.messages().len(), archive.messages().len()), (17, 3), "{lacking:?}");
        let flagged = archive.messages().iter().filter(|m| m.flags.len() == 2).count();
        assert_eq!(flagged, 1, "the flag came along");
        assert!(world.server.mailbox("Trash").messages().is_empty());
        world.assert_no_transfer();
        world.sync_ok().await;
        world.assert_quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_here_is_a_copy_there_and_a_new_name_is_nothing() {
    let world = world(|_| {});
    let inbox = world.server.mailbox("INBOX");
    world.server.create_mailbox("Work");
    inbox.append(&mail(1), &["\\Seen"], None);
    inbox.append(&mail(2), &["\\Seen"], None);
    world.sync_ok().await;
    world.server.clear_commands();
    let names: Vec<String> = world.files("INBOX").into_keys().collect();
    let from = world.path("INBOX").join(&names[0]);
    std::fs::copy(&from, world.account.maildir.join("Work").join(&names[0])).unwrap();
    let renamed = world.path("INBOX").join("cur/other,U=7:2,S");
    std::fs::rename(world.path("INBOX").join(&names[1]), renamed).unwrap();
    world.sync_ok().await;
    assert_eq!(inbox.messages().len(), 2);
    assert_eq!(world.server.mailbox("Work").messages().len(), 1);
    world.assert_no_transfer();
    world.sync_ok().await;
    world.assert_quiet().await;
}

/// Who syncs one mailbox sees a move out of it as a move, and nothing of the others otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_of_one_mailbox_follows_a_move_out_of_it() {
    let world = world(|_| {});
    let inbox = world.server.mailbox("INBOX");
    for name in ["Archive", "Other", "Later"] {
        world.server.create_mailbox(name);
    }
    let archive = world.server.mailbox("Archive");
    for n in 1..=6 {
        inbox.append(&mail(n), &["\\Seen"], None);
    }
    world.sync_ok().await;
    world.server.mailbox("Other").append(&mail(100), &[], None);
    world.server.clear_commands();

    // Nothing is missing: the others stay as they are.
    inbox.append(&mail(7), &["\\Seen"], None);
    let counters = world.sync_only(&["INBOX"]).await;
    assert_eq!(counters.into_keys().collect::<Vec<_>>(), [MailboxName::inbox()]);
    assert_eq!(world.files("Other").len(), 0);

    world.server.clear_commands();
    let name = world.files("INBOX").into_keys().next().unwrap();
    std::fs::rename(world.path("INBOX").join(&name), world.path("Archive").join(&name)).unwrap();
    let counters = world.sync_only(&["INBOX"]).await;
    assert_eq!(counters[&mailbox("Archive")].moved_remote, 1);
    assert_eq!((inbox.messages().len(), archive.messages().len()), (6, 1));
    assert!(world.server.mailbox("Trash").messages().is_empty());

    archive.append(&mail(3), &["\\Seen"], None);
    assert!(inbox.expunge(3));
    let counters = world.sync_only(&["INBOX"]).await;
    assert_eq!(counters[&mailbox("Archive")].moved_local, 1);
    assert_eq!((world.files("INBOX").len(), world.files("Archive").len()), (5, 2));
    assert_eq!(
        world.files("Other").len(),
        1,
        "it was looked at, for what was missing may be there"
    );
    let appends = world.server.commands().iter().filter(|c| c.name == "APPEND").count();
    assert_eq!(appends, 0);
    world.assert_quiet().await;
}
