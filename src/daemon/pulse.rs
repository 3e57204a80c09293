//! Whether a task is alive: when it was looked at last, and whether that look ever ended. Floor 5.
//!
//! A task that waits for nothing in particular is not looked at, and is well; so what counts is silence
//! while there is work, and a look that does not come back.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The pulse of a task.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// When the last look began or ended, in milliseconds of [`clock`].
    at: AtomicU64,
    is_inside: AtomicBool,
}

impl Pulse {
    fn beat(&self, is_inside: bool) {
        self.at.store(clock(), Ordering::Relaxed);
        self.is_inside.store(is_inside, Ordering::Relaxed);
    }

    /// Whether the task hangs: it has been silent for longer than `patience` while it works, or inside
    /// of one look.
    pub(super) fn is_lost(&self, is_working: bool, patience: Duration) -> bool {
        let silent = clock().saturating_sub(self.at.load(Ordering::Relaxed));
        let may_rest = !is_working && !self.is_inside.load(Ordering::Relaxed);
        !may_rest && Duration::from_millis(silent) > patience
    }
}

/// The same task, with a pulse.
pub(super) fn felt<T>(
    pulse: Arc<Pulse>,
    task: impl Future<Output = T> + Send,
) -> impl Future<Output = T> + Send {
    let mut task = Box::pin(task);
    pulse.beat(false);
    poll_fn(move |cx| {
        pulse.beat(true);
        let polled = task.as_mut().poll(cx);
        pulse.beat(false);
        polled
    })
}

/// Milliseconds since the first call.
fn clock() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(BEGIN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    /// Lets the patience pass, by the only clock there is.
    fn outwait() {
        let begin = clock();
        while clock() <= begin + 40 {
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn silence_counts_while_there_is_work() {
        let pulse = Arc::new(Pulse::default());
        let task = tokio::spawn(felt(Arc::clone(&pulse), std::future::pending::<()>()));
        tokio::task::yield_now().await;
        assert!(!pulse.is_lost(true, SHORT));
        outwait();
        assert!(pulse.is_lost(true, SHORT), "it should be doing something");
        assert!(!pulse.is_lost(false, SHORT), "it has nothing to do");
        task.abort();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_that_blocks_its_thread_is_lost_whatever_it_says() {
        let pulse = Arc::new(Pulse::default());
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let stuck = async move { gone.recv().is_ok() };
        let task = tokio::spawn(felt(Arc::clone(&pulse), stuck));
        while !pulse.is_inside.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        outwait();
        assert!(pulse.is_lost(false, SHORT));
        go.send(()).unwrap();
        task.await.unwrap();
        assert!(!pulse.is_lost(false, SHORT));
    }
}
