//! What the doctor finds, and says how to mend.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use postrider_mailserver::{Capabilities, Capability, Config, MailServer};
use serde_json::Value;

use crate::fixture::disk::ExFat;
use crate::fixture::process::program;
use crate::fixture::world::BINARY;
use crate::fixture::{Letter, PASSWORD, World, scripted, shared};

/// A world whose account gets its password like this; nothing answers on its port.
pub(crate) fn world_with(password: &str) -> World {
    let world = World::with_bus();
    world.configure(&format!(
        "[account.work]\naddress = \"work@example.org\"\npassword = {password}\n\
         [account.work.smtp]\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n"
    ));
    world
}

pub(crate) fn findings(document: &Value) -> Vec<Value> {
    document["findings"].as_array().unwrap().clone()
}

/// The finding that begins like this.
pub(crate) fn finding(world: &World, environment: &[(&str, &str)], begin: &str) -> Value {
    let ran = world.run_in(&["doctor", "--json"], environment);
    let all = findings(&ran.json());
    let found = all.iter().find(|f| f["what"].as_str().unwrap().starts_with(begin));
    found.unwrap_or_else(|| panic!("no {begin:?}: {all:#?}")).clone()
}

pub(crate) fn advises(finding: &Value, words: &str) {
    let cure = finding["error"]["cure"].as_str().or_else(|| finding["advice"].as_str());
    assert!(cure.is_some_and(|cure| cure.contains(words)), "{words:?} in {finding}");
}

fn tells(finding: &Value, words: &str) {
    assert!(
        finding["error"]["text"].as_str().is_some_and(|text| text.contains(words)),
        "{finding}"
    );
}

const IN_SERVICE: &str = "password in the service";

/// A program that gives the password to those who have a display.
fn script(world: &World, text: &str) -> String {
    let script = world.path("secret/give");
    let file = world.path("secret/password");
    std::fs::write(&script, format!("#!/bin/sh\n{text}\ncat {}\n", file.display())).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o700)).unwrap();
    format!("{{ command = [\"{}\"] }}", script.display())
}

#[test]
fn a_password_command_that_needs_this_shells_variables_is_found_before_it_hurts() {
    let world = world_with("\"x\"");
    let password = script(&world, "test -n \"$DISPLAY\" || exit 2");
    let config = std::fs::read_to_string(world.config_file()).unwrap();
    world.configure(&config.replace("\"x\"", &password));
    let shell = [("DISPLAY", ":7"), ("GPG_TTY", "/dev/pts/9")];
    let daemon = world.daemon();
    let found = finding(&world, &shell, IN_SERVICE);
    tells(
        &found,
        "failed (exit 2); it works in this shell, where these are others: DISPLAY GPG_TTY",
    );
    advises(&found, "systemctl --user import-environment DISPLAY GPG_TTY");
    assert_eq!(found["error"]["code"], "NeedsLogin");
    assert_eq!(finding(&world, &shell, "SMTP password")["ok"], true, "here it works");
    assert_eq!(world.run_in(&["doctor"], &shell).code, 77);
    daemon.stop();
    let daemon = world.daemon_with(&shell);
    assert_eq!(finding(&world, &shell, IN_SERVICE)["ok"], true);
    daemon.stop();
}

