//! One table of good files and one of bad files; everything else is in the fixtures.

mod login;
mod pop;
mod providers;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Settings, Surroundings, check, load, parse, raw};
use crate::model::account::{
    BusChoice, Leave, Limits, Mechanism, Role, SecretSource, SentCopy, Tls,
};
use crate::model::ids::{AccountName, MailboxName};

fn around(private: bool) -> Surroundings {
    Surroundings {
        home: PathBuf::from("/home/me"),
        state_dir: PathBuf::from("/home/me/.local/state/postrider"),
        private,
        var: |name| (name == "MAILROOT").then(|| "/srv/mail".to_owned()),
    }
}

/// The text of the error; empty when there is none.
fn error_of(text: &str, private: bool) -> String {
    match parse(Path::new("c.toml"), text, &around(private)) {
        Ok(_) => String::new(),
        Err(err) => err.to_string(),
    }
}

fn good(text: &str) -> Settings {
    match parse(Path::new("c.toml"), text, &around(true)) {
        Ok(settings) => settings,
        Err(err) => panic!("{err}"),
    }
}

/// A complete account, then `more`.
fn with_account(more: &str) -> String {
    format!("{ACCOUNT}{more}")
}

const ACCOUNT: &str = r#"[account.work]
address = "me@example.com"
password = { command = ["pass", "show", "work"] }
[account.work.imap]
host = "imap.example.com"
"#;

#[track_caller]
fn refused(text: &str, lines: &[&str]) {
    let error = error_of(text, true);
    let found: Vec<&str> = error.lines().collect();
    assert_eq!(found.len(), lines.len(), "{error}");
    for (found, wanted) in found.iter().zip(lines) {
        assert!(found.starts_with(wanted), "\nfound  {found}\nwanted {wanted}");
    }
}

#[test]
fn what_is_left_out_has_the_defaults_of_the_product_page() {
    let settings = good(ACCOUNT);
    assert_eq!(settings.daemon.poll_interval, Duration::from_secs(300));
    assert_eq!(settings.daemon.bus, BusChoice::Session);
    assert_eq!(settings.outbox.dir, Path::new("/home/me/Mail/Outbox"));
    assert_eq!(settings.outbox.retry_for, Duration::from_secs(5 * 86_400));
    let work = &settings.accounts[&AccountName("work".to_owned())];
    assert!(work.enabled && work.smtp.is_none());
    assert_eq!(work.maildir, Path::new("/home/me/Mail/work"));
    assert_eq!(work.info_separator, ':');
    assert_eq!(work.sync.mailboxes, ["*"]);
    assert_eq!((work.sync.brake.min, work.sync.brake.percent), (25, 20));
    assert_eq!(work.sync.quarantine, Duration::from_secs(7 * 86_400));
    let imap = work.imap.as_ref().unwrap();
    assert_eq!((imap.endpoint.port, imap.endpoint.tls), (993, Tls::Implicit));
    assert_eq!(imap.endpoint.user, "me@example.com");
    assert_eq!(imap.endpoint.timeout, Duration::from_secs(60));
    assert_eq!(imap.push, [MailboxName::inbox()]);
    assert_eq!((imap.max_connections, &imap.path_prefix), (3, &None));
}

#[test]
fn ports_and_encryption_follow_from_each_other() {
    let cases = [
        ("", 993, Tls::Implicit),
        ("tls = 'starttls'", 143, Tls::StartTls),
        ("port = 143", 143, Tls::StartTls),
        ("port = 9993", 9993, Tls::Implicit),
        ("port = 143\ntls = 'implicit'", 143, Tls::Implicit),
    ];
    for (keys, port, tls) in cases {
        let settings = good(&with_account(keys));
        let work = settings.accounts.values().next().unwrap();
        let endpoint = &work.imap.as_ref().unwrap().endpoint;
        assert_eq!((endpoint.port, endpoint.tls), (port, tls), "{keys}");
    }
    for (keys, port, tls) in [
        ("host = 'h'", 465, Tls::Implicit),
        ("host = 'h'\ntls = 'starttls'", 587, Tls::StartTls),
        ("host = 'h'\nport = 587", 587, Tls::StartTls),
        ("host = 'h'\nport = 25", 25, Tls::StartTls),
        ("host = '127.0.0.1'\ntls = 'none'", 25, Tls::None),
        ("host = '[::1]'\ntls = 'none'", 25, Tls::None),
    ] {
        let settings = good(&with_account(&format!("[account.work.smtp]\n{keys}")));
        let work = settings.accounts.values().next().unwrap();
        let endpoint = &work.smtp.as_ref().unwrap().endpoint;
        assert_eq!((endpoint.port, endpoint.tls), (port, tls), "{keys}");
    }
}

