//! When everything is looked at again: sooner where mail moves. Floor 4.

use std::time::Duration;

use tokio::time::Instant;

use super::Loop;
use crate::model::status::{Push, Watch};
use crate::ports::ledger::Ledger;
use crate::ports::local::Local;
use crate::ports::remote::Connector;
use crate::rules::schedule::poll_delay;

/// The next poll, and what the last ones found.
pub(super) struct Polling {
    pub(super) next: Instant,
    /// How many polls in a row found nothing.
    n_quiet: u32,
    interval: Duration,
}

impl Default for Polling {
    fn default() -> Self {
        Self { next: Instant::now(), n_quiet: 0, interval: Duration::ZERO }
    }
}

impl Polling {
    /// Everything was looked at; `interval` is how often that is due when nothing moves.
    pub(super) fn polled(&mut self, interval: Duration, is_quiet: bool) {
        self.n_quiet = if is_quiet { self.n_quiet.saturating_add(1) } else { 0 };
        self.interval = interval;
        self.next = Instant::now() + poll_delay(interval, self.n_quiet);
    }

    /// Mail moved on either side: more is likely to come.
    pub(super) fn moved(&mut self) {
        self.n_quiet = 0;
        self.next = self.next.min(Instant::now() + poll_delay(self.interval, 0));
    }
}

impl<L: Local, G: Ledger, C: Connector> Loop<L, G, C> {
    /// Whether the server tells of all mailboxes by itself: then nothing is gained by asking more often.
    pub(super) fn is_told_all(&self) -> bool {
        self.worker.watching.now() == Push::Notify
    }

    /// How often everything is looked at when nothing moves. Without a working watcher, the local side is
    /// polled as well.
    pub(super) fn poll_interval(&self) -> Duration {
        let watch = self.worker.watcher.as_ref().map(|w| w.state()).unwrap_or_default();
        self.worker.board.account(&self.worker.account.name, |a| a.watch = watch);
        match watch {
            Watch::Inotify => self.drive.poll_interval,
            Watch::Poll => self.drive.poll_interval.min(BLIND_POLL),
        }
    }
}

/// How often everything is looked at where the system cannot watch.
const BLIND_POLL: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(n * 60)
    }

    #[tokio::test(start_paused = true)]
    async fn mail_that_moves_brings_the_next_look_closer_and_quiet_sends_it_away() {
        let mut polling = Polling::default();
        let due = |polling: &Polling| polling.next.duration_since(Instant::now());
        for wait in [20, 40, 80, 80] {
            polling.polled(minutes(80), true);
            assert_eq!(due(&polling), minutes(wait));
        }
        polling.moved();
        assert_eq!(due(&polling), minutes(10));
        tokio::time::advance(minutes(9)).await;
        polling.moved();
        assert_eq!(due(&polling), minutes(1), "it is not put off");
        polling.polled(minutes(80), false);
        assert_eq!(due(&polling), minutes(10));
    }
}
