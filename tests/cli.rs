//! The program from outside: exit codes, and who talks to whom.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it cannot go on"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A user with directories of its own and an account whose server refuses connections.
struct User(TempDir);

impl User {
    fn new() -> Self {
        let user = Self(tempfile::tempdir().unwrap());
        // A port that was free a moment ago: nobody listens there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mail = user.path("Mail");
        user.configure(&format!(
            "[daemon]\nbus = \"private\"\n[outbox]\ndir = \"{mail}/Outbox\"\n[account.work]\n\
             address = \"me@example.com\"\nmaildir = \"{mail}/work\"\npassword = \"hunter2\"\n\
             [account.work.imap]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n"
        ));
        user
    }

    fn path(&self, below: &str) -> String {
        self.0.path().join(below).display().to_string()
    }

    fn configure(&self, text: &str) {
        let file = self.path("config.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.0.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("POSTRIDER_CONFIG", self.path("config.toml"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        told(&self.command(POSTRIDER, args).output().unwrap())
    }

    fn daemon(&self) -> Daemon {
        let mut child = self.command(POSTRIDER, &["run"]);
        let daemon = Daemon(child.stderr(Stdio::null()).spawn().unwrap());
        let begin = Instant::now();
        while self.run(&["status"]).1.contains("no service is running") {
            assert!(begin.elapsed() < Duration::from_secs(20), "the daemon does not start");
            std::thread::yield_now();
        }
        daemon
    }
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const POSTRIDER: &str = env!("CARGO_BIN_EXE_postrider");

#[test]
fn wrong_usage_is_64_and_what_is_not_built_does_not_exist() {
    let user = User::new();
    for args in [&[][..], &["explode"], &["sync", "--fast"], &["pause", "long"], &["login"]] {
        let (code, out, err) = user.run(args);
        assert_eq!((code, out.as_str()), (64, ""), "{args:?}");
        assert!(!err.is_empty());
    }
    let (code, out, _) = user.run(&["--version"]);
    assert_eq!((code, out.trim()), (0, concat!("postrider ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(user.run(&["sync", "--help"]).0, 0);
}

#[test]
fn a_wrong_configuration_is_78_with_its_place() {
    let user = User::new();
    user.configure("[daemon]\nbuss = \"off\"\n");
    for command in ["run", "sync", "check", "send"] {
        let (code, out, err) = user.run(&[command]);
        assert_eq!((code, out.as_str()), (78, ""), "{command}");
        assert!(err.contains("config.toml:2:1") && err.contains("\"bus\""), "{err}");
    }
    assert!(!Path::new(&user.path("state")).exists(), "nothing is changed before");
}

#[test]
fn without_a_daemon_commands_say_so_and_a_sync_works_alone() {
    let user = User::new();
    for args in [&["pause"][..], &["resume"], &["reload"]] {
        let (code, out, err) = user.run(args);
        assert_eq!((code, out.as_str()), (75, ""), "{args:?}");
        assert!(err.contains("no daemon is running") && err.contains("postrider run"), "{err}");
    }
    let (code, out, _) = user.run(&["status"]);
    assert!(code == 0 && out.contains("no service is running"), "{code} {out}");
    let (code, out, err) = user.run(&["sync", "--json"]);
    assert_eq!(code, 69, "{err}");
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["accounts"][0]["error"]["code"], "Offline");
    assert!(err.starts_with("error: work: ") && err.contains("to mend it:"), "{err}");
    let (code, _, err) = user.run(&["sync", "wrok/INBOX"]);
    assert_eq!(code, 67);
    assert!(err.contains("did you mean \"work\"?"), "{err}");
    let (code, out, _) = user.run(&["check"]);
    assert_eq!(code, 69);
    assert!(out.contains("✓ work: IMAP password") && out.contains("✗ work: IMAP login"), "{out}");
}

#[test]
fn a_running_daemon_is_asked_and_is_the_only_one() {
    let user = User::new();
    let daemon = user.daemon();
    let (code, _, err) = user.run(&["run"]);
    assert_eq!(code, 75);
    assert!(err.contains(&format!("pid {}", daemon.0.id())), "{err}");
    let (code, out, _) = user.run(&["status", "--json"]);
    assert_eq!(code, 0);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["pid"], daemon.0.id());
    assert!(!out.contains("hunter2"));
    let (code, out, _) = user.run(&["sync", "--json"]);
    assert_eq!(code, 69);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["ok"], false);
    let (code, _, err) = user.run(&["mailboxes", "wrok"]);
    assert_eq!(code, 67);
    assert!(err.contains("\"work\""), "{err}");
    // The daemon rehearses it, and meets the same trouble.
    assert_eq!(user.run(&["sync", "--dry-run"]).0, 69);
    assert_eq!(
        user.run(&["pause", "5m"]).1,
        "paused for 5 min; to go on before: postrider resume\n"
    );
    assert_eq!(user.run(&["resume"]).1, "resumed\n");
    user.configure("[daemon]\nbuss = \"off\"\n");
    let (code, _, err) = user.run(&["reload"]);
    assert_eq!(code, 78);
    assert!(err.contains("config.toml:2:1"), "{err}");
    let (code, _, err) = user.run(&["--config", "/dev/null", "status"]);
    assert_eq!(code, 75);
    assert!(err.contains("another configuration"), "{err}");
}

#[test]
fn called_as_mailq_it_is_mailq() {
    let user = User::new();
    let link = user.path("mailq");
    std::os::unix::fs::symlink(POSTRIDER, &link).unwrap();
    let (code, out, err) = told(&user.command(&link, &[]).output().unwrap());
    assert_eq!((code, out.as_str(), err.as_str()), (0, "Mail queue is empty\n", ""));
    assert!(!Path::new(&user.path("state")).exists(), "looking makes nothing");
}

#[test]
fn the_queue_is_looked_at_and_steered() {
    let user = User::new();
    let config = fs::read_to_string(user.path("config.toml")).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    user.configure(&format!(
        "{config}[account.work.smtp]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n"
    ));
    assert_eq!(user.run(&["outbox"]).1, "the outbox is empty\n");
    let message = user.path("mail.eml");
    fs::write(&message, "From: me@example.com\nTo: you@example.com\nSubject: secret\n\nx\n")
        .unwrap();
    let daemon = user.daemon();
    let (code, out, _) = user.run(&["send", &message]);
    let id = out.trim().to_owned();
    assert_eq!(code, 0);
    let until = |args: &[&str], wanted: &str| {
        let begin = Instant::now();
        loop {
            let (code, out, err) = user.run(args);
            if code == 0 && out.contains(wanted) {
                return out;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "no {wanted}: {out}{err}");
        }
    };
    let out = until(&["outbox", "show", "--json"], "Offline");
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document[0]["id"], id.as_str());
    assert_eq!(document[0]["recipients"][0]["address"], "you@example.com");
    assert_eq!(document[0]["tries"], 0, "trouble of the account ages no message");
    assert!(!out.contains("secret"), "{out}");
    assert!(out.contains("(SMTP, "), "{out}");
    assert_eq!(user.run(&["outbox", "hold", &id]).0, 0);
    assert!(user.run(&["outbox", "show", &id]).1.contains("held by command"));
    let (code, _, err) = user.run(&["outbox", "resolve", &id, "sent"]);
    assert_eq!(code, 76, "{err}");
    assert!(err.contains(&format!("postrider outbox release {id}")), "{err}");
    assert_eq!(user.run(&["outbox", "release", &id]).0, 0);
    let (code, _, err) = user.run(&["outbox", "cancel", "nothing"]);
    assert_eq!(code, 67, "{err}");
    assert!(user.run(&["outbox", "retry", &id]).1.contains("1 left"));
    drop(daemon);
    assert!(user.run(&["outbox"]).1.contains(&id), "the ledger is enough to look");
    assert_eq!(user.run(&["outbox", "cancel", &id]).0, 0, "and to steer");
    assert_eq!(user.run(&["outbox"]).1, "the outbox is empty\n");
}
