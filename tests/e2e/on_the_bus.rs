//! What the daemon shows and takes on D-Bus: the session bus, and the private socket.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout;
use zbus::{MatchRule, MessageStream};

use crate::fixture::bus::{self, MANAGER, NAME, OUTBOX};
use crate::fixture::process::tied;
use crate::fixture::world::BINARY;
use crate::fixture::{SOON, World, mail, maildir, scripted, shared};

#[test]
fn the_session_bus_has_the_objects_and_a_job_can_be_waited_for() {
    let servers = shared::servers();
    let world = World::with_bus();
    world.configure(&format!(
        "{}{}{}",
        world.account("work"),
        servers.dovecot.imap_table("work", "bus"),
        servers.postfix.smtp_table("work")
    ));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    servers.dovecot.client("bus").append("Junk", "", 1_500_000_000, &mail::numbered(1));
    let session = world.bus.as_ref().unwrap();
    let sync = ["Sync", "asa{sv}", "1", "work", "0"];
    let job = session.call(MANAGER, "Manager", &sync)[0].as_u64().unwrap();
    let result = session.call(MANAGER, "Manager", &["WaitJob", "u", &job.to_string()]);
    assert!(result.to_string().contains("downloaded"), "{result}");
    assert_eq!(maildir::count(&world.mailbox("Junk")), 1);

    let work = bus::account("work");
    let of_account = |name: &str| session.property(&work, "Account", name);
    session.shows(&work, "Account", "Total", 1);
    session.shows(MANAGER, "Manager", "State", "idle");
    assert_eq!(of_account("Name"), "work");
    assert_eq!(of_account("Address"), "work@example.org");
    assert_eq!(of_account("Protocol"), "imap");
    session.shows(&work, "Account", "Push", "notify");
    assert_eq!(of_account("Watch"), "inotify");
    assert_eq!(of_account("ErrorName"), "");
    assert!(of_account("LastSuccess").as_u64().unwrap() > 1_700_000_000_000_000);
    assert_eq!(session.property(MANAGER, "Manager", "AttentionNeeded"), false);
    assert_eq!(session.property(OUTBOX, "Outbox", "Queued"), 0);
    let objects = session.busctl(&[
        "call",
        NAME,
        MANAGER,
        "org.freedesktop.DBus.ObjectManager",
        "GetManagedObjects",
    ]);
    let objects = String::from_utf8_lossy(&objects.stdout).into_owned();
    assert!(objects.contains(&work) && objects.contains(OUTBOX), "{objects}");
    let wrong =
        session.busctl(&["call", NAME, MANAGER, &format!("{NAME}.Manager"), "WaitJob", "u", "999"]);
    assert!(!wrong.status.success());
    daemon.stop();
}

#[test]
fn the_status_document_has_the_keys_of_the_contract_and_the_bus_gives_the_same() {
    let servers = shared::servers();
    let world = World::with_bus();
    world.configure(&format!(
        "{}{}{}",
        world.account("work"),
        servers.dovecot.imap_table("work", "document"),
        servers.postfix.smtp_table("work")
    ));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let session = world.bus.as_ref().unwrap();
    let given = session.call(MANAGER, "Manager", &["GetStatus"]);
    let status: Value = serde_json::from_str(given[0].as_str().unwrap()).unwrap();
    let keys = |value: &Value| {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(keys(&status), "accounts outbox pid since state version");
    let account = &status["accounts"][0];
    assert_eq!(
        keys(account),
        "address error held last_success last_sync mailboxes name progress protocol push state \
         total unread"
    );
    assert_eq!(
        keys(&account["mailboxes"][0]),
        "failed held last_sync name path push role skipped total unread"
    );
    assert_eq!(keys(&status["outbox"]), "directory failed held next_attempt queued uncertain");
    assert_eq!(keys(&daemon.status()), keys(&status));
    assert_eq!(status["pid"], daemon.pid());
    assert!(status["since"].as_str().unwrap().ends_with('Z'), "{status}");
    let sent = account["mailboxes"].as_array().unwrap().iter().find(|m| m["name"] == "Sent");
    assert_eq!(sent.unwrap()["role"], "sent");
    let listed = world.ok(&["mailboxes", "work"]).stdout;
    assert!(listed.contains("INBOX") && listed.contains("Trash"), "{listed}");
    daemon.stop();
}

#[test]
fn changes_are_signalled_on_the_session_bus() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let table = dovecot.imap_table("work", "signalled");
    world.configure(&format!("{}{table}", world.account("work")));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = world.bus.as_ref().unwrap().address.as_str();
        let connection = zbus::connection::Builder::address(address).build().await.unwrap();
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(NAME)
            .build()
            .unwrap();
        let mut signals = MessageStream::for_match_rule(rule, &connection, None).await.unwrap();
        let (mut changed, mut arrived) = (false, false);
        dovecot.client("signalled").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
        // Signals that have nothing to do with it come every now and then.
        for _ in 0..200 {
            if changed && arrived {
                break;
            }
            let signal = timeout(SOON, signals.next()).await.expect("a signal").unwrap().unwrap();
            let header = signal.header();
            let member = header.member().map(ToString::to_string).unwrap_or_default();
            let body = format!("{:?}", signal.body());
            changed = changed || member == "PropertiesChanged";
            arrived = arrived || member == "NewMessages";
            assert!(!body.contains("This is number"), "text crosses the bus: {body}");
        }
        assert!(changed && arrived, "PropertiesChanged: {changed}, NewMessages: {arrived}");
    });
    daemon.stop();
}

