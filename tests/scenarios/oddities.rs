//! Scenarios 55 to 74: UIDs, and what servers do.

use postrider::model::event::Notice;
use postrider_mailserver::{Action, Rule};

use crate::case::{Offer, Scene, case, one_by_one};
use crate::common::fate::Fate;
use crate::common::sides::Side::{Here, There};
use crate::common::sides::{mail, wire};

fn three(s: &Scene) {
    (1..=3).for_each(|n| s.put(There, "INBOX", n, "S"));
}

const THREE: [(u32, &str); 3] = [(1, "S"), (2, "S"), (3, "S")];

fn is_reset(s: &Scene) -> bool {
    s.outcome.notices.iter().any(|n| matches!(n, Notice::MailboxReset { .. }))
}

fn lines(s: &Scene) -> Vec<String> {
    s.server.commands().into_iter().map(|c| c.line).collect()
}

#[test]
fn s055_a_new_uidvalidity_links_the_same_messages_again() {
    case()
        .given(three)
        .when(|s| {
            s.remove(There, "INBOX", 1);
            assert!(s.server.mailbox("INBOX").set_uid_validity(4711));
        })
        .then(|s| {
            s.assert_no_transfer();
            assert!(is_reset(s));
            assert_eq!(s.count(Here, "INBOX"), 3, "nothing is deleted");
        })
        // The links are good.
        .when(|s| s.flag(There, "INBOX", 2, "FS"))
        .then(|s| {
            assert_eq!(s.flags(Here, "INBOX", 2), Some("FS".to_owned()));
            assert_eq!(s.flags(Here, "INBOX", 3), Some("S".to_owned()));
        })
        .run();
}

#[test]
fn s056_a_new_uidvalidity_with_other_messages_keeps_the_old_files() {
    case()
        .given(three)
        .when(|s| {
            (1..=3).for_each(|n| s.remove(There, "INBOX", n));
            assert!(s.server.mailbox("INBOX").set_uid_validity(4711));
            (4..=5).for_each(|n| s.put(There, "INBOX", n, "S"));
        })
        .then(|s| {
            assert!(is_reset(s));
            assert_eq!((s.count(Here, "INBOX"), s.count(There, "INBOX")), (5, 2));
            assert_eq!(s.mutating(), []);
        })
        .run();
}

#[test]
fn s057_a_command_for_an_old_uid_is_not_sent() {
    case()
        .given(three)
        .given(|s| s.remove(There, "INBOX", 1))
        // Message 2 has UID 2, and after the reset message 3 has it.
        .when_failing_with(
            |s| s.flag(Here, "INBOX", 2, "FS"),
            |s| {
                let inbox = s.server.mailbox("INBOX");
                Fate::interrupted("store", move || assert!(inbox.set_uid_validity(4711)))
            },
        )
        .then(|s| assert_eq!(s.flags(There, "INBOX", 3), Some("S".to_owned())))
        .when(|_| {})
        .then(|s| {
            // Both sides are united where the agreed past is lost.
            s.assert_both("INBOX", &[(2, "FS"), (3, "S")]);
            s.assert_no_transfer();
        })
        .run();
}

#[test]
fn s058_a_mailbox_that_was_made_again_is_paired_again() {
    case()
        .given(|s| (1..=3).for_each(|n| s.put(There, "Work", n, "S")))
        .when(|s| {
            assert!(s.server.delete_mailbox("Work"));
            (2..=4).for_each(|n| s.put(There, "Work", n, "S"));
        })
        .then(|s| {
            assert_eq!(s.outcome.of("Work").downloaded, 1);
            assert_eq!((s.count(Here, "Work"), s.count(There, "Work")), (4, 3));
            assert_eq!(s.mutating(), []);
        })
        .run();
}

#[test]
fn s059_a_mailbox_without_uidvalidity_is_skipped_with_the_reason() {
    case()
        .given(|s| s.make(There, "Work"))
        .when_failing(|s| {
            s.put(There, "INBOX", 1, "S");
            s.put(There, "Work", 2, "S");
            let select = Rule::imap("SELECT").containing("INBOX");
            s.server.script(select.then(Action::DropLines(b"UIDVALIDITY".to_vec())));
        })
        .then(|s| {
            assert!(s.error().contains("UIDVALIDITY"), "{}", s.error());
            assert_eq!((s.count(Here, "INBOX"), s.count(Here, "Work")), (0, 1));
        })
        .when(|s| s.server.clear_script())
        .then(|s| s.assert_both("INBOX", &[(1, "S")]))
        .run();
}

#[test]
fn s060_a_server_that_tells_no_uidnext_is_synced() {
    case()
        .given(three)
        .given(|s| {
            let hide = Action::DropLines(b"[UIDNEXT".to_vec());
            s.server.script(Rule::imap("SELECT").then(hide));
        })
        .when(|s| {
            s.put(There, "INBOX", 4, "S");
            s.put(Here, "INBOX", 5, "S");
            s.flag(There, "INBOX", 1, "FS");
        })
        .when(|_| {})
        .then(|s| {
            s.assert_both("INBOX", &[(1, "FS"), (2, "S"), (3, "S"), (4, "S"), (5, "S")]);
        })
        .run();
}