#[test]
fn a_password_command_that_asks_on_the_terminal_is_found() {
    let world = world_with("\"x\"");
    let password = script(&world, "echo Passphrase: > /dev/tty || exit 4");
    let config = std::fs::read_to_string(world.config_file()).unwrap();
    world.configure(&config.replace("\"x\"", &password));
    let daemon = world.daemon();
    let mut terminal = Command::new(program("script", "bsdutils"));
    world.surround(&mut terminal);
    let done = terminal.args(["-qec", &format!("{BINARY} doctor"), "/dev/null"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).replace('\r', "");
    assert!(said.contains("it works in this shell, which has a terminal"), "{said}");
    assert!(said.contains("to mend it:  let the command ask for nothing"), "{said}");
    daemon.stop();
}

#[test]
fn a_password_that_the_services_sandbox_hides_is_found() {
    let world = world_with("\"x\"");
    let file = world.path("secret/password").display().to_string();
    let config = std::fs::read_to_string(world.config_file()).unwrap();
    world.configure(&config.replace("\"x\"", &format!("{{ file = \"{file}\" }}")));
    // Neither runs nor is installed: there is nothing to compare with.
    let said = world.run(&["doctor"]).stdout;
    assert!(!said.contains(IN_SERVICE), "{said}");
    // Installed, and a drop-in hides it.
    world.ok(&["service", "install", "--no-start"]);
    assert_eq!(finding(&world, &[], IN_SERVICE)["ok"], true);
    let drop_ins = world.path("config/systemd/user/postrider.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(drop_ins.join("more.conf"), "[Service]\nPrivateTmp=yes\n").unwrap();
    let found = finding(&world, &[], IN_SERVICE);
    tells(&found, &format!("the service does not see {file} (PrivateTmp=yes)"));
    advises(&found, &format!("BindReadOnlyPaths={file}"));
    std::fs::remove_dir_all(drop_ins).unwrap();
    // It runs where the directory is another one.
    let hide = format!("mount -t tmpfs tmpfs {}; exec \"$@\"", world.path("secret").display());
    let starter = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", &hide, "sh"];
    let daemon = world.daemon_under(&starter, &[]);
    tells(&finding(&world, &[], IN_SERVICE), &format!("the service does not see {file}"));
    daemon.stop();
    let command = script(&world, "");
    world.configure(&config.replace("\"x\"", &command));
    let daemon = world.daemon_under(&starter, &[]);
    tells(&finding(&world, &[], IN_SERVICE), "does not see");
    daemon.stop();
}

#[test]
fn variables_and_credentials_are_looked_for_where_the_service_has_them() {
    let world = world_with("{ env = \"MAIL_PASSWORD\" }");
    let shell = [("MAIL_PASSWORD", PASSWORD)];
    let daemon = world.daemon();
    let found = finding(&world, &shell, IN_SERVICE);
    tells(&found, "the variable MAIL_PASSWORD is set in this shell and not in the service");
    advises(&found, "file, a command or a credential");
    daemon.stop();

    let config = std::fs::read_to_string(world.config_file()).unwrap();
    world.configure(&config.replace("env = \"MAIL_PASSWORD\"", "credential = \"work\""));
    world.ok(&["service", "install", "--no-start"]);
    advises(&finding(&world, &[], "SMTP password"), "account work");
    let drop_ins = world.path("config/systemd/user/postrider.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(drop_ins.join("c.conf"), "[Service]\nLoadCredential=work:/etc/work\n").unwrap();
    let found = finding(&world, &[], "SMTP password");
    assert_eq!(
        (&found["ok"], &found["what"]),
        (&true.into(), &"SMTP password: the service has the credential work".into())
    );
}

#[test]
fn whose_the_name_on_the_bus_is_is_told() {
    let (world, other) = (world_with("\"x\""), world_with("\"x\""));
    let address = world.bus.as_ref().unwrap().address.clone();
    let theirs = [("DBUS_SESSION_BUS_ADDRESS", address.as_str())];
    let begin = "session bus: ";
    assert_eq!(finding(&world, &[], begin)["what"], "session bus: reachable; no service is on it");
    let first = world.daemon();
    let found = finding(&world, &[], begin);
    assert_eq!(found["what"], format!("session bus: the name is owned by pid {}", first.pid()));
    let second = other.daemon_with(&theirs);
    let found = finding(&other, &theirs, begin);
    let pid = first.pid();
    assert_eq!(found["what"], format!("session bus: another postrider has the name, pid {pid}"));
    advises(&found, &format!("stop one: kill {pid}"));
    second.stop();
    first.stop();
    let apart = world.daemon_with(&[("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")]);
    let found = finding(&world, &[], begin);
    assert_eq!(found["what"], "session bus: the service runs and is not on it");
    advises(&found, "systemctl --user restart postrider");
    apart.stop();
}

#[test]
fn a_file_system_that_forbids_colons_and_a_disk_that_is_almost_full_are_told() {
    let world = world_with("\"x\"");
    let disk = ExFat::over(world.path("home/Mail/work"));
    let found = finding(&world, &[], "file system of ");
    assert!(found["what"].as_str().unwrap().ends_with("fuseblk"), "{found}");
    advises(&found, "info_separator = \";\" for account work");
    let all = findings(&world.run(&["doctor", "--json"]).json());
    let low =
        all.iter().find(|f| f["advice"].as_str().is_some_and(|a| a.contains("free some space")));
    assert!(low.unwrap()["what"].as_str().unwrap().contains("home/Mail/work"), "{all:#?}");
    drop(disk);
    let found = finding(&world, &[], "file system of ");
    assert!(found["advice"].is_null(), "{found}");
}

#[test]
fn a_port_that_is_blocked_while_another_answers_is_told() {
    let world = world_with("\"x\"");
    let config = std::fs::read_to_string(world.config_file()).unwrap();
    let config = config.replace("port = 9", "port = 587").replace("\"none\"", "\"starttls\"");
    world.configure(&config);
    // A network of its own, in which only port 465 answers.
    let setup = "ip link set lo up; python3 -m http.server 465 --bind 127.0.0.1 >/dev/null 2>&1 & \
                 until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 465))' \
                 2>/dev/null; do :; done; \"$@\"; kill $!";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", setup, "sh", BINARY, "doctor", "--json"]);
    world.surround(&mut command);
    let done = command.output().unwrap();
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    let all = findings(&document);
    let login = all.iter().find(|f| f["what"] == "SMTP login at 127.0.0.1:587");
    let login = login.unwrap_or_else(|| panic!("{all:#?}"));
    assert_eq!(login["error"]["code"], "Offline");
    advises(login, "port 465 does: set port = 465 and tls = \"implicit\"");
}

#[test]
fn what_the_server_offers_and_which_mailbox_is_what_are_told() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "offers")));
    let found = finding(&world, &[], "IMAP server: ");
    let what = found["what"].as_str().unwrap();
    assert!(what.contains("NOTIFY") && what.contains("UIDPLUS") && what.contains("MOVE"), "{what}");
    let found = finding(&world, &[], "mailbox roles: ");
    assert!(found["what"].as_str().unwrap().contains("sent \"Sent\""), "{found}");

    let bare = Capabilities::default().without(Capability::Idle).without(Capability::UidPlus);
    let server = MailServer::start(Config {
        capabilities: bare,
        mailboxes: vec![("Sent".to_owned(), Some("\\Sent".to_owned()))],
        ..scripted::config()
    });
    let server = server.unwrap();
    let roles = "roles = { drafts = \"Entwurf\" }\n";
    let table = scripted::imap_table(&server, "work");
    world.configure(&format!("{}{roles}{table}", world.account("work")));
    let found = finding(&world, &[], "IMAP server: no push");
    advises(&found, "set poll_interval");
    advises(&found, "another program has to expunge");
    let found = finding(&world, &[], "mailbox roles: ");
    advises(&found, "no mailbox \"Entwurf\": correct roles.drafts of account work");
    world.configure(&format!("{}{table}", world.account("work")));
    advises(&finding(&world, &[], "mailbox roles: "), "roles = { drafts = \"NAME\" }");
}