#[test]
fn every_supported_key_is_understood() {
    let settings = good(EVERYTHING);
    assert_eq!(settings.daemon.bus, BusChoice::Private);
    assert_eq!(settings.outbox.dir, Path::new("/srv/mail/out"));
    let work = &settings.accounts[&AccountName("work".to_owned())];
    assert_eq!(work.maildir, Path::new("/home/me/w"));
    assert_eq!(work.aliases, ["sales@example.com", "*@example.org"]);
    assert_eq!(work.roles[&Role::Sent], MailboxName("Sent Items".to_owned()));
    let imap = work.imap.as_ref().unwrap();
    assert_eq!(imap.endpoint.auth, [Mechanism::Login, Mechanism::Plain]);
    assert_eq!(imap.endpoint.pin_sha256.unwrap()[0], 0xab);
    assert_eq!(imap.endpoint.ca_file.as_deref(), Some(Path::new("/srv/mail/ca.pem")));
    assert_eq!(imap.push, [MailboxName::inbox(), MailboxName("Lists".to_owned())]);
    let smtp = &work.smtp.as_ref().unwrap().endpoint;
    assert_eq!((smtp.user.as_str(), smtp.port), ("me", 465));
    assert_eq!(smtp.password, Some(SecretSource::File(PathBuf::from("/home/me/.secret"))));
    let home = &settings.accounts[&AccountName("home".to_owned())];
    assert_eq!(home.smtp.as_ref().unwrap().endpoint.user, "relay");
    let local = &settings.accounts[&AccountName("local".to_owned())];
    let endpoint = &local.smtp.as_ref().unwrap().endpoint;
    assert_eq!((endpoint.user.as_str(), &endpoint.password), ("", &None));
}

