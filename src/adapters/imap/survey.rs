//! What an account holds: its mailboxes, how many messages, how large. For a first look. Floor 3.
//!
//! Nothing here is worth a failure: what the server does not say in time stays unknown. The sizes of
//! STATUS=SIZE (RFC 8438) are read off the bare stream, since imap-proto does not know them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::encode::unescaped;
use super::item::Item;
use super::list::{PIPELINE, cursor_of};
use super::login::LoggedIn;
use super::words::tagged;
use super::{ImapConnector, ImapRemote};
use crate::model::failure::Failure;
use crate::model::survey::Size;
use crate::model::view::RemoteMailbox;
use crate::ports::remote::Remote as _;

/// The mailboxes of an account, and how large those are that take part.
#[derive(Debug)]
pub struct Contents {
    /// All of them, with STATUS where the server told it in time.
    pub mailboxes: Vec<RemoteMailbox>,
    /// How large those are that take part.
    pub size: Size,
}

impl ImapConnector {
    /// Logs in, looks at what is there, and logs out. Only mailboxes that `takes_part` chooses count for
    /// the size. Changes nothing; takes 25 s beside the login at most.
    ///
    /// # Errors
    /// The login failed, or the mailboxes cannot be listed.
    pub async fn contents(
        &self,
        takes_part: impl Fn(&RemoteMailbox) -> bool,
    ) -> Result<Contents, Failure> {
        let mut logged_in = self.log_in().await?;
        let tells_sizes = ["LIST-STATUS", "STATUS=SIZE"]
            .iter()
            .all(|name| logged_in.capabilities.contains(*name));
        let mut sizes = None;
        if tells_sizes {
            sizes = timeout(SIZES_MAX, sizes_of(&mut logged_in)).await.ok().flatten();
            if sizes.is_none() {
                // It may still be talking.
                logged_in = self.log_in().await?;
            }
        }
        let mut remote = self.begin(logged_in).await?;
        let end = Instant::now() + LOOK_MAX;
        let mailboxes = remote.list_until(end).await?;
        let chosen: Vec<&RemoteMailbox> =
            mailboxes.iter().filter(|mailbox| mailbox.selectable && takes_part(mailbox)).collect();
        let size = match &sizes {
            Some(sizes) => remote.sum(sizes, &chosen),
            None => None,
        };
        let size = match size {
            Some(size) => size,
            None => remote.estimate(&chosen, end).await,
        };
        remote.logout().await;
        Ok(Contents { mailboxes, size })
    }
}

