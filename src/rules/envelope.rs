//! The header block of an outgoing message: envelope, account, what stays here, what is missing.
//! Floor 1.
//!
//! Works on the first bytes of a file and on byte ranges, never on a parsed message: what is not
//! stripped reaches the wire as it is. It takes a bare CR as a line end, because the wire does.

use std::ops::Range;

use crate::model::outbox::{Address, Envelope, Submitted};
use crate::model::status::Micros;

use super::addresses::addresses;
pub use super::wishes::Wishes;

/// The header block of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    fields: Vec<Field>,
    /// The mbox line `From …` before the header.
    mbox_line: Option<Range<u64>>,
    newline: &'static str,
    /// Whether the empty line behind the header was seen.
    pub is_complete: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    /// In lower case.
    name: String,
    /// Unfolded, without surrounding space.
    value: String,
    /// The whole field with its line end.
    range: Range<u64>,
}

/// Why a message has no envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsendable {
    /// There is no header field at all.
    NoHeader,
    /// Neither Sender nor From nor an argument says who sends it.
    NoSender,
    /// The header is longer than anything is read of it.
    HeaderTooBig,
    /// Nobody is to get it.
    NoRecipients,
    /// An address cannot be used.
    BadAddress(String),
    /// No account sends for this address.
    NoAccount(String),
    /// `X-Postrider-Account` names none of these.
    NoSuchAccount(String, Vec<String>),
}

impl Unsendable {
    /// What is wrong, and what mends it.
    pub fn explain(&self) -> String {
        match self {
            Self::NoHeader => "no header block: the file looks truncated".to_owned(),
            Self::HeaderTooBig => {
                "the header is longer than 1 MiB, and what stands behind that could not be kept back: \
                 shorten it"
                    .to_owned()
            }
            Self::NoSender => "no usable From or Sender address: add a From header".to_owned(),
            Self::NoRecipients => "no recipients: add To, Cc or Bcc".to_owned(),
            Self::BadAddress(text) => format!("address {text:?} cannot be used: correct it"),
            Self::NoAccount(from) => {
                format!("no account sends as {from}: add it to the aliases of one, or correct From")
            }
            Self::NoSuchAccount(name, all) => format!(
                "X-Postrider-Account: {name:?} is no account that sends: name one of {}, or leave it out",
                all.join(", ")
            ),
        }
    }

    /// The name of the D-Bus error.
    pub fn error_name(&self) -> &'static str {
        match self {
            Self::NoAccount(_) => "NoAccountForSender",
            Self::NoSuchAccount(..) => "NoSuchAccount",
            Self::HeaderTooBig => "MessageTooBig",
            Self::NoHeader | Self::NoSender | Self::NoRecipients | Self::BadAddress(_) => {
                "InvalidAddress"
            }
        }
    }
}

/// Whom a byte range is kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The recipients: no Bcc, no control header, no leftover of a tool.
    Recipients,
    /// The Sent mailbox: as above, with Bcc.
    Sent,
}

impl Header {
    /// Reads the header block at the start of `head`, which may be cut anywhere.
    pub fn parse(head: &[u8]) -> Self {
        let mut header =
            Self { fields: Vec::new(), mbox_line: None, newline: "\n", is_complete: false };
        let mut at = 0;
        while let Some((line, end)) = line_at(head, at) {
            let range = offset(at)..offset(end);
            if at == 0 {
                header.newline = if head.get(..end).is_some_and(|l| l.ends_with(b"\r\n")) {
                    "\r\n"
                } else {
                    "\n"
                };
            }
            if line.is_empty() {
                header.is_complete = true;
                break;
            }
            if at == 0 && line.starts_with(b"From ") {
                header.mbox_line = Some(range);
            } else {
                header.take(line, range);
            }
            at = end;
        }
        header
    }

