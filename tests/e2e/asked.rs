//! What a person is told who asks while the service cannot answer, is paused, or has no way out.

use std::path::Path;
use std::process::Command;

use crate::fixture::world::BINARY;
use crate::fixture::{Letter, SOON, World, bus, eventually, mail, scripted};

#[test]
fn a_service_whose_bus_is_off_is_told_of_and_the_last_numbers_are_shown() {
    let server = scripted::server();
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    let world = World::new();
    world.configure(&format!(
        "[daemon]\nbus = \"off\"\n{}{}",
        world.account("work"),
        scripted::imap_table(&server, "work")
    ));
    world.sync();
    assert!(world.ok(&["status"]).stdout.contains("no service is running"));
    let daemon = world.daemon();
    let runs = format!("the service runs (pid {}), and its bus is off", daemon.pid());
    let screen = world.ok(&["status"]).stdout;
    assert!(screen.contains(&runs) && screen.contains("1 unread"), "{screen}");
    assert!(screen.contains("bus = \"private\" in [daemon]"), "{screen}");
    assert!(!screen.contains("no service"), "{screen}");
    let document = world.ok(&["status", "--json"]).json();
    assert_eq!((&document["state"], &document["pid"]), (&"unknown".into(), &daemon.pid().into()));
    assert_eq!(document["accounts"][0]["state"], "unknown");
    let bar = world.ok(&["status", "--format", "waybar"]).json();
    assert_eq!(bar["class"], "unknown", "{bar}");
    let ran = world.ok(&["mailboxes"]);
    assert!(ran.stderr.contains(&runs), "{ran:?}");
    daemon.stop();
    assert_eq!(world.ok(&["status", "--json"]).json()["state"], "stopped");
}

#[test]
fn a_paused_sync_still_answers_with_its_document() {
    let server = scripted::server();
    let world = World::with_bus();
    let accounts = ["work", "home"]
        .map(|name| format!("{}{}", world.account(name), scripted::imap_table(&server, name)));
    world.configure(&accounts.concat());
    let daemon = world.daemon();
    ["work", "home"].iter().for_each(|name| drop(daemon.reaches(name, "idle")));
    world.ok(&["pause"]);
    daemon.reaches("work", "paused");
    let ran = world.run(&["sync", "--json"]);
    assert_eq!(ran.code, 75, "{ran:?}");
    let document = ran.json();
    assert_eq!(
        (&document["ok"], document["accounts"].as_array().unwrap().len()),
        (&false.into(), 2)
    );
    for account in document["accounts"].as_array().unwrap() {
        assert_eq!((&account["ok"], &account["error"]["code"]), (&false.into(), &"Paused".into()));
        assert!(
            account["error"]["text"].as_str().unwrap().contains("postrider resume"),
            "{account}"
        );
        assert_eq!(account["mailboxes"], serde_json::json!([]));
    }
    let one = world.run(&["sync", "--json", "home"]);
    assert_eq!((one.code, &one.json()["accounts"][0]["name"]), (75, &"home".into()), "{one:?}");
    world.ok(&["resume"]);
    ["work", "home"].iter().for_each(|name| drop(daemon.reaches(name, "idle")));

    // One of two that is paused keeps the other from nothing.
    world.bus.as_ref().unwrap().call(&bus::account("home"), "Account", &["Pause", "t", "0"]);
    daemon.reaches("home", "paused");
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    let ran = world.run(&["sync", "--json", "work", "home"]);
    assert_eq!(ran.code, 75, "{ran:?}");
    let document = ran.json();
    assert_eq!(document["ok"], false);
    let of = |name: &str| {
        let accounts = document["accounts"].as_array().unwrap();
        accounts.iter().find(|account| account["name"] == name).unwrap().clone()
    };
    assert_eq!((&of("work")["ok"], &of("home")["ok"]), (&true.into(), &false.into()));
    assert_eq!(world.run(&["sync", "home"]).code, 75);
    daemon.stop();
}

