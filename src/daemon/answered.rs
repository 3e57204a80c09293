//! Marks what was answered or forwarded: `\\Answered`, `$Forwarded`. Floor 5.
//!
//! A change of flags in the Maildir like that of any mail reader; the sync carries it to the server. Sending never waits
//! for it, and a failure is a line in the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::sync::broadcast;
use tokio::task::spawn_blocking;

use crate::adapters::ledger::SqliteLedger;
use crate::daemon::{paths, wiring};
use crate::model::account::{Account, Role};
use crate::model::failure::Failure;
use crate::model::flags::{Flag, FlagDelta, Flags};
use crate::model::ids::AccountName;
use crate::model::outbox::OutboxEvent;
use crate::model::view::{LocalMessage, Sub};
use crate::ports::local::Local as _;

/// Marks the originals of what is sent, until the outbox stops.
pub(super) async fn mark_originals(
    mut events: broadcast::Receiver<OutboxEvent>,
    accounts: BTreeMap<AccountName, Account>,
    state_dir: PathBuf,
) {
    loop {
        let (account, originals, is_forward) = match events.recv().await {
            Ok(OutboxEvent::Answers { account, originals, is_forward }) => {
                (account, originals, is_forward)
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let Some(account) = accounts.get(&account).filter(|one| one.imap.is_some()).cloned() else {
            continue;
        };
        let state_dir = state_dir.clone();
        let flag = if is_forward { Flag::Passed } else { Flag::Replied };
        let marked = spawn_blocking(move || mark(&account, &state_dir, &originals, flag)).await;
        if let Ok(Err(failure)) = marked {
            tracing::info!(%failure, "the original is not marked as answered");
        }
    }
}

/// Marks the first original that is here.
fn mark(
    account: &Account,
    state_dir: &Path,
    originals: &[String],
    flag: Flag,
) -> Result<(), Failure> {
    let ledger = SqliteLedger::read(&paths::ledger(state_dir, &account.name))?;
    let store = wiring::maildir(account);
    let sent = account.roles.get(&Role::Sent);
    for id in originals {
        let found = ledger.with_message_id(id)?;
        if found.is_empty() {
            continue;
        }
        for (mailbox, base) in found.iter().filter(|(mailbox, _)| Some(mailbox) != sent) {
            let mut add = Flags::default();
            add.insert(flag);
            let delta = FlagDelta { add, remove: Flags::default() };
            // Where it is now is found out by its base name.
            let unseen =
                LocalMessage { sub: Sub::Cur, flags: Flags::default(), info: String::new() };
            store.set_flags(mailbox, &[((base.clone(), unseen), delta)])?;
        }
        return Ok(());
    }
    Ok(())
}
