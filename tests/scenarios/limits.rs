//! Scenarios 46 to 54: limits. They only ever touch the local copy.

use std::time::Duration;

use postrider::model::account::Account;

use crate::case::{Scene, case};
use crate::common::fate::Fate;
use crate::common::sides::Side::{Here, There};
use crate::common::sides::{mail, wire};

fn three_at_most(a: &mut Account) {
    a.sync.limits.max_messages = Some(3);
}

/// Seen, flagged, unread, and three newer ones.
fn six(s: &Scene) {
    for (n, letters) in (1..).zip(["S", "FS", "", "S", "S", "S"]) {
        s.put(There, "INBOX", n, letters);
    }
}

/// The numbers of the messages that are here.
fn here(s: &Scene) -> Vec<u32> {
    (1..=9).filter(|n| s.flags(Here, "INBOX", *n).is_some()).collect()
}

fn assert_untouched_there(s: &Scene, n: usize) {
    assert_eq!(s.mutating(), []);
    assert_eq!(s.count(There, "INBOX"), n);
}

#[test]
fn s046_seen_mail_beyond_the_limit_is_not_fetched_and_the_rest_comes_on_top() {
    case()
        .account(three_at_most)
        .when(six)
        .then(|s| {
            assert_eq!(here(s), [2, 3, 4, 5, 6]);
            assert_eq!((s.inbox().downloaded, s.inbox().skipped), (5, 1));
            assert_untouched_there(s, 6);
        })
        .run();
}

#[test]
fn s047_unread_mail_stays_however_much_comes() {
    case()
        .account(three_at_most)
        .given(six)
        .when(|s| (7..=9).for_each(|n| s.put(There, "INBOX", n, "S")))
        .then(|s| {
            assert_eq!(here(s), [2, 3, 7, 8, 9]);
            assert_untouched_there(s, 9);
        })
        .when(|s| s.flag(Here, "INBOX", 3, "S"))
        .then(|s| assert_eq!(s.flags(There, "INBOX", 3), Some("S".to_owned())))
        .when(|_| {})
        .then(|s| assert_eq!(here(s), [2, 7, 8, 9], "read, it goes like any other"))
        .run();
}

#[test]
fn s048_new_mail_pushes_the_oldest_seen_copy_out() {
    case()
        .account(three_at_most)
        .given(six)
        .when(|s| s.put(There, "INBOX", 7, ""))
        .then(|s| {
            assert_eq!(here(s), [2, 3, 5, 6, 7]);
            assert_untouched_there(s, 7);
        })
        .run();
}

#[test]
fn s049_a_flag_there_rescues_or_brings_back() {
    case()
        .account(three_at_most)
        .given(six)
        // Rescued in the pass that would have removed it.
        .when(|s| {
            s.put(There, "INBOX", 7, "S");
            s.flag(There, "INBOX", 4, "FS");
        })
        .then(|s| assert_eq!(here(s), [2, 3, 4, 5, 6, 7]))
        // Fetched, although it was left on the server.
        .when(|s| s.flag(There, "INBOX", 1, "FS"))
        .then(|s| {
            assert_eq!(here(s), [1, 2, 3, 4, 5, 6, 7]);
            assert_eq!(s.flags(Here, "INBOX", 1), Some("FS".to_owned()));
            assert_untouched_there(s, 7);
        })
        .run();
}

#[test]
fn s050_a_copy_that_was_taken_away_was_never_deleted_by_a_person() {
    case()
        .account(three_at_most)
        .given(six)
        .given(|s| s.put(There, "INBOX", 7, "S"))
        .when(|s| s.flag(There, "INBOX", 5, "FS"))
        .then(|s| assert_untouched_there(s, 7))
        .reconfigure(|a| a.sync.limits.max_messages = None)
        .when(|_| {})
        .then(|s| {
            assert_eq!(here(s), [1, 2, 3, 4, 5, 6, 7]);
            assert_untouched_there(s, 7);
        })
        .run();
}

#[test]
fn s051_an_expiry_that_was_cut_short_is_completed() {
    for fate in [
        |_: &Scene| Fate::killed_after("quarantine"),
        |_: &Scene| Fate::killed_before("quarantine"),
    ] {
        case()
            .account(three_at_most)
            .given(six)
            .when_failing_with(|s| (7..=8).for_each(|n| s.put(There, "INBOX", n, "S")), fate)
            .when(|_| {})
            .then(|s| {
                assert_eq!(here(s), [2, 3, 6, 7, 8]);
                assert_untouched_there(s, 8);
            })
            .run();
    }
}

fn thousand_bytes_at_most(a: &mut Account) {
    a.sync.limits.max_size = Some(1000);
}

fn large_and_small(s: &Scene) {
    let large = format!("{}{}\nend\n", mail(1), "x".repeat(2000));
    s.put_text(There, "INBOX", &large, "RS");
    s.put(There, "INBOX", 2, "S");
    s.note("bytes", wire(&large).len());
}

#[test]
fn s052_a_large_mail_stays_on_the_server_and_is_listed() {
    case()
        .account(thousand_bytes_at_most)
        .when(large_and_small)
        .then(|s| {
            assert_eq!(here(s), [2], "no placeholder");
            assert_eq!((s.inbox().downloaded, s.inbox().skipped), (1, 1));
            use postrider::ports::ledger::Ledger as _;
            let ledger = s.ledger();
            let row = ledger.mailbox(&postrider::model::ids::MailboxName::inbox()).unwrap();
            let skipped = ledger.skipped(row.id).unwrap();
            assert_eq!(skipped[0].reason, "max_size");
            assert_eq!(skipped[0].size.map(|n| n.to_string()), Some(s.noted("bytes")));
        })
        .when(|s| s.flag(There, "INBOX", 1, "FS"))
        .then(|s| {
            assert_eq!(here(s), [2], "a flag makes it no smaller");
            assert_untouched_there(s, 2);
        })
        .run();
}

#[test]
fn s053_a_skipped_mail_comes_with_its_flags_when_the_limit_is_raised() {
    case()
        .account(thousand_bytes_at_most)
        .given(large_and_small)
        .reconfigure(|a| a.sync.limits.max_size = Some(1_000_000))
        .when(|_| {})
        .then(|s| {
            assert_eq!(here(s), [1, 2]);
            assert_eq!(s.flags(Here, "INBOX", 1), Some("RS".to_owned()));
            assert_eq!(s.content(Here, "INBOX"), s.content(There, "INBOX"));
            assert_untouched_there(s, 2);
        })
        .run();
}

#[test]
fn s054_a_mail_that_ages_out_leaves_the_maildir_only() {
    case()
        .given(|s| {
            six(s);
            s.server.mailbox("INBOX").append(&wire(&mail(7)), &["\\Seen"], None);
        })
        .reconfigure(|a| a.sync.limits.max_age = Some(Duration::from_secs(90 * 86_400)))
        .when(|_| {})
        .then(|s| {
            assert_eq!(here(s), [2, 3, 7]);
            assert_untouched_there(s, 7);
        })
        .run();
}
