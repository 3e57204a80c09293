use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::super::send::send;
use super::*;
use crate::adapters::outbox_ledger::SqliteOutbox;
use crate::model::account::*;
use crate::model::ids::AccountName;
use crate::model::outbox::Address;
use crate::ports::outbox::OutboxLedger;

fn settings(dir: &Path) -> Settings {
    let endpoint = Endpoint::bare("localhost".to_owned(), 25, Tls::None, Duration::from_secs(1));
    let name = AccountName("work".to_owned());
    let account = Account {
        name: name.clone(),
        address: "me@example.com".to_owned(),
        enabled: true,
        aliases: Vec::new(),
        maildir: dir.join("work"),
        layout: Layout::Fs,
        info_separator: ':',
        roles: BTreeMap::new(),
        imap: None,
        pop3: None,
        sync: SyncPolicy {
            remove_mailboxes: false,
            leave_out: Vec::new(),
            limits: Limits::default(),
            direction: Direction::Both,
            mailboxes: Vec::new(),
            subscribed_only: false,
            create: CreatePolicy::Both,
            delete: DeletePolicy::Trash,
            brake: Brake { min: 25, percent: 20 },
            quarantine: Duration::ZERO,
        },
        smtp: Some(SmtpSettings { endpoint, sent_copy: SentCopy::None }),
    };
    Settings {
        path: dir.join("config.toml"),
        daemon: DaemonSettings {
            poll_interval: Duration::ZERO,
            log: String::new(),
            bus: BusChoice::Off,
            notifications: false,
        },
        new_mail: None,
        outbox: OutboxSettings {
            dir: dir.join("Outbox"),
            undo_delay: Duration::ZERO,
            retry_for: Duration::ZERO,
            on_uncertain: OnUncertain::Hold,
        },
        accounts: BTreeMap::from([(name, account)]),
    }
}

struct Done {
    answer: Sendmail,
    files: Vec<(String, String)>,
    given: Option<Submitted>,
}

const MAIL: &str = "From: me@example.com\nTo: h@x.org\n\n.\nafter the dot\n";

fn run(args: &[&str], mail: &str) -> Done {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let how = Spooling {
        settings: &settings,
        state_dir: dir.path(),
        daemon_runs: true,
        now: 1_700_000_000_000_000,
        random: 7,
    };
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let answer = sendmail(&how, &args, &mut mail.as_bytes());
    let entries = std::fs::read_dir(dir.path().join("Outbox/new")).into_iter().flatten();
    let files: Vec<(String, String)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    let ledger = SqliteOutbox::open(dir.path()).unwrap();
    let given = files.first().and_then(|(id, _)| ledger.submitted(&OutboxId(id.clone())).unwrap());
    Done { answer, files, given }
}

fn check(args: &[&str], sender: Option<Option<&str>>, recipients: &[&str], from_header: bool) {
    let done = run(args, MAIL);
    assert_eq!(done.answer, Sendmail::Done(Answer::default()), "{args:?}");
    let dsn = if args.contains(&"-N") { "X-Postrider-DSN: notify=never\n" } else { "" };
    assert_eq!(done.files[0].1, format!("{dsn}{MAIL}"), "a lone dot ends nothing");
    let address = |text: &str| Address::new(text).unwrap();
    let expected = Submitted {
        sender: sender.map(|sender| sender.map(address)),
        recipients: recipients.iter().map(|to| address(to)).collect(),
        from_header,
    };
    assert_eq!(done.given, Some(expected), "{args:?}");
}