/// The sizes of all mailboxes, by the server's spelling of their names; none where it cannot be understood.
async fn sizes_of(logged_in: &mut LoggedIn) -> Option<BTreeMap<String, u64>> {
    let stream = &mut logged_in.stream;
    let command = b"SIZES LIST \"\" \"*\" RETURN (STATUS (SIZE))\r\n";
    stream.write_all(command).await.ok()?;
    stream.flush().await.ok()?;
    let mut sizes = BTreeMap::new();
    let mut buffer = std::mem::take(&mut logged_in.leftover);
    for _ in 0..LINES_MAX {
        let at = loop {
            if let Some(at) = memchr::memchr(b'\n', &buffer) {
                break at;
            }
            if buffer.len() > LINE_BYTES_MAX || stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        let line: Vec<u8> = buffer.drain(..=at).collect();
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if let Some(end) = tagged(line, "SIZES") {
            logged_in.leftover = buffer;
            return end.is_ok.then_some(sizes);
        }
        sizes.extend(size(line));
    }
    None
}

/// What `* STATUS "name" (SIZE 4711)` says. A name that comes as a literal is passed over.
fn size(line: &str) -> Option<(String, u64)> {
    let is_status = line.get(..9).is_some_and(|begin| begin.eq_ignore_ascii_case("* STATUS "));
    let (name, items) = line.get(9..).filter(|_| is_status)?.rsplit_once(" (")?;
    let mut words = items.strip_suffix(')')?.split_ascii_whitespace();
    words.find(|word| word.eq_ignore_ascii_case("SIZE"))?;
    let n_bytes = words.next()?.parse().ok()?;
    let bare = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    Some((bare.map_or_else(|| name.to_owned(), unescaped), n_bytes))
}

impl ImapRemote {
    /// All mailboxes, with STATUS where that costs one round trip, or as far as the time allows.
    async fn list_until(&mut self, end: Instant) -> Result<Vec<RemoteMailbox>, Failure> {
        let mut statuses = Vec::new();
        let mut mailboxes = self.list_names(&mut statuses).await?;
        if !self.has("LIST-STATUS") {
            let mut asked: Vec<RemoteMailbox> =
                mailboxes.iter().filter(|mailbox| mailbox.selectable).cloned().collect();
            asked.sort_by_key(|mailbox| !mailbox.name.is_inbox());
            asked.truncate(STATUS_MAX);
            for part in asked.chunks(PIPELINE) {
                let ask = self.ask_status(part, "MESSAGES UIDNEXT UIDVALIDITY", &mut statuses);
                match timeout_at(end, ask).await {
                    Ok(done) => done?,
                    Err(_) => break,
                }
            }
        }
        for mailbox in &mut mailboxes {
            let raw = self.names.get(&mailbox.name);
            let status = statuses.iter().find(|status| Some(&status.name) == raw);
            mailbox.status = status.and_then(cursor_of);
        }
        Ok(mailboxes)
    }

    /// The sizes together; none if one of them was not told.
    fn sum(&self, sizes: &BTreeMap<String, u64>, chosen: &[&RemoteMailbox]) -> Option<Size> {
        let told = chosen.iter().map(|mailbox| sizes.get(self.names.get(&mailbox.name)?).copied());
        told.sum::<Option<u64>>().map(Size::Exactly)
    }

    /// The size that some messages of the largest mailboxes lead to.
    async fn estimate(&mut self, chosen: &[&RemoteMailbox], end: Instant) -> Size {
        let count = |mailbox: &RemoteMailbox| mailbox.status.map_or(0, |status| status.exists);
        let mut largest: Vec<&RemoteMailbox> =
            chosen.iter().copied().filter(|mailbox| count(mailbox) > 0).collect();
        largest.sort_by_key(|mailbox| std::cmp::Reverse(count(mailbox)));
        let n_all: u64 = largest.iter().map(|mailbox| u64::from(count(mailbox))).sum();
        let (mut n_covered, mut n_bytes) = (0_u64, 0_u64);
        for mailbox in largest.iter().take(SAMPLED_MAX) {
            let sample = self.sample(mailbox, count(mailbox));
            let Ok(Some((n, bytes))) = timeout_at(end, sample).await else { break };
            let n_there = u64::from(count(mailbox));
            n_covered = n_covered.saturating_add(n_there);
            n_bytes = n_bytes.saturating_add(share(bytes, n_there, n));
        }
        let is_counted = chosen.iter().all(|mailbox| mailbox.status.is_some());
        match (n_all, n_covered) {
            (0, _) if is_counted => Size::Exactly(0),
            (_, 0) => Size::Unknown,
            // Those that were not looked at are like those that were.
            _ => Size::About(share(n_bytes, n_all, n_covered)),
        }
    }

    /// How many messages of a mailbox were looked at, spread over all of it, and how large they are together.
    async fn sample(&mut self, mailbox: &RemoteMailbox, n_there: u32) -> Option<(u64, u64)> {
        let argument = self.argument(&mailbox.name).ok()?;
        self.wire.exec(&format!("EXAMINE {argument}"), |_| {}).await.ok()?;
        let numbers: Vec<String> = spread(n_there).map(|number| number.to_string()).collect();
        let (mut n, mut bytes) = (0_u64, 0_u64);
        let command = format!("FETCH {} (RFC822.SIZE)", numbers.join(","));
        let add = |item| {
            if let Item::Fetch(fetch) = item
                && let Some(size) = fetch.size
            {
                n = n.saturating_add(1);
                bytes = bytes.saturating_add(u64::from(size));
            }
        };
        self.wire.exec(&command, add).await.ok()?;
        (n > 0).then_some((n, bytes))
    }
}

/// Numbers of at most [`SAMPLE`] messages, one of each stretch: which one differs, since what lies in a
/// mailbox may come in turns.
fn spread(n_there: u32) -> impl Iterator<Item = u32> {
    let n = n_there.min(SAMPLE);
    let begin = move |k: u32| u64::from(k) * u64::from(n_there) / u64::from(n.max(1));
    (0..n).filter_map(move |k| {
        let width = begin(k + 1).saturating_sub(begin(k)).max(1);
        // The fraction of the golden ratio's multiples is even and never in step.
        let turn = (u64::from(k.wrapping_mul(2_654_435_769)) * width) >> 32;
        u32::try_from(begin(k) + turn + 1).ok()
    })
}

/// `bytes` of `n` messages, for `n_all` of them.
fn share(bytes: u64, n_all: u64, n: u64) -> u64 {
    let all = u128::from(bytes) * u128::from(n_all) / u128::from(n.max(1));
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// A server that never added up its mailboxes takes long.
const SIZES_MAX: Duration = Duration::from_secs(10);
const LOOK_MAX: Duration = Duration::from_secs(15);
const LINES_MAX: usize = 50_000;
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Mailboxes that are asked one by one.
const STATUS_MAX: usize = 500;
/// Mailboxes of which a sample is taken, and about how many messages of each.
const SAMPLED_MAX: usize = 10;
const SAMPLE: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_whatever_the_name() {
        let told = |name: &str, n| Some((name.to_owned(), n));
        assert_eq!(size("* STATUS INBOX (SIZE 4711)"), told("INBOX", 4711));
        assert_eq!(size("* status \"a (b) \\\"c\\\"\" (size 0)"), told("a (b) \"c\"", 0));
        assert_eq!(size("* STATUS x (MESSAGES 2 SIZE 9000000000)"), told("x", 9_000_000_000));
        for other in ["* STATUS {3}", "* LIST () \"/\" INBOX", "* STATUS x (MESSAGES 2)", "", "* é"]
        {
            assert_eq!(size(other), None, "{other}");
        }
    }

    #[test]
    fn a_sample_is_of_all_of_a_mailbox_and_in_step_with_nothing_in_it() {
        assert_eq!(spread(3).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(spread(0).count(), 0);
        for n_there in [200, 201, 250, 399, 400, 1000, 12_345, u32::MAX] {
            let numbers: Vec<u32> = spread(n_there).collect();
            assert_eq!(numbers.len(), 200, "{n_there}");
            assert!(numbers.is_sorted_by(|a, b| a < b), "{n_there}: {numbers:?}");
            let last = numbers.last().copied().unwrap();
            assert!(numbers[0] >= 1 && last <= n_there && last > n_there / 100 * 99, "{n_there}");
            let n_odd = numbers.iter().filter(|number| *number % 2 == 1).count();
            assert!((80..=120).contains(&n_odd), "{n_there}: {n_odd} of 200 are odd");
        }
    }

    #[test]
    fn a_share_of_many_does_not_overflow() {
        assert_eq!(share(1000, 50, 10), 5000);
        assert_eq!(share(u64::MAX, u64::MAX, 1), u64::MAX);
        assert_eq!(share(5, 5, 0), 25);
    }
}