    fn take(&mut self, line: &[u8], range: Range<u64>) {
        let text = String::from_utf8_lossy(line);
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if let Some(last) = self.fields.last_mut() {
                last.value.push(' ');
                last.value.push_str(text.trim());
                last.range.end = range.end;
            }
            return;
        }
        let name = text.split_once(':').map(|(name, value)| (name.trim_end(), value.trim()));
        // A line that is no field is kept as a field without a name: it goes out as it is.
        let (name, value) = match name {
            Some((name, value)) if is_field_name(name) => (name.to_ascii_lowercase(), value),
            _ => (String::new(), ""),
        };
        self.fields.push(Field { name, value: value.to_owned(), range });
    }

    /// Whether there is any field.
    pub fn has_fields(&self) -> bool {
        self.fields.iter().any(|field| !field.name.is_empty())
    }

    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |field| field.name == name).map(|f| f.value.as_str())
    }

    /// The message's id, with its angle brackets.
    pub fn message_id(&self) -> Option<String> {
        let value = self.values("message-id").find(|value| !value.is_empty())?;
        let inner = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        Some(inner.map_or_else(|| value.to_owned(), |(id, _)| format!("<{id}>")))
    }

    /// The fields of the newest Resent block (RFC 5322 §3.6.6), which stands on top.
    fn resent(&self) -> Vec<&Field> {
        let start = self.fields.iter().skip_while(|field| !field.name.starts_with("resent-"));
        let mut block: Vec<&Field> = Vec::new();
        for field in start.take_while(|field| field.name.starts_with("resent-")) {
            let once = !matches!(field.name.as_str(), "resent-to" | "resent-cc" | "resent-bcc");
            if once && block.iter().any(|seen| seen.name == field.name) {
                break;
            }
            block.push(field);
        }
        block
    }

    /// The first address of the first of these fields that has one.
    fn first_of(&self, names: [&str; 2]) -> Result<Option<Address>, Unsendable> {
        let resent = self.resent();
        let prefix = if resent.is_empty() { "" } else { "resent-" };
        for name in names {
            let name = format!("{prefix}{name}");
            let all = self.fields.iter().filter(|field| field.name == name);
            if let Some(found) = all.flat_map(|field| addresses(&field.value)).next() {
                return found.map(Some).map_err(Unsendable::BadAddress);
            }
        }
        Ok(None)
    }

    fn recipients(&self) -> Result<Vec<Address>, Unsendable> {
        let resent = self.resent();
        let names = ["resent-to", "resent-cc", "resent-bcc"];
        let fields: Vec<&Field> = if resent.is_empty() {
            self.fields.iter().filter(|f| matches!(f.name.as_str(), "to" | "cc" | "bcc")).collect()
        } else {
            resent.into_iter().filter(|field| names.contains(&field.name.as_str())).collect()
        };
        let found = fields.into_iter().flat_map(|field| addresses(&field.value));
        found.collect::<Result<_, _>>().map_err(Unsendable::BadAddress)
    }

    /// Who it is from: the address that decides about the account.
    ///
    /// # Errors
    ///
    /// When the header's address cannot be used.
    pub fn author(&self) -> Result<Option<Address>, Unsendable> {
        self.first_of(["from", "sender"])
    }

    /// Makes the envelope from the header, the arguments and the control headers.
    ///
    /// # Errors
    ///
    /// What keeps the message from being sent.
    pub fn envelope(
        &self,
        submitted: Option<&Submitted>,
        wishes: &Wishes,
    ) -> Result<Envelope, Unsendable> {
        let sender = match (&wishes.sender, submitted.and_then(|args| args.sender.clone())) {
            (Some(sender), _) => sender.clone(),
            (None, Some(given)) => given,
            (None, None) => Some(self.first_of(["sender", "from"])?.ok_or(Unsendable::NoSender)?),
        };
        let mut all = submitted.map(|args| args.recipients.clone()).unwrap_or_default();
        if submitted.is_none_or(|args| args.from_header) {
            all.extend(self.recipients()?);
        }
        let recipients = unique(all);
        if recipients.is_empty() {
            return Err(Unsendable::NoRecipients);
        }
        Ok(Envelope { sender, recipients })
    }

    /// Reads the control headers.
    pub fn wishes(&self) -> Wishes {
        Wishes::read(|name| self.values(name).next())
    }

    /// Whether a field that goes out holds more than ASCII (RFC 6532).
    pub fn has_utf8(&self) -> bool {
        let wired = self.fields.iter().filter(|f| !is_stripped(&f.name, Audience::Recipients));
        wired.into_iter().any(|field| !field.value.is_ascii())
    }

    /// How long the header is in bytes, without the empty line behind it.
    pub fn bytes(&self) -> usize {
        let last = self.fields.last().map(|field| field.range.end);
        let end = last.or_else(|| self.mbox_line.as_ref().map(|line| line.end));
        end.and_then(|end| usize::try_from(end).ok()).unwrap_or_default()
    }

    /// What separates the parts of a multipart message (RFC 2046 §5.1.1).
    pub fn boundary(&self) -> Option<String> {
        let value = self.values("content-type").next()?;
        let is_multipart = value.get(..10).is_some_and(|t| t.eq_ignore_ascii_case("multipart/"));
        let parameters = value.split_once(';').filter(|_| is_multipart)?.1;
        let at = parameters.to_ascii_lowercase().find("boundary=")?;
        let text = parameters.get(at + "boundary=".len()..)?.trim_start();
        let boundary = match text.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => text.split([';', ' ', '\t', '(']).next()?,
        };
        (!boundary.is_empty()).then(|| boundary.to_owned())
    }

    /// The Message-IDs of what this answers or forwards, the likeliest first.
    pub fn originals(&self) -> Vec<String> {
        let ids = |text: &str| -> Vec<String> {
            let parts = text.split('<').skip(1).filter_map(|part| part.split_once('>'));
            parts.map(|(id, _)| format!("<{id}>")).collect()
        };
        let answered = self.values("in-reply-to").flat_map(ids);
        let thread = self.values("references").flat_map(|text| ids(text).into_iter().next_back());
        let mut found: Vec<String> = answered.chain(thread).collect();
        found.dedup();
        found.truncate(ORIGINALS_MAX);
        found
    }

    /// Whether it says of itself that it is an answer.
    pub fn is_answer(&self) -> bool {
        self.values("in-reply-to").any(|value| value.contains('<'))
    }

    /// The byte ranges that this audience does not get, ascending.
    pub fn stripped(&self, audience: Audience) -> Vec<Range<u64>> {
        // An empty one counts as missing, and another stands above.
        let void = |field: &Field| {
            matches!(field.name.as_str(), "date" | "message-id") && field.value.trim().is_empty()
        };
        let fields = self.fields.iter();
        let fields = fields.filter(|field| void(field) || is_stripped(&field.name, audience));
        self.mbox_line.iter().chain(fields.map(|field| &field.range)).cloned().collect()
    }

    /// What has to be put into the message, and where, so that it has a Date, a Message-ID and, of its Sender, a From
    /// (RFC 5322 §3.6).
    pub fn missing(&self, now: Micros, id: &str) -> Option<(u64, String)> {
        let mut text = String::new();
        let seconds = i64::try_from(now / 1_000_000).unwrap_or_default();
        let time = chrono::DateTime::from_timestamp(seconds, 0);
        let dated = self.values("date").any(|value| !value.trim().is_empty());
        if let (false, Some(time)) = (dated, time) {
            text.push_str(&format!("Date: {}{}", time.to_rfc2822(), self.newline));
        }
        if self.message_id().is_none() {
            let author = self.author().ok().flatten();
            let domain = author.as_ref().map_or("localhost", Address::domain);
            text.push_str(&format!("Message-ID: <{id}@{domain}>{}", self.newline));
        }
        if let (None, Ok(Some(sender))) =
            (self.values("from").next(), self.first_of(["sender", "from"]))
        {
            text.push_str(&format!("From: {sender}{}", self.newline));
        }
        let at = self.mbox_line.as_ref().map_or(0, |line| line.end);
        (!text.is_empty()).then_some((at, text))
    }
}

fn unique(all: Vec<Address>) -> Vec<Address> {
    let mut seen = std::collections::BTreeSet::new();
    all.into_iter().filter(|address| seen.insert(address.key())).collect()
}

fn is_stripped(name: &str, audience: Audience) -> bool {
    let leftover = matches!(name, "fcc" | "gcc" | "status" | "x-status" | "return-path")
        || name == "x-message-smtp-method"
        || ["x-postrider-", "x-kmail-", "x-evolution-", "x-mozilla-"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
    leftover || (audience == Audience::Recipients && matches!(name, "bcc" | "resent-bcc"))
}

fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

const ORIGINALS_MAX: usize = 4;

/// The line at an offset, without its end, and where the next begins.
fn line_at(head: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = head.get(at..).filter(|rest| !rest.is_empty())?;
    match rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(end) => {
            let both = rest.get(end..).is_some_and(|tail| tail.starts_with(b"\r\n"));
            Some((rest.get(..end)?, at + end + if both { 2 } else { 1 }))
        }
        None => Some((rest, head.len())),
    }
}

fn offset(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
