//! A network where traffic is counted, as NetworkManager tells it: what waits, and what a person gets all the same.

use crate::fixture::maildir::count;
use crate::fixture::{Letter, SOON, World, bus, eventually, mail, scripted};
use crate::laptop::{System, stays};

/// A sync as a program asks for it on the bus, which says nothing of the network.
fn quiet_sync(world: &World) {
    let session = world.bus.as_ref().unwrap();
    let job = session.call(bus::MANAGER, "Manager", &["Sync", "asa{sv}", "0", "0"])[0].to_string();
    session.call(bus::MANAGER, "Manager", &["WaitJob", "u", &job]);
}

#[test]
fn on_a_metered_network_old_and_large_mail_waits_and_new_mail_and_what_is_sent_goes() {
    let server = scripted::server();
    let (inbox, archive) = (server.mailbox("INBOX"), {
        server.create_mailbox("Archive");
        server.mailbox("Archive")
    });
    for n in 0..130 {
        inbox.append(&mail::numbered(n), &["\\Seen"], None);
    }
    for n in 200..220 {
        archive.append(&mail::numbered(n), &["\\Seen"], None);
    }
    let (world, system) = (World::with_bus(), System::start());
    world.configure(&format!("{}sent_copy = \"none\"\n", scripted::account(&world, &server)));
    system.network(|network| network.metered = 1);
    let daemon = world.daemon_with(&[("DBUS_SYSTEM_BUS_ADDRESS", &system.bus.address)]);
    let counts = || (count(&world.mailbox("INBOX")), count(&world.mailbox("Archive")));
    eventually("the newest of INBOX are here", SOON, || (counts().0 == 100).then_some(()));
    daemon.reaches("work", "idle");
    stays(&daemon, "work", "idle");
    assert_eq!(counts(), (100, 0), "the rest waits");
    let screen = world.ok(&["status"]).stdout;
    assert!(
        screen.contains("network")
            && screen.contains("old and large mail waits (50 on the server)"),
        "{screen}"
    );
    assert_eq!(daemon.status()["metered"], true);
    let left = world.ok(&["fetch", "work/Archive", "--json"]).json();
    assert_eq!(left["skipped"].as_array().unwrap().len(), 20);
    assert_eq!(left["skipped"][0]["limit"], "metered");
    // What comes now comes, but for what is large; what is wanted comes; what is sent goes.
    inbox.append(&mail::numbered(130), &[], None);
    archive.append(&mail::numbered(220), &[], None);
    let large = [mail::numbered(131), vec![b'x'; 2 << 20], b"\r\n".to_vec()].concat();
    inbox.append(&large, &[], None);
    world.drop_letter("m", &Letter::new("work@example.org", "a@x.org", "metered").text());
    eventually("it is sent", SOON, || (server.sent().len() == 1).then_some(()));
    quiet_sync(&world);
    assert_eq!(counts(), (101, 1));
    let shown = world.ok(&["mailboxes"]).stdout;
    assert!(shown.contains("20 left on the server: 20 by metered"), "{shown}");
    let id = left["skipped"][0]["id"].to_string();
    world.ok(&["fetch", "work/Archive", &id]);
    eventually("what is wanted comes", SOON, || (counts() == (101, 2)).then_some(()));
    // A person who asks for a mailbox gets all of it; then it goes on with care.
    world.ok(&["sync", "work/Archive"]);
    assert_eq!(counts(), (101, 21));
    stays(&daemon, "work", "idle");
    assert_eq!(counts(), (101, 21), "INBOX still waits");
    // Elsewhere all of it comes by itself.
    system.network(|network| network.metered = 2);
    eventually("the rest comes", SOON, || (counts() == (132, 21)).then_some(()));
    assert!(daemon.reaches("work", "idle")["error"].is_null());
    assert!(!world.ok(&["status"]).stdout.contains("metered"));
    assert!(daemon.stop().success());
    crate::transfer::assert_all_zero(&world.sync());
}

#[test]
fn a_first_download_by_pop3_waits_as_well_and_a_persons_sync_does_not() {
    let server = scripted::server();
    let inbox = server.mailbox("INBOX");
    for n in 0..130 {
        inbox.append(&mail::numbered(n), &[], None);
    }
    let large = |n| [mail::numbered(n), vec![b'x'; 2 << 20], b"\r\n".to_vec()].concat();
    inbox.append(&large(130), &[], None);
    let system = System::start();
    let pop3 = |world: &World| {
        let port = server.pop3_addr().port();
        world.configure(&format!(
            "{}[account.work.pop3]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nuser = \"user\"\n",
            world.account("work")
        ));
    };
    let environment = [("DBUS_SYSTEM_BUS_ADDRESS", system.bus.address.as_str())];
    system.network(|network| network.metered = 1);
    let world = World::with_bus();
    pop3(&world);
    let daemon = world.daemon_with(&environment);
    daemon.reaches("work", "idle");
    let here = || count(&world.mailbox("INBOX"));
    assert_eq!(here(), 99, "of the newest 100 the large one waits");
    let screen = world.ok(&["status"]).stdout;
    assert!(screen.contains("old and large mail waits (32 on the server)"), "{screen}");
    let shown = world.ok(&["mailboxes"]).stdout;
    assert!(shown.contains("32 left on the server: 32 by metered"), "{shown}");
    let left = world.ok(&["fetch", "work/INBOX", "--json"]).json();
    assert_eq!(left["skipped"][0]["limit"], "metered");
    // What is new comes, and what is wanted; the rest still waits, however often it is looked.
    inbox.append(&mail::numbered(131), &[], None);
    quiet_sync(&world);
    quiet_sync(&world);
    assert_eq!(here(), 100);
    let id = left["skipped"][0]["id"].to_string();
    world.ok(&["fetch", "work/INBOX", &id]);
    eventually("what is wanted comes", SOON, || (here() == 101).then_some(()));
    // Elsewhere the rest comes by itself, each message once.
    system.network(|network| network.metered = 2);
    eventually("the rest comes", SOON, || (here() == 132).then_some(()));
    daemon.reaches("work", "idle");
    quiet_sync(&world);
    assert_eq!(here(), 132);
    assert!(!world.ok(&["mailboxes"]).stdout.contains("left on the server"));
    assert!(daemon.stop().success());

    // A person who says so gets all of it, through the daemon and without one.
    system.network(|network| network.metered = 1);
    let world = World::with_bus();
    pop3(&world);
    let daemon = world.daemon_with(&environment);
    daemon.reaches("work", "idle");
    assert_eq!(count(&world.mailbox("INBOX")), 99);
    world.ok(&["sync"]);
    assert_eq!(count(&world.mailbox("INBOX")), 132);
    quiet_sync(&world);
    assert_eq!(count(&world.mailbox("INBOX")), 132);
    assert!(daemon.stop().success());
    let world = World::with_bus();
    pop3(&world);
    assert_eq!(world.run_in(&["sync"], &environment).code, 0);
    assert_eq!(count(&world.mailbox("INBOX")), 132);
}
