//! Scenarios 1 to 14: new messages.

use postrider_mailserver::{Action, Rule};

use crate::case::{case, one_by_one};
use crate::common::fate::Fate;
use crate::common::sides::Side::{self, Here, There};
use crate::common::sides::{DATE, mail, wire};

#[test]
fn s001_remote_mail_arrives_with_bytes_date_and_flags() {
    case()
        .when(|s| {
            s.put(There, "INBOX", 1, "");
            s.put(There, "INBOX", 2, "FS");
        })
        .then(|s| {
            assert_eq!(s.inbox().downloaded, 2);
            s.assert_both("INBOX", &[(1, ""), (2, "FS")]);
            for (n, sub) in [(1, "new"), (2, "cur")] {
                let file = s.file("INBOX", n);
                assert!(file.parent().unwrap().ends_with(sub), "{}", file.display());
                assert_eq!(s.mtime(&file), DATE);
            }
        })
        .run();
}

#[test]
fn s002_local_mail_is_appended_with_flags_and_date() {
    case()
        .when(|s| {
            s.put(Here, "INBOX", 1, "");
            s.put(Here, "INBOX", 2, "FS");
        })
        .then(|s| {
            assert_eq!(s.inbox().uploaded, 2);
            s.assert_both("INBOX", &[(1, ""), (2, "FS")]);
            let messages = s.server.mailbox("INBOX").messages();
            assert!(messages.iter().all(|m| m.internal_date == DATE));
            assert_eq!(s.mtime(&s.file("INBOX", 1)), DATE);
        })
        .run();
}

#[test]
fn s003_remote_mail_marked_deleted_is_not_downloaded() {
    case()
        .account(|a| a.sync.delete = postrider::model::account::DeletePolicy::Expunge)
        .when(|s| s.put(There, "INBOX", 1, "T"))
        .then(|s| {
            assert_eq!(s.inbox().downloaded, 0);
            assert_eq!(s.count(Here, "INBOX"), 0);
        })
        .run();
}

#[test]
fn s004_local_mail_marked_trashed_is_not_uploaded() {
    case()
        .when(|s| s.put(Here, "INBOX", 1, "T"))
        .then(|s| {
            assert_eq!(s.inbox().uploaded, 0);
            assert_eq!(s.count(There, "INBOX"), 0);
            assert_eq!(s.flags(Here, "INBOX", 1), Some("T".to_owned()));
        })
        .run();
}

#[test]
fn s005_a_message_that_failed_is_listed_and_fetched_when_it_is_due() {
    case()
        .when(|s| {
            (1..=3).for_each(|n| s.put(There, "INBOX", n, "S"));
            // Whatever asks for the body of UID 2 is refused.
            for set in ["1:3", "1:2", "2"] {
                let refused = Action::refuse("NO cannot read that one");
                let text = format!("FETCH {set} (UID FLAGS I");
                s.server.script(Rule::imap("UID FETCH").containing(&text).then(refused));
            }
        })
        .then(|s| assert_eq!((s.inbox().downloaded, s.inbox().failed), (2, 1)))
        .when(|s| s.server.clear_script())
        .then(|s| {
            assert_eq!(s.inbox().downloaded, 0, "it is not new, and not due");
            let reason = "SELECT count(*) FROM msg WHERE reason LIKE '%cannot read that one%'";
            assert_eq!(s.ledger_number(reason), 1);
        })
        .when(|s| s.ledger_change("UPDATE msg SET next_try = 0 WHERE st = 'failed'"))
        .then(|s| {
            assert_eq!((s.inbox().downloaded, s.inbox().failed), (1, 0));
            s.assert_both("INBOX", &[(1, "S"), (2, "S"), (3, "S")]);
        })
        .run();
}

