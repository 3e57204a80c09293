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
    /// The mailbox version that all this is of, `None` if something is yet to be told.
    pub(super) version: Option<u64>,
}

impl Selected {
    /// Returns the mailbox, following a rename; `None` when it is gone or was reset.
    pub(super) fn mailbox<'a>(&mut self, state: &'a mut State) -> Option<&'a mut Mailbox> {
        if state
            .mailboxes
            .get(&self.name)
            .is_none_or(|m| m.id != self.id)
        {
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

    /// Removes what is gone; returns the positions (descending) and the UIDs.
    fn shrink(&mut self, mailbox: &Mailbox) -> (Vec<usize>, Vec<u32>) {
        let gone =
            |(at, uid): (usize, &u32)| (!mailbox.messages.contains_key(uid)).then_some((at, *uid));
        let gone: Vec<(usize, u32)> = self.uids.iter().enumerate().filter_map(gone).collect();
        let uids: BTreeSet<u32> = gone.iter().map(|(_, uid)| *uid).collect();
        if !uids.is_empty() {
            let keep: Vec<bool> = self.uids.iter().map(|uid| !uids.contains(uid)).collect();
            let mut kept = keep.iter();
            self.told.retain(|_| kept.next() == Some(&true));
            self.uids.retain(|uid| !uids.contains(uid));
            self.recent.retain(|uid| !uids.contains(uid));
        }
        (
            gone.iter().rev().map(|(at, _)| *at).collect(),
            uids.into_iter().collect(),
        )
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
    let flags = SYSTEM_FLAGS
        .iter()
        .copied()
        .chain(keywords.iter().map(String::as_str));
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
            mailbox.is_some_and(|m| m.id == selected.id && selected.version == Some(m.version))
        });
        if !unchanged {
            let here = shared.update(|state| {
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
        selected.version = Some(mailbox.version);
        if updates == Updates::All {
            let (positions, uids) = selected.shrink(mailbox);
            if self.qresync && !uids.is_empty() {
                self.push(format!("* VANISHED {}", compact(uids)));
            } else {
                for position in positions {
                    self.push(format!("* {} EXPUNGE", position + 1));
                }
            }
        }
        let keywords = mailbox.keywords();
        if !keywords.is_subset(&selected.keywords) {
            self.push(flags_line(&keywords));
            selected.keywords = keywords;
        }
        if selected
            .uids
            .iter()
            .any(|uid| !mailbox.messages.contains_key(uid))
        {
            selected.version = None;
        }
        for position in 0..selected.uids.len() {
            self.tell_flags(selected, mailbox, position);
        }
        if selected.extend(mailbox) {
            self.push(format!("* {} EXISTS", selected.uids.len()));
            self.push(format!("* {} RECENT", selected.recent.len()));
        }
    }

    fn tell_flags(&mut self, selected: &mut Selected, mailbox: &Mailbox, position: usize) {
        let uid = selected.uids.get(position).copied().unwrap_or(0);
        let told = selected.told.get(position).copied().unwrap_or(0);
        let Some(message) = mailbox.messages.get(&uid).filter(|m| m.modseq > told) else {
            return;
        };
        let uid = if self.qresync {
            format!("UID {uid} ")
        } else {
            String::new()
        };
        let flags = selected.flags_text(message);
        let modseq = if self.condstore {
            format!(" MODSEQ ({})", message.modseq)
        } else {
            String::new()
        };
        self.push(format!(
            "* {} FETCH ({uid}FLAGS ({flags}){modseq})",
            position + 1
        ));
        selected.know(position, message.modseq);
    }
}
