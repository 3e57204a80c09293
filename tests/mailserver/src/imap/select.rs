//! SELECT, EXAMINE, and the ways out of a mailbox.

use std::collections::BTreeSet;
use std::sync::Arc;

use imap_codec::imap_types::command::SelectParameter;
use imap_codec::imap_types::mailbox::Mailbox as MailboxName;
use imap_codec::imap_types::sequence::SequenceSet;

use super::mailboxes::plain_name;
use super::session::{Done, Session};
use super::updates::{Selected, Updates, flags_line};
use crate::config::Capability;
use crate::mailbox::{Mailbox, SYSTEM_FLAGS};
use crate::sequence::{compact, ranges};

/// What a returning client knows (QRESYNC).
struct Known<'a> {
    uid_validity: u32,
    modseq: u64,
    uids: Option<&'a SequenceSet>,
}

/// How the mailbox is opened.
#[derive(Clone, Copy)]
struct Offer {
    keywords: bool,
    modseq: bool,
    read_only: bool,
}

impl Session {
    pub(super) fn select(
        &mut self,
        name: &MailboxName<'_>,
        parameters: &[SelectParameter],
        read_only: bool,
    ) -> Done {
        if !parameters.is_empty() && !self.has(Capability::CondStore) {
            return Done::bad("CONDSTORE is not offered").without_updates();
        }
        let mut known = None;
        for parameter in parameters {
            self.condstore = true;
            if let SelectParameter::QResync {
                uid_validity, mod_sequence_value, known_uids, ..
            } = parameter
            {
                let uids = known_uids.as_ref();
                let (uid_validity, modseq) = (uid_validity.get(), mod_sequence_value.get());
                known = Some(Known { uid_validity, modseq, uids });
            }
        }
        if known.is_some() && !self.qresync {
            return Done::bad("QRESYNC is not enabled").without_updates();
        }
        if self.selected.take().is_some() && self.qresync {
            self.push("* OK [CLOSED] previous mailbox closed".to_owned());
        }
        let Some(name) = plain_name(name) else {
            return Done::no("[NONEXISTENT] bad name").without_updates();
        };
        let shared = Arc::clone(&self.shared);
        let done = shared.update(|state| {
            let offer = Offer {
                keywords: state.config.keywords,
                modseq: state.config.capabilities.has(Capability::CondStore),
                read_only,
            };
            let mailbox = state.mailboxes.get_mut(&name).filter(|mailbox| !mailbox.no_select)?;
            Some(self.open(&name, mailbox, offer, known.as_ref()))
        });
        done.unwrap_or_else(|| Done::no("[NONEXISTENT] no such mailbox").without_updates())
    }

    fn open(
        &mut self,
        name: &str,
        mailbox: &mut Mailbox,
        offer: Offer,
        known: Option<&Known<'_>>,
    ) -> Done {
        let read_only = offer.read_only;
        let mut selected = Selected {
            name: name.to_owned(),
            id: mailbox.id,
            read_only,
            uids: Vec::new(),
            told: Vec::new(),
            recent: BTreeSet::new(),
            keywords: mailbox.keywords(),
            pending: BTreeSet::new(),
            seen: mailbox.modseq,
        };
        selected.extend(mailbox);
        let exists = self.effects.exists.map_or(selected.uids.len(), |n| n as usize);
        self.push(format!("* {exists} EXISTS"));
        self.push(format!("* {} RECENT", selected.recent.len()));
        self.push(flags_line(&selected.keywords));
        let permanent = permanent_flags(&selected, offer.keywords);
        self.push(format!("* OK [PERMANENTFLAGS ({permanent})] flags that stay"));
        let first_unseen = mailbox.messages.values().position(|m| !m.flags.contains("\\Seen"));
        if let Some(position) = first_unseen {
            self.push(format!("* OK [UNSEEN {}] first unseen", position + 1));
        }
        self.push(format!("* OK [UIDVALIDITY {}] valid", mailbox.uid_validity));
        self.push(format!("* OK [UIDNEXT {}] next", mailbox.uid_next));
        if offer.modseq {
            self.push(format!("* OK [HIGHESTMODSEQ {}] highest", mailbox.modseq));
        }
        if let Some(known) = known.filter(|known| known.uid_validity == mailbox.uid_validity) {
            self.catch_up(&selected, mailbox, known);
        }
        self.selected = Some(selected);
        let access = if read_only { "READ-ONLY" } else { "READ-WRITE" };
        Done { updates: Updates::Nothing, ..Done::ok(&format!("[{access}] selected")) }
    }

