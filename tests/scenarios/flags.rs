//! Scenarios 15 to 28: flags.

use postrider_mailserver::{Action, Rule};

use crate::case::{Offer, Scene, case};
use crate::common::sides::Side::{self, Here, There};
use crate::common::sides::{mail, wire};

fn one_unseen(s: &Scene) {
    s.put(There, "INBOX", 1, "");
}

fn one_seen(s: &Scene) {
    s.put(There, "INBOX", 1, "S");
}

/// The flags that both sides last agreed on, as bits.
fn agreed(s: &Scene) -> i64 {
    s.ledger_number("SELECT flags FROM msg")
}

#[test]
fn s015_a_flag_there_is_a_rename_here() {
    case()
        .given(one_unseen)
        .when(|s| {
            s.note("inode", inode(s));
            s.flag(There, "INBOX", 1, "F");
        })
        .then(|s| {
            assert_eq!(s.inbox().flags_local, 1);
            s.assert_both("INBOX", &[(1, "F")]);
            assert_eq!(s.noted("inode"), inode(s).to_string(), "the same file");
            s.assert_no_transfer();
        })
        .run();
}

fn inode(s: &Scene) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(s.file("INBOX", 1)).unwrap().ino()
}

#[test]
fn s016_a_flag_here_is_added_there_and_nothing_else_is_said() {
    case()
        .given(one_seen)
        .when(|s| s.flag(Here, "INBOX", 1, "FS"))
        .then(|s| {
            s.assert_both("INBOX", &[(1, "FS")]);
            let said = s.mutating();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].line.ends_with("UID STORE 1 +FLAGS.SILENT (\\Flagged)"), "{said:?}");
        })
        .run();
}

#[test]
fn s017_the_same_flag_on_both_sides_needs_no_command() {
    case()
        .given(one_unseen)
        .when(|s| Side::BOTH.into_iter().for_each(|side| s.flag(side, "INBOX", 1, "F")))
        .then(|s| {
            assert_eq!(s.mutating(), []);
            assert_eq!(agreed(s), 2);
            s.assert_both("INBOX", &[(1, "F")]);
        })
        .run();
}

#[test]
fn s018_different_flags_on_both_sides_are_united() {
    case()
        .both_sides()
        .given(one_unseen)
        .when(|s| {
            s.flag(s.side, "INBOX", 1, "F");
            s.flag(s.side.other(), "INBOX", 1, "S");
        })
        .then(|s| {
            s.assert_both("INBOX", &[(1, "FS")]);
            assert_eq!(agreed(s), 2 + 16);
        })
        .run();
}

#[test]
fn s019_a_flag_that_was_removed_stays_removed() {
    case()
        .both_sides()
        .given(one_seen)
        .when(|s| {
            s.flag(s.side, "INBOX", 1, "");
            s.flag(s.side.other(), "INBOX", 1, "FS");
        })
        .then(|s| {
            s.assert_both("INBOX", &[(1, "F")]);
            assert_eq!(agreed(s), 2);
        })
        .run();
}

#[test]
fn s020_an_undelete_here_is_one_there() {
    case()
        .both_sides()
        .given(one_seen)
        .given(|s| s.flag(There, "INBOX", 1, "ST"))
        .when(|s| {
            assert_eq!(s.flags(Here, "INBOX", 1), Some("ST".to_owned()));
            s.flag(s.side, "INBOX", 1, "S");
        })
        .then(|s| s.assert_both("INBOX", &[(1, "S")]))
        .run();
}

#[test]
fn s021_a_keyword_that_the_server_does_not_keep_stays_here_without_a_quarrel() {
    case()
        .config(|config| config.keywords = false)
        .given(one_seen)
        .when(|s| {
            std::fs::write(s.path("INBOX/dovecot-keywords"), "0 todo\n").unwrap();
            s.flag(Here, "INBOX", 1, "Sa");
        })
        .then(|s| {
            assert_eq!(s.mutating(), []);
            let name = s.file("INBOX", 1);
            assert!(name.to_str().unwrap().ends_with(":2,Sa"), "{}", name.display());
        })
        .when(|s| s.flag(Here, "INBOX", 1, "FSa"))
        .then(|s| {
            // A flag beside it travels.
            assert_eq!(s.flags(There, "INBOX", 1), Some("FS".to_owned()));
            assert_eq!(s.mutating().len(), 1);
        })
        .run();
}

#[test]
fn s022_a_keyword_in_another_case_is_the_same() {
    case()
        .given(|s| {
            s.server.mailbox("INBOX").append(&wire(&mail(1)), &["\\Seen", "NonJunk"], None);
        })
        .when(|s| {
            let name = s.file("INBOX", 1);
            assert!(name.to_str().unwrap().ends_with(":2,Sa"), "{}", name.display());
            s.server.mailbox("INBOX").set_flags(1, &["\\Seen", "nonjunk"]);
        })
        .then(|s| s.assert_nothing_happened())
        .run();
}