#[test]
fn the_rest_of_the_machine_is_looked_at() {
    let world = world_with("\"x\"");
    advises(&finding(&world, &[], "service: not installed"), "postrider service install");
    world.ok(&["service", "install", "--no-start"]);
    advises(&finding(&world, &[], "service: "), "systemctl --user enable --now postrider");
    let units = world.path("config/systemd/user");
    for (wants, unit) in
        [("default.target.wants", "postrider.service"), ("timers.target.wants", "mbsync.timer")]
    {
        std::fs::create_dir(units.join(wants)).unwrap();
        std::os::unix::fs::symlink(units.join(unit), units.join(wants).join(unit)).unwrap();
    }
    assert!(finding(&world, &[], "service: ")["what"].as_str().unwrap().ends_with(", enabled"));
    let found = finding(&world, &[], "another syncer: the timer mbsync.timer is enabled");
    advises(&found, "undo each other's work");

    std::fs::create_dir_all(world.maildir()).unwrap();
    std::fs::set_permissions(world.maildir(), PermissionsExt::from_mode(0o755)).unwrap();
    advises(&finding(&world, &[], "Maildir "), "chmod 700");

    let new = world.outbox().join("new");
    std::fs::create_dir_all(&new).unwrap();
    let letter = Letter::new("work@example.org", "a@x.org", "long").text() + &"x".repeat(2000);
    std::fs::write(new.join("m"), letter).unwrap();
    let found = finding(&world, &[], "queued mail: m has a line of 2000 bytes");
    advises(&found, "quoted-printable");

    let state = world.path("state/postrider");
    std::fs::create_dir_all(&state).unwrap();
    let file = std::fs::File::create(state.join("work.sqlite")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    let found = finding(&world, &[], "clock: ");
    assert!(found["what"].as_str().unwrap().contains("min behind the last sync"), "{found}");
    advises(&found, "timedatectl set-ntp true");
    let beginnings = ["inotify: ", "lingering: ", "sendmail: ", "disk of "];
    beginnings.iter().for_each(|begin| drop(finding(&world, &[], begin)));
}
