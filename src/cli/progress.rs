//! A line on the terminal while a sync runs: how far it is, how fast, how long still. Beside floor 5.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::model::failure::server_words;

/// How far a mailbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) account: String,
    pub(super) mailbox: String,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) bytes_done: u64,
}

/// Whether somebody looks at stderr.
pub(super) fn is_wanted() -> bool {
    io::stderr().is_terminal()
}

/// Does the work, and shows what `look` sees meanwhile.
pub(super) async fn beside<T>(
    work: impl Future<Output = T>,
    mut look: impl AsyncFnMut() -> Vec<Moment>,
) -> T {
    tokio::pin!(work);
    let mut ticks = interval(REDRAW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begun: HashMap<String, (Instant, Moment)> = HashMap::new();
    let done = loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            _ = ticks.tick() => {}
        }
        let moments = look().await;
        let Some(moment) = moments.iter().max_by_key(|moment| moment.total) else { continue };
        let key = format!("{}/{}", moment.account, moment.mailbox);
        let first = begun.entry(key).or_insert_with(|| (Instant::now(), moment.clone()));
        draw(&line(moment, &first.1, first.0.elapsed(), moments.len() - 1));
    };
    draw("");
    done
}

/// Draws over the line (ECMA-48 EL). That nobody can see it is no trouble.
fn draw(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush()));
}

/// The line; rates are those since it was first seen.
fn line(now: &Moment, first: &Moment, elapsed: Duration, n_others: usize) -> String {
    let share = if now.total == 0 { 0.0 } else { now.done as f64 / now.total as f64 };
    let filled = (share.clamp(0.0, 1.0) * BAR_CELLS as f64) as usize;
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR_CELLS - filled));
    let seconds = elapsed.as_secs_f64();
    let rate = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
    let messages = rate(now.done.saturating_sub(first.done));
    let bytes = rate(now.bytes_done.saturating_sub(first.bytes_done));
    let mut text = format!(
        "{}/{}  {}/{}  [{bar}] {:.0} %",
        server_words(&now.account),
        server_words(&now.mailbox),
        now.done,
        now.total,
        share * 100.0
    );
    if messages > 0.0 {
        let left = now.total.saturating_sub(now.done) as f64 / messages;
        text.push_str(&format!("  {messages:.0}/s  {:.1} MB/s  {} left", bytes / 1e6, clock(left)));
    }
    if n_others > 0 {
        text.push_str(&format!("  (and {n_others} more)"));
    }
    text
}

/// Minutes and seconds, or hours with them.
fn clock(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

const BAR_CELLS: usize = 20;
const REDRAW_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_rate_and_time_left() {
        let at = |done, bytes_done| Moment {
            account: "work".to_owned(),
            mailbox: "INBOX".to_owned(),
            done,
            total: 1000,
            bytes_done,
        };
        let text = line(&at(300, 30_000_000), &at(100, 10_000_000), Duration::from_secs(10), 1);
        assert_eq!(
            text,
            "work/INBOX  300/1000  [######..............] 30 %  20/s  2.0 MB/s  0:35 left  (and 1 more)"
        );
        let text = line(&at(0, 0), &at(0, 0), Duration::ZERO, 0);
        assert_eq!(text, "work/INBOX  0/1000  [....................] 0 %");
        assert_eq!(clock(3725.0), "1:02:05");
    }
}