const EVERYTHING: &str = r#"
[daemon]
poll_interval = "10s"
log = "postrider=debug,info"
bus = "private"
notifications = false
[outbox]
dir = "$MAILROOT/out"
undo_delay = "10s"
retry_for = "2h"
on_uncertain = "retry"
[smtp.company]
host = "smtp.example.com"
user = "relay"
password = { env = "RELAY_PASSWORD" }
[account.work]
address = "me@example.com"
enabled = false
aliases = ["sales@example.com", "*@example.org"]
maildir = "~/./x/../w/"
layout = "maildir++"
info_separator = ";"
provider = "auto"
password = { file = "~/.secret" }
roles = { sent = "Sent Items", trash = "Bin" }
imap = { host = "imap.example.com", port = 993, tls = "implicit", user = "me", auth = ["LOGIN", "plain"], ca_file = "${MAILROOT}/ca.pem", pin_sha256 = "ABababababababababababababababababababababababababababababababab", client_cert = "/c.pem", path_prefix = "INBOX.", push = ["inbox", "Lists"], max_connections = 1, timeout = "5m" }
smtp = { host = "smtp.example.com", sent_copy = "server", pin_sha256 = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=" }
[account.work.sync]
direction = "pull"
mailboxes = ["*", "!Junk", "[Gmail]/?"]
subscribed_only = false
create = "local"
delete = "keep"
remove_mailboxes = false
max_size = "none"
max_age = "none"
max_messages = "none"
delete_brake = { min = 1, percent = 100 }
quarantine = "0s"
[account.home]
address = "me@example.org"
smtp = "company"
[account.local]
address = "me@localhost"
smtp = { host = "localhost", tls = "none" }
"#;

#[test]
fn misspelt_keys_and_words_are_answered_with_the_nearest() {
    refused(
        &with_account("hots = 'x'\n[deamon]\n[account.work.sync]\ncreate = 'bth'\nzzzzzz = 1"),
        &[
            "c.toml:6:1: account.work.imap.hots: unknown key; did you mean \"host\"?",
            "c.toml:7:2: deamon: unknown key; did you mean \"daemon\"?",
            "c.toml:9:10: account.work.sync.create: \"bth\" is not one of both, local, remote, none; did you mean \"both\"?",
            "c.toml:10:1: account.work.sync.zzzzzz: unknown key",
        ],
    );
    let roles = with_account("[account.work.roles]\nsend = 'Sent'");
    refused(&roles, &["c.toml:7:1: account.work.roles.send: unknown key; did you mean \"sent\"?"]);
}

#[test]
fn values_of_the_wrong_type_or_range_are_named_at_their_place() {
    let cases = [
        ("port = '993'", "c.toml:6:8: account.work.imap.port: expected an integer, found a string"),
        ("port = 0", "c.toml:6:8: account.work.imap.port: must be from 1 to 65535"),
        ("port = 65536", "c.toml:6:8: account.work.imap.port: must be from 1 to 65535"),
        ("push = 'INBOX'", "c.toml:6:8: account.work.imap.push: expected an array, found a string"),
        ("push = ['INBOX', 3]", "c.toml:6:18: account.work.imap.push: expected a string"),
        ("timeout = '1w'", "c.toml:6:11: account.work.imap.timeout: \"1w\" is not a duration"),
        ("timeout = 60", "c.toml:6:11: account.work.imap.timeout: expected a string"),
        ("timeout = '0s'", "c.toml:6:11: account.work.imap.timeout: must be longer"),
        ("max_connections = 0", "c.toml:6:19: account.work.imap.max_connections: must be from 1"),
        ("pin_sha256 = 'abc'", "c.toml:6:14: account.work.imap.pin_sha256: \"abc\" is not a SHA"),
        (
            "user = \"a\\r\\nb\"",
            "c.toml:6:8: account.work.imap.user: \"a\\r\\nb\" contains a control",
        ),
        ("ca_file = 'ca.pem'", "c.toml:6:11: account.work.imap.ca_file: \"ca.pem\" is not an abs"),
        (
            "ca_file = '$NOPE/x'",
            "c.toml:6:11: account.work.imap.ca_file: the variable $NOPE is not",
        ),
        ("ca_file = '~bob/x'", "c.toml:6:11: account.work.imap.ca_file: \"~bob/x\": only \"~/\""),
        ("tls = 'none'", "c.toml:6:7: account.work.imap.tls: \"none\" is only for loopback hosts"),
        ("auth = ['plian']", "c.toml:6:9: account.work.imap.auth: \"plian\" is not a login mech"),
        ("[daemon]\npoll_interval = '0s'", "c.toml:7:17: daemon.poll_interval: must be at least"),
        ("[daemon]\nlog = 'inof'", "c.toml:7:7: daemon.log: \"inof\" is not a level"),
        ("[outbox]\nretry_for = '9999d'", "c.toml:7:13: outbox.retry_for: \"9999d\" is more than"),
        (
            "[account.work.sync]\nmailboxes = ['!Junk']",
            "c.toml:7:13: account.work.sync.mailboxes: sel",
        ),
        (
            "[account.work.sync]\nmailboxes = ['*', '!']",
            "c.toml:7:19: account.work.sync.mailboxes: is empty",
        ),
    ];
    for (keys, wanted) in cases {
        refused(&with_account(keys), &[wanted]);
    }
}

#[test]
fn limits_are_read_and_none_is_none() {
    let sync = |keys: &str| {
        let found = good(&with_account(&format!("[account.work.sync]\n{keys}")));
        found.accounts.into_values().next().unwrap().sync
    };
    let limited = sync("max_size = '10MiB'\nmax_age = '30d'\nmax_messages = 100").limits;
    assert_eq!((limited.max_size, limited.max_messages), (Some(10 << 20), Some(100)));
    assert_eq!(limited.max_age, Some(Duration::from_secs(30 * 86_400)));
    let none = sync("max_size = 'none'\nmax_age = 'none'\nmax_messages = 'none'");
    assert_eq!(none.limits, Limits::default());
    assert!(!none.remove_mailboxes && sync("remove_mailboxes = true").remove_mailboxes);
    refused(
        &with_account("[account.work.sync]\nmax_size = '10MB'\nmax_messages = 0"),
        &[
            "c.toml:7:12: account.work.sync.max_size: \"10MB\" is",
            "c.toml:8:16: account.work.sync.max_messages",
        ],
    );
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let cases = [(
        "auth = ['external']",
        "c.toml:6:9: account.work.imap.auth: \"external\" is not supported yet",
    )];
    for (keys, wanted) in cases {
        refused(&with_account(keys), &[wanted]);
    }
    refused(
        &with_account(
            "[account.b]\naddress = 'b@b'\npassword = { keyring = false }\n[account.b.imap]\nhost = 'h'",
        ),
        &["c.toml:8:24: account.b.password.keyring: false says nothing"],
    );
}

#[test]
fn what_is_missing_is_reported_at_the_table() {
    refused("", &["c.toml:1:1: there is no account"]);
    refused(
        "[account.a.imap]\n",
        &[
            "c.toml:1:10: account.a.address: is missing",
            "c.toml:1:10: account.a.password: is missing",
            "c.toml:1:12: account.a.imap.host: is missing",
        ],
    );
    let send_only = "[account.a]\naddress = 'a@b'\n";
    refused(send_only, &["c.toml:1:10: account.a: has neither an imap, a pop3 nor an smtp"]);
    let sync = format!("{send_only}smtp = {{ host = '127.0.0.1' }}\nsync = {{ }}");
    refused(&sync, &["c.toml:4:1: account.a.sync: has no meaning without an imap or a pop3 table"]);
}

#[test]
fn shared_servers_are_found_by_name() {
    let text = "[smtp.company]\nhost = 'h'\n[account.a]\naddress = 'a@b'\npassword = 'x'\nsmtp = 'compnay'";
    let wanted =
        "c.toml:6:8: account.a.smtp: there is no [smtp.compnay]; did you mean \"company\"?";
    let second = "c.toml:3:10: account.a: has neither";
    refused(text, &[second, wanted]);
}

#[test]
fn directories_must_not_overlap() {
    let account = |name: &str, dir: &str| {
        format!("[account.{name}]\naddress = 'a@b'\nmaildir = '{dir}'\nsmtp = {{ host = '::1' }}\n")
    };
    let cases = [
        ("/m/a", "/m/a/", "c.toml:7:11: account.b.maildir: /m/a is also the maildir of account a"),
        ("/m/a", "/m/a/b", "c.toml:7:11: account.b.maildir: /m/a/b is inside the maildir of"),
        (
            "/m/a/b",
            "/m/a",
            "c.toml:7:11: account.b.maildir: /m/a contains the maildir of account a",
        ),
        (
            "/m/a",
            "~/Mail/Outbox/new",
            "c.toml:7:11: account.b.maildir: /home/me/Mail/Outbox/new is ins",
        ),
        (
            "/m/a",
            "~/.local/state/postrider",
            "c.toml:7:11: account.b.maildir: /home/me/.local/state/pos",
        ),
    ];
    for (a, b, wanted) in cases {
        refused(&format!("{}{}", account("a", a), account("b", b)), &[wanted]);
    }
    // Its Maildir would be the outbox, and its ledger that of the outbox.
    let outbox = "[account.Outbox]\naddress = 'a@b'\nsmtp = { host = '::1' }";
    refused(outbox, &["c.toml:1:10: account.Outbox: \"outbox\" cannot be the name of an account"]);
    assert_eq!(error_of(&format!("{}{}", account("a", "/m/a"), account("b", "/m/ab")), true), "");
}

#[test]
fn names_addresses_and_hosts_are_checked() {
    for name in ["", "a/b", ".hidden", "a\\u0007b"] {
        let text = ACCOUNT.replace("account.work", &format!("account.\"{name}\""));
        let error = error_of(&text, true);
        assert!(error.contains(":1:10: account."), "{error}");
        assert!(error.contains("the name of an account") && !error.contains('\u{7}'), "{error}");
    }
    for address in ["me", "@b", "a@", "a@b@c", "a b@c", "a@b\\n", "<a@b>"] {
        let error = error_of(&ACCOUNT.replace("me@example.com", address), true);
        assert!(error.starts_with("c.toml:2:11: account.work.address: "), "{address}: {error}");
    }
    for host in ["", "imap example", "imaps://h", "h:993", "h/x", "häst"] {
        let error = error_of(&ACCOUNT.replace("imap.example.com", host), true);
        assert!(error.starts_with("c.toml:5:8: account.work.imap.host: "), "{host}: {error}");
    }
    let aliases =
        ACCOUNT.replace("\n[account.work.imap]", "\naliases = ['s*@b']\n[account.work.imap]");
    refused(&aliases, &["c.toml:4:12: account.work.aliases: \"s*@b\": the only pattern is"]);
}

#[test]
fn columns_count_characters_and_windows_files_are_fine() {
    let text =
        ACCOUNT.replace("imap.example.com\"", "imap.example.com\" # Größe\r").replace('\n', "\r\n");
    assert_eq!(error_of(&text.replace("\r\r", "\r"), true), "");
    refused(&with_account("'ä' = 1"), &["c.toml:6:1: account.work.imap.ä: unknown key"]);
    let inline = "account = { 'ä' = { address = 'a@b', smpt = 1, smtp = { host = '::1' } } }";
    refused(inline, &["c.toml:1:38: account.ä.smpt: unknown key; did you mean \"smtp\"?"]);
    refused("a = 1\na = 2", &["c.toml:2:1: "]);
}

#[test]
fn files_are_read_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("config.toml: there is no configuration here"), "{error}");
    assert!(error.contains("config.example.toml"), "{error}");
    assert!(load(dir.path()).unwrap_err().to_string().contains("is a directory"));

    fs::write(&path, format!("\u{feff}{}", with_account("hots = 1"))).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains("config.toml:6:1: account.work.imap.hots"), "{error}");

    fs::write(&path, b"x = 1\n\xff\n").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("line 2 is not UTF-8"));

    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("larger than 1 MiB"));

    let plain = ACCOUNT.replace("{ command = [\"pass\", \"show\", \"work\"] }", "'x'");
    fs::write(&path, plain).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("chmod 600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(load(&path).unwrap().path, path);
}

