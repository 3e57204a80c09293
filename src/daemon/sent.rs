//! Brings the server's own copy of a sent message here, where the outbox waits for it. Floor 5.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::engine::jobs::Jobs;
use crate::model::account::{Role, SentCopy, Settings};
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
    accounts: BTreeSet<AccountName>,
) {
    // When to look next, and where; one look is enough for all that was sent meanwhile.
    let mut looks: BTreeSet<(Instant, AccountName)> = BTreeSet::new();
    loop {
        let next = looks.first().map(|(at, _)| *at);
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => {
                    plan(&mut looks, sent_by(event).filter(|account| accounts.contains(account)));
                }
                Err(broadcast::error::RecvError::Closed) => return,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                if let Some((_, account)) = looks.pop_first() {
                    look(&status.borrow().clone(), &jobs, &commands, account);
                }
            }
        }
    }
}

/// The accounts whose server may file what it sends, as far as is known before.
pub(super) fn may_be_filed(settings: &Settings) -> BTreeSet<AccountName> {
    let some = settings.accounts.values().filter(|account| {
        let copy = account.smtp.as_ref().map(|smtp| smtp.sent_copy);
        account.imap.is_some() && copy == Some(SentCopy::Auto)
    });
    some.map(|account| account.name.clone()).collect()
}

/// Servers file the copy a moment after they accepted the message, and some take longer.
fn plan(looks: &mut BTreeSet<(Instant, AccountName)>, account: Option<AccountName>) {
    let Some(account) = account else { return };
    let now = Instant::now();
    let soon = now + NEAR;
    let is_planned = |at: Instant| {
        let near = |(then, whose): &(Instant, AccountName)| {
            *whose == account && *then >= at && *then <= at + NEAR
        };
        looks.iter().any(near)
    };
    let missing: Vec<Instant> =
        LOOKS.iter().map(|after| soon + *after).filter(|at| !is_planned(*at)).collect();
    looks.extend(missing.into_iter().map(|at| (at, account.clone())));
}

fn look(status: &Status, jobs: &Jobs, commands: &mpsc::Sender<Command>, account: AccountName) {
    let mailboxes = status.accounts.get(&account).map(|a| &a.mailboxes);
    let sent = mailboxes.and_then(|m| m.iter().find(|(_, m)| m.role == Role::Sent.as_str()));
    let Some((mailbox, _)) = sent else { return };
    let job = jobs.begin(vec![account.clone()]);
    let mailboxes = vec![mailbox.clone()];
    drop(commands.try_send(Command::Sync { job, account, mailboxes }));
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

const NEAR: Duration = Duration::from_secs(1);
/// Within the time that the outbox waits for a server's own copy.
const LOOKS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_millis(4500),
    Duration::from_secs(8),
    Duration::from_millis(11_500),
];
