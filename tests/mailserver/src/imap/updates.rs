//! What a session believes of its mailbox, and the untagged responses that bring it up to date.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::session::Session;
use crate::mailbox::{Mailbox, Message, SYSTEM_FLAGS};
use crate::sequence::compact;
use crate::state::State;

/// Which updates may be told at the end of a command (RFC 3501, section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Updates {
    Nothing,
    WithoutExpunge,
    All,
}

/// The selected mailbox as the client knows it. Position in `uids` + 1 is the sequence number.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) name: String,
    pub(super) id: u64,
    pub(super) read_only: bool,
    pub(super) uids: Vec<u32>,
    /// The mod-sequence of the flags that the client was told last, beside `uids`.
    pub(super) told: Vec<u64>,
    pub(super) recent: BTreeSet<u32>,
    pub(super) keywords: BTreeSet<String>,
    /// Expunged messages that the client was not told of yet.
    pub(super) pending: BTreeSet<u32>,
    /// The mailbox's mod-sequence up to which all else was told.
    pub(super) seen: u64,
}

impl Selected {
    /// Returns the mailbox, following a rename; `None` when it is gone or was reset.
    pub(super) fn mailbox<'a>(&mut self, state: &'a mut State) -> Option<&'a mut Mailbox> {
        if state.mailboxes.get(&self.name).is_none_or(|m| m.id != self.id) {
            self.name = state.name_of(self.id)?.to_owned();
        }
        state.mailboxes.get_mut(&self.name)
    }

    /// Takes new messages into the view; returns whether there were any.
    pub(super) fn extend(&mut self, mailbox: &mut Mailbox) -> bool {
        let from = self.uids.last().map_or(0, |uid| uid + 1);
        let before = self.uids.len();
        for message in mailbox.messages.range(from..).map(|(_, message)| message) {
            self.uids.push(message.uid);
            self.told.push(message.modseq);
            if message.uid >= mailbox.recent_from {
                self.recent.insert(message.uid);
            }
        }
        if !self.read_only {
            mailbox.recent_from = mailbox.uid_next;
        }
        self.uids.len() > before
    }

    /// Drops what is gone; returns its positions (descending) and UIDs.
    fn shrink(&mut self) -> (Vec<usize>, BTreeSet<u32>) {
        let gone = std::mem::take(&mut self.pending);
        let position = |uid: &u32| self.uids.binary_search(uid).ok();
        let positions: Vec<usize> = gone.iter().rev().filter_map(position).collect();
        if !positions.is_empty() {
            let mut at = 0;
            self.told.retain(|_| {
                let keep = self.uids.get(at).is_some_and(|uid| !gone.contains(uid));
                at += 1;
                keep
            });
            self.uids.retain(|uid| !gone.contains(uid));
            self.recent.retain(|uid| !gone.contains(uid));
        }
        (positions, gone)
    }

    /// Notes that the client knows the flags of this message as they are now.
    pub(super) fn know(&mut self, position: usize, modseq: u64) {
        if let Some(told) = self.told.get_mut(position) {
            *told = modseq;
        }
    }

    pub(super) fn flags_text(&self, message: &Message) -> String {
        let mut flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
        if self.recent.contains(&message.uid) {
            flags.push("\\Recent");
        }
        flags.join(" ")
    }
}

/// Returns the FLAGS response for the keywords.
pub(super) fn flags_line(keywords: &BTreeSet<String>) -> String {
    let flags = SYSTEM_FLAGS.iter().copied().chain(keywords.iter().map(String::as_str));
    format!("* FLAGS ({})", flags.collect::<Vec<_>>().join(" "))
}

impl Session {
    /// Gathers what changed in the selected mailbox since the client was last told.
    pub(super) fn collect_updates(&mut self, updates: Updates) {
        if updates == Updates::Nothing {
            return;
        }
        let Some(mut selected) = self.selected.take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let unchanged = shared.read(|state| {
            let mailbox = state.mailboxes.get(&selected.name);
            let same = |m: &Mailbox| m.id == selected.id && m.modseq == selected.seen;
            mailbox.is_some_and(same)
                && (selected.pending.is_empty() || updates == Updates::WithoutExpunge)
        });
        if !unchanged {
            let here = shared.quietly(|state| {
                let mailbox = selected.mailbox(state)?;
                self.tell(&mut selected, mailbox, updates);
                Some(())
            });
            if here.is_none() {
                self.push("* BYE the selected mailbox is gone".to_owned());
                self.ended = true;
                return;
            }
        }
        self.selected = Some(selected);
    }

    fn tell(&mut self, selected: &mut Selected, mailbox: &mut Mailbox, updates: Updates) {
        let start = mailbox.vanished.partition_point(|(_, modseq)| *modseq <= selected.seen);
        let vanished = mailbox.vanished.iter().skip(start).map(|(uid, _)| *uid);
        let known = vanished.filter(|uid| selected.uids.binary_search(uid).is_ok());
        let known: Vec<u32> = known.collect();
        selected.pending.extend(known);
        if updates == Updates::All {
            let (positions, uids) = selected.shrink();
            if self.qresync && !positions.is_empty() {
                self.push(format!("* VANISHED {}", compact(uids)));
            } else {
                for position in positions {
                    self.push(format!("* {} EXPUNGE", position + 1));
                }
            }
        }
        let changed: Vec<u32> =
            mailbox.changed.range(selected.seen + 1..).map(|(_, uid)| *uid).collect();
        self.tell_keywords(selected, mailbox, &changed);
        for uid in changed {
            if let Ok(position) = selected.uids.binary_search(&uid) {
                self.tell_flags(selected, mailbox, position);
            }
        }
        selected.seen = mailbox.modseq;
        if selected.extend(mailbox) {
            self.push(format!("* {} EXISTS", selected.uids.len()));
            self.push(format!("* {} RECENT", selected.recent.len()));
        }
    }

    fn tell_keywords(&mut self, selected: &mut Selected, mailbox: &Mailbox, changed: &[u32]) {
        let messages = changed.iter().filter_map(|uid| mailbox.messages.get(uid));
        let flags = messages.flat_map(|message| message.flags.iter());
        let before = selected.keywords.len();
        selected.keywords.extend(flags.filter(|flag| !flag.starts_with('\\')).cloned());
        if selected.keywords.len() > before {
            let line = flags_line(&selected.keywords);
            self.push(line);
        }
    }

    fn tell_flags(&mut self, selected: &mut Selected, mailbox: &Mailbox, position: usize) {
        let uid = selected.uids.get(position).copied().unwrap_or(0);
        let told = selected.told.get(position).copied().unwrap_or(0);
        let Some(message) = mailbox.messages.get(&uid).filter(|m| m.modseq > told) else {
            return;
        };
        let uid = if self.qresync { format!("UID {uid} ") } else { String::new() };
        let flags = selected.flags_text(message);
        let modseq =
            if self.condstore { format!(" MODSEQ ({})", message.modseq) } else { String::new() };
        self.push(format!("* {} FETCH ({uid}FLAGS ({flags}){modseq})", position + 1));
        selected.know(position, message.modseq);
    }
}
