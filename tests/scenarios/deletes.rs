//! Scenarios 29 to 39: deletes and Trash.

use postrider::model::account::{Account, Brake, DeletePolicy, Direction};
use postrider_mailserver::{Action, Rule};

use crate::case::{Case, Offer, Scene, case};
use crate::common::sides::Side::{Here, There};
use crate::common::sides::mail;

fn two(s: &Scene) {
    s.make(There, "Trash");
    (1..=2).for_each(|n| s.put(There, "INBOX", n, "S"));
}

fn expunge(account: &mut Account) {
    account.sync.delete = DeletePolicy::Expunge;
}

fn keep(account: &mut Account) {
    account.sync.delete = DeletePolicy::Keep;
}

/// Message 1 left INBOX on the server. Where it can be expunged only together with the mail of
/// others, it is marked and stays.
fn assert_left_inbox(s: &Scene) {
    let marked = (s.offer == Offer::Bare).then(|| "ST".to_owned());
    assert_eq!(s.flags(There, "INBOX", 1), marked, "{:?}", s.offer);
    assert_eq!(s.flags(There, "INBOX", 2), Some("S".to_owned()));
    assert_eq!(s.count(Here, "INBOX"), 1);
}

#[test]
fn s029_what_is_expunged_there_goes_to_the_quarantine() {
    case()
        .given(two)
        .when(|s| s.remove(There, "INBOX", 1))
        .then(|s| {
            assert_eq!(s.inbox().deleted_local, 1);
            s.assert_both("INBOX", &[(2, "S")]);
            assert_eq!(s.quarantined(), [mail(1)]);
        })
        .run();
}

#[test]
fn s030_what_is_removed_here_is_trashed_expunged_or_kept() {
    case()
        .given(two)
        .when(|s| s.remove(Here, "INBOX", 1))
        .then(|s| {
            assert_eq!(s.inbox().deleted_remote, 1);
            assert_left_inbox(s);
            s.assert_both("Trash", &[(1, "S")]);
        })
        .run();
    case()
        .account(expunge)
        .given(two)
        .when(|s| s.remove(Here, "INBOX", 1))
        .then(|s| {
            let marked = (!s.offer.has_uidplus()).then(|| "ST".to_owned());
            assert_eq!(s.flags(There, "INBOX", 1), marked, "{:?}", s.offer);
            assert_eq!(s.count(There, "Trash"), 0);
            let expunged = s.mutating().into_iter().filter(|c| c.name.contains("EXPUNGE"));
            assert!(expunged.clone().all(|c| c.line.ends_with("UID EXPUNGE 1")));
            assert_eq!(expunged.count(), usize::from(s.offer.has_uidplus()));
        })
        .run();
    case()
        .account(keep)
        .given(two)
        .when(|s| s.remove(Here, "INBOX", 1))
        .then(|s| {
            assert_eq!(s.mutating(), []);
            assert_eq!(s.count(There, "INBOX"), 2);
        })
        .run();
}

#[test]
fn s031_mail_that_others_marked_survives_our_expunge() {
    case()
        .account(expunge)
        .given(two)
        .given(|s| s.flag(There, "INBOX", 2, "ST"))
        .when(|s| s.remove(Here, "INBOX", 1))
        .then(|s| {
            assert_eq!(s.inbox().deleted_remote, 1);
            assert_eq!(s.flags(There, "INBOX", 2), Some("ST".to_owned()));
        })
        .run();
}

#[test]
fn s032_without_uidplus_nothing_but_the_mark_is_set() {
    case()
        .on(&[Offer::NoUidPlus, Offer::Bare])
        .account(expunge)
        .given(two)
        .when(|s| s.remove(Here, "INBOX", 1))
        .then(|s| {
            assert_eq!(s.flags(There, "INBOX", 1), Some("ST".to_owned()));
            let said = s.mutating();
            assert_eq!(said.len(), 1, "{said:?}");
            assert_eq!(said[0].name, "UID STORE");
            assert_eq!(s.count(Here, "INBOX"), 1, "it does not come back");
        })
        .run();
}

#[test]
fn s033_an_expunge_there_wins_over_a_flag_here() {
    case()
        .given(two)
        .when(|s| {
            s.remove(There, "INBOX", 1);
            s.flag(Here, "INBOX", 1, "FS");
        })
        .then(|s| {
            s.assert_both("INBOX", &[(2, "S")]);
            assert_eq!(s.quarantined(), [mail(1)]);
            assert_eq!(s.mutating(), []);
        })
        .run();
}

#[test]
fn s034_a_removal_here_wins_over_a_flag_there_and_is_in_the_trash() {
    case()
        .given(two)
        .when(|s| {
            s.remove(Here, "INBOX", 1);
            s.flag(There, "INBOX", 1, "FS");
        })
        .then(|s| {
            assert_eq!(s.count(Here, "INBOX"), 1);
            assert_eq!(s.flags(There, "Trash", 1), Some("FS".to_owned()));
        })
        .run();
}

