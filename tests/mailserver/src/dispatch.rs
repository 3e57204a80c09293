//! What a rule may do to any connection before and after a command runs.

use std::io;

use crate::script::{Effects, RuleId};
use crate::state::Shared;
use crate::wire::{Wire, cut};

/// Waits until the rule lets the connection go.
pub(crate) async fn hang(shared: &Shared, connection: u64, rule: RuleId) {
    let mut watch = shared.watch();
    shared.update(|state| state.hanging.insert(connection, rule));
    loop {
        watch.borrow_and_update();
        if shared.read(|state| state.released.contains(&rule)) || watch.changed().await.is_err() {
            break;
        }
    }
    shared.update(|state| state.hanging.remove(&connection));
}

/// Returns once the test cuts all connections.
pub(crate) async fn until_cut(shared: &Shared, connection: u64) {
    let mut watch = shared.watch();
    loop {
        watch.borrow_and_update();
        if shared.read(|state| state.cut_below > connection) || watch.changed().await.is_err() {
            return;
        }
    }
}

/// Does what comes before the execution. The cut is an error.
pub(crate) async fn before(
    shared: &Shared,
    connection: u64,
    wire: &mut Wire,
    effects: &Effects,
) -> io::Result<()> {
    wire.reset = effects.reset;
    if let Some(time) = effects.delay {
        // A slow server is what the test asked for; nobody waits here for a condition.
        tokio::time::sleep(time).await;
    }
    if let Some(rule) = effects.hang_before {
        hang(shared, connection, rule).await;
    }
    for call in &effects.calls.0 {
        call();
    }
    if effects.cut_before {
        return Err(cut());
    }
    for (mailbox, value) in &effects.uid_validity {
        shared.update(|state| {
            let names: Vec<String> = state.mailboxes.keys().cloned().collect();
            for name in names.iter().filter(|n| mailbox.as_ref().is_none_or(|m| m == *n)) {
                state.reset_mailbox(name, *value);
            }
        });
    }
    wire.limit(effects.cut_at);
    wire.send(&effects.before).await
}
