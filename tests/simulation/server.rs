//! A mailbox tree as a server keeps it, in memory.

use std::collections::BTreeMap;

use postrider::model::flags::{Flag, Flags};
use postrider::model::ids::{ModSeq, UidValidity};
use postrider::model::view::Cursor;

/// A message; line ends are LF, as on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) flags: Flags,
    pub(crate) date: i64,
    pub(crate) modseq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mailbox {
    pub(crate) validity: u32,
    uidnext: u32,
    modseq: u64,
    pub(crate) messages: BTreeMap<u32, Message>,
}

/// What a server can do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offer {
    /// It tells new UIDs, and can remove single messages.
    pub(crate) has_uidplus: bool,
    /// It tells what changed.
    pub(crate) has_condstore: bool,
    /// It moves in one step.
    pub(crate) has_move: bool,
}

/// The server itself.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) mailboxes: BTreeMap<String, Mailbox>,
    pub(crate) offer: Offer,
    pub(crate) validity: u32,
    /// Commands that can change something.
    pub(crate) n_changes: usize,
    /// The line breaks with this command that changes something, counted from now.
    pub(crate) cut_in: Option<(usize, Cut)>,
}

/// Whether the command still came to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Before,
    After,
}

impl Mailbox {
    fn add(&mut self, message: Message) -> u32 {
        let uid = self.uidnext;
        self.uidnext += 1;
        self.modseq += 1;
        self.messages.insert(uid, Message { modseq: self.modseq, ..message });
        uid
    }

    pub(crate) fn cursor(&self, offer: Offer) -> Cursor {
        Cursor {
            uidvalidity: UidValidity::new(self.validity).unwrap(),
            uidnext: self.uidnext,
            modseq: ModSeq(if offer.has_condstore { self.modseq } else { 0 }),
            exists: u32::try_from(self.messages.len()).unwrap(),
        }
    }
}

impl Server {
    pub(crate) fn make(&mut self, name: &str) {
        self.validity += 1;
        let validity = self.validity;
        let new = || Mailbox { validity, uidnext: 1, modseq: 1, messages: BTreeMap::new() };
        self.mailboxes.entry(name.to_owned()).or_insert_with(new);
    }

    pub(crate) fn add(&mut self, mailbox: &str, bytes: &[u8], flags: Flags, date: i64) -> u32 {
        let message = Message { bytes: bytes.to_vec(), flags, date, modseq: 0 };
        self.mailboxes.get_mut(mailbox).unwrap().add(message)
    }

    /// The message of a mailbox that has these bytes and is not marked as deleted.
    pub(crate) fn find(&self, mailbox: &str, bytes: &[u8]) -> Option<u32> {
        let is_it = |m: &Message| m.bytes == bytes && !m.flags.has(Flag::Trashed);
        let messages = &self.mailboxes.get(mailbox)?.messages;
        messages.iter().find(|(_, m)| is_it(m)).map(|(uid, _)| *uid)
    }

    pub(crate) fn flag(&mut self, mailbox: &str, uid: u32, flags: Flags) {
        let mailbox = self.mailboxes.get_mut(mailbox).unwrap();
        let Some(message) = mailbox.messages.get_mut(&uid) else { return };
        if message.flags != flags {
            mailbox.modseq += 1;
            (message.flags, message.modseq) = (flags, mailbox.modseq);
        }
    }

    pub(crate) fn expunge(&mut self, mailbox: &str, uid: u32) -> Option<Message> {
        let mailbox = self.mailboxes.get_mut(mailbox).unwrap();
        mailbox.modseq += 1;
        mailbox.messages.remove(&uid)
    }

    /// Answers the new UID.
    pub(crate) fn copy(&mut self, from: &str, to: &str, uid: u32) -> Option<u32> {
        let message = self.mailboxes[from].messages.get(&uid)?.clone();
        Some(self.mailboxes.get_mut(to)?.add(message))
    }

    fn mark(&mut self, mailbox: &str, uid: u32) {
        let Some(message) = self.mailboxes[mailbox].messages.get(&uid) else { return };
        let mut flags = message.flags.clone();
        flags.insert(Flag::Trashed);
        self.flag(mailbox, uid, flags);
    }

    /// Takes a message away, or marks it where nothing better is safe.
    pub(crate) fn take_away(&mut self, mailbox: &str, uid: u32) {
        if self.offer.has_uidplus {
            drop(self.expunge(mailbox, uid));
        } else {
            self.mark(mailbox, uid);
        }
    }
}