#[test]
fn s035_a_delete_that_is_not_propagated_leaves_an_orphan() {
    let stays = |case: Case| {
        case.given(two)
            .when(|s| s.remove(s.side, "INBOX", 1))
            .then(|s| {
                assert_eq!(s.mutating(), []);
                assert_eq!(s.count(s.side.other(), "INBOX"), 2);
                assert_eq!(s.count(s.side, "INBOX"), 1, "never copied again");
                let orphans = "SELECT count(*) FROM msg WHERE st = 'orphan'";
                assert_eq!(s.ledger_number(orphans), 1);
            })
            // Whatever else happens, it is not copied.
            .when(|s| s.flag(There, "INBOX", 2, "FS"))
            .then(|s| assert_eq!(s.count(s.side, "INBOX"), 1))
    };
    stays(case().account(keep)).run();
    stays(case().account(|a| a.sync.direction = Direction::Pull)).run();
}

#[test]
fn what_the_server_may_not_delete_here_is_an_orphan_as_well() {
    case()
        .account(|a| a.sync.direction = Direction::Push)
        .given(|s| (1..=2).for_each(|n| s.put(Here, "INBOX", n, "S")))
        .when(|s| s.remove(There, "INBOX", 1))
        .then(|s| {
            assert_eq!(s.mutating(), [], "never copied again");
            assert_eq!((s.count(Here, "INBOX"), s.count(There, "INBOX")), (2, 1));
        })
        .when(|s| s.flag(Here, "INBOX", 2, "FS"))
        .then(|s| assert_eq!(s.count(There, "INBOX"), 1))
        .run();
}

#[test]
fn s036_a_crash_between_trash_and_expunge_trashes_once() {
    case()
        .on(&[Offer::All, Offer::NoMove])
        .given(two)
        .when_failing(|s| {
            s.remove(Here, "INBOX", 1);
            let last = if s.offer == Offer::NoMove { "UID EXPUNGE" } else { "UID MOVE" };
            s.server.script(Rule::imap(last).first(1).then(Action::CutAfter));
        })
        .when(|_| {})
        .then(|s| {
            assert_left_inbox(s);
            s.assert_both("Trash", &[(1, "S")]);
        })
        .run();
}

#[test]
fn s037_a_trash_that_is_missing_is_made_and_without_one_nothing_is_deleted() {
    case()
        .given(|s| (1..=2).for_each(|n| s.put(There, "INBOX", n, "S")))
        .when_failing(|s| {
            s.remove(Here, "INBOX", 1);
            s.server.script(Rule::imap("CREATE").then(Action::refuse("NO not here")));
        })
        .then(|s| assert_eq!(s.flags(There, "INBOX", 1), Some("S".to_owned())))
        .when(|s| s.server.clear_script())
        .then(|s| {
            assert_left_inbox(s);
            s.assert_both("Trash", &[(1, "S")]);
        })
        .run();
}

#[test]
fn s038_a_delete_in_the_trash_is_final() {
    case()
        .given(|s| (1..=2).for_each(|n| s.put(There, "Trash", n, "S")))
        .when(|s| s.remove(Here, "Trash", 1))
        .then(|s| {
            let marked = (!s.offer.has_uidplus()).then(|| "ST".to_owned());
            assert_eq!(s.flags(There, "Trash", 1), marked);
            assert_eq!(s.count(Here, "Trash"), 1);
            assert!(s.mutating().iter().all(|c| !c.name.contains("MOVE") && c.name != "UID COPY"));
        })
        .run();
}

#[test]
fn s039_a_move_that_fails_is_retried_alone() {
    case()
        .on(&[Offer::All])
        .account(|a| a.sync.brake = Brake { min: 1000, percent: 100 })
        .given(|s| {
            s.make(There, "Trash");
            (1..=540).for_each(|n| s.put(There, "INBOX", n, "S"));
        })
        // Every other one, so that the set fills two commands.
        .when_failing(|s| {
            (1..=540).step_by(2).for_each(|n| s.remove(Here, "INBOX", n));
            let refused = Action::refuse("NO [CANNOT] not these");
            s.server.script(Rule::imap("UID MOVE").nth(1).then(refused));
        })
        .then(|s| {
            let moves = s.mutating();
            assert_eq!(moves.len(), 2, "{moves:?}");
            assert!(s.count(There, "Trash") > 0);
            s.note("trash", s.count(There, "Trash"));
        })
        .when(|_| {})
        .then(|s| {
            let moves = s.mutating();
            assert_eq!(moves.len(), 1, "{moves:?}");
            let again = moves[0].line.split_whitespace().nth(3).unwrap().split(',').count();
            assert_eq!(again + s.noted("trash").parse::<usize>().unwrap(), 270);
            assert_eq!((s.count(There, "Trash"), s.count(There, "INBOX")), (270, 270));
        })
        .run();
}
