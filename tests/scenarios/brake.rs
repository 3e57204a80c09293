//! Scenarios 40 to 45: the brake, and what looks like a deletion and is none.

use postrider::model::account::{Account, Brake};
use postrider::model::event::{Consent, Notice};

use crate::case::{Case, Offer, Scene, case};
use crate::common::sides::Side::{Here, There};

fn two(s: &Scene) {
    s.make(There, "Trash");
    (1..=2).for_each(|n| s.put(There, "INBOX", n, "S"));
}

#[test]
fn s040_a_few_deletes_of_many_pass_the_brake() {
    case()
        .both_sides()
        .on(&[Offer::All, Offer::NoCondstore])
        .account(|a| a.sync.brake = Brake { min: 1, percent: 20 })
        .given(|s| {
            s.make(There, "Trash");
            (1..=40).for_each(|n| s.put(There, "INBOX", n, "S"));
        })
        .when(|s| (1..=2).for_each(|n| s.remove(s.side, "INBOX", n)))
        .then(|s| {
            assert_eq!((s.count(Here, "INBOX"), s.count(There, "INBOX")), (38, 38));
            assert_eq!(s.inbox().held, 0);
        })
        .run();
}

/// A dozen messages, of which two may go at once.
fn braked(a: &mut Account) {
    a.sync.brake = Brake { min: 2, percent: 20 };
}

fn dozen(s: &Scene) {
    s.make(There, "Trash");
    (1..=12).for_each(|n| s.put(There, "INBOX", n, "S"));
}

fn held_notices(s: &Scene) -> usize {
    s.outcome.notices.iter().filter(|n| matches!(n, Notice::DeletesHeld { .. })).count()
}

fn five_are_held() -> Case {
    case()
        .both_sides()
        .account(braked)
        .given(dozen)
        .when(|s| (1..=5).for_each(|n| s.remove(s.side, "INBOX", n)))
        .then(|s| {
            assert_eq!(s.inbox().held, 5);
            assert_eq!(held_notices(s), 1);
            assert_eq!(s.count(s.side.other(), "INBOX"), 12);
        })
}

#[test]
fn s041_a_landslide_is_held_while_the_rest_syncs() {
    five_are_held()
        .when(|s| {
            s.put(s.side, "INBOX", 30, "S");
            s.flag(s.side.other(), "INBOX", 10, "FS");
        })
        .then(|s| {
            let other = s.side.other();
            assert_eq!(s.count(other, "INBOX"), 13);
            assert_eq!(s.flags(s.side, "INBOX", 10), Some("FS".to_owned()));
            assert_eq!(s.flags(other, "INBOX", 30), Some("S".to_owned()));
            assert_eq!((s.inbox().held, held_notices(s)), (5, 0), "asked once");
        })
        .run();
    // All of it, however generous the brake.
    case()
        .both_sides()
        .given(dozen)
        .when(|s| (1..=12).for_each(|n| s.remove(s.side, "INBOX", n)))
        .then(|s| {
            assert_eq!(s.inbox().held, 12);
            assert_eq!(s.count(s.side.other(), "INBOX"), 12);
        })
        .run();
}

#[test]
fn s042_held_deletes_run_when_confirmed_and_come_back_when_rejected() {
    five_are_held()
        .when(|s| s.consent("INBOX", Consent::Confirm))
        .then(|s| {
            let marked = s.offer == Offer::Bare && s.side == Here;
            assert_eq!(s.count(There, "INBOX"), if marked { 12 } else { 7 });
            assert_eq!((s.count(Here, "INBOX"), s.inbox().held), (7, 0));
            let kept = if s.side == Here { s.count(There, "Trash") } else { s.quarantined().len() };
            assert_eq!(kept, 5);
        })
        .run();
    five_are_held()
        .when(|s| s.consent("INBOX", Consent::Reject))
        .then(|s| {
            assert_eq!((s.count(Here, "INBOX"), s.count(There, "INBOX")), (12, 12));
            assert_eq!(s.inbox().held, 0);
        })
        .run();
}

#[test]
fn a_word_covers_the_deletions_that_were_held_and_no_others() {
    // More follow on the same side before the word is carried out.
    five_are_held()
        .when(|s| {
            s.consent("INBOX", Consent::Confirm);
            (6..=8).for_each(|n| s.remove(s.side, "INBOX", n));
        })
        .then(|s| {
            assert_eq!((s.count(s.side.other(), "INBOX"), s.inbox().held), (12, 8));
        })
        .when(|s| s.consent("INBOX", Consent::Confirm))
        .then(|s| {
            let marked = s.offer == Offer::Bare && s.side == Here;
            assert_eq!(s.count(There, "INBOX"), if marked { 12 } else { 4 });
            assert_eq!((s.count(Here, "INBOX"), s.inbox().held), (4, 0));
        })
        .run();
    // The other side loses everything.
    five_are_held()
        .when(|s| {
            s.consent("INBOX", Consent::Confirm);
            (6..=12).for_each(|n| s.remove(s.side.other(), "INBOX", n));
        })
        // Those of the word may be gone by then, or wait with the others.
        .then(|s| assert!(s.count(s.side, "INBOX") == 7 && [7, 12].contains(&s.inbox().held)))
        .run();
}

#[test]
fn s043_a_root_without_its_marker_is_not_synced() {
    case()
        .given(two)
        .when_failing(|s| {
            let maildir = &s.account.maildir;
            std::fs::rename(maildir, s.dir.path().join("away")).unwrap();
            std::fs::create_dir(maildir).unwrap();
        })
        .then(|s| {
            assert!(s.error().contains("marker"), "{}", s.error());
            assert_eq!(s.mutating(), []);
            assert_eq!(s.count(There, "INBOX"), 2);
        })
        .when(|s| {
            std::fs::remove_dir(&s.account.maildir).unwrap();
            std::fs::rename(s.dir.path().join("away"), &s.account.maildir).unwrap();
        })
        .then(|s| s.assert_both("INBOX", &[(1, "S"), (2, "S")]))
        .run();
}

#[test]
fn s044_a_mailbox_without_cur_is_damaged_not_empty() {
    case()
        .given(|s| {
            two(s);
            s.put(There, "INBOX", 3, "");
        })
        .when_failing(|s| {
            std::fs::rename(s.path("INBOX/cur"), s.dir.path().join("cur")).unwrap();
        })
        .then(|s| {
            assert_eq!(s.mutating(), []);
            assert_eq!(s.count(There, "INBOX"), 3);
        })
        .when(|s| std::fs::rename(s.dir.path().join("cur"), s.path("INBOX/cur")).unwrap())
        .then(|s| s.assert_both("INBOX", &[(1, "S"), (2, "S"), (3, "")]))
        .run();
}

#[test]
fn s045_a_mailbox_that_is_suddenly_empty_there_is_held() {
    case()
        .given(dozen)
        .when(|s| {
            (1..=12).for_each(|n| s.remove(There, "INBOX", n));
        })
        .then(|s| {
            assert_eq!((s.inbox().held, s.count(Here, "INBOX")), (12, 12));
            assert_eq!(s.mutating(), []);
        })
        .when(|s| s.consent("INBOX", Consent::Confirm))
        .then(|s| {
            assert_eq!((s.count(Here, "INBOX"), s.quarantined().len()), (0, 12));
        })
        .run();
}
