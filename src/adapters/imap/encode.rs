//! How arguments are written: strings, sequence sets, dates, flags. Floor 3.

use chrono::{DateTime, Utc};

use crate::model::ids::Uid;

/// A quoted string (RFC 9051 §4.3); our names hold no control characters by then.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        if !c.is_control() {
            out.push(c);
        }
    }
    out.push('"');
    out
}

/// Undoes the escapes that imap-proto leaves in a quoted string.
pub(super) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// Sequence sets of UIDs, ranges where they are dense, each at most `bytes_max` long.
pub(super) fn uid_sets(uids: &[Uid], bytes_max: usize) -> Vec<String> {
    let mut sorted: Vec<u32> = uids.iter().map(|u| u.get()).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut sets = Vec::new();
    let mut set = String::new();
    let mut rest = sorted.as_slice();
    while let Some((first, tail)) = rest.split_first() {
        let mut last = *first;
        let mut n = 0;
        for next in tail {
            if *next != last.wrapping_add(1) {
                break;
            }
            last = *next;
            n += 1;
        }
        rest = tail.get(n..).unwrap_or_default();
        let range = if last == *first { first.to_string() } else { format!("{first}:{last}") };
        if !set.is_empty() && set.len() + range.len() + 1 > bytes_max {
            sets.push(std::mem::take(&mut set));
        }
        if !set.is_empty() {
            set.push(',');
        }
        set.push_str(&range);
    }
    if !set.is_empty() {
        sets.push(set);
    }
    sets
}

/// `date-time` of RFC 9051 §9, in UTC; a date out of range is the epoch.
pub(super) fn date_time(seconds: i64) -> String {
    let date = DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
    date.format("%d-%b-%Y %H:%M:%S +0000").to_string()
}

/// Seconds since the epoch of an INTERNALDATE; `None` if it makes no sense.
pub(super) fn parse_date_time(text: &str) -> Option<i64> {
    let date = DateTime::parse_from_str(text.trim(), "%d-%b-%Y %H:%M:%S %z").ok()?;
    Some(date.timestamp()).filter(|s| *s >= 0)
}

/// CRLF becomes LF; a lone CR or LF stays.
pub(super) fn to_lf(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut from = 0;
    for at in memchr::memchr_iter(b'\r', data) {
        if data.get(at + 1) == Some(&b'\n') {
            out.extend_from_slice(data.get(from..at).unwrap_or_default());
            from = at + 1;
        }
    }
    out.extend_from_slice(data.get(from..).unwrap_or_default());
    out
}

/// [`to_lf`] over pieces: a CR at the end of a piece waits for the next one.
#[derive(Debug, Default)]
pub(super) struct LfPieces {
    has_cr: bool,
}

impl LfPieces {
    /// Converts the next piece.
    pub(super) fn next(&mut self, data: &[u8]) -> Vec<u8> {
        let mut joined = Vec::with_capacity(data.len() + 1);
        if std::mem::take(&mut self.has_cr) {
            joined.push(b'\r');
        }
        joined.extend_from_slice(data);
        if joined.last() == Some(&b'\r') {
            joined.pop();
            self.has_cr = true;
        }
        to_lf(&joined)
    }

    /// What still waits at the end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        if std::mem::take(&mut self.has_cr) { vec![b'\r'] } else { Vec::new() }
    }
}

/// Each lone LF becomes CRLF; `last` is the byte before the piece and is updated.
pub(super) fn to_crlf(data: &[u8], last: &mut u8, out: &mut Vec<u8>) {
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', data) {
        let before = at.checked_sub(1).and_then(|i| data.get(i)).copied().unwrap_or(*last);
        if before != b'\r' {
            out.extend_from_slice(data.get(from..at).unwrap_or_default());
            out.push(b'\r');
            from = at;
        }
    }
    out.extend_from_slice(data.get(from..).unwrap_or_default());
    *last = data.last().copied().unwrap_or(*last);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sets_are_short_and_complete() {
        let uids: Vec<Uid> = [9, 1, 2, 3, 7, 8].into_iter().filter_map(Uid::new).collect();
        assert_eq!(uid_sets(&uids, 100), ["1:3,7:9"]);
        assert_eq!(uid_sets(&uids, 3), ["1:3", "7:9"]);
        assert!(uid_sets(&[], 100).is_empty());
    }

    #[test]
    fn dates_go_there_and_back() {
        assert_eq!(date_time(1_000_000_000), "09-Sep-2001 01:46:40 +0000");
        assert_eq!(parse_date_time(" 9-Sep-2001 03:46:40 +0200"), Some(1_000_000_000));
        assert_eq!(parse_date_time("09-Sep-2001 01:46:40 +0000"), Some(1_000_000_000));
        assert_eq!(parse_date_time("NIL"), None);
        assert_eq!(parse_date_time("01-Jan-0000 00:00:00 +0000"), None);
    }

    #[test]
    fn strings_are_quoted_and_unquoted() {
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert_eq!(unescaped("a\\\"b\\\\c"), "a\"b\\c");
    }

    proptest! {
        #[test]
        fn line_ends_survive_any_split(body in prop::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40), at in 0_usize..40) {
            let at = at.min(body.len());
            let mut pieces = LfPieces::default();
            let mut split = pieces.next(&body[..at]);
            split.extend(pieces.next(&body[at..]));
            split.extend(pieces.rest());
            prop_assert_eq!(&split, &to_lf(&body));
            let (mut last, mut crlf) = (0, Vec::new());
            to_crlf(&body[..at], &mut last, &mut crlf);
            to_crlf(&body[at..], &mut last, &mut crlf);
            // What we would upload comes back as the file was, but for CRLF that was there before.
            prop_assert_eq!(to_lf(&crlf), to_lf(&body));
        }
    }
}
