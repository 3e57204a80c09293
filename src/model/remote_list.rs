//! What a server listed of a mailbox, in 28 bytes per message. Floor 0.

use crate::model::flags::Flags;
use crate::model::ids::Uid;
use crate::model::pool::{FlagPool, Packed};
use crate::model::view::RemoteMessage;

/// Messages by UID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemoteList {
    entries: Vec<Entry>,
    pool: FlagPool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    uid: Uid,
    size: Option<u32>,
    /// Seconds since the epoch, 0 if not known: until 2106.
    date: u32,
    flags: Packed,
    has_flags: bool,
}

/// Collects what responses say, in any order.
#[derive(Debug, Default)]
pub struct RemoteListBuilder {
    list: RemoteList,
}

impl RemoteListBuilder {
    /// Adds what a response said about a message.
    pub fn note(
        &mut self,
        uid: Uid,
        flags: Option<&Flags>,
        (size, date): (Option<u32>, Option<i64>),
    ) {
        let date = date.and_then(|d| u32::try_from(d).ok()).unwrap_or(0);
        let has_flags = flags.is_some();
        let flags = flags.map(|f| self.list.pool.pack(f)).unwrap_or_default();
        self.list.entries.push(Entry { uid, size, date, flags, has_flags });
    }

    /// The list; of what was said more than once about a message the later word counts.
    pub fn finish(self) -> RemoteList {
        let RemoteList { mut entries, pool } = self.list;
        // Stable: what was said later stays behind what was said before.
        entries.sort_by_key(|e| e.uid);
        entries.dedup_by(|later, kept| {
            let is_same = later.uid == kept.uid;
            if is_same {
                kept.size = later.size.or(kept.size);
                kept.date = if later.date > 0 { later.date } else { kept.date };
                if later.has_flags {
                    kept.flags = later.flags;
                    kept.has_flags = true;
                }
            }
            is_same
        });
        RemoteList { entries, pool }
    }
}

impl RemoteList {
    fn find(&self, uid: Uid) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&uid, |e| e.uid)
    }

    fn message(&self, entry: &Entry) -> RemoteMessage {
        let flags = entry.has_flags.then(|| self.pool.unpack(entry.flags));
        let date = (entry.date > 0).then_some(i64::from(entry.date));
        RemoteMessage { uid: entry.uid, flags, size: entry.size, date }
    }

    /// A message.
    pub fn get(&self, uid: Uid) -> Option<RemoteMessage> {
        self.find(uid).ok().and_then(|at| self.entries.get(at)).map(|e| self.message(e))
    }

    /// Whether a message was listed.
    pub fn contains(&self, uid: Uid) -> bool {
        self.find(uid).is_ok()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All UIDs, ascending.
    pub fn uids(&self) -> impl DoubleEndedIterator<Item = Uid> + '_ {
        self.entries.iter().map(|e| e.uid)
    }

    /// All messages, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = RemoteMessage> + '_ {
        self.entries.iter().map(|e| self.message(e))
    }

    /// Keeps the messages for which this holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Uid) -> bool) {
        self.entries.retain(|e| keep(e.uid));
    }
}

impl FromIterator<RemoteMessage> for RemoteList {
    fn from_iter<I: IntoIterator<Item = RemoteMessage>>(messages: I) -> Self {
        let mut list = RemoteListBuilder::default();
        for message in messages {
            list.note(message.uid, message.flags.as_ref(), (message.size, message.date));
        }
        list.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_word_wins_and_nothing_is_made_up() {
        let uid = |n| Uid::new(n).unwrap();
        let mut list = RemoteListBuilder::default();
        list.note(uid(5), None, (Some(7), None));
        list.note(uid(3), Some(&Flags::from_letters("S")), (None, None));
        list.note(uid(5), Some(&Flags::from_parts(2, ["todo".to_owned()])), (None, None));
        list.note(uid(9), None, (None, None));
        list.note(uid(6), Some(&Flags::from_letters("S")), (None, None));
        list.note(uid(6), Some(&Flags::none()), (None, None));
        let mut list = list.finish();
        assert_eq!(list.uids().map(Uid::get).collect::<Vec<_>>(), [3, 5, 6, 9]);
        let five = list.get(uid(5)).unwrap();
        assert_eq!((five.size, five.flags.unwrap().to_string().as_str()), (Some(7), "F+todo"));
        assert_eq!(list.get(uid(6)).unwrap().flags, Some(Flags::none()));
        assert_eq!(list.get(uid(9)).unwrap().flags, None, "not said is not none");
        list.retain(|uid| uid.get() != 3);
        assert_eq!(list.len(), 3);
        assert!(!list.contains(uid(3)) && list.contains(uid(5)));
    }
}