#[test]
fn s061_a_uidnext_that_went_back_means_a_full_listing() {
    case()
        .given(three)
        .when(|s| {
            s.flag(There, "INBOX", 1, "FS");
            assert!(s.server.mailbox("INBOX").set_uid_next(2));
        })
        .then(|s| {
            let all = "UID FETCH 1:* (UID FLAGS RFC822.SIZE)";
            assert!(lines(s).iter().any(|l| l.ends_with(all)), "{:?}", lines(s));
            s.assert_both("INBOX", &[(1, "FS"), (2, "S"), (3, "S")]);
            s.assert_no_transfer();
        })
        .run();
}

#[test]
fn s062_the_last_message_of_an_empty_range_is_not_new() {
    case()
        .given(three)
        .when(|s| {
            // UIDNEXT grew, and nothing is there for it.
            s.put(There, "INBOX", 4, "S");
            s.remove(There, "INBOX", 4);
        })
        .then(|s| {
            s.assert_both("INBOX", &THREE);
            s.assert_no_transfer();
        })
        .run();
}

#[test]
fn s064_without_a_modseq_only_that_mailbox_does_without_condstore() {
    case()
        .on(&[Offer::All, Offer::NoQresync, Offer::NoUidPlus])
        .given(|s| {
            let select = Rule::imap("SELECT").containing("INBOX");
            s.server.script(select.then(Action::rewrite("HIGHESTMODSEQ", "NOMODSEQ")));
            three(s);
            s.put(There, "Work", 4, "S");
        })
        .when(|s| {
            s.flag(There, "INBOX", 1, "FS");
            s.flag(There, "Work", 4, "FS");
        })
        .then(|s| {
            s.assert_both("INBOX", &[(1, "FS"), (2, "S"), (3, "S")]);
            s.assert_both("Work", &[(4, "FS")]);
            let all = lines(s);
            assert!(!all.iter().any(|l| l.contains("CHANGEDSINCE 0")), "{all:?}");
            let inbox = s.server.commands().into_iter();
            let mut inbox = inbox.filter(|c| c.selected.as_deref() == Some("INBOX"));
            assert!(inbox.all(|c| !c.line.contains("CHANGEDSINCE")));
        })
        .run();
}

#[test]
fn s065_a_modseq_that_went_back_means_one_full_scan_of_flags() {
    case()
        .on(&[Offer::All, Offer::NoQresync, Offer::NoUidPlus])
        .given(three)
        .when(|s| {
            s.ledger_change("UPDATE mailbox SET modseq = 1000000");
            s.flag(There, "INBOX", 1, "FS");
        })
        .then(|s| {
            let all = "UID FETCH 1:* (UID FLAGS RFC822.SIZE)";
            assert_eq!(lines(s).iter().filter(|l| l.ends_with(all)).count(), 1);
            s.assert_both("INBOX", &[(1, "FS"), (2, "S"), (3, "S")]);
        })
        .when(|s| s.flag(There, "INBOX", 2, "FS"))
        .then(|s| {
            let all = "UID FETCH 1:* (UID FLAGS RFC822.SIZE)";
            assert!(!lines(s).iter().any(|l| l.ends_with(all)), "once");
            assert_eq!(s.flags(Here, "INBOX", 2), Some("FS".to_owned()));
        })
        .run();
}

#[test]
fn s067_only_what_names_its_uid_is_believed() {
    case()
        .given(three)
        .when(|s| {
            s.put(There, "INBOX", 4, "S");
            let stray = Action::before("* 1 FETCH (FLAGS (\\Flagged))\r\n");
            let inbox = s.server.mailbox("INBOX");
            let expunge = Action::call(move || assert!(inbox.expunge(2)));
            s.server.script(Rule::imap("UID FETCH").nth(1).then(stray).then(expunge));
        })
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &[(1, "S"), (3, "S"), (4, "S")]))
        .run();
}

#[test]
fn s068_an_answer_without_the_body_is_an_error_of_that_message() {
    case()
        .when(|s| {
            (1..=2).for_each(|n| s.put(There, "INBOX", n, "S"));
            // Nothing but the flags of the first, whatever is asked for.
            let bare = Action::reply("* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n{tag} OK done\r\n");
            s.server.script(Rule::imap("UID FETCH").containing("BODY.PEEK[]").then(bare));
        })
        .then(|s| {
            assert_eq!((s.inbox().downloaded, s.inbox().failed), (0, 1));
            assert_eq!(s.count(Here, "INBOX"), 0);
        })
        .run();
}

