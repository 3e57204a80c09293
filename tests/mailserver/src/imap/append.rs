//! APPEND of one message or several.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::mailboxes::decode_name;
use super::session::{Done, Session};
use crate::config::Capability;
use crate::mailbox::{NewMessage, canonical_flag, now};
use crate::script::replace;
use crate::sequence::compact;
use crate::token::{Token, tokens};

/// Parses `dd-Mon-yyyy hh:mm:ss +zzzz` into seconds since the epoch and the zone's offset.
fn date(text: &[u8]) -> Option<(i64, i32)> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let date = chrono::DateTime::parse_from_str(text, "%d-%b-%Y %H:%M:%S %z").ok()?;
    Some((date.timestamp(), date.offset().local_minus_utc()))
}

fn message(tokens: &[Token]) -> Option<(NewMessage, &[Token])> {
    let mut rest = tokens;
    let mut flags = BTreeSet::new();
    if let Some(tail) = rest.strip_prefix(&[Token::Open]) {
        let end = tail.iter().position(|token| *token == Token::Close)?;
        for flag in tail.get(..end)? {
            flags.extend(canonical_flag(&String::from_utf8_lossy(flag.text()?)));
        }
        rest = tail.get(end + 1..)?;
    }
    let (mut internal_date, mut zone_offset) = (now(), 0);
    if let Some((Token::Quoted(text), tail)) = rest.split_first() {
        (internal_date, zone_offset) = date(text)?;
        rest = tail;
    }
    let (Token::Literal(bytes), tail) = rest.split_first()? else {
        return None;
    };
    let bytes = Arc::from(bytes.as_slice());
    Some((NewMessage { flags, internal_date, zone_offset, bytes }, tail))
}

impl Session {
    pub(super) fn append(&mut self, arguments: &[u8]) -> Done {
        let tokens = tokens(arguments).unwrap_or_default();
        let Some((name, mut rest)) = tokens.split_first() else {
            return Done::bad("APPEND mailbox (flags) date literal");
        };
        let Some(name) = name.text().and_then(decode_name) else {
            return Done::no("[TRYCREATE] bad name");
        };
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let Some((new, tail)) = message(rest) else {
                return Done::bad("APPEND mailbox (flags) date literal");
            };
            messages.push(new);
            rest = tail;
        }
        if messages.is_empty() || (messages.len() > 1 && !self.has(Capability::MultiAppend)) {
            return Done::bad("one message, please");
        }
        if messages.iter().any(|new| new.bytes.contains(&0)) {
            return Done::no("[UNKNOWN-CTE] NUL in the message");
        }
        let uid_plus = self.has(Capability::UidPlus);
        self.shared.update(|state| {
            let keywords = state.config.keywords;
            let mailbox = state.mailboxes.get_mut(&name).filter(|mailbox| !mailbox.no_select);
            let Some(mailbox) = mailbox else {
                return Done::no("[TRYCREATE] no such mailbox");
            };
            let uids = messages.into_iter().map(|mut new| {
                for (from, to) in &self.effects.alterations {
                    new.bytes = Arc::from(replace(&new.bytes, from, to));
                }
                new.flags.retain(|flag| keywords || flag.starts_with('\\'));
                mailbox.append(new)
            });
            let uids: Vec<u32> = uids.collect();
            if !uid_plus {
                return Done::ok("appended");
            }
            let (validity, uids) = (mailbox.uid_validity, compact(uids));
            Done::ok(&format!("[APPENDUID {validity} {uids}] appended"))
        })
    }
}
