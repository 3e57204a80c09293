//! One FETCH response.

use chrono::{FixedOffset, TimeZone};
use imap_codec::imap_types::fetch::{MessageDataItemName, Section};

use super::updates::Selected;
use crate::mailbox::{Message, header_fields, split_header};

/// A message in the eyes of a session.
pub(super) struct Fetched<'a> {
    pub(super) message: &'a Message,
    pub(super) selected: &'a Selected,
    pub(super) condstore: bool,
}

/// Returns whether the server knows the item. It has no MIME structure to tell.
pub(super) fn is_offered(name: &MessageDataItemName<'_>) -> bool {
    match name {
        MessageDataItemName::BodyExt { section, .. } => match section {
            None | Some(Section::Header(None) | Section::Text(None)) => true,
            Some(Section::HeaderFields(None, _) | Section::HeaderFieldsNot(None, _)) => true,
            Some(_) => false,
        },
        MessageDataItemName::Flags
        | MessageDataItemName::InternalDate
        | MessageDataItemName::Rfc822
        | MessageDataItemName::Rfc822Header
        | MessageDataItemName::Rfc822Size
        | MessageDataItemName::Rfc822Text
        | MessageDataItemName::Uid
        | MessageDataItemName::ModSeq => true,
        _ => false,
    }
}

/// Returns whether fetching the item sets `\Seen`.
pub(super) fn sets_seen(name: &MessageDataItemName<'_>) -> bool {
    matches!(
        name,
        MessageDataItemName::BodyExt { peek: false, .. }
            | MessageDataItemName::Rfc822
            | MessageDataItemName::Rfc822Text
    )
}

/// Formats INTERNALDATE.
fn date(message: &Message) -> String {
    let zone = FixedOffset::east_opt(message.zone_offset);
    let date = zone.and_then(|zone| zone.timestamp_opt(message.internal_date, 0).single());
    let text = date.map(|date| date.format("%e-%b-%Y %H:%M:%S %z").to_string());
    text.unwrap_or_else(|| " 1-Jan-1970 00:00:00 +0000".to_owned())
}

fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("{{{}}}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

/// Returns the part of a message that a section names, and the section's text.
fn section(bytes: &[u8], section: Option<&Section<'_>>) -> (String, Vec<u8>) {
    match section {
        Some(Section::Header(_)) => ("HEADER".to_owned(), split_header(bytes).0.to_vec()),
        Some(Section::Text(_)) => ("TEXT".to_owned(), split_header(bytes).1.to_vec()),
        Some(Section::HeaderFields(_, names)) => fields(bytes, names.as_ref(), true),
        Some(Section::HeaderFieldsNot(_, names)) => fields(bytes, names.as_ref(), false),
        _ => (String::new(), bytes.to_vec()),
    }
}

fn fields<T: AsRef<[u8]>>(bytes: &[u8], names: &[T], wanted: bool) -> (String, Vec<u8>) {
    let is_named = |field: &&[u8]| {
        let key = field.split(|b| *b == b':').next().unwrap_or_default().trim_ascii_end();
        names.iter().any(|name| name.as_ref().eq_ignore_ascii_case(key)) == wanted
    };
    let mut found = header_fields(bytes).into_iter().filter(is_named).collect::<Vec<_>>().concat();
    found.extend_from_slice(b"\r\n");
    let list = names.iter().map(|name| String::from_utf8_lossy(name.as_ref()));
    let list = list.collect::<Vec<_>>().join(" ");
    let not = if wanted { "" } else { ".NOT" };
    (format!("HEADER.FIELDS{not} ({list})"), found)
}

impl Fetched<'_> {
    /// Writes the response; `tell_flags` adds FLAGS when \Seen was set on the way.
    pub(super) fn response(
        &self,
        number: usize,
        names: &[MessageDataItemName<'_>],
        tell_flags: bool,
    ) -> Vec<u8> {
        let mut out = format!("* {number} FETCH (").into_bytes();
        let mut first = true;
        let flags = MessageDataItemName::Flags;
        let extra = (tell_flags && !names.contains(&flags)).then_some(&flags);
        let modseq = MessageDataItemName::ModSeq;
        let told = self.condstore && tell_flags && !names.contains(&modseq);
        for name in names.iter().chain(extra).chain(told.then_some(&modseq)) {
            if !first {
                out.push(b' ');
            }
            first = false;
            self.item(&mut out, name);
        }
        out.extend_from_slice(b")\r\n");
        out
    }

    fn item(&self, out: &mut Vec<u8>, name: &MessageDataItemName<'_>) {
        let message = self.message;
        let text = match name {
            MessageDataItemName::Uid => format!("UID {}", message.uid),
            MessageDataItemName::Flags => format!("FLAGS ({})", self.selected.flags_text(message)),
            MessageDataItemName::InternalDate => format!("INTERNALDATE \"{}\"", date(message)),
            MessageDataItemName::Rfc822Size => format!("RFC822.SIZE {}", message.bytes.len()),
            MessageDataItemName::ModSeq => format!("MODSEQ ({})", message.modseq),
            MessageDataItemName::Rfc822 => {
                out.extend_from_slice(b"RFC822 ");
                return literal(out, &message.bytes);
            }
            MessageDataItemName::Rfc822Header => {
                out.extend_from_slice(b"RFC822.HEADER ");
                return literal(out, split_header(&message.bytes).0);
            }
            MessageDataItemName::Rfc822Text => {
                out.extend_from_slice(b"RFC822.TEXT ");
                return literal(out, split_header(&message.bytes).1);
            }
            MessageDataItemName::BodyExt { section, partial, .. } => {
                return self.body(out, section.as_ref(), *partial);
            }
            _ => String::new(),
        };
        out.extend_from_slice(text.as_bytes());
    }

    fn body(
        &self,
        out: &mut Vec<u8>,
        wanted: Option<&Section<'_>>,
        partial: Option<(u32, std::num::NonZeroU32)>,
    ) {
        let (label, bytes) = section(&self.message.bytes, wanted);
        out.extend_from_slice(format!("BODY[{label}]").as_bytes());
        let part = match partial {
            None => bytes.as_slice(),
            Some((start, length)) => {
                out.extend_from_slice(format!("<{start}>").as_bytes());
                let from = (start as usize).min(bytes.len());
                let to = from.saturating_add(length.get() as usize).min(bytes.len());
                bytes.get(from..to).unwrap_or_default()
            }
        };
        out.push(b' ');
        literal(out, part);
    }
}
