//! What the server said, in our own words: no type of the library goes further than this. Floor 3.

use std::ops::RangeInclusive;

use async_imap::imap_proto::rfc4315::UidSetMember;
use async_imap::imap_proto::{
    AttributeValue, MailboxDatum, NameAttribute, Response, ResponseCode, Status, StatusAttribute,
};

use super::encode::{parse_date_time, to_lf, unescaped};
use super::words::{slowed_down, suggested_pause};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::flags::{Flags, Permanent};

/// One response, in our own words.
#[derive(Debug)]
pub(super) enum Item {
    Exists(u32),
    /// A message is gone; by sequence number, so only the fact is of use.
    Expunge,
    /// Messages are gone, by UID; a range can say 1:4294967295. Earlier means before the SELECT.
    Vanished {
        uids: Vec<RangeInclusive<u32>>,
        is_earlier: bool,
    },
    Fetch(FetchItem),
    List(ListItem),
    Status(StatusItem),
    Code(Code),
    Continue,
    Other,
}

/// What a FETCH response said.
#[derive(Debug, Default)]
pub(super) struct FetchItem {
    pub(super) uid: Option<u32>,
    /// `None`: not said. Never "none".
    pub(super) flags: Option<Flags>,
    pub(super) date: Option<i64>,
    pub(super) size: Option<u32>,
    /// A whole body, line ends LF.
    pub(super) body: Option<Vec<u8>>,
    /// The size of that body as it came.
    pub(super) wire_bytes: u64,
    /// A piece of a body or a header, as it came.
    pub(super) part: Option<Vec<u8>>,
    /// The server's name for the message: EMAILID, or X-GM-MSGID.
    pub(super) id: Option<String>,
}

/// What a LIST response said.
#[derive(Debug)]
pub(super) struct ListItem {
    pub(super) attributes: Vec<String>,
    pub(super) delimiter: Option<char>,
    pub(super) name: String,
}

/// What a STATUS response said.
#[derive(Debug, Default)]
pub(super) struct StatusItem {
    pub(super) name: String,
    pub(super) messages: Option<u32>,
    pub(super) uidnext: Option<u32>,
    pub(super) uidvalidity: Option<u32>,
    pub(super) modseq: Option<u64>,
}

/// A response code that means something to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Code {
    UidNext(u32),
    UidValidity(u32),
    /// What can be stored for good.
    Permanent(Permanent),
    /// Nothing can be stored.
    ReadOnly,
    HighestModSeq(u64),
    /// UIDVALIDITY and the UIDs in the order of the messages, at most [`COPIED_MAX`] of them.
    AppendUid(u32, Vec<u32>),
    /// UIDVALIDITY of the target, old and new UIDs, at most [`COPIED_MAX`] of them.
    CopyUid(u32, Vec<u32>, Vec<u32>),
    TryCreate,
    /// Any other, upper case, as far as its first space.
    Named(String),
    None,
}

/// The tagged end of a command that was OK.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) code: Code,
}

/// How a tagged command ended.
pub(super) type Verdict = Result<Done, Failure>;

/// What comes next on the wire.
#[derive(Debug)]
pub(super) enum Next {
    Item(Item),
    /// A tag and its verdict.
    Done(String, Verdict),
}

/// What a response became.
pub(super) enum Converted {
    Next(Next),
    Bye(String),
}

/// Converts a response.
pub(super) fn convert(response: &Response<'_>) -> Converted {
    let item = match response {
        Response::Done { tag, status, outcome } => {
            let text = outcome.information.as_deref().unwrap_or("");
            let code = code_of(outcome.code.as_ref(), text);
            let verdict = match status {
                Status::Ok => Ok(Done { code }),
                Status::No => Err(classify_no(&code, text)),
                Status::Bad | Status::Bye | Status::PreAuth => Err(classify_bad(text)),
            };
            return Converted::Next(Next::Done(tag.0.clone(), verdict));
        }
        Response::Data { status: Status::Bye, outcome } => {
            return Converted::Bye(outcome.information.as_deref().unwrap_or("BYE").to_owned());
        }
        Response::Data { outcome, .. } => {
            Item::Code(code_of(outcome.code.as_ref(), outcome.information.as_deref().unwrap_or("")))
        }
        Response::Continue(_) => Item::Continue,
        Response::Expunge(_) => Item::Expunge,
        Response::Vanished { uids, earlier } => {
            // `310:300` is the same as `300:310` (RFC 9051 §9, seq-range).
            let range = |r: &RangeInclusive<u32>| *r.start().min(r.end())..=*r.start().max(r.end());
            Item::Vanished { uids: uids.iter().map(range).collect(), is_earlier: *earlier }
        }
        Response::Fetch(_, attributes) => Item::Fetch(fetch_item(attributes)),
        Response::MailboxData(MailboxDatum::Exists(n)) => Item::Exists(*n),
        Response::MailboxData(MailboxDatum::List(list)) => Item::List(ListItem {
            attributes: list.name_attributes.iter().map(attribute_name).collect(),
            delimiter: list.delimiter.as_deref().and_then(|d| unescaped(d).chars().next()),
            name: unescaped(&list.name),
        }),
        Response::MailboxData(MailboxDatum::Status { mailbox, status }) => {
            Item::Status(status_item(unescaped(mailbox), status))
        }
        _ => Item::Other,
    };
    Converted::Next(Next::Item(item))
}

