//! From an address to an account that works, and what a look at the machine says.

use std::process::Command;

use crate::fixture::maildir::count;
use crate::fixture::process::program;
use crate::fixture::{World, mail, shared};

/// What `setup` is told about servers and password, with nobody to ask.
fn arguments<'a>(imap: &'a str, smtp: &'a str, ca: &'a str, password: &'a str) -> Vec<&'a str> {
    let servers = ["--imap", imap, "--smtp", smtp, "--ca-file", ca, "--user", "newcomer"];
    [&["setup", "me@example.org", "--yes", "--password-command", password], &servers[..]].concat()
}

#[test]
fn an_address_becomes_an_account_that_syncs_and_hand_edits_stay() {
    let servers = shared::servers();
    let (dovecot, postfix) = (&servers.dovecot, &servers.postfix);
    let world = World::new();
    let (imap, smtp) =
        (format!("localhost:{}", dovecot.tls_port), format!("localhost:{}/starttls", postfix.port));
    let ca = world.path("ca.pem");
    let certs =
        [&dovecot.certs.ca, &postfix.certs.ca].map(|file| std::fs::read_to_string(file).unwrap());
    std::fs::write(&ca, certs.concat()).unwrap();
    let ca = ca.to_str().unwrap();
    let password = format!("cat {}", world.path("secret/password").display());

    let refused = world.run(&arguments(&imap, &smtp, ca, "echo wrong"));
    assert_eq!(refused.code, 77, "{refused:?}");
    assert!(refused.stderr.contains("nothing was written"), "{refused:?}");
    assert!(!world.config_file().exists());
    let left = std::fs::read_dir(world.config_file().parent().unwrap()).unwrap().count();
    assert_eq!(left, 0, "a draft was left behind");

    let done = world.ok(&arguments(&imap, &smtp, ca, &password));
    assert!(done.stdout.contains("✓ example: IMAP login"), "{done:?}");
    assert!(done.stdout.contains("✓ example: SMTP login"), "{done:?}");
    dovecot.client("newcomer").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    world.sync();
    assert_eq!(count(&world.path("home/Mail/example/INBOX")), 1);

    let edited = format!("# by hand\n{}", std::fs::read_to_string(world.config_file()).unwrap());
    world.configure(&edited);
    let mut again = arguments(&imap, &smtp, ca, &password);
    again.extend(["--name", "second"]);
    let text = world.ok(&[&again[..], &["--dry-run"]].concat()).stdout;
    assert!(text.starts_with("[account.second]"), "{text}");
    world.ok(&again);
    let new = std::fs::read_to_string(world.config_file()).unwrap();
    assert!(new.starts_with(edited.trim_end()), "{new}");
    assert!(new.contains("[account.second.smtp]"), "{new}");
    assert_eq!(world.run(&["check"]).code, 0);
}

#[test]
fn without_anything_to_go_on_setup_says_what_is_missing() {
    let world = World::new();
    let cases = [
        (vec!["setup", "nobody", "--yes"], 64, "is not an address"),
        (vec!["setup", "me@icloud.com", "--yes"], 64, "--password-command"),
        (vec!["setup", "me@icloud.com", "--yes", "--pop3"], 69, "offers no POP3"),
        (vec!["setup", "me@nowhere.invalid", "--yes"], 69, "--imap HOST"),
        (vec!["setup", "me@icloud.com", "--password-command", "x"], 64, "nobody to ask"),
    ];
    for (args, code, text) in cases {
        let ran = world.run(&args);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.stderr.contains(text), "{ran:?}");
    }
    assert!(!world.config_file().exists());
}

