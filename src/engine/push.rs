//! Connections that wait for the server, one per mailbox of `push`. They only put hints. Floor 4.

use std::sync::Arc;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::model::event::Hint;
use crate::model::failure::{Failure, Kind};
use crate::model::ids::MailboxName;
use crate::ports::hints::HintBox;
use crate::ports::remote::{Connector, Remote, Woken};
use crate::rules::schedule::{IDLE_SILENCE, backoff};

/// Waits for changes of one mailbox until cancelled; dials again after a failure.
pub(super) async fn wait_for_changes<C: Connector>(
    connector: Arc<C>,
    mailbox: MailboxName,
    hints: Arc<HintBox>,
    stop: CancellationToken,
) {
    let mut n_failures = 0;
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            ended = one_connection(&*connector, &mailbox, &hints, &mut n_failures) => ended,
        };
        // The main connection meets the same server and tells the user; here it is only retried.
        // It is idle, and would find out only at the next poll: so it has a look now.
        hints.put(Hint::Remote(mailbox.clone()));
        tracing::debug!(%mailbox, failure = %ended, "the waiting connection ended");
        if matches!(ended.kind, Kind::AuthFailed | Kind::NeedsLogin | Kind::NotSupported) {
            return;
        }
        let delay = backoff(n_failures, fastrand::f64());
        n_failures = n_failures.saturating_add(1);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(delay) => {}
        }
    }
}

async fn one_connection<C: Connector>(
    connector: &C,
    mailbox: &MailboxName,
    hints: &HintBox,
    n_failures: &mut u32,
) -> Failure {
    let mut remote = match connector.connect().await {
        Ok(remote) => remote,
        Err(failure) => return failure,
    };
    // The first round selects the mailbox; whatever happened before it is found by one look.
    let mut is_first = true;
    loop {
        if std::mem::take(&mut is_first) {
            match remote.begin_wait(mailbox).await {
                Ok(()) => hints.put(Hint::Remote(mailbox.clone())),
                Err(failure) => return failure,
            }
        }
        match remote.wait(mailbox, IDLE_SILENCE).await {
            Ok(Woken::Changed) => hints.put(Hint::Remote(mailbox.clone())),
            Ok(Woken::Quiet) => {}
            Err(failure) => return failure,
        }
        *n_failures = 0;
    }
}
