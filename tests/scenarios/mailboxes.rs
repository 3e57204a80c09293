//! Scenarios 95 to 100: mailboxes.

use postrider::model::account::CreatePolicy;

use crate::case::{Scene, case};
use crate::common::sides::Side::{Here, There};

#[test]
fn s095_a_mailbox_made_on_one_side_is_made_on_the_other() {
    case()
        .both_sides()
        .when(|s| {
            s.make(s.side, "Lists/rust");
            s.put(s.side, "Lists/rust", 1, "S");
        })
        .then(|s| {
            s.assert_both("Lists/rust", &[(1, "S")]);
            let subscribed = s.mutating().into_iter().filter(|c| c.name == "SUBSCRIBE").count();
            assert_eq!(subscribed, usize::from(s.side == Here));
        })
        .run();
    case()
        .both_sides()
        .account(|a| a.sync.create = CreatePolicy::None)
        .when(|s| {
            s.make(s.side, "Lists");
            s.put(s.side, "Lists", 1, "S");
        })
        .then(|s| {
            assert_eq!(s.count(s.side.other(), "Lists"), 0);
            assert!(!s.server.mailboxes().contains(&"Lists".to_owned()) || s.side == There);
            assert_eq!(s.mutating(), []);
        })
        .run();
}

#[test]
fn s099_a_parent_that_cannot_be_selected_is_a_directory_only() {
    case()
        .when(|s| s.put(There, "Archive/2026", 1, "S"))
        .then(|s| {
            s.assert_both("Archive/2026", &[(1, "S")]);
            assert!(s.path("Archive").is_dir() && !s.path("Archive/cur").exists());
            assert_eq!(s.server.mailboxes(), ["Archive/2026", "INBOX"]);
        })
        .run();
}

fn work(s: &Scene) {
    (1..=3).for_each(|n| s.put(There, "Work", n, "S"));
}

#[test]
fn s100_a_mailbox_that_is_gone_on_both_sides_is_no_trouble_and_may_come_back() {
    case()
        .given(work)
        .when(|s| {
            assert!(s.server.delete_mailbox("Work"));
            std::fs::remove_dir_all(s.path("Work")).unwrap();
        })
        .then(|s| {
            assert_eq!(s.mutating(), []);
            assert!(!s.path("Work").exists());
        })
        .when(work)
        .then(|s| {
            assert_eq!(s.outcome.of("Work").downloaded, 3);
            s.assert_both("Work", &[(1, "S"), (2, "S"), (3, "S")]);
        })
        .run();
}