#[test]
fn without_a_session_bus_the_private_socket_does_it_all() {
    let server = scripted::server();
    let world = World::new();
    let text = format!("{}{}", world.account("work"), scripted::imap_table(&server, "work"));
    for choice in ["session", "private"] {
        world.configure(&format!("[daemon]\nbus = \"{choice}\"\n{text}"));
        let daemon = world.daemon();
        daemon.reaches("work", "idle");
        world.ok(&["sync"]);
        world.ok(&["pause", "1h"]);
        daemon.reaches("work", "paused");
        world.ok(&["resume"]);
        daemon.reaches("work", "idle");
        let mode = std::os::unix::fs::MetadataExt::mode(
            &std::fs::metadata(world.path("run/postrider")).unwrap(),
        );
        assert_eq!(mode & 0o777, 0o700);
        peer_to_peer(&world);
        daemon.stop();
    }
}

/// Any D-Bus library reaches the objects, without a bus between.
fn peer_to_peer(world: &World) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = format!("unix:path={}", world.path("run/postrider/bus").display());
        let connection = zbus::connection::Builder::address(address.as_str()).p2p();
        let connection =
            timeout(Duration::from_secs(10), connection.build()).await.unwrap().unwrap();
        let interface = format!("{NAME}.Manager");
        let call = connection.call_method(
            None::<&str>,
            MANAGER,
            Some(interface.as_str()),
            "GetStatus",
            &(),
        );
        let reply = timeout(Duration::from_secs(10), call).await.unwrap().unwrap();
        let json: String = reply.body().deserialize().unwrap();
        assert!(json.contains("\"accounts\""), "{json}");
    });
}

/// A daemon on a session bus, whose account `work` is idle.
fn on_a_bus(server: &postrider_mailserver::MailServer) -> World {
    let world = World::with_bus();
    let smtp = scripted::smtp_table(server, "work");
    let text = format!("{}{}{smtp}", world.account("work"), scripted::imap_table(server, "work"));
    world.configure(&text);
    world
}

#[test]
fn the_installed_descriptions_are_what_the_service_says() {
    let server = scripted::server();
    let world = on_a_bus(&server);
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let session = world.bus.as_ref().unwrap();
    let work = bus::account("work");
    let objects = [("Manager", MANAGER), ("Account", work.as_str()), ("Outbox", OUTBOX)];
    for (name, object) in objects {
        let done = session.busctl(&["--xml-interface", "introspect", NAME, object]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let xml = String::from_utf8(done.stdout).unwrap();
        let begin = xml.find(&format!("  <interface name=\"{NAME}.{name}\">")).expect(&xml);
        let end = begin + xml[begin..].find("  </interface>").unwrap() + "  </interface>\n".len();
        let said = format!("{XML_HEAD}<node>\n{}</node>\n", &xml[begin..end]);
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("data/dbus-1/interfaces/{NAME}.{name}.xml"));
        if std::env::var_os("POSTRIDER_WRITE_DESCRIPTIONS").is_some() {
            std::fs::write(&file, &said).unwrap();
        }
        let installed = std::fs::read_to_string(&file).unwrap_or_default();
        let mend = "to bring it up to date: POSTRIDER_WRITE_DESCRIPTIONS=1, and this test";
        assert!(installed == said, "{} is not this; {mend}:\n{said}", file.display());
    }
    daemon.stop();
}

#[test]
fn the_commands_of_the_readme_work() {
    let server = scripted::server();
    let world = on_a_bus(&server);
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let section = readme.split("\n## D-Bus\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = |kind: &str| {
        let begin = format!("```{kind}\n");
        let parts = section.split(begin.as_str()).skip(1);
        parts.map(|part| part.split("```").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let shell = |script: &str| {
        let mut bash = tied(Path::new("bash"));
        bash.args(["-euo", "pipefail", "-c", script]);
        world.surround(&mut bash);
        let path = format!("{}:{}", world.path("bin").display(), std::env::var("PATH").unwrap());
        bash.env("PATH", path).stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = bash.output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{script}\n{said}{done:?}");
        said
    };
    let scripts = blocks("sh");
    assert_eq!(scripts.len(), 2);
    for script in scripts {
        // What listens goes on until it is stopped.
        let script = script
            .replace("busctl --user monitor", "! timeout 1 busctl --user monitor")
            .replace("gdbus monitor", "! timeout 1 gdbus monitor");
        let said = shell(&script);
        assert!(said.contains("Postrider1"), "{said}");
        assert!(!script.contains("jq") || said.contains("work: idle, 0 unread"), "{said}");
    }
    std::fs::create_dir(world.path("bin")).unwrap();
    std::os::unix::fs::symlink(BINARY, world.path("bin/postrider")).unwrap();
    let waybar: Value = serde_json::from_str(&blocks("json")[0]).unwrap();
    let module = &waybar["custom/mail"];
    let line = shell(&module["exec"].as_str().unwrap().replace(" --watch", ""));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["text"], &line["class"], &line["alt"]),
        (&"".into(), &"idle".into(), &"idle".into())
    );
    assert!(line["tooltip"].as_str().unwrap().contains("work"), "{line}");
    assert!(!module["format-icons"]["idle"].is_null(), "{module}");
    shell(module["on-click"].as_str().unwrap());
    daemon.stop();
}

const XML_HEAD: &str = r#"<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
"#;