#[test]
fn s069_a_size_that_was_a_lie_is_no_endless_loop() {
    case()
        .given(|s| {
            let bytes = wire(&mail(1)).len();
            let lie = Action::rewrite(&format!("RFC822.SIZE {bytes}"), "RFC822.SIZE 4711");
            s.server.script(Rule::imap("UID FETCH").then(lie));
        })
        .when(|s| s.put(There, "INBOX", 1, "S"))
        .then(|s| s.assert_both("INBOX", &[(1, "S")]))
        .run();
}

#[test]
fn s070_a_uidplus_server_without_appenduid_gets_one_copy() {
    case()
        .on(&[Offer::All, Offer::NoMove, Offer::NoCondstore])
        .given(|s| {
            s.server.script(Rule::imap("APPEND").then(Action::tagged("OK done")));
        })
        .when(|s| (1..=3).for_each(|n| s.put(Here, "INBOX", n, "S")))
        .then(|s| s.assert_both("INBOX", &THREE))
        .run();
}

#[test]
fn s071_of_two_copies_one_is_paired_and_the_other_is_new() {
    case()
        .when(|s| {
            s.put(Here, "INBOX", 1, "S");
            let inbox = s.server.mailbox("INBOX");
            let twice = Action::call(move || {
                inbox.append(&wire(&mail(1)), &["\\Seen"], None);
            });
            let append = Rule::imap("APPEND").nth(1);
            s.server.script(append.then(twice).then(Action::tagged("OK done")));
        })
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &[(1, "S"), (1, "S")]))
        .run();
}

#[test]
fn s072_an_append_whose_answer_was_lost_is_stored_once() {
    case()
        .config(one_by_one)
        .when_failing(|s| {
            (1..=3).for_each(|n| s.put(Here, "INBOX", n, "S"));
            s.server.script(Rule::imap("APPEND").nth(2).then(Action::CutAfter));
        })
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &THREE))
        .run();
    case()
        .config(one_by_one)
        .when_failing(|s| {
            (1..=3).for_each(|n| s.put(Here, "INBOX", n, "S"));
            // The literal came, and then the server said goodbye instead.
            let bye = Action::Reply(b"* BYE going down\r\n".to_vec());
            s.server.script(Rule::imap("APPEND").nth(2).then(bye).then(Action::CutAfter));
        })
        .when(|s| s.server.clear_script())
        .then(|s| s.assert_both("INBOX", &THREE))
        .run();
    // All in one command: all of them are looked for.
    case()
        .when_failing(|s| {
            (1..=3).for_each(|n| s.put(Here, "INBOX", n, "S"));
            s.server.script(Rule::imap("APPEND").nth(1).then(Action::CutAfter));
        })
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &THREE))
        .run();
}

#[test]
fn s073_a_server_that_is_throttled_is_left_alone_and_nothing_is_forgotten() {
    case()
        .given(three)
        .when_failing(|s| {
            s.flag(Here, "INBOX", 1, "FS");
            s.put(Here, "INBOX", 4, "S");
            let slow = Action::refuse("NO [THROTTLED] Suggested Backoff Time: 300000");
            s.server.script(Rule::imap("SELECT").then(slow));
        })
        .then(|s| {
            let code = s.outcome.report.error.clone().unwrap().code;
            assert_eq!(code, "Busy");
            assert_eq!(s.mutating(), []);
            // The connection is given up at once.
            assert_eq!(lines(s).iter().filter(|l| l.contains("SELECT")).count(), 1);
        })
        .when(|s| s.server.clear_script())
        .then(|s| s.assert_both("INBOX", &[(1, "FS"), (2, "S"), (3, "S"), (4, "S")]))
        .run();
}

#[test]
fn s074_capabilities_are_read_again_after_the_login() {
    let remove = |s: &Scene| s.remove(Here, "INBOX", 1);
    // The greeting claims less than there is.
    case()
        .on(&[Offer::All])
        .account(|a| a.sync.delete = postrider::model::account::DeletePolicy::Expunge)
        .given(|s| {
            s.server.script(Rule::imap("GREETING").then(Action::rewrite(" UIDPLUS", "")));
            three(s);
        })
        .when(remove)
        .then(|s| s.assert_both("INBOX", &[(2, "S"), (3, "S")]))
        .run();
    // The greeting claims more.
    case()
        .on(&[Offer::NoUidPlus])
        .account(|a| a.sync.delete = postrider::model::account::DeletePolicy::Expunge)
        .given(|s| {
            let claim = Action::rewrite("IMAP4rev1", "IMAP4rev1 UIDPLUS");
            s.server.script(Rule::imap("GREETING").then(claim));
            three(s);
        })
        .when(remove)
        .then(|s| {
            assert!(!lines(s).iter().any(|l| l.contains("UID EXPUNGE")));
            assert_eq!(s.flags(There, "INBOX", 1), Some("ST".to_owned()));
        })
        .run();
}
