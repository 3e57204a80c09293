//! The process ends before and after every durable step, by a kill and by a power cut: each of the
//! four counts, and after each the end is the one of a pass that nobody disturbed.

use std::sync::Arc;

use postrider::model::flags::Flags;

use crate::common::fate::Fate;
use crate::in_still_time;
use crate::model::{Act, Edit, Side};
use crate::server::{Cut, Offer};
use crate::sim::{Content, World};

const FULL: Offer = Offer { has_uidplus: true, has_condstore: true, has_move: true };
const NO_UIDPLUS: Offer = Offer { has_uidplus: false, has_condstore: true, has_move: true };
const NO_MOVE: Offer = Offer { has_uidplus: true, has_condstore: true, has_move: false };
const BARE: Offer = Offer { has_uidplus: false, has_condstore: false, has_move: false };

fn edit(side: Side, n: usize, act: Act) -> Edit {
    Edit { side, n, place: "INBOX".to_owned(), act }
}

fn three(side: Side) -> Vec<Edit> {
    (1..=3).map(|n| edit(side, n, Act::Deliver(Flags::from_letters("S")))).collect()
}

/// Both sides at rest with what came before, and then the edits.
async fn prepared(offer: Offer, before: &[Edit], edits: &[Edit]) -> World {
    let world = World::new(offer, &["INBOX", "Archive"]);
    before.iter().for_each(|edit| assert!(world.carry_out(edit)));
    if !before.is_empty() {
        world.rest(&mut world.process(&Fate::calm())).await.unwrap();
    }
    edits.iter().for_each(|edit| assert!(world.carry_out(edit)));
    world
}

/// The end: both sides are the same, and a further pass does nothing.
async fn end_of(world: &World) -> Content {
    world.rest(&mut world.process(&Fate::calm())).await.unwrap();
    let (here, there) = (world.here(), world.there());
    assert_eq!(here, there);
    here
}

async fn check_on(offer: Offer, before: &[Edit], edits: &[Edit], points_min: usize) {
    let calm = prepared(offer, before, edits).await;
    let fate = Fate::new(0, false);
    let report = calm.process(&fate).once(&[]).await;
    assert_eq!(report.error, None);
    let wanted = end_of(&calm).await;
    let mut n_points = 0;
    for at in 1..=fate.steps() {
        for (is_after, is_power_cut) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let point = format!("step {at}, after: {is_after}, power cut: {is_power_cut}");
            let world = prepared(offer, before, edits).await;
            let fate: Arc<Fate> = Fate::new(at, is_after);
            world.process(&fate).once(&[]).await;
            assert!(fate.steps() >= at, "{point} was not reached");
            if is_power_cut {
                world.disk.lock().unwrap().power_cut();
            }
            let whole = |(body, _): &(String, Flags)| body.ends_with("end\n");
            assert!(world.here().values().flatten().all(whole), "{point}: a partial file");
            assert_eq!(end_of(&world).await, wanted, "{offer:?} {point}");
            n_points += 1;
        }
    }
    eprintln!("{n_points} abort points, {offer:?}");
    assert!(n_points >= points_min, "only {n_points} abort points");
}

fn check(offers: &[Offer], before: &[Edit], edits: &[Edit], points_min: usize) {
    for offer in offers {
        in_still_time(check_on(*offer, before, edits, points_min));
    }
}

#[test]
fn a_pull_of_three_can_end_anywhere() {
    check(&[FULL, BARE], &[], &three(Side::There), 25);
}

#[test]
fn a_push_of_three_can_end_anywhere() {
    check(&[FULL, NO_UIDPLUS, BARE], &[], &three(Side::Here), 25);
}

fn moves(side: Side) -> [Edit; 2] {
    [1, 3].map(|n| edit(side, n, Act::Move("Archive".to_owned())))
}

#[test]
fn a_move_here_can_end_anywhere() {
    check(&[FULL, NO_MOVE], &three(Side::Here), &moves(Side::Here), 16);
}

#[test]
fn a_move_there_can_end_anywhere() {
    check(&[FULL, BARE], &three(Side::Here), &moves(Side::There), 16);
}

#[test]
fn a_copy_here_can_end_anywhere() {
    let copies = [1, 3].map(|n| edit(Side::Here, n, Act::Copy("Archive".to_owned())));
    check(&[FULL, BARE], &three(Side::Here), &copies, 16);
}

#[test]
fn a_removal_here_can_end_anywhere() {
    check(&[FULL, NO_MOVE], &three(Side::Here), &[edit(Side::Here, 2, Act::Delete)], 16);
}

#[test]
fn a_removal_there_can_end_anywhere() {
    check(&[FULL, BARE], &three(Side::Here), &[edit(Side::There, 2, Act::Delete)], 16);
}

#[test]
fn flags_of_both_sides_can_end_anywhere() {
    let flag = |side, n, letters| edit(side, n, Act::Flag(Flags::from_letters(letters)));
    let edits = [
        flag(Side::Here, 1, "FS"),
        flag(Side::There, 2, "RS"),
        flag(Side::Here, 3, "RS"),
        flag(Side::There, 3, "FS"),
    ];
    check(&[FULL, BARE], &three(Side::Here), &edits, 25);
}

/// Without MOVE a move is a copy and a removal: a line that breaks between them leaves no second copy,
/// neither where the message goes nor in Trash.
#[test]
fn a_line_can_break_between_a_copy_and_the_removal() {
    for edits in [vec![edit(Side::Here, 2, Act::Delete)], moves(Side::Here).to_vec()] {
        in_still_time(async {
            let calm = prepared(NO_MOVE, &three(Side::Here), &edits).await;
            let before = calm.server.lock().unwrap().n_changes;
            calm.process(&Fate::calm()).once(&[]).await;
            let wanted = end_of(&calm).await;
            let n_changes = calm.server.lock().unwrap().n_changes - before;
            assert!(n_changes >= 2, "{n_changes}");
            for (at, cut) in (0..n_changes).flat_map(|at| [(at, Cut::Before), (at, Cut::After)]) {
                let world = prepared(NO_MOVE, &three(Side::Here), &edits).await;
                world.server.lock().unwrap().cut_in = Some((at, cut));
                world.process(&Fate::calm()).once(&[]).await;
                assert!(world.server.lock().unwrap().cut_in.is_none(), "{at} was not reached");
                assert_eq!(end_of(&world).await, wanted, "change {at}, {cut:?}: {edits:?}");
            }
        });
    }
}

/// What landed is known before it is seen: it is no new file, and does not go back to the server.
#[test]
fn what_was_pulled_and_then_removed_there_does_not_come_back() {
    in_still_time(async {
        let calm = prepared(FULL, &[], &three(Side::There)).await;
        let fate = Fate::new(0, false);
        calm.process(&fate).once(&[]).await;
        for at in 1..=fate.steps() {
            let world = prepared(FULL, &[], &three(Side::There)).await;
            world.process(&Fate::new(at, true)).once(&[]).await;
            (1..=3).for_each(|n| assert!(world.carry_out(&edit(Side::There, n, Act::Delete))));
            assert_eq!(end_of(&world).await, Content::new(), "killed after step {at}");
        }
    });
}