#[test]
fn a_log_filter_that_means_nothing_is_told_once_and_the_configured_one_goes_on() {
    let server = scripted::server();
    let world = World::with_bus();
    world.configure(&format!(
        "[daemon]\nlog = \"debug\"\n{}{}",
        world.account("work"),
        scripted::imap_table(&server, "work")
    ));
    let daemon = world.daemon_with(&[("POSTRIDER_LOG", "nonsense")]);
    daemon.reaches("work", "idle");
    let said = daemon.said();
    assert_eq!(said.matches("POSTRIDER_LOG").count(), 1, "{said}");
    assert!(said.contains("\"nonsense\" is not a level"), "{said}");
    assert!(said.contains("logging at debug") && said.contains(" DEBUG "), "{said}");
    daemon.stop();
    let ran = world.run_in(&["sync"], &[("POSTRIDER_LOG", "nonsense")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stderr.matches("POSTRIDER_LOG").count(), 1, "{ran:?}");
}

#[test]
fn one_that_only_sends_and_has_no_way_out_makes_the_service_offline() {
    let world = World::with_bus();
    world.configure(&format!(
        "{}[account.work.smtp]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n",
        world.account("work")
    ));
    let daemon = world.daemon();
    assert_eq!(daemon.status()["state"], "idle");
    world.drop_letter("m", &Letter::new("work@example.org", "a@x.org", "waits").text());
    eventually("the service is offline", SOON, || {
        (daemon.status()["state"] == "offline").then_some(())
    });
    world.bus.as_ref().unwrap().shows(bus::MANAGER, "Manager", "State", "offline");
    daemon.stop();
}

#[test]
fn a_credential_that_the_unit_loads_logs_in() {
    let server = scripted::server();
    let world = World::with_bus();
    let account =
        "[account.work]\naddress = \"work@example.org\"\npassword = { credential = \"mail\" }\n";
    world.configure(&format!("{account}{}", scripted::imap_table(&server, "work")));
    let dir = world.path("secret/credentials");
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(world.path("secret/password"), dir.join("mail")).unwrap();
    let place = dir.display().to_string();
    let daemon = world.daemon_with(&[("CREDENTIALS_DIRECTORY", &place)]);
    daemon.reaches("work", "idle");
    daemon.stop();
    let daemon = world.daemon();
    let account = daemon.reaches("work", "needs-login");
    assert!(
        account["error"]["text"].as_str().unwrap().contains("CREDENTIALS_DIRECTORY"),
        "{account}"
    );
    daemon.stop();
}

/// What is installed, with the program under test in its place.
fn activation(world: &World) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file =
        std::fs::read_to_string(root.join("systemd/org.postrider.Postrider1.service")).unwrap();
    let services = world.path("services");
    std::fs::create_dir(&services).unwrap();
    let file = file.replace("/usr/bin/postrider", BINARY);
    std::fs::write(services.join("org.postrider.Postrider1.service"), file).unwrap();
    format!("<servicedir>{}</servicedir>", services.display())
}

#[test]
fn the_bus_starts_the_service_for_whoever_calls_it_and_not_for_whoever_only_looks() {
    let server = scripted::server();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), scripted::imap_table(&server, "work")));
    let session = bus::Bus::start_with(&activation(&world), |command| world.surround(command));
    let (call, manager) = (["call", bus::NAME, bus::MANAGER], format!("{}.Manager", bus::NAME));
    let status = [call.as_slice(), &[&manager, "GetStatus"]].concat();
    let looked = session.busctl(&[&["--auto-start=no"], status.as_slice()].concat());
    assert!(!looked.status.success());
    assert!(world.ok(&["status"]).stdout.contains("no service is running"));
    let asked = session.busctl(&status);
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(asked.status.success() && said.contains("work"), "{asked:?}");
    let document = world.ok(&["status", "--json"]).json();
    let pid = document["pid"].to_string();
    assert_ne!(document["state"], "stopped");
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    eventually("it ended", SOON, || {
        // While it ends, it may not answer.
        let ran = world.run(&["status", "--json"]);
        (ran.code == 0 && ran.json()["state"] == "stopped").then_some(())
    });
}