    fn catch_up(&mut self, selected: &Selected, mailbox: &Mailbox, known: &Known<'_>) {
        let all = vec![(1, mailbox.uid_next.saturating_sub(1))];
        let known_ranges = known.uids.map_or(all, |set| ranges(set, u32::MAX));
        let is_known = |uid: u32| known_ranges.iter().any(|(a, b)| (*a..=*b).contains(&uid));
        let vanished = vanished_since(mailbox, known.modseq).filter(|uid| is_known(*uid));
        let vanished = compact(vanished);
        if !vanished.is_empty() {
            self.push(format!("* VANISHED (EARLIER) {vanished}"));
        }
        for (position, uid) in selected.uids.iter().enumerate() {
            let changed = mailbox.messages.get(uid).filter(|m| m.modseq > known.modseq);
            if let Some(message) = changed.filter(|m| is_known(m.uid)) {
                let flags = selected.flags_text(message);
                let modseq = message.modseq;
                let number = position + 1;
                self.push(format!(
                    "* {number} FETCH (UID {uid} FLAGS ({flags}) MODSEQ ({modseq}))"
                ));
            }
        }
    }

    pub(super) fn unselect(&mut self) -> Done {
        self.selected = None;
        Done::ok("done")
    }

    /// Expunges in silence, and leaves the mailbox.
    pub(super) fn close(&mut self) -> Done {
        if let Some(mut selected) = self.selected.take().filter(|selected| !selected.read_only) {
            self.shared.update(|state| {
                if let Some(mailbox) = selected.mailbox(state) {
                    expunge_deleted(mailbox, |_| true);
                }
            });
        }
        Done::ok("done")
    }

    pub(super) fn expunge(&mut self, set: Option<&SequenceSet>) -> Done {
        let Some(selected) = self.selected.as_mut() else {
            return Done::bad("no mailbox is selected");
        };
        if selected.read_only {
            return Done::no("[READ-ONLY] mailbox is read-only");
        }
        let largest = selected.uids.last().copied().unwrap_or(0);
        let wanted = set.map(|set| ranges(set, largest));
        let is_wanted = |uid: u32| {
            let wanted = wanted.as_ref();
            wanted.is_none_or(|w| w.iter().any(|(a, b)| (*a..=*b).contains(&uid)))
        };
        let modseq = self.shared.update(|state| {
            let mailbox = selected.mailbox(state)?;
            expunge_deleted(mailbox, is_wanted);
            Some(mailbox.modseq)
        });
        match modseq.filter(|_| self.condstore) {
            Some(modseq) => Done::ok(&format!("[HIGHESTMODSEQ {modseq}] expunged")),
            None => Done::ok("expunged"),
        }
    }
}

fn expunge_deleted(mailbox: &mut Mailbox, wanted: impl Fn(u32) -> bool) {
    let deleted = mailbox.messages.values().filter(|m| m.flags.contains("\\Deleted"));
    let uids: Vec<u32> = deleted.map(|m| m.uid).filter(|uid| wanted(*uid)).collect();
    for uid in uids {
        mailbox.expunge(uid);
    }
}

fn permanent_flags(selected: &Selected, keywords: bool) -> String {
    if selected.read_only {
        return String::new();
    }
    let known = selected.keywords.iter().map(String::as_str);
    let any = keywords.then_some("\\*");
    SYSTEM_FLAGS.into_iter().chain(known).chain(any).collect::<Vec<_>>().join(" ")
}

/// Returns the UIDs that were expunged after that mod-sequence, and do not live again.
pub(super) fn vanished_since(mailbox: &Mailbox, modseq: u64) -> impl Iterator<Item = u32> + '_ {
    let since = mailbox.vanished.iter().filter(move |(_, at)| *at > modseq);
    since.map(|(uid, _)| *uid).filter(|uid| !mailbox.messages.contains_key(uid))
}
