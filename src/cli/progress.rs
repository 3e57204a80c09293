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
    let mut seen = Seen::default();
    let done = loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            _ = ticks.tick() => {}
        }
        let moments = look().await;
        if let Some(text) = seen.line(&moments, Instant::now()) {
            draw(&text);
        }
    };
    draw("");
    done
}

/// What was seen so far. The rate of an account is that of all its mailboxes together, so that it does not jump
/// from one to the next.
#[derive(Default)]
struct Seen {
    accounts: HashMap<String, Sum>,
    /// The mailbox on the line; it stays there as long as it is at work.
    shown: Option<(String, String)>,
}

struct Sum {
    since: Instant,
    last: Moment,
    messages: u64,
    bytes: u64,
}

impl Seen {
    fn line(&mut self, moments: &[Moment], now: Instant) -> Option<String> {
        moments.iter().for_each(|moment| self.add(moment, now));
        let is_shown = |moment: &&Moment| {
            let shown = self.shown.as_ref();
            shown.is_some_and(|(a, m)| *a == moment.account && *m == moment.mailbox)
        };
        let largest = || moments.iter().max_by_key(|moment| moment.total);
        let moment = moments.iter().find(is_shown).or_else(largest)?;
        self.shown = Some((moment.account.clone(), moment.mailbox.clone()));
        let sum = self.accounts.get(&moment.account)?;
        let seconds = now.duration_since(sum.since).as_secs_f64();
        let rate = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        Some(line(moment, (rate(sum.messages), rate(sum.bytes)), moments.len() - 1))
    }

    fn add(&mut self, moment: &Moment, now: Instant) {
        let first = || Sum { since: now, last: moment.clone(), messages: 0, bytes: 0 };
        let sum = self.accounts.entry(moment.account.clone()).or_insert_with(first);
        let goes_on = sum.last.mailbox == moment.mailbox && sum.last.done <= moment.done;
        let before = if goes_on { (sum.last.done, sum.last.bytes_done) } else { (0, 0) };
        sum.messages = sum.messages.saturating_add(moment.done.saturating_sub(before.0));
        sum.bytes = sum.bytes.saturating_add(moment.bytes_done.saturating_sub(before.1));
        sum.last = moment.clone();
    }
}

/// Draws over the line (ECMA-48 EL). That nobody can see it is no trouble.
fn draw(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush()));
}

/// The line, with messages and bytes a second. How much other mailboxes hold is not known yet: the time left is
/// that of this one.
fn line(now: &Moment, (messages, bytes): (f64, f64), n_others: usize) -> String {
    let share = if now.total == 0 { 0.0 } else { now.done as f64 / now.total as f64 };
    let filled = (share.clamp(0.0, 1.0) * BAR_CELLS as f64) as usize;
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR_CELLS - filled));
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

    fn at(mailbox: &str, done: u64, total: u64) -> Moment {
        let (account, mailbox) = ("work".to_owned(), mailbox.to_owned());
        Moment { account, mailbox, done, total, bytes_done: done * 100_000 }
    }

    #[test]
    fn the_line_tells_rate_and_time_left() {
        let text = line(&at("INBOX", 300, 1000), (20.0, 2e6), 1);
        assert_eq!(
            text,
            "work/INBOX  300/1000  [######..............] 30 %  20/s  2.0 MB/s  0:35 left  (and 1 more)"
        );
        let text = line(&at("INBOX", 0, 1000), (0.0, 0.0), 0);
        assert_eq!(text, "work/INBOX  0/1000  [....................] 0 %");
        assert_eq!(clock(3725.0), "1:02:05");
    }

    #[test]
    fn the_rate_does_not_jump_from_mailbox_to_mailbox() {
        let (mut seen, begin) = (Seen::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        seen.line(&[at("INBOX", 100, 1000)], begin);
        let text = seen.line(&[at("INBOX", 1000, 1000)], after(9)).unwrap();
        assert!(text.ends_with("100/s  10.0 MB/s  0:00 left"), "{text}");
        let text = seen.line(&[at("Sent", 100, 500)], after(10)).unwrap();
        assert!(text.ends_with("100/s  10.0 MB/s  0:04 left"), "{text}");
        // The one that is shown stays, however large another is.
        let other = Moment { account: "home".to_owned(), ..at("INBOX", 0, 9000) };
        let text = seen.line(&[other, at("Sent", 200, 500)], after(11)).unwrap();
        assert!(text.starts_with("work/Sent  200/500") && text.ends_with("(and 1 more)"), "{text}");
    }
}
