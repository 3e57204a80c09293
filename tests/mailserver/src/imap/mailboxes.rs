//! Commands on mailboxes as a whole.

use imap_codec::imap_types::mailbox::Mailbox as MailboxName;

use super::session::{Done, Session};
use crate::config::Capability;
use crate::state::State;
use crate::token::{Token, tokens};
use crate::utf7;

/// Returns the decoded name, INBOX in capitals; `None` if it is not modified UTF-7.
pub(super) fn plain_name(name: &MailboxName<'_>) -> Option<String> {
    match name {
        MailboxName::Inbox => Some("INBOX".to_owned()),
        MailboxName::Other(other) => decode_name(other.as_ref()),
    }
}

pub(super) fn decode_name(bytes: &[u8]) -> Option<String> {
    if bytes.eq_ignore_ascii_case(b"INBOX") {
        return Some("INBOX".to_owned());
    }
    utf7::decode(bytes).filter(|name| !name.is_empty())
}

/// Returns the name as a quoted string in modified UTF-7.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", utf7::encode(name).replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns the STATUS items of a mailbox; `None` for an item that is not known.
pub(super) fn status_items(state: &State, name: &str, items: &[Token]) -> Option<String> {
    let mailbox = state.mailboxes.get(name)?;
    let mut parts = Vec::new();
    for item in items {
        let item = String::from_utf8_lossy(item.text()?).to_ascii_uppercase();
        let value = match item.as_str() {
            "MESSAGES" => mailbox.messages.len() as u64,
            "RECENT" => mailbox.recent() as u64,
            "UIDNEXT" => u64::from(mailbox.uid_next),
            "UIDVALIDITY" => u64::from(mailbox.uid_validity),
            "UNSEEN" => mailbox.unseen() as u64,
            "HIGHESTMODSEQ" if state.config.capabilities.has(Capability::CondStore) => {
                mailbox.modseq
            }
            _ => return None,
        };
        parts.push(format!("{item} {value}"));
    }
    Some(parts.join(" "))
}

impl Session {
    pub(super) fn status(&mut self, arguments: &[u8]) -> Done {
        let tokens = tokens(arguments).unwrap_or_default();
        let [name, Token::Open, items @ .., Token::Close] = tokens.as_slice() else {
            return Done::bad("STATUS name (items)");
        };
        let Some(name) = name.text().and_then(decode_name) else {
            return Done::no("[NONEXISTENT] bad name");
        };
        if items.iter().any(|item| item.is_atom("HIGHESTMODSEQ")) {
            self.condstore |= self.has(Capability::CondStore);
        }
        let shared = std::sync::Arc::clone(&self.shared);
        shared.read(|state| {
            if state.mailboxes.get(&name).is_none_or(|mailbox| mailbox.no_select) {
                return Done::no("[NONEXISTENT] no such mailbox");
            }
            match status_items(state, &name, items) {
                Some(values) => {
                    self.push(format!("* STATUS {} ({values})", quoted_name(&name)));
                    Done::ok("done")
                }
                None => Done::bad("unknown status item"),
            }
        })
    }

    pub(super) fn namespace(&mut self) -> Done {
        let (prefix, delimiter) = self
            .shared
            .read(|state| (state.config.namespace_prefix.clone(), state.config.delimiter));
        let delimiter = quoted_delimiter(delimiter);
        self.push(format!("* NAMESPACE (({} {delimiter})) NIL NIL", quoted_name(&prefix)));
        Done::ok("done")
    }

    pub(super) fn create(&mut self, name: &MailboxName<'_>) -> Done {
        let Some(mut name) = plain_name(name) else {
            return Done::no("[CANNOT] bad name");
        };
        let created = self.shared.update(|state| {
            if let Some(stripped) = state.config.delimiter.and_then(|d| name.strip_suffix(d)) {
                name = stripped.to_owned();
            }
            state.create(&name)
        });
        if created { Done::ok("created") } else { Done::no("[ALREADYEXISTS] mailbox exists") }
    }

    pub(super) fn delete(&mut self, name: &MailboxName<'_>) -> Done {
        let Some(name) = plain_name(name).filter(|name| name != "INBOX") else {
            return Done::no("[CANNOT] this mailbox stays");
        };
        self.shared.update(|state| {
            let delimiter = state.config.delimiter;
            let below = delimiter.map(|d| format!("{name}{d}"));
            let parent = below
                .is_some_and(|below| state.mailboxes.keys().any(|other| other.starts_with(&below)));
            match state.mailboxes.get(&name) {
                None => Done::no("[NONEXISTENT] no such mailbox"),
                Some(mailbox) if parent && mailbox.no_select => {
                    Done::no("[HASCHILDREN] there are mailboxes below")
                }
                Some(_) => {
                    state.mailboxes.remove(&name);
                    if parent {
                        // The name stays in the hierarchy (RFC 3501, section 6.3.4).
                        state.create(&name);
                        if let Some(mailbox) = state.mailboxes.get_mut(&name) {
                            mailbox.no_select = true;
                        }
                    }
                    Done::ok("deleted")
                }
            }
        })
    }

    pub(super) fn rename(&mut self, from: &MailboxName<'_>, to: &MailboxName<'_>) -> Done {
        let (Some(from), Some(to)) = (plain_name(from), plain_name(to)) else {
            return Done::no("[CANNOT] bad name");
        };
        self.shared.update(|state| {
            if !state.mailboxes.contains_key(&from) {
                return Done::no("[NONEXISTENT] no such mailbox");
            }
            if state.rename(&from, &to) {
                Done::ok("renamed")
            } else {
                Done::no("[ALREADYEXISTS] mailbox exists")
            }
        })
    }

    pub(super) fn subscribe(&mut self, name: &MailboxName<'_>, subscribed: bool) -> Done {
        let name = plain_name(name).unwrap_or_default();
        self.shared.update(|state| match state.mailboxes.get_mut(&name) {
            Some(mailbox) => {
                mailbox.subscribed = subscribed;
                Done::ok("done")
            }
            None => Done::no("[NONEXISTENT] no such mailbox"),
        })
    }
}

/// Returns the delimiter as LIST and NAMESPACE write it.
pub(super) fn quoted_delimiter(delimiter: Option<char>) -> String {
    match delimiter {
        None => "NIL".to_owned(),
        Some('\\') => "\"\\\\\"".to_owned(),
        Some(d) => format!("\"{d}\""),
    }
}