#[test]
fn s006_a_lost_high_water_mark_doubles_nothing_and_is_rebuilt() {
    case()
        .given(|s| (1..=3).for_each(|n| s.put(There, "INBOX", n, "S")))
        .when(|s| s.ledger_change("UPDATE mailbox SET uidnext = 0, modseq = 0, n_exists = 0"))
        .then(|s| {
            s.assert_nothing_happened();
            s.assert_no_transfer();
            assert_eq!(s.ledger_number("SELECT uidnext FROM mailbox WHERE name = 'INBOX'"), 4);
        })
        .when(|s| s.ledger_change("UPDATE mailbox SET uidnext = 4000000, modseq = 1000000"))
        .then(|s| {
            s.assert_nothing_happened();
            s.assert_no_transfer();
            assert_eq!(s.ledger_number("SELECT uidnext FROM mailbox WHERE name = 'INBOX'"), 4);
        })
        .run();
}

#[test]
fn s007_a_pair_that_is_gone_on_both_sides_is_pruned() {
    case()
        .given(|s| (1..=2).for_each(|n| s.put(There, "INBOX", n, "S")))
        .when(|s| Side::BOTH.into_iter().for_each(|side| s.remove(side, "INBOX", 1)))
        .then(|s| {
            assert_eq!(s.mutating(), []);
            assert_eq!(s.ledger_number("SELECT count(*) FROM msg"), 1);
            assert_eq!(s.quarantined(), Vec::<String>::new());
        })
        .run();
}

#[test]
fn s008_mail_that_comes_while_a_sync_runs_is_never_skipped() {
    case()
        .both_sides()
        .when_meeting(
            |s| s.put(s.side, "INBOX", 1, "S"),
            |s| {
                let (inbox, path) = (s.server.mailbox("INBOX"), s.path("INBOX/cur/late:2,S"));
                match s.side {
                    There => Fate::interrupted("promote", move || {
                        inbox.append(&wire(&mail(2)), &["\\Seen"], None);
                    }),
                    Here => Fate::interrupted("append", move || {
                        std::fs::write(path, mail(2)).unwrap();
                    }),
                }
            },
        )
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &[(1, "S"), (2, "S")]))
        .run();
}

#[test]
fn s009_mail_that_is_expunged_before_its_fetch_is_no_error() {
    case()
        .when_meeting(
            |s| (1..=2).for_each(|n| s.put(There, "INBOX", n, "S")),
            |s| {
                let inbox = s.server.mailbox("INBOX");
                Fate::interrupted("fetch", move || assert!(inbox.expunge(1)))
            },
        )
        .then(|s| {
            assert_eq!((s.inbox().downloaded, s.inbox().failed), (1, 0));
            s.assert_both("INBOX", &[(2, "S")]);
        })
        .run();
}

#[test]
fn s010_a_refused_append_fails_alone_and_says_why() {
    case()
        .config(one_by_one)
        .when(|s| {
            (1..=3).for_each(|n| s.put(Here, "INBOX", n, "S"));
            let refusal = Action::refuse("NO [TOOBIG] not that one");
            s.server.script(Rule::imap("APPEND").nth(2).then(refusal));
        })
        .then(|s| {
            assert_eq!((s.inbox().uploaded, s.inbox().failed), (2, 1));
            assert_eq!((s.count(Here, "INBOX"), s.count(There, "INBOX")), (3, 2));
            let reason = "SELECT count(*) FROM msg WHERE reason LIKE '%not that one%'";
            assert_eq!(s.ledger_number(reason), 1);
        })
        .run();
}

#[test]
fn s011_the_same_bytes_twice_are_two_messages_on_both_sides() {
    case()
        .both_sides()
        .when(|s| (1..=2).for_each(|_| s.put(s.side, "INBOX", 1, "S")))
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &[(1, "S"), (1, "S")]))
        .run();
}

