//! Whole passes: each message once, and nothing removed that is not durable here.

use std::collections::BTreeSet;
use std::time::Duration;

use postrider::adapters::ledger::SqliteLedger;
use postrider::model::account::Leave;
use postrider::model::ids::MailboxName;
use postrider::ports::ledger::Ledger as _;
use postrider_mailserver::{Action, Config, MailServer, Pop3Extension, Rule};

use crate::world::{Home, counters, local, mail, n_said, server};

const REMOVE: Leave = Leave::For(Duration::ZERO);

fn filled(lacking: &[Pop3Extension], n: u32) -> MailServer {
    let server = server(lacking);
    append(&server, 1..=n);
    server
}

fn append(server: &MailServer, numbers: std::ops::RangeInclusive<u32>) {
    for n in numbers {
        server.mailbox("INBOX").append(&mail(n), &[], None);
    }
}

fn there(server: &MailServer) -> usize {
    server.mailbox("INBOX").messages().len()
}

fn all(n: u32) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = (1..=n).map(|n| local(&mail(n))).collect();
    all.sort();
    all
}

#[tokio::test]
async fn s118_an_unchanged_list_of_unique_ids_costs_no_retr() {
    let (server, home) = (filled(&[], 20), Home::new());
    assert_eq!(home.good(&server, Leave::Forever).await.downloaded, 20);
    assert_eq!(home.here(), all(20));
    let before = n_said(&server, "RETR");
    for _ in 0..3 {
        assert_eq!(home.good(&server, Leave::Forever).await.downloaded, 0);
    }
    assert_eq!(n_said(&server, "RETR"), before);
    assert_eq!((n_said(&server, "TOP"), n_said(&server, "DELE")), (0, 0));
}

#[tokio::test]
async fn s120_mail_goes_when_its_time_is_over_on_a_session_that_was_confirmed() {
    let (server, home) = (filled(&[], 5), Home::new());
    let leave = Leave::For(Duration::from_secs(7 * 86_400));
    home.good(&server, leave).await;
    assert_eq!(home.good(&server, leave).await.deleted_remote, 0);
    assert_eq!(n_said(&server, "DELE"), 0);
    // A week later, with one message that is not here yet.
    let db = rusqlite::Connection::open(home.ledger_file()).unwrap();
    db.execute("UPDATE pop SET at = at - 604800", []).unwrap();
    append(&server, 6..=6);
    server.script(Rule::pop3("RETR").then(Action::refuse("-ERR damaged")));
    server.script(Rule::pop3("QUIT").first(1).then(Action::CutBefore));
    let report = home.pass(&server, leave).await;
    assert_eq!(report.error.as_ref().map(|e| e.code.as_str()), Some("Offline"), "{report:?}");
    let inbox = report.mailboxes[&MailboxName::inbox()];
    assert_eq!((inbox.deleted_remote, there(&server)), (0, 6), "the end was not confirmed");
    let done = home.good(&server, leave).await;
    assert_eq!((done.deleted_remote, there(&server)), (5, 1), "what is not here stays there");
    assert_eq!(home.here(), all(5));
}

#[tokio::test]
async fn removed_at_once_and_nothing_that_is_not_here() {
    let (server, home) = (filled(&[], 5), Home::new());
    server.script(Rule::pop3("RETR").nth(3).then(Action::refuse("-ERR damaged")));
    let done = home.good(&server, REMOVE).await;
    assert_eq!((done.downloaded, done.failed, done.deleted_remote), (4, 1, 4));
    assert_eq!(there(&server), 1);
    let done = home.good(&server, REMOVE).await;
    assert_eq!((done.downloaded, done.deleted_remote, there(&server)), (1, 1, 0));
    assert_eq!(home.here(), all(5));
}

