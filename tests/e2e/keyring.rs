//! A password in the desktop's keyring: gnome-keyring on a bus of its own.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::fixture::process::{Running, eventually, program, tied};
use crate::fixture::{PASSWORD, SOON, World, shared};

/// A keyring that is open until it is dropped.
pub(crate) struct Keyring(Running);

impl Keyring {
    pub(crate) fn start(world: &World) -> Self {
        let mut command = tied(&program("gnome-keyring-daemon", "gnome-keyring"));
        world.surround(&mut command);
        command.args(["--foreground", "--components=secrets", "--unlock"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut keyring = Running::start("gnome-keyring-daemon", command);
        keyring.child().stdin.take().unwrap().write_all(b"login\n").unwrap();
        Self(keyring)
    }

    pub(crate) fn tool(world: &World, args: &[&str], input: &str) -> bool {
        let mut command = Command::new(program("secret-tool", "libsecret-tools"));
        world.surround(&mut command);
        let mut tool = command.args(args).stdin(Stdio::piped()).spawn().unwrap();
        tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        tool.wait().unwrap().success()
    }
}

#[test]
fn a_password_comes_from_the_keyring_and_a_locked_one_is_waited_for_calmly() {
    let dovecot = shared::dovecot();
    let world = World::with_bus();
    let imap_table = dovecot.imap_table("work", "keyring");
    world.configure(&format!(
        "[account.work]\naddress = \"work@example.org\"\npassword = {{ keyring = true }}\n{imap_table}"
    ));
    let alone = world.run(&["check", "work"]);
    assert_eq!(alone.code, 77, "{alone:?}");
    assert!(alone.stdout.contains("secret-tool store"), "{alone:?}");

    let mut keyring = Keyring::start(&world);
    eventually("the keyring takes a password", SOON, || {
        let store = ["store", "--label=work", "service", "postrider", "account", "work"];
        Keyring::tool(&world, &store, PASSWORD).then_some(())
    });
    world.sync();
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    assert!(daemon.stop().success());

    let bus = world.bus.as_ref().unwrap();
    let mut busctl = Command::new(program("busctl", "systemd"));
    busctl.arg(format!("--address={}", bus.address)).args(["call", "org.freedesktop.secrets"]);
    busctl.args(["/org/freedesktop/secrets", "org.freedesktop.Secret.Service", "Lock", "ao", "1"]);
    busctl.arg("/org/freedesktop/secrets/collection/login");
    assert!(busctl.status().unwrap().success());
    let locked = world.run(&["sync", "--json"]);
    assert_eq!(locked.code, 77, "{locked:?}");
    assert_eq!(locked.json()["accounts"][0]["error"]["code"], "KeyringLocked", "{locked:?}");
    let daemon = world.daemon();
    daemon.reaches("work", "keyring-locked");
    assert_eq!(daemon.account("work")["error"]["name"], "KeyringLocked");
    assert!(daemon.stop().success());
    world.assert_no_secret();
    drop(keyring.0.child().kill());
}
