//! Brings the server's own copy of a sent message here, where the outbox waits for it. Floor 5.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::jobs::Jobs;
use crate::model::account::Role;
use crate::model::event::Command;
use crate::model::ids::AccountName;
use crate::model::outbox::OutboxEvent;
use crate::model::status::Status;

/// After a message was sent, looks whether the server filed a copy by itself: Sent is rarely pushed,
/// and the outbox waits for the answer.
pub(super) async fn look_into_sent(
    mut events: broadcast::Receiver<OutboxEvent>,
    status: watch::Receiver<Arc<Status>>,
    jobs: Jobs,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => event,
        };
        let mut accounts = match event {
            Ok(event) => BTreeSet::from_iter(sent_by(event)),
            Err(broadcast::error::RecvError::Closed) => return,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
        };
        if accounts.is_empty() {
            continue;
        }
        // Servers file the copy a moment after they accepted the message.
        tokio::time::sleep(SENT_DELAY).await;
        // One look is enough for all that was sent meanwhile.
        while let Ok(event) = events.try_recv() {
            accounts.extend(sent_by(event));
        }
        let now = Arc::clone(&status.borrow());
        for account in accounts {
            let mailboxes = now.accounts.get(&account).map(|a| &a.mailboxes);
            let sent =
                mailboxes.and_then(|m| m.iter().find(|(_, m)| m.role == Role::Sent.as_str()));
            let Some((mailbox, _)) = sent else { continue };
            let job = jobs.begin(vec![account.clone()]);
            let mailboxes = vec![mailbox.clone()];
            drop(commands.try_send(Command::Sync { job, account, mailboxes }));
        }
    }
}

fn sent_by(event: OutboxEvent) -> Option<AccountName> {
    match event {
        OutboxEvent::Sent { account, .. } => Some(account),
        OutboxEvent::Queued { .. }
        | OutboxEvent::Answers { .. }
        | OutboxEvent::Deferred { .. }
        | OutboxEvent::Failed { .. }
        | OutboxEvent::Uncertain { .. } => None,
    }
}

const SENT_DELAY: Duration = Duration::from_secs(2);