#[test]
fn s023_keywords_beyond_26_are_kept_and_move_no_letter() {
    case()
        .given(|s| {
            let many: Vec<String> = (0..30).map(|n| format!("label{n:02}")).collect();
            let flags: Vec<&str> = many.iter().map(String::as_str).chain(["\\Seen"]).collect();
            s.server.mailbox("INBOX").append(&wire(&mail(1)), &flags, None);
        })
        .when(|s| {
            let name = s.file("INBOX", 1).display().to_string();
            let all = ":2,Sabcdefghijklmnopqrstuvwxyz";
            assert!(name.ends_with(all), "{name}");
            std::fs::rename(&name, name.replace(":2,Sab", ":2,Sb")).unwrap();
        })
        .then(|s| {
            let there = s.server.mailbox("INBOX").message(1).unwrap().flags;
            assert!(!there.iter().any(|f| f.eq_ignore_ascii_case("label00")), "{there:?}");
            assert_eq!(there.len(), 30, "{there:?}");
        })
        .when(|s| assert!(s.server.mailbox("INBOX").add_flags(1, &["another"])))
        .then(|s| {
            let name = s.file("INBOX", 1).display().to_string();
            assert!(name.ends_with(":2,Sbcdefghijklmnopqrstuvwxyz"), "{name}");
        })
        .run();
}

#[test]
fn s024_recent_and_unknown_system_flags_are_ignored() {
    case()
        .when(|s| {
            s.server.mailbox("INBOX").append(&wire(&mail(1)), &["\\Seen", "\\Weird"], None);
            let weird = Action::rewrite("\\Seen", "\\Seen \\Recent");
            s.server.script(Rule::imap("UID FETCH").then(weird));
        })
        .then(|s| {
            let name = s.file("INBOX", 1).display().to_string();
            assert!(name.ends_with(":2,S"), "{name}");
            assert!(s.server.mailbox("INBOX").message(1).unwrap().flags.contains("\\Weird"));
        })
        .run();
}

#[test]
fn s025_our_own_store_comes_back_as_nothing() {
    case()
        .on(&[Offer::All, Offer::NoUidPlus, Offer::NoQresync, Offer::NoMove])
        .given(one_seen)
        .when(|s| s.flag(Here, "INBOX", 1, "FS"))
        .when(|_| {})
        .then(|s| {
            s.assert_nothing_happened();
            let modseq = i64::try_from(s.server.mailbox("INBOX").message(1).unwrap().modseq);
            assert_eq!(s.ledger_number("SELECT modseq FROM mailbox"), modseq.unwrap());
        })
        .when(|_| {})
        .then(|s| {
            let opened = s.server.commands().into_iter().any(|c| c.name == "SELECT");
            assert!(!opened, "nothing changed since: the mailbox is not even opened");
        })
        .run();
}

#[test]
fn s026_flags_for_a_read_only_mailbox_wait() {
    case()
        .given(one_seen)
        .when(|s| {
            s.flag(Here, "INBOX", 1, "FS");
            let lie = Action::rewrite("[READ-WRITE]", "[READ-ONLY]");
            s.server.script(Rule::imap("SELECT").then(lie));
        })
        .then(|s| {
            assert_eq!(s.mutating(), []);
            assert_eq!(s.flags(Here, "INBOX", 1), Some("FS".to_owned()));
        })
        .when(|_| {})
        .then(|s| assert_eq!(s.mutating(), []))
        .when(|s| s.server.clear_script())
        .then(|s| s.assert_both("INBOX", &[(1, "FS")]))
        .run();
}

#[test]
fn s027_a_seen_file_in_new_is_accepted_and_what_we_mark_seen_lies_in_cur() {
    case()
        .when(|s| {
            s.drop_file("INBOX", "new", "mua.1:2,S", mail(1).as_bytes());
            s.put(Here, "INBOX", 2, "");
        })
        .when(|s| s.flag(There, "INBOX", 2, "S"))
        .then(|s| {
            s.assert_both("INBOX", &[(1, "S"), (2, "S")]);
            assert!(s.files("INBOX").contains_key("new/mua.1:2,S"), "it is the reader's to move");
            let file = s.file("INBOX", 2);
            assert!(file.parent().unwrap().ends_with("cur"), "{}", file.display());
        })
        .run();
}

#[test]
fn s028_letters_of_others_survive_our_renames() {
    case()
        .when(|s| s.drop_file("INBOX", "cur", "mua.1:2,SzFX", mail(1).as_bytes()))
        .then(|s| assert_eq!(s.flags(There, "INBOX", 1), Some("FS".to_owned())))
        .when(|s| s.flag(There, "INBOX", 1, "FRS"))
        .then(|s| {
            let name = s.file("INBOX", 1).display().to_string();
            assert!(name.ends_with(":2,FRSXz"), "{name}");
        })
        .run();
}
