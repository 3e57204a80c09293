//! Brings the server's own copy of a sent message here, where the outbox waits for it. Floor 5.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::jobs::Jobs;
use crate::model::account::Role;
use crate::model::event::Command;
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
        let account = match event {
            Ok(OutboxEvent::Sent { account, .. }) => account,
            Err(broadcast::error::RecvError::Closed) => return,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
        };
        let now = Arc::clone(&status.borrow());
        let mailboxes = now.accounts.get(&account).map(|a| &a.mailboxes);
        let sent = mailboxes.and_then(|m| m.iter().find(|(_, m)| m.role == Role::Sent.as_str()));
        let Some((mailbox, _)) = sent else { continue };
        // Servers file the copy a moment after they accepted the message.
        tokio::time::sleep(SENT_DELAY).await;
        let job = jobs.begin(vec![account.clone()]);
        let mailboxes = vec![mailbox.clone()];
        drop(commands.try_send(Command::Sync { job, account, mailboxes }));
    }
}

const SENT_DELAY: Duration = Duration::from_secs(2);