fn fetch_item(attributes: &[AttributeValue<'_>]) -> FetchItem {
    let mut item = FetchItem::default();
    for attribute in attributes {
        match attribute {
            AttributeValue::Uid(uid) => item.uid = Some(*uid),
            AttributeValue::Flags(names) => {
                item.flags = Some(Flags::from_imap(names.iter().map(AsRef::as_ref)));
            }
            AttributeValue::InternalDate(text) => item.date = parse_date_time(text),
            AttributeValue::EmailId(id) => item.id = Some(id.to_string()),
            AttributeValue::GmailMsgId(id) => item.id = Some(id.to_string()),
            AttributeValue::Rfc822Size(size) => item.size = Some(*size),
            AttributeValue::BodySection { section: None, index: None, data: Some(data) } => {
                item.wire_bytes = data.len() as u64;
                item.body = Some(to_lf(data));
            }
            AttributeValue::BodySection { data: Some(data), .. } => item.part = Some(data.to_vec()),
            _ => {}
        }
    }
    item
}

fn status_item(name: String, status: &[StatusAttribute]) -> StatusItem {
    let mut item = StatusItem { name, ..StatusItem::default() };
    for attribute in status {
        match attribute {
            StatusAttribute::Messages(n) => item.messages = Some(*n),
            StatusAttribute::UidNext(n) => item.uidnext = Some(*n),
            StatusAttribute::UidValidity(n) => item.uidvalidity = Some(*n),
            StatusAttribute::HighestModSeq(n) => item.modseq = Some(*n),
            _ => {}
        }
    }
    item
}

fn attribute_name(attribute: &NameAttribute<'_>) -> String {
    let name = match attribute {
        NameAttribute::NoSelect => "\\noselect",
        NameAttribute::All => "\\all",
        NameAttribute::Archive => "\\archive",
        NameAttribute::Drafts => "\\drafts",
        NameAttribute::Flagged => "\\flagged",
        NameAttribute::Junk => "\\junk",
        NameAttribute::Sent => "\\sent",
        NameAttribute::Trash => "\\trash",
        NameAttribute::Extension(name) => return name.to_ascii_lowercase(),
        _ => "",
    };
    name.to_owned()
}

fn code_of(code: Option<&ResponseCode<'_>>, text: &str) -> Code {
    match code {
        Some(ResponseCode::UidNext(n)) => Code::UidNext(*n),
        Some(ResponseCode::UidValidity(n)) => Code::UidValidity(*n),
        Some(ResponseCode::HighestModSeq(n)) => Code::HighestModSeq(*n),
        Some(ResponseCode::AppendUid(validity, uids)) => {
            Code::AppendUid(*validity, some_uids(uids))
        }
        Some(ResponseCode::CopyUid(validity, from, to)) => {
            Code::CopyUid(*validity, some_uids(from), some_uids(to))
        }
        Some(ResponseCode::TryCreate) => Code::TryCreate,
        Some(ResponseCode::PermanentFlags(names)) => Code::Permanent(Permanent {
            any_keyword: names.iter().any(|n| n == "\\*"),
            flags: Flags::from_imap(names.iter().map(AsRef::as_ref)),
        }),
        Some(ResponseCode::ReadOnly) => Code::ReadOnly,
        _ => text
            .strip_prefix('[')
            .and_then(|rest| rest.split([']', ' ']).next())
            .map_or(Code::None, |name| Code::Named(name.to_ascii_uppercase())),
    }
}

/// The UIDs of a set, as far as anybody can have asked for them: a set can say 1:4294967295.
fn some_uids(members: &[UidSetMember]) -> Vec<u32> {
    let ranges = members.iter().map(|member| match member {
        UidSetMember::Uid(uid) => *uid..=*uid,
        UidSetMember::UidRange(range) => range.clone(),
    });
    ranges.flatten().take(COPIED_MAX).collect()
}

/// Messages that one command copies or moves at most.
pub(super) const COPIED_MAX: usize = 2000;

/// The server wants less of us, for as long as it says.
pub(super) fn throttled(text: &str) -> Failure {
    Failure::new(Scope::Account, slowed_down(text), Kind::Throttled, "command refused").said(text)
}

/// What a NO means, by its response code (RFC 5530 and others).
fn classify_no(code: &Code, text: &str) -> Failure {
    if suggested_pause(text).is_some() {
        return throttled(text);
    }
    let refused =
        |scope, kind| Failure::new(scope, Remedy::Later, kind, "command refused").said(text);
    match code {
        Code::TryCreate => refused(Scope::Mailbox, Kind::NotFound),
        Code::Named(name) => match name.as_str() {
            "NONEXISTENT" => refused(Scope::Mailbox, Kind::NotFound),
            "OVERQUOTA" => refused(Scope::Message, Kind::Refused)
                .cure("make room on the server, or raise its quota; the message stays here"),
            "TOOBIG" | "LIMIT" => refused(Scope::Message, Kind::TooBig),
            "UNAVAILABLE" | "INUSE" | "SERVERBUG" | "THROTTLED" => throttled(text),
            "AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" | "EXPIRED" => {
                refused(Scope::Account, Kind::AuthFailed)
            }
            _ => refused(Scope::Mailbox, Kind::Refused),
        },
        _ => refused(Scope::Mailbox, Kind::Refused),
    }
}

fn classify_bad(text: &str) -> Failure {
    if suggested_pause(text).is_some() {
        return throttled(text);
    }
    // Some servers say BAD for passing troubles, so it is retried like a lost connection.
    Failure::new(Scope::Account, Remedy::Later, Kind::Protocol, "command rejected").said(text)
}
