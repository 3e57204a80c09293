//! SEARCH.

use std::sync::Arc;

use imap_codec::imap_types::search::SearchKey;

use super::session::{Done, Session};
use super::updates::Selected;
use crate::mailbox::{Message, split_header};
use crate::sequence::{positions, ranges};

impl Session {
    pub(super) fn search(&mut self, criteria: &[SearchKey<'_>], uid: bool) -> Done {
        let Some(mut selected) = self.selected.take() else {
            return Done::bad("no mailbox is selected");
        };
        let shared = Arc::clone(&self.shared);
        let (mut numbers, mut modseq) = (Vec::new(), 0);
        shared.quietly(|state| {
            let Some(mailbox) = selected.mailbox(state) else {
                return;
            };
            for (position, number) in selected.uids.iter().enumerate() {
                let Some(message) = mailbox.messages.get(number) else {
                    continue;
                };
                let seen = Looked { message, position, selected: &selected };
                if criteria.iter().all(|key| seen.matches(key)) {
                    numbers.push(if uid { message.uid } else { sequence_number(position) });
                    modseq = modseq.max(message.modseq);
                }
            }
        });
        self.selected = Some(selected);
        let by_modseq = criteria.iter().any(|key| matches!(key, SearchKey::ModSequence { .. }));
        let numbers: String = numbers.iter().map(|number| format!(" {number}")).collect();
        if by_modseq && modseq > 0 {
            self.condstore = true;
            self.push(format!("* SEARCH{numbers} (MODSEQ {modseq})"));
        } else {
            self.push(format!("* SEARCH{numbers}"));
        }
        let done = Done::ok("searched");
        if uid { done } else { done.without_expunge() }
    }
}

fn sequence_number(position: usize) -> u32 {
    u32::try_from(position + 1).unwrap_or(u32::MAX)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    let (text, part) = (text.to_ascii_lowercase(), part.to_ascii_lowercase());
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

struct Looked<'a> {
    message: &'a Message,
    position: usize,
    selected: &'a Selected,
}

impl Looked<'_> {
    fn matches(&self, key: &SearchKey<'_>) -> bool {
        let flag = |flag: &str| self.message.flags.contains(flag);
        let recent = || self.selected.recent.contains(&self.message.uid);
        match key {
            SearchKey::All => true,
            SearchKey::And(keys) => keys.as_ref().iter().all(|key| self.matches(key)),
            SearchKey::Or(a, b) => self.matches(a) || self.matches(b),
            SearchKey::Not(key) => !self.matches(key),
            SearchKey::Answered => flag("\\Answered"),
            SearchKey::Deleted => flag("\\Deleted"),
            SearchKey::Draft => flag("\\Draft"),
            SearchKey::Flagged => flag("\\Flagged"),
            SearchKey::Seen => flag("\\Seen"),
            SearchKey::Unanswered => !flag("\\Answered"),
            SearchKey::Undeleted => !flag("\\Deleted"),
            SearchKey::Undraft => !flag("\\Draft"),
            SearchKey::Unflagged => !flag("\\Flagged"),
            SearchKey::Unseen => !flag("\\Seen"),
            SearchKey::Keyword(word) => flag(word.as_ref()),
            SearchKey::Unkeyword(word) => !flag(word.as_ref()),
            SearchKey::Recent => recent(),
            SearchKey::New => recent() && !flag("\\Seen"),
            SearchKey::Old => !recent(),
            SearchKey::ModSequence { modseq, .. } => self.message.modseq >= *modseq,
            other => self.matches_content(other),
        }
    }

    fn matches_content(&self, key: &SearchKey<'_>) -> bool {
        let message = self.message;
        let header = |name: &str, part: &[u8]| {
            message.header(name).is_some_and(|value| contains(value.as_bytes(), part))
        };
        match key {
            SearchKey::SequenceSet(set) => positions(set, &self.selected.uids, false)
                .is_some_and(|p| p.contains(&self.position)),
            SearchKey::Uid(set) => {
                let largest = self.selected.uids.last().copied().unwrap_or(0);
                ranges(set, largest).iter().any(|(a, b)| (*a..=*b).contains(&message.uid))
            }
            SearchKey::Larger(size) => message.bytes.len() > *size as usize,
            SearchKey::Smaller(size) => message.bytes.len() < *size as usize,
            SearchKey::Header(name, part) => {
                header(&String::from_utf8_lossy(name.as_ref()), part.as_ref())
            }
            SearchKey::Subject(part) => header("Subject", part.as_ref()),
            SearchKey::From(part) => header("From", part.as_ref()),
            SearchKey::To(part) => header("To", part.as_ref()),
            SearchKey::Cc(part) => header("Cc", part.as_ref()),
            SearchKey::Bcc(part) => header("Bcc", part.as_ref()),
            SearchKey::Body(part) => contains(split_header(&message.bytes).1, part.as_ref()),
            SearchKey::Text(part) => contains(&message.bytes, part.as_ref()),
            other => self.matches_date(other),
        }
    }

    fn matches_date(&self, key: &SearchKey<'_>) -> bool {
        let local = self.message.internal_date + i64::from(self.message.zone_offset);
        let Some(day) = chrono::DateTime::from_timestamp(local, 0).map(|date| date.date_naive())
        else {
            return false;
        };
        match key {
            SearchKey::Before(date) => day < *date.as_ref(),
            SearchKey::On(date) => day == *date.as_ref(),
            SearchKey::Since(date) => day >= *date.as_ref(),
            // The Date header is not parsed: SENTBEFORE and its kin find nothing.
            _ => false,
        }
    }
}
