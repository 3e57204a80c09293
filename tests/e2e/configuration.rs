//! A configuration with a mistake is refused with its place, before anything else happens.

use crate::fixture::{World, scripted};

#[test]
fn a_mistake_is_refused_with_its_place_before_any_network_or_disk_change() {
    let server = scripted::server();
    let world = World::new();
    let good = format!(
        "{}{}{}",
        world.account("work"),
        scripted::imap_table(&server, "work"),
        scripted::smtp_table(&server, "work")
    );
    let cases = [
        ("host = ", "hots = ", "5:1", "hots", "host"),
        ("tls = \"none\"", "tls = \"implict\"", "7:7", "tls", "implicit"),
        ("address = ", "adress = ", "2:1", "adress", "address"),
    ];
    for (from, to, place, key, nearest) in cases {
        world.configure(&good.replacen(from, to, 1));
        for command in [&["sync"][..], &["run"], &["check"], &["--config", "CONFIG", "sync"]] {
            let file = world.config_file().display().to_string();
            let args: Vec<&str> =
                command.iter().map(|arg| if *arg == "CONFIG" { &file } else { *arg }).collect();
            let ran = world.run(&args);
            assert_eq!(ran.code, 78, "{args:?}: {ran:?}");
            for word in [&format!("{file}:{place}: "), key, nearest] {
                assert!(ran.stderr.contains(word), "{word:?} is missing: {}", ran.stderr);
            }
        }
    }
    assert!(server.commands().is_empty(), "nothing may be asked of a server");
    for touched in ["state/postrider", "home/Mail", "run/postrider"] {
        assert!(!world.path(touched).exists(), "{touched} was made");
    }
}

#[test]
fn a_registration_without_an_issuer_is_refused_before_anything_is_dialled() {
    let server = scripted::server();
    let world = World::new();
    let table = scripted::imap_table(&server, "work");
    let oauth = "[account.work]\naddress = \"a@b.example\"\noauth = { client_id = \"x\" }\n";
    world.configure(&format!("{oauth}{table}"));
    let ran = world.run(&["sync"]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains("issuer") && ran.stderr.contains("microsoft"), "{ran:?}");
    assert!(server.commands().is_empty());
}

#[test]
fn a_missing_configuration_is_told_with_where_it_should_be() {
    let world = World::new();
    let ran = world.run(&["sync"]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains(&world.config_file().display().to_string()), "{ran:?}");
}