#[test]
fn a_hook_has_its_defaults_and_is_refused_without_a_command() {
    let hook = good(&with_account("[hooks]\nnew_mail = { command = ['notmuch', 'new'] }\n"));
    let hook = hook.new_mail.unwrap();
    assert_eq!(hook.command, ["notmuch", "new"]);
    assert_eq!((hook.debounce.as_secs(), hook.timeout.as_secs()), (2, 300));
    refused(
        &with_account("[hooks]\nnew_mial = 1\n"),
        &["c.toml:7:1: hooks.new_mial: unknown key; did you mean \"new_mail\"?"],
    );
    refused(
        &with_account("[hooks]\nnew_mail = { debounce = '1s', timeout = '0s' }\n"),
        &[
            "c.toml:7:1: hooks.new_mail.command: is missing",
            "c.toml:7:1: hooks.new_mail.timeout: must be longer than nothing",
        ],
    );
    assert!(good(&with_account("[daemon]\nnotifications = true\n")).daemon.notifications);
}

/// The example configuration is what the manual is made of, so no key may be missing there.
#[test]
fn the_example_names_every_key_that_is_asked_for() {
    let example = include_str!("../../../config/config.example.toml");
    let bare = |line: &str| line.trim_start_matches(['#', ' ']).to_owned();
    let problems = raw::Problems::default();
    // With every line that shows a key, so that all tables are looked into.
    let is_key = |line: &str| {
        let (name, _) = line.split_once(" = ").unwrap_or((" ", ""));
        name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let lines = example.lines().filter(|line| !line.starts_with('#') || is_key(&bare(line)));
    let text: Vec<String> = lines
        .map(|line| if line.starts_with('#') { bare(line) } else { line.to_owned() })
        .collect();
    let text = text.join("\n");
    let document = toml::de::DeTable::parse(&text).unwrap();
    let table = raw::Table::root(&problems, document.get_ref());
    drop(check::settings(Path::new("/x"), table, &around(true)));
    let known = problems.known();
    assert!(known.len() > 60, "{known:?}");
    let words: Vec<&str> =
        example.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).collect();
    for key in known {
        let name = key.rsplit('.').next().unwrap();
        assert!(words.contains(&name), "{key} is not in config/config.example.toml");
    }
}
