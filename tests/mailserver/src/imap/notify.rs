//! NOTIFY (RFC 5465): what happens in mailboxes that are not selected. It is told in IDLE and at the
//! ends of commands; the kinds of events are taken and not told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::mailboxes::{decode_name, quoted_delimiter, quoted_name, status_items};
use super::session::{Done, Session};
use crate::state::State;
use crate::token::{Token, tokens};

/// What a session wants to be told, and what it knows.
#[derive(Debug)]
pub(super) struct Notify {
    /// Every mailbox; else those in `named`, and the subscribed ones.
    all: bool,
    named: BTreeSet<String>,
    /// Identity and mod-sequence of each mailbox, as they were told.
    told: BTreeMap<String, (u64, u64)>,
}

impl Notify {
    fn look(&self, state: &State) -> BTreeMap<String, (u64, u64)> {
        let wanted = state.mailboxes.iter().filter(|(name, mailbox)| {
            !mailbox.no_select && (self.all || mailbox.subscribed || self.named.contains(*name))
        });
        wanted.map(|(name, mailbox)| (name.clone(), (mailbox.id, mailbox.modseq))).collect()
    }
}

impl Session {
    pub(super) fn notify(&mut self, arguments: &[u8]) -> Done {
        let tokens = tokens(arguments).unwrap_or_default();
        match tokens.as_slice() {
            [none] if none.is_atom("NONE") => {
                self.notify = None;
                Done::ok("done")
            }
            [set, rest @ ..] if set.is_atom("SET") && rest.contains(&Token::Open) => {
                let named = rest.windows(3).filter(|w| w[0].is_atom("mailboxes"));
                let named = named.filter_map(|w| decode_name(w[1].text()?)).collect();
                let all = rest.iter().any(|token| token.is_atom("personal"));
                let mut notify = Notify { all, named, told: BTreeMap::new() };
                notify.told = self.shared.read(|state| notify.look(state));
                self.notify = Some(notify);
                Done::ok("done")
            }
            _ => Done::bad("NOTIFY SET (filter (events)) or NOTIFY NONE"),
        }
    }

    /// Gathers what happened in other mailboxes since the client was last told.
    pub(super) fn collect_notifications(&mut self) {
        let Some(mut notify) = self.notify.take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        shared.read(|state| {
            let now = notify.look(state);
            let delimiter = quoted_delimiter(state.config.delimiter);
            let gone = notify.told.keys().filter(|name| !now.contains_key(*name));
            for name in gone {
                self.push(format!("* LIST (\\NonExistent) {delimiter} {}", quoted_name(name)));
            }
            let is_selected =
                |name: &str, this: &Self| this.selected.as_ref().is_some_and(|s| s.name == name);
            for (name, (id, modseq)) in &now {
                let quoted = quoted_name(name);
                let told = notify.told.get(name);
                if told.is_none_or(|(before, _)| before != id) {
                    self.push(format!("* LIST () {delimiter} {quoted}"));
                } else if told != Some(&(*id, *modseq)) && !is_selected(name, self) {
                    let items = ["MESSAGES", "UIDNEXT", "UNSEEN"];
                    let items = items.map(|item| Token::Atom(item.as_bytes().to_vec()));
                    let values = status_items(state, name, &items).unwrap_or_default();
                    self.push(format!("* STATUS {quoted} ({values})"));
                }
            }
            notify.told = now;
        });
        self.notify = Some(notify);
    }
}
