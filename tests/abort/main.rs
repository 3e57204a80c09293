//! The process is killed before and after each step of a pass and started again: nothing is lost,
//! nothing doubled, and the end is the one of a pass that nobody disturbed.
//!
//! The engine, the Maildir, the ledger and the IMAP adapter are the real ones; a step is anything
//! that another could see: a rename, a ledger commit, a command that changes the server.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it cannot go on"
)]

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;

use common::fate::Fate;
use common::sides::{Content, Side};
use common::{World, without};
use postrider::model::account::Role;
use postrider::model::ids::MailboxName;
use postrider_mailserver::Capability;

const MAILBOXES: [&str; 3] = ["INBOX", "Archive", "Trash"];

fn world(lacking: &[Capability]) -> World {
    let trash = (Role::Trash, MailboxName("Trash".into()));
    let world = World::new(without(lacking), |a| a.roles = BTreeMap::from([trash]));
    for mailbox in MAILBOXES {
        world.server.create_mailbox(mailbox);
    }
    world
}

/// What a side holds: body and flags per mailbox.
fn all(world: &World, side: Side) -> Vec<Content> {
    MAILBOXES.iter().map(|mailbox| world.content(side, mailbox)).collect()
}

/// No file of ours may be left half-way.
fn assert_clean(world: &World) {
    for (body, _) in all(world, Side::Here).concat() {
        assert!(body.ends_with("end\n"), "a partial file: {body:?}");
    }
}

/// Runs a scenario undisturbed, then once for every step and both sides of it.
async fn check(
    lacking: &[Capability],
    before: impl Fn(&World),
    change: impl Fn(&World),
    steps_min: usize,
) {
    let prepare = async || {
        let world = world(lacking);
        before(&world);
        world.settle().await;
        change(&world);
        world
    };
    let calm = prepare().await;
    let fate = Fate::new(0, false);
    calm.pass(&fate).await;
    let steps = fate.steps();
    assert!(steps >= steps_min, "only {steps} steps: the test sees less than it should");
    calm.settle().await;
    let wanted = all(&calm, Side::There);
    assert_eq!(all(&calm, Side::Here), wanted);
    for at in 1..=steps {
        for is_after in [false, true] {
            let world = prepare().await;
            let report = world.pass(&Fate::new(at, is_after)).await.report;
            assert!(report.error.is_some() || at == steps, "step {at} was not reached");
            assert_clean(&world);
            world.settle().await;
            assert_eq!(all(&world, Side::There), wanted, "killed at step {at}, after: {is_after}");
            assert_eq!(all(&world, Side::Here), wanted, "killed at step {at}, after: {is_after}");
        }
    }
}

fn three(world: &World) {
    (1..=3).for_each(|n| world.put(Side::There, "INBOX", n, "S"));
}

fn push(world: &World) {
    (11..=13).for_each(|n| world.put(Side::Here, "INBOX", n, "S"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_survives_a_kill_at_every_step() {
    check(&[], |_| {}, three, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_survives_a_kill_at_every_step() {
    check(&[], |_| {}, push, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_uidplus_survives_a_kill_at_every_step() {
    check(&[Capability::UidPlus], |_| {}, push, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_both_sides_survive_a_kill_at_every_step() {
    let flags = |world: &World| {
        world.flag(Side::Here, "INBOX", 1, "FS");
        world.flag(Side::There, "INBOX", 2, "RS");
        world.flag(Side::Here, "INBOX", 3, "RS");
        world.flag(Side::There, "INBOX", 3, "F");
    };
    check(&[], three, flags, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_there_survives_a_kill_at_every_step() {
    check(&[], three, |world| world.remove(Side::There, "INBOX", 2), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_here_survives_a_kill_at_every_step() {
    check(&[], three, |world| world.remove(Side::Here, "INBOX", 2), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_here_survives_a_kill_at_every_step() {
    let go = |world: &World| {
        [1, 3].into_iter().for_each(|n| world.shift(Side::Here, n, "INBOX", "Archive"));
    };
    check(&[], three, go, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_here_survives_a_kill_at_every_step() {
    let go = |world: &World| {
        [1, 3].into_iter().for_each(|n| world.put(Side::Here, "Archive", n, "S"));
    };
    check(&[], three, go, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_there_survives_a_kill_at_every_step() {
    check(&[], three, |world| world.shift(Side::There, 2, "INBOX", "Archive"), 4).await;
}
