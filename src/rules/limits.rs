//! What stays on the server because of a limit. Floor 1; time is an argument.
//!
//! Unread and flagged messages are kept on top of age and number: nobody loses sight of mail that
//! was not read, and a flag is a wish to keep it.

use crate::model::account::Limits;
use crate::model::flags::{Flag, Flags};
use crate::model::ids::Uid;
use crate::model::uids::UidSet;

/// How far the limits reach in one mailbox at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    max_size: Option<u64>,
    /// Seconds since the epoch.
    oldest: Option<i64>,
    first_uid: Option<Uid>,
    metered: Option<Metered>,
}

/// What waits while traffic is counted: old mail, and large messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Metered {
    /// Nothing before this message was fetched or is wanted now; none where all of it waits.
    first_uid: Option<Uid>,
}

/// Why a message stays on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// It is larger than `max_size`.
    Size,
    /// It is older than `max_age`.
    Age,
    /// It is not among the newest `max_messages`.
    Number,
    /// Traffic is counted now.
    Metered,
}

impl Skip {
    /// The key that says so.
    pub fn key(self) -> &'static str {
        match self {
            Self::Size => "max_size",
            Self::Age => "max_age",
            Self::Number => "max_messages",
            Self::Metered => "metered",
        }
    }
}

/// What decides about a message.
#[derive(Debug, Clone, Copy)]
pub struct Measure<'a> {
    /// Its UID.
    pub uid: Uid,
    /// Its size on the wire in bytes, where it is known.
    pub size: Option<u64>,
    /// Its INTERNALDATE in seconds since the epoch, where it is known.
    pub date: Option<i64>,
    /// Its flags, where they are known.
    pub flags: Option<&'a Flags>,
}

impl Horizon {
    /// The horizon at `now` (seconds since the epoch) of a mailbox with these messages.
    pub fn of(limits: Limits, uids: &UidSet, now: i64) -> Self {
        let age = limits.max_age.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        Self {
            max_size: limits.max_size,
            oldest: age.map(|age| now.saturating_sub(age)),
            first_uid: limits.max_messages.and_then(|n| uids.nth_newest(n as usize)),
            metered: None,
        }
    }

    /// The same while traffic is counted: what comes now is fetched, from `next` on, and of an inbox, which
    /// holds `uids`, the newest. The rest waits for another network.
    #[must_use]
    pub fn metered(self, is_inbox: bool, next: Option<Uid>, uids: &UidSet) -> Self {
        let newest = || uids.nth_newest(METERED_NEWEST).or_else(|| uids.first());
        let newest = Some(()).filter(|()| is_inbox).and_then(|()| newest());
        let first_uid = newest.into_iter().chain(next).min();
        Self { metered: Some(Metered { first_uid }), ..self }
    }

    /// Why a message is not fetched; nothing means that it is. What is not known is no reason.
    pub fn skips(&self, message: Measure<'_>) -> Option<Skip> {
        if self.max_size.zip(message.size).is_some_and(|(max, size)| size > max) {
            return Some(Skip::Size);
        }
        self.outgrew(message).or_else(|| self.waits(message).then_some(Skip::Metered))
    }

    /// Whether a message waits for a network where traffic is not counted.
    fn waits(&self, message: Measure<'_>) -> bool {
        self.metered.is_some_and(|metered| {
            let is_large = message.size.is_some_and(|size| size > METERED_BYTES);
            is_large || metered.first_uid.is_none_or(|first| message.uid < first)
        })
    }

    /// Why the local copy of a message goes; a size that was fine once is no reason.
    pub fn outgrew(&self, message: Measure<'_>) -> Option<Skip> {
        let is_wanted = |f: &Flags| !f.has(Flag::Seen) || f.has(Flag::Flagged);
        if message.flags.is_none_or(is_wanted) {
            return None;
        }
        if self.first_uid.is_some_and(|first| message.uid < first) {
            return Some(Skip::Number);
        }
        let is_old = self.oldest.zip(message.date).is_some_and(|(oldest, date)| date < oldest);
        is_old.then_some(Skip::Age)
    }

