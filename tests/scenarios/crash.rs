//! Scenarios 101 to 112: crash and restart. Every step of every kind of pass is in `tests/abort`;
//! here are the ones with a name.

use std::path::Path;

use crate::case::{Offer, Scene, case};
use crate::common::fate::Fate;
use crate::common::sides::Side::{Here, There};

fn three(s: &Scene) {
    (1..=3).for_each(|n| s.put(There, "INBOX", n, "S"));
}

const THREE: [(u32, &str); 3] = [(1, "S"), (2, "S"), (3, "S")];

fn visible(s: &Scene) -> usize {
    s.count(Here, "INBOX")
}

fn in_tmp(s: &Scene) -> usize {
    std::fs::read_dir(s.path("INBOX/tmp")).unwrap().count()
}

#[test]
fn s101_a_body_without_its_row_is_fetched_again() {
    case()
        .when_failing_with(three, |_| Fate::killed_after("barrier"))
        .then(|s| assert_eq!((visible(s), in_tmp(s)), (0, 3)))
        .when(|_| {})
        .then(|s| {
            assert_eq!(s.inbox().downloaded, 3);
            s.assert_both("INBOX", &THREE);
            assert_eq!(s.mutating(), []);
        })
        // The leftovers are collected when they are old enough.
        .when(|s| {
            for file in std::fs::read_dir(s.path("INBOX/tmp")).unwrap().flatten() {
                let name = file.file_name().into_string().unwrap();
                let (_, rest) = name.split_once('.').unwrap();
                let old = file.path().with_file_name(format!("1700000000.{rest}"));
                std::fs::rename(file.path(), old).unwrap();
            }
        })
        .then(|s| assert_eq!(in_tmp(s), 0))
        .run();
}

#[test]
fn s102_a_landing_is_finished_and_never_uploaded() {
    case()
        .when_failing_with(three, |_| Fate::killed_before("promote"))
        .then(|s| assert_eq!((visible(s), in_tmp(s)), (0, 3)))
        .when(|_| {})
        .then(|s| {
            s.assert_both("INBOX", &THREE);
            assert_eq!(s.mutating(), []);
            s.assert_no_transfer();
            assert_eq!(in_tmp(s), 0);
        })
        .run();
}

#[test]
fn s103_a_file_that_landed_is_recognised_and_not_new() {
    case()
        .when_failing_with(three, |_| Fate::killed_after("promote"))
        .then(|s| assert_eq!((visible(s), in_tmp(s)), (1, 2)))
        .when(|_| {})
        .then(|s| {
            s.assert_both("INBOX", &THREE);
            assert_eq!(s.mutating(), []);
            s.assert_no_transfer();
        })
        .run();
}

#[test]
fn s104_an_append_that_was_not_recorded_is_found_and_not_repeated() {
    case()
        .when_failing_with(
            |s| (1..=3).for_each(|n| s.put(Here, "INBOX", n, "S")),
            |_| Fate::killed_after("append"),
        )
        .then(|s| assert_eq!(s.count(There, "INBOX"), 1))
        .when(|_| {})
        .then(|s| {
            s.assert_both("INBOX", &THREE);
            assert_eq!(s.inbox().uploaded, 2, "the two that are left");
        })
        .run();
}

#[test]
fn s105_a_move_that_was_not_recorded_is_done() {
    // Without MOVE a kill comes between copy and removal: that is no such step.
    case()
        .on(&[Offer::All, Offer::NoUidPlus, Offer::NoCondstore, Offer::NoQresync])
        .given(|s| {
            s.make(There, "Work");
            s.make(There, "Trash");
            three(s);
        })
        .when_failing_with(|s| s.shift(Here, 1, "INBOX", "Work"), |_| Fate::killed_after("move"))
        .then(|s| assert_eq!(s.count(There, "Work"), 1))
        .when(|_| {})
        .then(|s| {
            s.assert_both("INBOX", &[(2, "S"), (3, "S")]);
            s.assert_both("Work", &[(1, "S")]);
            assert_eq!(s.count(There, "Trash"), 0);
        })
        .run();
}

#[test]
fn s106_half_a_batch_of_flags_is_completed() {
    case()
        .given(three)
        .when_failing_with(
            |s| {
                s.flag(Here, "INBOX", 1, "FS");
                s.flag(Here, "INBOX", 2, "FS");
                s.flag(Here, "INBOX", 3, "");
            },
            |_| Fate::killed_after("store"),
        )
        .then(|s| assert_eq!(s.mutating().len(), 1))
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &[(1, "FS"), (2, "FS"), (3, "")]))
        .run();
}

fn assert_paired_again(s: &Scene) {
    s.assert_nothing_happened();
    s.assert_no_transfer();
    assert_eq!(s.mutating(), []);
}

#[test]
fn s108_without_a_ledger_everything_is_paired_again() {
    case()
        .given(three)
        .when(|s| s.lose_ledger())
        .then(assert_paired_again)
        .when(|s| {
            s.lose_ledger();
            std::fs::write(s.ledger_path(), "this is no database, and never was one").unwrap();
        })
        .then(assert_paired_again)
        // The pairs are good, and deletes are on again.
        .when(|s| s.remove(There, "INBOX", 1))
        .then(|s| s.assert_both("INBOX", &[(2, "S"), (3, "S")]))
        .run();
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn s109_an_old_ledger_deletes_and_doubles_nothing() {
    case()
        .given(three)
        .given(|s| {
            s.make(There, "Trash");
            copy(&s.ledger_path(), &s.dir.path().join("backup"));
        })
        .given(|s| {
            s.put(There, "INBOX", 4, "S");
            s.put(Here, "INBOX", 5, "S");
            s.flag(There, "INBOX", 2, "FS");
        })
        .given(|s| s.remove(There, "INBOX", 1))
        .when(|s| {
            s.lose_ledger();
            copy(&s.dir.path().join("backup"), &s.ledger_path());
        })
        .then(|s| {
            assert_paired_again(s);
            s.assert_both("INBOX", &[(2, "FS"), (3, "S"), (4, "S"), (5, "S")]);
        })
        .run();
}

#[test]
fn s112_another_program_that_renames_the_files_causes_no_upload() {
    case()
        .given(three)
        .when(|s| {
            std::fs::write(s.path("INBOX/.uidvalidity"), "1\n3\n").unwrap();
            for n in 1..=3 {
                let file = s.file("INBOX", n);
                let name = file.to_str().unwrap().replace(":2,", &format!(",U={n}:2,"));
                std::fs::rename(file, name).unwrap();
            }
        })
        .then(|s| {
            assert_paired_again(s);
            s.assert_both("INBOX", &THREE);
        })
        .when(|s| s.flag(There, "INBOX", 1, "FS"))
        .then(|s| {
            s.assert_both("INBOX", &[(1, "FS"), (2, "S"), (3, "S")]);
            assert!(s.file("INBOX", 1).to_str().unwrap().ends_with(",U=1:2,FS"));
        })
        .run();
}