#[test]
fn s012_mail_without_a_useful_message_id_is_paired_all_the_same() {
    case()
        .both_sides()
        .when(|s| {
            s.put_text(s.side, "INBOX", "Subject: a\n\nno id\nend\n", "S");
            s.put_text(s.side, "INBOX", "Message-ID:\nSubject: b\n\nblank\nend\n", "S");
            s.put_text(s.side, "INBOX", "Message-ID: <2@x>\n\none\nend\n", "S");
            s.put_text(s.side, "INBOX", "Message-ID: <2@x>\n\ntwo\nend\n", "S");
        })
        .when(|_| {})
        .then(|s| {
            assert_eq!(s.content(Here, "INBOX"), s.content(There, "INBOX"));
            assert_eq!(s.count(Here, "INBOX"), 4);
        })
        .when(|s| {
            let inbox = s.server.mailbox("INBOX");
            inbox.messages().iter().for_each(|m| assert!(inbox.add_flags(m.uid, &["\\Flagged"])));
        })
        .then(|s| {
            assert_eq!(s.inbox().flags_local, 4);
            assert_eq!(s.content(Here, "INBOX"), s.content(There, "INBOX"));
            s.assert_no_transfer();
        })
        .run();
}

/// Line ends and bytes that no message should have.
const ODD: [&[u8]; 5] = [
    b"Subject: bare\r\n\r\na\rb\r\nc\r\n",
    b"Subject: \xe4\xf6\xfc \xff\r\n\r\n8 bit\r\n",
    b"no separator at all",
    b"Subject: no body\r\n",
    b"",
];

#[test]
fn s013_odd_bytes_come_through_unchanged() {
    case()
        .when(|s| {
            let inbox = s.server.mailbox("INBOX");
            for bytes in ODD.iter().chain([&b"Subject: nul\r\n\r\na\0b\r\n".as_slice()]) {
                inbox.append(bytes, &["\\Seen"], None);
            }
            inbox.append(b"Subject: lf\n\nbare\nlf\n", &["\\Seen"], None);
        })
        .then(|s| {
            let there = s.server.mailbox("INBOX").messages();
            let mut wanted: Vec<Vec<u8>> = there.iter().map(|m| on_disk(&m.bytes)).collect();
            let mut found: Vec<Vec<u8>> = s.files("INBOX").into_values().collect();
            wanted.sort();
            found.sort();
            assert_eq!(found, wanted);
        })
        .run();
    case()
        .when(|s| {
            for (i, bytes) in ODD.iter().enumerate() {
                s.drop_file("INBOX", "cur", &format!("odd{i}:2,S"), &on_disk(bytes));
            }
        })
        .when(|_| {})
        .then(|s| {
            let there = s.server.mailbox("INBOX").messages();
            let mut found: Vec<Vec<u8>> = there.iter().map(|m| m.bytes.to_vec()).collect();
            let mut wanted: Vec<Vec<u8>> = ODD.iter().map(|b| b.to_vec()).collect();
            wanted.sort();
            found.sort();
            assert_eq!(found, wanted);
            assert_eq!(s.count(Here, "INBOX"), ODD.len());
        })
        .run();
}

/// The only thing that differs on disk.
fn on_disk(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(i + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}

#[test]
fn s014_a_large_mail_comes_in_pieces_and_a_cut_leaves_nothing() {
    case()
        .when_failing(|s| {
            let text = format!("Message-ID: <1@x>\n\n{}end\n", "0123456789abcde\n".repeat(150_000));
            s.put_text(There, "INBOX", &text, "S");
            let second = Rule::imap("UID FETCH").containing("BODY.PEEK[]<").nth(2);
            s.server.script(second.then(Action::CutAt(5000)));
        })
        .then(|s| {
            assert_eq!(s.count(Here, "INBOX"), 0);
            let left = std::fs::read_dir(s.path("INBOX/tmp")).unwrap().count();
            assert_eq!(left, 0, "a partial file in tmp/");
        })
        .when(|_| {})
        .then(|s| {
            assert_eq!(s.content(Here, "INBOX"), s.content(There, "INBOX"));
            let bodies = s.server.commands().into_iter().filter(|c| c.line.contains("BODY.PEEK[]"));
            // Memory is bounded by the size of a piece.
            assert!(bodies.clone().count() >= 3);
            assert!(bodies.into_iter().all(|c| c.line.contains(".1048576>")));
        })
        .run();
}
