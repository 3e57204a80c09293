//! How the outbox ends. Floor 4.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::Relay;
use crate::ports::outbox::{OutboxLedger, SentFiler, Spool, Submit};

impl<P: Spool, L: OutboxLedger, S: Submit, F: SentFiler> Relay<P, L, S, F> {
    /// Ends what runs. An attempt gets a moment; one whose final dot may have left gets longer, because only
    /// the server knows what became of it. Copies for Sent are left to the next start.
    pub(super) async fn wind_up(&mut self) {
        let begin = Instant::now();
        if self.drain(begin + ATTEMPT_PATIENCE, |_| false).await {
            return;
        }
        // Whoever has not sent the dot by now does not send it at all.
        self.wire.close();
        if !self.drain(begin + DOT_PATIENCE, |relay| relay.wire.on_it() == 0).await {
            warn!(
                messages = self.wire.on_it(),
                "stopped before the server said whether it has a message; the next start settles it"
            );
        }
        let unsent = self.lines.values().filter(|line| line.busy).count();
        let unsent = unsent.saturating_sub(self.wire.on_it());
        if unsent > 0 {
            info!(
                messages = unsent,
                "stopped before a server had a message; the next start sends it"
            );
        }
    }

    /// Waits for the tasks until none is left, or it is enough; false when the time is over. What a task came
    /// back with is written down to its end: an acceptance that is not would be a doubt later.
    async fn drain(&mut self, until: Instant, is_enough: impl Fn(&Self) -> bool) -> bool {
        self.start_finish();
        while !is_enough(self) {
            match timeout_at(until, self.tasks.join_next()).await {
                Ok(Some(Ok(ended))) => self.ended(ended).await,
                Ok(Some(Err(_))) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
            self.start_finish();
        }
        true
    }
}

const ATTEMPT_PATIENCE: Duration = Duration::from_secs(1);
const DOT_PATIENCE: Duration = Duration::from_secs(3);