#[tokio::test]
async fn the_same_bytes_delivered_again_are_another_message() {
    let (server, home) = (filled(&[], 1), Home::new());
    for n in 1..=3 {
        assert_eq!(home.good(&server, REMOVE).await.downloaded, 1);
        assert_eq!(home.here().len(), n);
        append(&server, 1..=1);
    }
    append(&server, 1..=1);
    assert_eq!(home.good(&server, Leave::Forever).await.downloaded, 2);
}

#[tokio::test]
async fn cut_anywhere_each_message_comes_once_and_none_is_lost() {
    for leave in [Leave::Forever, REMOVE] {
        for (command, last) in
            [("RETR", 90), ("UIDL", 60), ("LIST", 30), ("STAT", 12), ("DELE", 12), ("QUIT", 14)]
        {
            for at in (0..=last).step_by(6) {
                let (server, home) = (filled(&[], 4), Home::new());
                let rule = Rule::pop3(command).nth(if command == "RETR" { 2 } else { 1 });
                server.script(rule.then(Action::CutAt(at)));
                home.pass(&server, leave).await;
                let here = home.here();
                let names: BTreeSet<_> = here.iter().collect();
                assert_eq!(names.len(), here.len(), "{command} {at}: doubled");
                let lost = 4 - there(&server);
                assert!(lost <= here.len(), "{command} {at}: gone there and not here");
                home.good(&server, leave).await;
                assert_eq!(home.here(), all(4), "{command} {at} {leave:?}");
                home.good(&server, leave).await;
                assert_eq!(there(&server), if leave == REMOVE { 0 } else { 4 }, "{command} {at}");
                assert_eq!(home.here(), all(4), "{command} {at} {leave:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_message_that_ends_each_session_stops_no_other() {
    let (server, home) = (filled(&[], 5), Home::new());
    server.script(Rule::pop3("RETR").containing("RETR 2").then(Action::CutAt(10)));
    // The others come with the second session, for this one is asked for last then.
    for n in [1, 4] {
        assert!(home.pass(&server, REMOVE).await.error.is_some());
        assert_eq!(home.here().len(), n);
    }
    assert!(home.pass(&server, REMOVE).await.error.is_some());
    let db = rusqlite::Connection::open(home.ledger_file()).unwrap();
    db.execute("UPDATE msg SET next_try = next_try + 600 WHERE st = 'failed'", []).unwrap();
    let done = home.good(&server, REMOVE).await;
    assert_eq!((done.deleted_remote, there(&server), home.here().len()), (4, 1, 4));
    server.clear_script();
    db.execute("UPDATE msg SET next_try = 0 WHERE st = 'failed'", []).unwrap();
    home.good(&server, REMOVE).await;
    assert_eq!((there(&server), home.here()), (0, all(5)));
}

#[tokio::test]
async fn shared_unique_ids_are_told_apart_and_remove_nothing() {
    let (server, home) = (filled(&[], 4), Home::new());
    server.script(Rule::pop3("UIDL").then(Action::rewrite("id00000003", "id00000002")));
    for n in [4, 0, 0] {
        assert_eq!(home.good(&server, REMOVE).await.downloaded, n);
    }
    assert_eq!(home.here(), all(4));
    assert_eq!(there(&server), 2, "the two whose name is good went, the others stay");
}

#[tokio::test]
async fn without_unique_ids_a_hash_of_the_header_is_the_name() {
    let (server, home) = (filled(&[Pop3Extension::Uidl], 4), Home::new());
    // Two that nothing tells apart are two messages all the same.
    append(&server, 4..=4);
    for n in [5, 0, 0] {
        assert_eq!(home.good(&server, Leave::Forever).await.downloaded, n);
    }
    assert_eq!(n_said(&server, "RETR"), 5);
    // The numbers move.
    let first = server.mailbox("INBOX").messages()[0].uid;
    server.mailbox("INBOX").expunge(first);
    append(&server, 9..=9);
    assert_eq!(home.good(&server, Leave::Forever).await.downloaded, 1);
    assert_eq!(home.here().len(), 6);
    home.good(&server, REMOVE).await;
    assert_eq!(there(&server), 2, "the twins stay");
}

#[tokio::test]
async fn without_any_name_nothing_is_fetched_and_the_reason_is_told() {
    let (server, home) = (filled(&[Pop3Extension::Uidl, Pop3Extension::Top], 2), Home::new());
    let error = home.pass(&server, REMOVE).await.error.unwrap();
    assert_eq!(error.code, "NotSupported");
    assert!(error.text.contains("UIDL") && error.text.contains("IMAP"), "{}", error.text);
    assert_eq!((n_said(&server, "RETR"), there(&server)), (0, 2));
}

#[tokio::test]
async fn a_listing_that_does_not_add_up_removes_nothing_here_or_there() {
    let (server, home) = (filled(&[], 3), Home::new());
    home.good(&server, Leave::Forever).await;
    append(&server, 4..=4);
    server.script(Rule::pop3("STAT").then(Action::reply("+OK 1000000000 1\r\n")));
    let done = home.good(&server, REMOVE).await;
    assert_eq!((done.downloaded, done.deleted_remote), (1, 0));
    assert_eq!((home.here(), there(&server)), (all(4), 4));
    server.clear_script();
    server.script(Rule::pop3("UIDL").then(Action::reply("+OK\r\n.\r\n")));
    server.script(Rule::pop3("LIST").then(Action::reply("+OK\r\n.\r\n")));
    home.good(&server, REMOVE).await;
    server.clear_script();
    assert_eq!(home.good(&server, REMOVE).await.downloaded, 0, "nothing was forgotten");
    assert_eq!(home.here(), all(4));
}

#[tokio::test]
async fn what_is_not_shown_for_a_while_is_not_new_when_it_comes_back() {
    let (server, home) = (filled(&[], 3), Home::new());
    home.good(&server, Leave::Forever).await;
    let rule = server.script(Rule::pop3("*").then(Action::DropLines(b"2 ".to_vec())));
    server.script(Rule::pop3("STAT").then(Action::reply("+OK 2 9\r\n")));
    assert_eq!(home.good(&server, REMOVE).await.downloaded, 0);
    server.unscript(rule);
    server.clear_script();
    assert_eq!(home.good(&server, Leave::Forever).await.downloaded, 0);
    assert_eq!(home.here(), all(3));
}

#[tokio::test]
async fn a_unique_id_that_is_given_to_another_message_means_that_one() {
    let (server, home) = (filled(&[], 1), Home::new());
    home.good(&server, Leave::Forever).await;
    server.mailbox("INBOX").expunge(1);
    home.good(&server, Leave::Forever).await;
    server.mailbox("INBOX").set_uid_next(1);
    server.mailbox("INBOX").append(&mail(1234), &[], None);
    assert_eq!(home.good(&server, Leave::Forever).await.downloaded, 1);
    assert_eq!(home.here().len(), 2);
}

#[tokio::test]
async fn a_server_that_names_everything_anew_doubles_nothing() {
    let (server, home) = (filled(&[], 30), Home::new());
    home.good(&server, Leave::Forever).await;
    server.script(Rule::pop3("UIDL").then(Action::rewrite("id", "other")));
    // Interrupted in the middle, too.
    server.script(Rule::pop3("RETR").nth(10).then(Action::CutBefore));
    home.pass(&server, Leave::Forever).await;
    append(&server, 31..=31);
    let report = home.good(&server, Leave::Forever).await;
    assert_eq!((report.downloaded, home.here()), (1, all(31)));
    let before = n_said(&server, "RETR");
    home.good(&server, Leave::Forever).await;
    assert_eq!(n_said(&server, "RETR"), before);
}

#[tokio::test]
async fn of_few_messages_that_are_named_anew_none_is_doubled() {
    for n in [1, 2, 9] {
        let (server, home) = (filled(&[], n), Home::new());
        home.good(&server, Leave::Forever).await;
        server.script(Rule::pop3("UIDL").then(Action::rewrite("id", "other")));
        append(&server, n + 1..=n + 1);
        let report = home.good(&server, Leave::Forever).await;
        assert_eq!((report.downloaded, home.here()), (1, all(n + 1)));
    }
}

#[tokio::test]
async fn a_window_that_moves_with_what_was_fetched_is_followed_to_its_end() {
    let config = Config { pop3_window: Some(60), ..Config::default() };
    let (server, home) = (MailServer::start(config).unwrap(), Home::new());
    append(&server, 1..=200);
    let done = home.good(&server, Leave::Forever).await;
    assert_eq!((done.downloaded, home.here()), (200, all(200)));
    assert_eq!(there(&server), 200);
    append(&server, 201..=201);
    assert_eq!(home.good(&server, Leave::Forever).await.downloaded, 1);
    assert_eq!(home.here(), all(201), "what left the window stays here");
}

#[tokio::test]
async fn where_logins_must_be_far_apart_a_pass_is_one_session() {
    let config = Config { pop3_window: Some(60), pop3_login_delay: Some(900), ..Config::default() };
    let (server, home) = (MailServer::start(config).unwrap(), Home::new());
    append(&server, 1..=200);
    assert_eq!(home.good(&server, Leave::Forever).await.downloaded, 60);
    assert_eq!(n_said(&server, "QUIT"), 1);
}

#[tokio::test]
async fn a_provider_that_is_known_to_want_logins_far_apart_need_not_say_so() {
    let config = Config { pop3_window: Some(60), ..Config::default() };
    let (server, home) = (MailServer::start(config).unwrap(), Home::new());
    append(&server, 1..=200);
    let report = home.worker_patient(&server, Duration::from_secs(900)).once(&[]).await;
    assert_eq!(report.error, None);
    assert_eq!((home.here().len(), n_said(&server, "QUIT")), (60, 1));
}

#[tokio::test]
async fn a_lost_ledger_costs_time_and_doubles_nothing() {
    let (server, home) = (filled(&[], 12), Home::new());
    home.good(&server, Leave::Forever).await;
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        drop(std::fs::remove_file(home.dir.path().join(file)));
    }
    append(&server, 13..=13);
    server.script(Rule::pop3("RETR").nth(6).then(Action::CutBefore));
    home.pass(&server, Leave::Forever).await;
    home.good(&server, Leave::Forever).await;
    assert_eq!(home.here(), all(13));
    assert_eq!(there(&server), 13);
}

#[tokio::test]
async fn s119_a_message_that_came_before_a_crash_exists_once() {
    let (server, home) = (filled(&[], 3), Home::new());
    home.good(&server, REMOVE).await;
    append(&server, 4..=6);
    home.good(&server, Leave::Forever).await;
    // As it is when the process dies after the files are visible and before the ledger says so, and
    // when it dies before they are.
    let db = rusqlite::Connection::open(home.ledger_file()).unwrap();
    db.execute("UPDATE msg SET st = 'landing' WHERE uid >= 4", []).unwrap();
    // By its bytes: names of the same second do not sort by age.
    let is_last =
        |file: &std::path::PathBuf| std::fs::read_to_string(file).unwrap().contains("<6@x>");
    let hidden = home.files().into_iter().find(is_last).unwrap();
    let name = hidden.file_name().unwrap().to_owned();
    std::fs::rename(&hidden, home.mailbox().join("tmp").join(name)).unwrap();
    let before = n_said(&server, "RETR");
    home.good(&server, Leave::Forever).await;
    assert_eq!((home.here(), n_said(&server, "RETR")), (all(6), before));
    // And when nothing but the row got through.
    db.execute("UPDATE msg SET st = 'landing' WHERE uid = 4", []).unwrap();
    let base: String =
        db.query_row("SELECT base FROM msg WHERE uid = 4", [], |row| row.get(0)).unwrap();
    let lost = home.files().into_iter().find(|f| f.to_string_lossy().contains(&base)).unwrap();
    std::fs::remove_file(lost).unwrap();
    home.good(&server, Leave::Forever).await;
    assert_eq!(home.here(), all(6));
}

#[tokio::test]
async fn what_is_moved_away_here_goes_there_and_what_is_in_doubt_waits() {
    let (server, home) = (filled(&[], 40), Home::new());
    let mut worker = home.worker(&server, Leave::UntilMoved);
    counters(&worker.once(&[]).await);
    assert_eq!(there(&server), 40);
    let files = home.files();
    let archive = home.dir.path().join("mail/Archive/cur");
    std::fs::create_dir_all(&archive).unwrap();
    std::fs::rename(&files[0], archive.join("moved:2,S")).unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    let done = counters(&worker.once(&[]).await);
    assert_eq!((done.deleted_remote, there(&server), home.here().len()), (2, 38, 38));
    assert_eq!(counters(&worker.once(&[]).await).deleted_remote, 0);

    // A directory that is suddenly empty looks like an accident.
    for file in home.files() {
        std::fs::remove_file(file).unwrap();
    }
    let done = counters(&worker.once(&[]).await);
    assert_eq!((done.held, done.deleted_remote, there(&server)), (38, 0, 38));
    let ledger = SqliteLedger::open(&home.ledger_file(), |_| Duration::ZERO).unwrap();
    let row = ledger.mailbox(&MailboxName::inbox()).unwrap();
    let reject =
        postrider::ports::ledger::Change::Consent(Some(postrider::model::event::Consent::Reject));
    ledger.apply(row.id, &[reject]).unwrap();
    let done = counters(&worker.once(&[]).await);
    assert_eq!((done.downloaded, done.held, there(&server)), (38, 0, 38), "they come back");

    for file in home.files() {
        std::fs::remove_file(file).unwrap();
    }
    assert_eq!(counters(&worker.once(&[]).await).held, 38);
    let confirm = || {
        postrider::ports::ledger::Change::Consent(Some(postrider::model::event::Consent::Confirm))
    };
    // A word covers no more than was held when it was given.
    ledger.apply(row.id, &[confirm(), postrider::ports::ledger::Change::Held(20)]).unwrap();
    let done = counters(&worker.once(&[]).await);
    assert_eq!((done.held, done.deleted_remote, there(&server)), (38, 0, 38));
    ledger.apply(row.id, &[confirm()]).unwrap();
    let done = counters(&worker.once(&[]).await);
    assert_eq!((done.deleted_remote, there(&server)), (38, 0));
    assert_eq!(counters(&worker.once(&[]).await).held, 0);
}

#[tokio::test]
async fn what_is_too_large_stays_is_listed_and_comes_when_it_is_wanted() {
    let (server, home) = (filled(&[], 2), Home::new());
    let large = [mail(3), b"x".repeat(5000), b"\r\n".to_vec()].concat();
    server.mailbox("INBOX").append(&large, &[], None);
    let limited =
        || home.worker_with(&server, REMOVE, |account| account.sync.limits.max_size = Some(1000));
    let done = counters(&limited().once(&[]).await);
    assert_eq!((done.downloaded, done.skipped, there(&server)), (2, 1, 1));
    assert_eq!(counters(&limited().once(&[]).await).skipped, 1);
    // A listing that does not add up makes nobody forget it.
    for (command, answer) in [("STAT", "+OK 1 1\r\n"), ("LIST", "+OK\r\n.\r\n")] {
        server.script(Rule::pop3(command).then(Action::reply(answer)));
    }
    counters(&limited().once(&[]).await);
    server.clear_script();
    let ledger = SqliteLedger::open(&home.ledger_file(), |_| Duration::ZERO).unwrap();
    let row = ledger.mailbox(&MailboxName::inbox()).unwrap();
    let skipped = ledger.skipped(row.id).unwrap();
    assert_eq!((skipped.len(), skipped[0].reason.as_str()), (1, "max_size"));
    assert_eq!(skipped[0].size, Some(large.len() as u64));
    let want = postrider::ports::ledger::LimitChange::Want(vec![skipped[0].uid]);
    ledger.apply(row.id, &[postrider::ports::ledger::Change::Limit(want)]).unwrap();
    let done = counters(&limited().once(&[]).await);
    assert_eq!((done.downloaded, done.skipped, there(&server)), (1, 0, 0));
}

#[tokio::test]
async fn a_mailbox_that_is_not_there_is_missing_and_was_not_moved_away() {
    let (server, home) = (filled(&[], 5), Home::new());
    home.good(&server, Leave::UntilMoved).await;
    let aside = home.dir.path().join("aside");
    std::fs::rename(home.mailbox(), &aside).unwrap();
    let error = home.pass(&server, Leave::UntilMoved).await.error.unwrap();
    assert!(
        error.code == "LocalIo" && error.text.contains("bring the directory back"),
        "{error:?}"
    );
    assert_eq!(there(&server), 5);
    std::fs::rename(aside, home.mailbox()).unwrap();
    assert_eq!(home.good(&server, Leave::UntilMoved).await.deleted_remote, 0);
    // Where it does not matter for the server it is made anew, and nothing comes again.
    std::fs::remove_dir_all(home.mailbox()).unwrap();
    assert_eq!(home.good(&server, Leave::Forever).await.downloaded, 0);
    assert_eq!(there(&server), 5);
}

#[tokio::test]
async fn another_mailbox_in_the_configuration_is_for_what_comes_from_now_on() {
    let (server, home) = (filled(&[], 12), Home::new());
    home.good(&server, Leave::UntilMoved).await;
    append(&server, 13..=13);
    let mut worker = home.worker_into(&server, Leave::UntilMoved, "Post");
    let report = worker.once(&[]).await;
    let post = report.mailboxes[&MailboxName("Post".to_owned())];
    assert_eq!((post.downloaded, post.deleted_remote, post.held), (1, 0, 0), "{report:?}");
    assert_eq!((there(&server), home.here()), (13, all(12)));
}

#[tokio::test]
async fn a_ledger_of_pop3_is_none_of_imap_and_the_other_way_round() {
    let (server, home) = (filled(&[], 5), Home::new());
    home.good(&server, Leave::Forever).await;
    // As for an account that goes on with IMAP: no number is a UID, and every file is known.
    let ledger = SqliteLedger::open(&home.ledger_file(), |_| Duration::ZERO).unwrap();
    ledger.leave_pop().unwrap();
    let row = ledger.mailbox(&MailboxName::inbox()).unwrap();
    let (mut n_uids, mut n_files) = (0, 0);
    let count = &mut |row: postrider::model::view::BaseRow| {
        n_uids += usize::from(row.uid.is_some());
        n_files += usize::from(row.base.is_some());
    };
    ledger.each(row.id, count).unwrap();
    assert_eq!((row.cursor, n_uids, n_files), (None, 0, 5));
    drop(ledger);
    // And back: the bytes are compared.
    home.good(&server, Leave::Forever).await;
    assert_eq!(home.here(), all(5));
}

#[tokio::test]
async fn a_dry_run_tells_and_touches_nothing() {
    let (server, home) = (filled(&[], 3), Home::new());
    let done = counters(&home.worker(&server, REMOVE).dry().once(&[]).await);
    assert_eq!((done.downloaded, home.here().len(), there(&server)), (3, 0, 3));
    assert_eq!((n_said(&server, "RETR"), n_said(&server, "DELE")), (0, 0));
    assert!(!home.mailbox().exists());
}
