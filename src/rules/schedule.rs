//! When to try again and when to look: back-off and polling. Floor 1; time is an argument.

use std::time::Duration;

use crate::model::failure::Remedy;

/// Returns the delay before attempt `n` after a failure (0-based): 2 s doubling to 5 min, spread by
/// `jitter` in 0..1 over the upper half, so that many clients do not come back together.
pub fn backoff(n: u32, jitter: f64) -> Duration {
    let ceiling = BACKOFF_FIRST.saturating_mul(1_u32.checked_shl(n.min(16)).unwrap_or(u32::MAX));
    let ceiling = ceiling.min(BACKOFF_MAX);
    ceiling.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// Returns the delay before a message is tried again that failed `n` times before: 1 min, 10 min,
/// 1 h, 6 h, then once a day. It counts as failed meanwhile, and the others go on.
pub fn message_backoff(n: u32) -> Duration {
    Duration::from_secs(match n {
        0 => 60,
        1 => 600,
        2 => 3600,
        3 => 6 * 3600,
        _ => 86_400,
    })
}

/// Returns the delay before an account is tried again that failed `n` times before with this remedy.
pub fn retry_delay(remedy: Remedy, n: u32, jitter: f64) -> Duration {
    match remedy {
        Remedy::Now => Duration::from_millis(200),
        Remedy::Later | Remedy::Never => backoff(n, jitter),
        Remedy::After(wait) => backoff(n, jitter).max(wait.min(ASKED_MAX)),
    }
}

/// Returns the delay before the next poll after `n_quiet` polls in a row that found nothing: an eighth of
/// `interval` where mail moves, doubling to `interval`; but not under 30 s, for the server's sake.
pub fn poll_delay(interval: Duration, n_quiet: u32) -> Duration {
    let soon = (interval / 8).max(POLL_SOONEST);
    soon.saturating_mul(1_u32.checked_shl(n_quiet.min(16)).unwrap_or(u32::MAX)).min(interval)
}

const POLL_SOONEST: Duration = Duration::from_secs(30);
/// The longest pause that a server can ask for.
const ASKED_MAX: Duration = Duration::from_secs(3600);
const BACKOFF_FIRST: Duration = Duration::from_secs(2);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// How long a local absence has to last before it is believed (product page §6.5).
pub const ABSENCE_PROOF: Duration = Duration::from_millis(1000);

/// A refused login is tried this often before only a person can help.
pub const LOGIN_ATTEMPTS_MAX: u32 = 2;

/// How long the server may be silent in IDLE before the connection is probed (RFC 2177 asks for
/// less than 29 min; networks forget connections sooner).
pub const IDLE_SILENCE: Duration = Duration::from_secs(270);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_is_asked_for_is_kept_but_not_for_ever() {
        let asked = |seconds| Remedy::After(Duration::from_secs(seconds));
        assert_eq!(retry_delay(asked(299), 0, 1.0), Duration::from_secs(299));
        assert_eq!(retry_delay(asked(1), 4, 1.0), Duration::from_secs(32));
        assert_eq!(retry_delay(asked(u64::MAX), 0, 1.0), Duration::from_secs(3600));
        assert_eq!(retry_delay(Remedy::Later, 0, 1.0), Duration::from_secs(2));
    }

    #[test]
    fn polls_come_closer_where_mail_moves_and_never_slower_than_asked_for() {
        let delays = |seconds| {
            [0, 1, 2, 3, 4, 40].map(|n| poll_delay(Duration::from_secs(seconds), n).as_secs())
        };
        assert_eq!(delays(3600), [450, 900, 1800, 3600, 3600, 3600]);
        assert_eq!(delays(300), [37, 75, 150, 300, 300, 300]);
        assert_eq!(delays(60), [30, 60, 60, 60, 60, 60]);
        assert_eq!(delays(10), [10; 6]);
        assert_eq!(poll_delay(Duration::MAX, u32::MAX), Duration::MAX);
    }

    #[test]
    fn backoff_grows_to_a_ceiling_and_keeps_its_spread() {
        assert_eq!(backoff(0, 0.0), Duration::from_secs(1));
        assert_eq!(backoff(0, 1.0), Duration::from_secs(2));
        assert_eq!(backoff(3, 1.0), Duration::from_secs(16));
        assert_eq!(backoff(40, 1.0), Duration::from_secs(300));
        assert_eq!(backoff(u32::MAX, 0.0), Duration::from_secs(150));
    }
}
