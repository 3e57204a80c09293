//! Mailboxes and messages in memory. Invariant: UIDs and mod-sequences only ever grow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A message as the server holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The UID.
    pub uid: u32,
    /// Flags and keywords, without `\Recent`.
    pub flags: BTreeSet<String>,
    /// INTERNALDATE in seconds since the epoch.
    pub internal_date: i64,
    /// Offset of the date's zone, in seconds east of UTC.
    pub zone_offset: i32,
    /// The bytes, exactly as received.
    pub bytes: Arc<[u8]>,
    /// The mod-sequence of the last change.
    pub modseq: u64,
}

impl Message {
    /// Returns the value of the first header field of that name, unfolded, or `None`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        header_value(&self.bytes, name)
    }
}

/// Returns the value of the first header field of that name, unfolded, or `None`.
pub(crate) fn header_value(bytes: &[u8], name: &str) -> Option<String> {
    header_fields(bytes).into_iter().find_map(|field| {
        let (key, value) = field.split_at(field.iter().position(|b| *b == b':')?);
        let value = String::from_utf8_lossy(value.get(1..)?).replace(['\r', '\n'], "");
        key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim().to_owned())
    })
}

/// What a new message is made of.
#[derive(Debug, Clone)]
pub(crate) struct NewMessage {
    pub(crate) flags: BTreeSet<String>,
    pub(crate) internal_date: i64,
    pub(crate) zone_offset: i32,
    pub(crate) bytes: Arc<[u8]>,
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Identity across renames.
    pub(crate) id: u64,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) modseq: u64,
    pub(crate) messages: BTreeMap<u32, Message>,
    /// Expunged UIDs and the mod-sequence of their end.
    pub(crate) vanished: Vec<(u32, u64)>,
    pub(crate) subscribed: bool,
    pub(crate) special_use: Option<String>,
    /// `\Noselect`: a name in the hierarchy only.
    pub(crate) no_select: bool,
    /// UIDs from here on are `\Recent` for the next session that selects the mailbox.
    pub(crate) recent_from: u32,
    /// Mod-sequence to UID of every addition and flag change; entries that a later change
    /// overtook stay. With `vanished` it tells sessions what is new without a scan.
    pub(crate) changed: BTreeMap<u64, u32>,
}

impl Mailbox {
    pub(crate) fn new(id: u64, uid_validity: u32) -> Self {
        Self {
            id,
            uid_validity,
            uid_next: 1,
            modseq: 1,
            messages: BTreeMap::new(),
            vanished: Vec::new(),
            subscribed: true,
            special_use: None,
            no_select: false,
            recent_from: 1,
            changed: BTreeMap::new(),
        }
    }

    fn bump(&mut self) -> u64 {
        self.modseq += 1;
        self.modseq
    }

    pub(crate) fn append(&mut self, new: NewMessage) -> u32 {
        let modseq = self.bump();
        let uid = self.uid_next;
        self.uid_next = self.uid_next.saturating_add(1);
        let NewMessage { flags, internal_date, zone_offset, bytes } = new;
        let message = Message { uid, flags, internal_date, zone_offset, bytes, modseq };
        self.messages.insert(uid, message);
        self.changed.insert(modseq, uid);
        uid
    }

    /// Sets the flags; returns false when the message is gone. No change, no new mod-sequence.
    pub(crate) fn set_flags(&mut self, uid: u32, flags: BTreeSet<String>) -> bool {
        let same = match self.messages.get(&uid) {
            None => return false,
            Some(message) => message.flags == flags,
        };
        if same {
            return true;
        }
        let modseq = self.bump();
        if let Some(message) = self.messages.get_mut(&uid) {
            message.flags = flags;
            message.modseq = modseq;
            self.changed.insert(modseq, uid);
        }
        true
    }

    pub(crate) fn expunge(&mut self, uid: u32) -> Option<Message> {
        let message = self.messages.remove(&uid)?;
        let modseq = self.bump();
        self.vanished.push((uid, modseq));
        Some(message)
    }

    /// Starts a new life of the mailbox: same messages, new UIDs from 1.
    pub(crate) fn reset(&mut self, id: u64, uid_validity: u32) {
        let messages = std::mem::take(&mut self.messages);
        self.id = id;
        self.uid_validity = uid_validity;
        self.uid_next = 1;
        self.recent_from = 1;
        self.vanished.clear();
        self.changed.clear();
        for message in messages.into_values() {
            let Message { flags, internal_date, zone_offset, bytes, .. } = message;
            self.append(NewMessage { flags, internal_date, zone_offset, bytes });
        }
        self.recent_from = self.uid_next;
    }

    pub(crate) fn unseen(&self) -> usize {
        self.messages.values().filter(|m| !m.flags.contains("\\Seen")).count()
    }

    pub(crate) fn recent(&self) -> usize {
        self.messages.range(self.recent_from..).count()
    }

    /// Returns every keyword in use.
    pub(crate) fn keywords(&self) -> BTreeSet<String> {
        let flags = self.messages.values().flat_map(|m| m.flags.iter());
        flags.filter(|f| !f.starts_with('\\')).cloned().collect()
    }
}

/// The five system flags that a client may set.
pub(crate) const SYSTEM_FLAGS: [&str; 5] =
    ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];

/// Returns the flag in its usual spelling, `None` for `\Recent` and for the empty string.
pub(crate) fn canonical_flag(flag: &str) -> Option<String> {
    if flag.is_empty() || flag.eq_ignore_ascii_case("\\Recent") {
        return None;
    }
    let system = SYSTEM_FLAGS.iter().find(|known| known.eq_ignore_ascii_case(flag));
    Some(system.map_or_else(|| flag.to_owned(), |known| (*known).to_owned()))
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(0)
}

/// Splits a message after the empty line; the header keeps that line.
pub(crate) fn split_header(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        at += line.len();
        if line == b"\r\n" || line == b"\n" {
            break;
        }
    }
    bytes.split_at(at)
}

/// Returns the header fields with their folded lines and line ends.
pub(crate) fn header_fields(bytes: &[u8]) -> Vec<&[u8]> {
    let (header, _) = split_header(bytes);
    let mut fields = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in header.split_inclusive(|b| *b == b'\n') {
        let folded = line.first().is_some_and(|b| *b == b' ' || *b == b'\t');
        if !folded && at > start {
            fields.extend(header.get(start..at));
            start = at;
        }
        if line == b"\r\n" || line == b"\n" {
            return fields;
        }
        at += line.len();
    }
    fields.extend(header.get(start..at).filter(|f| !f.is_empty()));
    fields
}