#[test]
fn the_doctor_names_another_syncer_and_changes_nothing() {
    let dovecot = shared::dovecot();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "doctor")));
    world.sync();
    let said = world.ok(&["doctor"]).stdout;
    for line in ["inotify: ", "session bus", "clock: ", "disk of ", "service: ", "sendmail: "] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("is mbsync's"), "{said}");
    std::fs::write(world.mailbox("INBOX").join(".mbsyncstate"), "").unwrap();
    let said = world.ok(&["doctor", "work", "--json"]).json();
    let findings = said["findings"].as_array().unwrap();
    let other = findings.iter().find(|f| f["what"].as_str().unwrap().contains("is mbsync's"));
    assert!(other.unwrap()["advice"].as_str().unwrap().contains("stop its timer"), "{said}");
    assert_eq!(said["ok"], true);
    crate::transfer::assert_all_zero(&world.sync());
}

#[test]
fn commands_that_need_no_daemon_answer_a_newcomer() {
    let world = World::new();
    let list = world.ok(&["providers", "--json"]).json();
    assert!(list["providers"].as_array().unwrap().iter().any(|p| p["name"] == "icloud"));
    assert!(world.ok(&["providers", "me@gmail.com"]).stdout.contains("imap.gmail.com:993"));
    assert_eq!(world.run(&["providers", "gmial"]).code, 67);
    assert!(world.ok(&["explain", "AuthFailed"]).stdout.contains("app password"));
    assert_eq!(world.run(&["explain", "Nonsense"]).code, 64);
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.ok(&["completions", shell]).stdout.contains("postrider"));
    }
    assert!(world.ok(&["man"]).stdout.contains(".TH postrider 1"));
    assert!(world.ok(&["man", "sync"]).stdout.contains("postrider\\-sync"));
    let token = "[account.t]\naddress = 't@example.org'\n\
        oauth = { token_command = ['echo', 'abc.def'] }\n[account.t.imap]\nhost = 'h'\n";
    world.configure(&format!("{}smtp = {{ host = '127.0.0.1' }}\n{token}", world.account("work")));
    assert_eq!(world.ok(&["token", "show", "t"]).stdout, "abc.def\n");
    // The configuration gives it a password.
    assert_eq!(world.run(&["token", "show", "work"]).code, 78);
    for reader in ["neomutt", "mutt", "aerc", "mu4e", "notmuch", "gnus", "himalaya"] {
        let snippet = world.ok(&["mua", reader]).stdout;
        assert!(snippet.contains("Mail/work") || snippet.contains("/Mail"), "{reader}: {snippet}");
    }
    assert_eq!(world.run(&["mua", "pine"]).code, 64);
    let bar = world.ok(&["status", "--format", "waybar"]).json();
    assert_eq!(bar["class"], "stopped");
    assert_eq!(world.run(&["service", "status"]).code, 69);
    world.ok(&["service", "install", "--no-start"]);
    let unit = world.path("config/systemd/user/postrider.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    assert!(text.contains(&format!("ExecStart={} run", env!("CARGO_BIN_EXE_postrider"))), "{text}");
    world.ok(&["service", "uninstall"]);
    assert!(!unit.exists());
}

#[test]
fn on_a_terminal_a_long_sync_shows_how_far_it_is_and_elsewhere_nothing() {
    let dovecot = shared::dovecot();
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), dovecot.imap_table("work", "bar")));
    let mut imap = dovecot.client("bar");
    for n in 0..1500 {
        imap.append("INBOX", "\\Seen", 1_500_000_000, &mail::numbered(n));
    }
    let mut script = Command::new(program("script", "bsdutils"));
    world.surround(&mut script);
    let sync = format!("{} sync", env!("CARGO_BIN_EXE_postrider"));
    let shown = script.args(["-qec", &sync, "/dev/null"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("work/INBOX") && shown.contains("/1500  ["), "{shown:?}");
    assert!(shown.contains("1500 downloaded"), "{shown:?}");
    assert_eq!(count(&world.mailbox("INBOX")), 1500);
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(1500));
    let ran = world.ok(&["sync"]);
    assert!(!ran.stderr.contains('\r') && ran.stdout.contains("1 downloaded"), "{ran:?}");
}