#[test]
fn every_known_caller_is_understood() {
    check(&["-f", "v@x.org", "-i", "a@x.org"], Some(Some("v@x.org")), &["a@x.org"], false);
    check(
        &["-oem", "-oi", "-B8BITMIME", "-f", "v@x.org", "-N", "never", "--", "a@x.org", "b@x.org"],
        Some(Some("v@x.org")),
        &["a@x.org", "b@x.org"],
        false,
    );
    check(&["-oi", "-t"], None, &[], true);
    check(&["--read-envelope-from", "-t"], None, &[], true);
    check(&["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "<>"], Some(None), &[], true);
    check(&["-it", "a@x.org"], None, &["a@x.org"], true);
    check(
        &["-rv@x.org", "-Am", "-bm", "a@x.org, b@x.org"],
        Some(Some("v@x.org")),
        &["a@x.org", "b@x.org"],
        false,
    );
}

#[test]
fn refusals_leave_nothing_and_have_their_codes() {
    let cases: [(&[&str], &str, u8); 11] = [
        (&["root"], MAIL, 67),
        (&["-t"], "From: me@example.com\nTo: root\n\n", 67),
        (&["-f", "root", "a@x.org"], MAIL, 67),
        (&[], MAIL, 64),
        (&["a@x.org"], "From: me@example.com\n\na\0b", 65),
        (&["-a", "nope", "a@x.org"], MAIL, 67),
        (&["-f", "me example", "a@x.org"], MAIL, 65),
        (&["-t"], "From: me@example.com\n\n", 65),
        (&["a@x.org"], "", 65),
        (&["a@x.org"], "From: other@example.com\n\n", 67),
        (&["-Z", "a@x.org"], MAIL, 64),
    ];
    for (args, mail, code) in cases {
        let done = run(args, mail);
        let Sendmail::Done(answer) = done.answer else { panic!() };
        assert_eq!(answer.code, code, "{args:?} {}", answer.err);
        assert!(done.files.is_empty() && !answer.err.is_empty(), "{args:?}");
    }
}

#[test]
fn queue_commands_are_passed_on_and_an_account_can_be_chosen() {
    assert_eq!(run(&["-bp"], "").answer, Sendmail::List);
    assert_eq!(run(&["-bs"], "").answer, Sendmail::Dialogue(Vec::new()));
    assert_eq!(run(&["-qIabc"], "").answer, Sendmail::Flush(vec![OutboxId("abc".to_owned())]));
    assert_eq!(run(&["-q"], "").answer, Sendmail::Flush(Vec::new()));
    let done = run(&["-a", "work", "a@x.org"], "From x\nFrom: other@example.com\n\nb");
    assert_eq!(done.files[0].1, "X-Postrider-Account: work\nFrom: other@example.com\n\nb");
}

#[test]
fn text_alone_gets_a_header_and_a_first_double_dash_ends_the_options() {
    let done = run(&["a@x.org"], "hello\n");
    assert_eq!(done.files[0].1, "From: me@example.com\n\nhello\n");
    let done = run(&["a@x.org"], "\nhello\n");
    assert_eq!(done.files[0].1, "From: me@example.com\n\nhello\n");
    let Sendmail::Done(answer) = run(&["--", "-t"], MAIL).answer else { panic!() };
    assert!(answer.code == 67 && answer.err.contains("-t"), "{}", answer.err);
}

#[test]
fn send_prints_the_id_and_says_when_nobody_will_send_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let how = Spooling {
        settings: &settings,
        state_dir: dir.path(),
        daemon_runs: false,
        now: 1_700_000_000_000_000,
        random: 7,
    };
    let answer = send(&how, None, &mut MAIL.as_bytes());
    assert_eq!(answer.code, 0);
    assert!(dir.path().join("Outbox/new").join(answer.out.trim()).exists());
    assert!(answer.err.contains("daemon is not running"));
    assert_eq!(send(&how, Some(Path::new("/nonexistent")), &mut MAIL.as_bytes()).code, 74);
}

/// As Postfix does it: `"Full Name" <sender>`.
#[test]
fn a_message_without_from_gets_one() {
    let from = |args: &[&str], mail: &str| {
        let done = run(args, mail);
        assert_eq!(done.answer, Sendmail::Done(Answer::default()), "{args:?}");
        done.files[0].1.lines().next().unwrap().to_owned()
    };
    let mail = "To: h@x.org\nSubject: s\n\nb\n";
    assert_eq!(from(&["-t"], mail), "From: me@example.com", "the only account's");
    let named = ["-F", "Cron \"D\"", "-f", "me@example.com", "-t"];
    assert_eq!(from(&named, mail), "From: \"Cron \\\"D\\\"\" <me@example.com>");
    assert_eq!(from(&["-FZoë", "-t"], mail), "From: =?UTF-8?B?Wm/Dqw==?= <me@example.com>");
    assert_eq!(from(&["-f", "<>", "-t"], mail), "From: me@example.com");
    let resent = "Resent-From: me@example.com\nResent-To: a@x.org\nTo: b@x.org\n\nb\n";
    assert_eq!(from(&["-t"], resent), "Resent-From: me@example.com");
}
