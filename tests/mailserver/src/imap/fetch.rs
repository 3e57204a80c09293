//! FETCH: which messages, in batches, so that a large mailbox is never in one buffer.

use std::io;
use std::sync::Arc;

use imap_codec::imap_types::command::FetchModifier;
use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItemName};
use imap_codec::imap_types::sequence::SequenceSet;

use super::fetch_items::{Fetched, is_offered, sets_seen};
use super::select::vanished_since;
use super::session::{Done, Session};
use super::updates::Selected;
use crate::config::Capability;
use crate::mailbox::Mailbox;
use crate::sequence::{compact, positions, ranges};
use crate::state::State;

const BATCH: usize = 32;

/// One FETCH, parsed.
struct Job {
    names: Vec<MessageDataItemName<'static>>,
    changed_since: Option<u64>,
    vanished: bool,
}

impl Job {
    fn new(
        names: MacroOrMessageDataItemNames<'static>,
        uid: bool,
        modifiers: &[FetchModifier],
    ) -> Self {
        let mut names = match names {
            MacroOrMessageDataItemNames::Macro(shorthand) => shorthand
                .expand()
                .into_iter()
                .map(|name| match name {
                    MessageDataItemName::Flags => MessageDataItemName::Flags,
                    MessageDataItemName::InternalDate => MessageDataItemName::InternalDate,
                    MessageDataItemName::Rfc822Size => MessageDataItemName::Rfc822Size,
                    _ => MessageDataItemName::Envelope,
                })
                .collect(),
            MacroOrMessageDataItemNames::MessageDataItemNames(names) => names,
        };
        if uid && !names.contains(&MessageDataItemName::Uid) {
            names.insert(0, MessageDataItemName::Uid);
        }
        let mut job = Self { names, changed_since: None, vanished: false };
        for modifier in modifiers {
            match modifier {
                FetchModifier::ChangedSince(modseq) => job.changed_since = Some(modseq.get()),
                FetchModifier::Vanished => job.vanished = true,
            }
        }
        if job.changed_since.is_some() && !job.names.contains(&MessageDataItemName::ModSeq) {
            job.names.push(MessageDataItemName::ModSeq);
        }
        job
    }
}

impl Session {
    pub(super) async fn fetch(
        &mut self,
        set: &SequenceSet,
        names: MacroOrMessageDataItemNames<'static>,
        uid: bool,
        modifiers: &[FetchModifier],
    ) -> io::Result<Done> {
        let job = Job::new(names, uid, modifiers);
        if !job.names.iter().all(is_offered) {
            return Ok(Done::bad("a data item that is not offered"));
        }
        if job.names.contains(&MessageDataItemName::ModSeq) {
            if !self.has(Capability::CondStore) {
                return Ok(Done::bad("CONDSTORE is not offered"));
            }
            self.condstore = true;
        }
        if job.vanished && !(uid && self.qresync && job.changed_since.is_some()) {
            return Ok(Done::bad("VANISHED needs UID FETCH, QRESYNC and CHANGEDSINCE"));
        }
        let Some(mut selected) = self.selected.take() else {
            return Ok(Done::bad("no mailbox is selected"));
        };
        let Some(positions) = positions(set, &selected.uids, uid) else {
            self.selected = Some(selected);
            return Ok(Done::bad("no such sequence number").without_expunge());
        };
        if job.vanished {
            self.vanished_earlier(&mut selected, set, job.changed_since.unwrap_or(0));
        }
        for batch in positions.chunks(BATCH) {
            self.fetch_batch(&mut selected, batch, &job);
            self.send_items().await?;
        }
        self.selected = Some(selected);
        let done = Done::ok("fetched");
        Ok(if uid { done } else { done.without_expunge() })
    }

    fn vanished_earlier(&mut self, selected: &mut Selected, set: &SequenceSet, modseq: u64) {
        let asked = ranges(set, u32::MAX);
        let is_asked = |uid: &u32| asked.iter().any(|(a, b)| (*a..=*b).contains(uid));
        let vanished = self.shared.update(|state| {
            let mailbox = selected.mailbox(state)?;
            Some(compact(vanished_since(mailbox, modseq).filter(is_asked)))
        });
        if let Some(vanished) = vanished.filter(|vanished| !vanished.is_empty()) {
            self.push(format!("* VANISHED (EARLIER) {vanished}"));
        }
    }

    fn fetch_batch(&mut self, selected: &mut Selected, batch: &[usize], job: &Job) {
        let shared = Arc::clone(&self.shared);
        let mut items = Vec::new();
        let seen = !selected.read_only && job.names.iter().any(sets_seen);
        let run = |state: &mut State| {
            let Some(mailbox) = selected.mailbox(state) else {
                return;
            };
            for position in batch {
                let uid = selected.uids.get(*position).copied().unwrap_or(0);
                let since = job.changed_since.unwrap_or(0);
                let found = mailbox.messages.get(&uid).filter(|m| m.modseq > since);
                let Some(before) = found.map(|message| message.modseq) else {
                    continue;
                };
                if self.effects.drop_uids.contains(&uid) {
                    continue;
                }
                if seen {
                    set_seen(mailbox, uid);
                }
                let Some(message) = mailbox.messages.get(&uid) else {
                    continue;
                };
                let tell_flags = message.modseq > before;
                let fetched = Fetched { message, selected, condstore: self.condstore };
                items.push(fetched.response(position + 1, &job.names, tell_flags));
                if tell_flags || job.names.contains(&MessageDataItemName::Flags) {
                    selected.know(*position, message.modseq);
                }
            }
        };
        if seen {
            shared.update(run);
        } else {
            shared.quietly(run);
        }
        self.items.append(&mut items);
    }
}

fn set_seen(mailbox: &mut Mailbox, uid: u32) {
    if let Some(message) = mailbox.messages.get(&uid) {
        let mut flags = message.flags.clone();
        flags.insert("\\Seen".to_owned());
        mailbox.set_flags(uid, flags);
    }
}
