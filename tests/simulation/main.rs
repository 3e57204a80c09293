//! The real engine and the real ledger over a Maildir and a server in memory: people edit both
//! sides, processes are killed, the power is cut and lines break, all of it from a seed.
//!
//! `SEED=n cargo test --test simulation one_seed` replays a seed and shows what happened.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it cannot go on"
)]

#[path = "../common/mod.rs"]
mod common;

mod abort;
mod disk;
mod local;
mod model;
mod remote;
mod server;
mod sim;

use std::future::Future;

/// Runs in time that stands still until nothing else is left to do.
fn in_still_time<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(work)
}

fn check(seeds: &[u64]) {
    const THREADS: usize = 2;
    let failed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                let seeds = seeds.iter().skip(n).step_by(THREADS);
                let run = |seed: &u64| in_still_time(sim::simulate(*seed)).err();
                scope.spawn(move || seeds.filter_map(run).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let first = failed.first().cloned().unwrap_or_default();
    let heads: Vec<&str> = failed.iter().filter_map(|f| f.lines().next()).take(12).collect();
    assert!(failed.is_empty(), "{} seeds failed: {heads:#?}\n{first}", failed.len());
}

#[test]
fn a_thousand_seeds_keep_the_laws() {
    check(&(1..=1000).collect::<Vec<_>>());
}

/// The server copied, the answer was lost, and it was told to copy again.
#[test]
fn a_copy_whose_answer_was_lost_is_not_made_twice() {
    check(&[383, 429, 846, 857, 941]);
}

/// A mailbox that holds nothing but what is marked as deleted is renamed here.
#[test]
fn a_mailbox_without_messages_leaves_no_trace_of_its_name() {
    check(&[676]);
}

/// The server copied and marked, and the answer was lost: what is marked looks deleted here.
#[test]
fn a_move_without_uidplus_whose_answer_was_lost_loses_nothing() {
    check(&[611]);
}

#[test]
fn one_seed() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    check(&[seed]);
}
