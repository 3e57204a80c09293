//! STORE, COPY and MOVE.

use std::collections::BTreeSet;
use std::sync::Arc;

use imap_codec::imap_types::command::StoreModifier;
use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::Mailbox as MailboxName;
use imap_codec::imap_types::sequence::SequenceSet;

use super::mailboxes::plain_name;
use super::session::{Done, Session};
use super::updates::Selected;
use crate::config::Capability;
use crate::mailbox::{Mailbox, Message, NewMessage, canonical_flag};
use crate::sequence::{compact, positions};
use crate::state::State;

/// What STORE does to each message.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: StoreType,
    pub(super) response: StoreResponse,
    pub(super) flags: Vec<Flag<'static>>,
    pub(super) modifiers: Vec<StoreModifier>,
}

impl Change {
    fn unchanged_since(&self) -> Option<u64> {
        self.modifiers.iter().map(|StoreModifier::UnchangedSince(modseq)| *modseq).next()
    }

    fn apply(&self, old: &BTreeSet<String>, keywords: bool) -> BTreeSet<String> {
        let given = self.flags.iter().filter_map(|flag| canonical_flag(&flag.to_string()));
        let given: BTreeSet<String> =
            given.filter(|flag| keywords || flag.starts_with('\\')).collect();
        match self.kind {
            StoreType::Replace => given,
            StoreType::Add => old.union(&given).cloned().collect(),
            StoreType::Remove => old.difference(&given).cloned().collect(),
        }
    }
}

/// What becomes of the messages that were copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Keep,
    Remove,
}

impl Session {
    pub(super) fn store(&mut self, set: &SequenceSet, change: &Change, uid: bool) -> Done {
        if change.unchanged_since().is_some() {
            if !self.has(Capability::CondStore) {
                return Done::bad("CONDSTORE is not offered");
            }
            self.condstore = true;
        }
        let Some(mut selected) = self.selected.take() else {
            return Done::bad("no mailbox is selected");
        };
        let shared = Arc::clone(&self.shared);
        let done = match positions(set, &selected.uids, uid) {
            _ if selected.read_only => Done::no("[READ-ONLY] mailbox is read-only"),
            None => Done::bad("no such sequence number"),
            Some(positions) => shared.update(|state| {
                let keywords = state.config.keywords;
                let Some(mailbox) = selected.mailbox(state) else {
                    return Done::no("the mailbox is gone");
                };
                let mut store = Store { session: self, selected: &mut selected, change, uid };
                modified(&store.run(mailbox, &positions, keywords))
            }),
        };
        self.selected = Some(selected);
        if uid { done } else { done.without_expunge() }
    }

    pub(super) fn copy(
        &mut self,
        set: &SequenceSet,
        target: &MailboxName<'_>,
        uid: bool,
        source: Source,
    ) -> Done {
        let Some(mut selected) = self.selected.take() else {
            return Done::bad("no mailbox is selected");
        };
        let uid_plus = self.has(Capability::UidPlus);
        let target = plain_name(target).unwrap_or_default();
        let shared = Arc::clone(&self.shared);
        let done = match positions(set, &selected.uids, uid) {
            _ if selected.read_only && source == Source::Remove => {
                Done::no("[READ-ONLY] mailbox is read-only")
            }
            None => Done::bad("no such sequence number"),
            Some(positions) => {
                let copied =
                    shared.update(|state| copy(state, &mut selected, &positions, &target, source));
                match copied {
                    None => Done::no("[TRYCREATE] no such mailbox"),
                    Some(code) if uid_plus && source == Source::Keep && !code.is_empty() => {
                        Done::ok(&format!("[{code}] copied"))
                    }
                    Some(code) => {
                        if source == Source::Remove && !code.is_empty() {
                            self.push(format!("* OK [{code}] moved"));
                        }
                        Done::ok("done")
                    }
                }
            }
        };
        self.selected = Some(selected);
        if uid || source == Source::Remove { done } else { done.without_expunge() }
    }
}

fn modified(failed: &[u32]) -> Done {
    if failed.is_empty() {
        return Done::ok("stored");
    }
    Done::ok(&format!("[MODIFIED {}] some had changed", compact(failed.iter().copied())))
}

struct Store<'a> {
    session: &'a mut Session,
    selected: &'a mut Selected,
    change: &'a Change,
    uid: bool,
}

impl Store<'_> {
    /// Returns the numbers (UIDs or sequence numbers, as asked) that UNCHANGEDSINCE spared.
    fn run(&mut self, mailbox: &mut Mailbox, positions: &[usize], keywords: bool) -> Vec<u32> {
        let mut failed = Vec::new();
        for position in positions {
            let uid = self.selected.uids.get(*position).copied().unwrap_or(0);
            let Some(message) = mailbox.messages.get(&uid) else {
                continue;
            };
            let before = message.modseq;
            if self.change.unchanged_since().is_some_and(|limit| before > limit) {
                let number = u32::try_from(position + 1).unwrap_or(u32::MAX);
                failed.push(if self.uid { uid } else { number });
                continue;
            }
            let flags = self.change.apply(&message.flags, keywords);
            mailbox.set_flags(uid, flags);
            if let Some(message) = mailbox.messages.get(&uid) {
                self.answer(*position, before, message);
            }
        }
        failed
    }

    fn answer(&mut self, position: usize, before: u64, message: &Message) {
        let told = self.selected.told.get(position).copied().unwrap_or(0);
        let silent = self.change.response == StoreResponse::Silent;
        // Another session's change that this client does not know yet must be told in any case.
        let stale = told < before;
        let mut items = Vec::new();
        if self.uid {
            items.push(format!("UID {}", message.uid));
        }
        if !silent || stale {
            items.push(format!("FLAGS ({})", self.selected.flags_text(message)));
        }
        if self.session.condstore {
            items.push(format!("MODSEQ ({})", message.modseq));
        }
        self.selected.know(position, message.modseq);
        if !silent || stale || self.session.condstore {
            self.session.push(format!("* {} FETCH ({})", position + 1, items.join(" ")));
        }
    }
}

/// Copies all or nothing; returns the COPYUID code (empty for no message), `None` without target.
fn copy(
    state: &mut State,
    selected: &mut Selected,
    positions: &[usize],
    target: &str,
    source: Source,
) -> Option<String> {
    let messages: Vec<Message> = {
        let mailbox = selected.mailbox(state)?;
        let uids = positions.iter().filter_map(|position| selected.uids.get(*position));
        uids.filter_map(|uid| mailbox.messages.get(uid).cloned()).collect()
    };
    let into = state.mailboxes.get_mut(target).filter(|mailbox| !mailbox.no_select)?;
    let (mut from_uids, mut to_uids) = (Vec::new(), Vec::new());
    for Message { uid, flags, internal_date, zone_offset, bytes, .. } in messages {
        from_uids.push(uid);
        to_uids.push(into.append(NewMessage { flags, internal_date, zone_offset, bytes }));
    }
    let validity = into.uid_validity;
    if source == Source::Remove {
        let mailbox = selected.mailbox(state)?;
        for uid in &from_uids {
            mailbox.expunge(*uid);
        }
    }
    if from_uids.is_empty() {
        return Some(String::new());
    }
    Some(format!("COPYUID {validity} {} {}", compact(from_uids), compact(to_uids)))
}