    /// Whether time or new mail can push messages out.
    pub fn moves(&self) -> bool {
        self.oldest.is_some() || self.first_uid.is_some()
    }
}

/// So many messages of an inbox are fetched at once on a metered network.
pub(super) const METERED_NEWEST: usize = 100;
/// Larger messages wait.
pub(super) const METERED_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn unread_and_flagged_mail_is_kept_on_top_of_the_newest() {
        let uids: UidSet = (1..=5).filter_map(Uid::new).collect();
        let limits = Limits { max_messages: Some(2), ..Limits::default() };
        let horizon = Horizon::of(limits, &uids, 0);
        let skips = |uid: u32, letters: &str| {
            let flags = Flags::from_letters(letters);
            let uid = Uid::new(uid).unwrap();
            horizon.skips(Measure { uid, size: None, date: None, flags: Some(&flags) })
        };
        assert_eq!(skips(3, "S"), Some(Skip::Number));
        assert_eq!(skips(4, "S"), None);
        assert_eq!(
            (skips(1, ""), skips(1, "FS"), skips(1, "RS")),
            (None, None, Some(Skip::Number))
        );
        let few: UidSet = (1..=2).filter_map(Uid::new).collect();
        assert!(!Horizon::of(limits, &few, 0).moves(), "nothing is beyond the newest two of two");
    }

    #[test]
    fn while_traffic_is_counted_only_new_mail_and_the_newest_of_an_inbox_come() {
        let set =
            |range: std::ops::RangeInclusive<u32>| range.filter_map(Uid::new).collect::<UidSet>();
        let waits = |horizon: Horizon, uid: u32, size: u64| {
            let flags = Flags::default();
            let uid = Uid::new(uid).unwrap();
            let message = Measure { uid, size: Some(size), date: None, flags: Some(&flags) };
            assert_eq!(horizon.outgrew(message), None, "what is here stays");
            horizon.skips(message) == Some(Skip::Metered)
        };
        let all = set(1..=500);
        let inbox = Horizon::default().metered(true, None, &all);
        assert_eq!([waits(inbox, 400, 1), waits(inbox, 401, 1)], [true, false]);
        assert!(waits(inbox, 500, 2 << 20), "a large one waits, however new");
        let archive = Horizon::default().metered(false, None, &all);
        assert!(waits(archive, 500, 1));
        // Once a mailbox was looked at, what comes after that is new.
        let later = Horizon::default().metered(false, Uid::new(491), &all);
        assert_eq!([waits(later, 490, 1), waits(later, 491, 1)], [true, false]);
        let small = Horizon::default().metered(true, None, &set(7..=9));
        assert!(!waits(small, 7, 1));
        assert!(!waits(Horizon::default(), 1, 2 << 20));
    }

    #[test]
    fn size_keeps_a_message_out_and_never_takes_one_away() {
        let limits = Limits {
            max_size: Some(10),
            max_age: Some(Duration::from_secs(60)),
            max_messages: None,
            is_metered: false,
        };
        let horizon = Horizon::of(limits, &UidSet::default(), 1000);
        let seen = Flags::from_letters("S");
        let message = |size, date| Measure {
            uid: Uid::new(1).unwrap(),
            size: Some(size),
            date: Some(date),
            flags: Some(&seen),
        };
        assert_eq!(horizon.skips(message(11, 1000)), Some(Skip::Size));
        assert_eq!(horizon.skips(message(10, 940)), None);
        assert_eq!(horizon.skips(message(10, 939)), Some(Skip::Age));
        assert_eq!(horizon.outgrew(message(11, 1000)), None);
        let unknown = Measure { uid: Uid::new(1).unwrap(), size: None, date: None, flags: None };
        assert_eq!(horizon.skips(unknown), None);
    }
}
