//! Scripted replies, lies and cuts: which command a rule meets, and what it does to the answer.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::state::Protocol;

/// Names a rule after [`MailServer::script`](crate::MailServer::script) took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(crate) u64);

/// What a rule does. In raw bytes `{tag}` stands for the command's tag.
#[derive(Clone)]
pub enum Action {
    /// Sends these bytes instead of executing the command.
    Reply(Vec<u8>),
    /// Refuses at the first line, before the literal's continuation. The text follows the tag
    /// (IMAP) or is the whole reply (SMTP, POP3).
    RefuseEarly(String),
    /// Refuses without executing, after the command was received whole.
    Refuse(String),
    /// Executes, but answers with this text after the tag (SMTP: as the reply).
    Tagged(String),
    /// Executes, but ends with these bytes instead of the tagged reply.
    TaggedRaw(Vec<u8>),
    /// Sends these bytes first, then executes.
    Before(Vec<u8>),
    /// Ends the connection without executing.
    CutBefore,
    /// Executes and sends the untagged replies, then ends the connection. In SMTP the `.`
    /// is the name of the end of DATA: there this is the loss of the reply to the message.
    CutAfter,
    /// Executes, and ends the connection after so many bytes of the response.
    CutAt(usize),
    /// Ends the connection after so many bytes of the literal, or of the message after DATA.
    CutReceiving(usize),
    /// Makes the cut of this or another rule a TCP reset.
    Reset,
    /// Waits for [`MailServer::release`](crate::MailServer::release), then executes.
    HangBefore,
    /// Executes, and withholds the tagged reply until `release`.
    HangAfter,
    /// Waits, then executes: a slow server.
    Delay(Duration),
    /// Leaves these UIDs out of FETCH responses.
    DropUids(BTreeSet<u32>),
    /// Leaves out each untagged response that contains these bytes.
    DropLines(Vec<u8>),
    /// Replaces bytes in each response, tagged or not.
    Rewrite {
        /// What is replaced, wherever it occurs.
        from: Vec<u8>,
        /// What takes its place.
        to: Vec<u8>,
    },
    /// Stores an APPENDed message altered: replaces these bytes in it.
    AlterAppend {
        /// What is replaced, wherever it occurs.
        from: Vec<u8>,
        /// What takes its place.
        to: Vec<u8>,
    },
    /// Claims this EXISTS in SELECT and EXAMINE.
    Exists(u32),
    /// Gives the named mailbox, or every one, a new UIDVALIDITY before executing.
    UidValidity {
        /// The mailbox, `None` for all.
        mailbox: Option<String>,
        /// The new value.
        value: u32,
    },
    /// Calls back before executing, for a change in the middle of a dialogue. It runs on the
    /// server's thread: it may change mailboxes, and must not wait.
    Call(Arc<dyn Fn() + Send + Sync>),
}

impl Action {
    /// [`Action::Reply`] from text.
    #[must_use]
    pub fn reply(raw: &str) -> Self {
        Self::Reply(raw.as_bytes().to_vec())
    }

    /// [`Action::Refuse`] from text, such as `NO [OVERQUOTA] full` or `550 5.1.1 unknown`.
    #[must_use]
    pub fn refuse(text: &str) -> Self {
        Self::Refuse(text.to_owned())
    }

    /// [`Action::Tagged`] from text.
    #[must_use]
    pub fn tagged(text: &str) -> Self {
        Self::Tagged(text.to_owned())
    }

    /// [`Action::Before`] from text.
    #[must_use]
    pub fn before(raw: &str) -> Self {
        Self::Before(raw.as_bytes().to_vec())
    }

    /// [`Action::Rewrite`] from text.
    #[must_use]
    pub fn rewrite(from: &str, to: &str) -> Self {
        Self::Rewrite { from: from.as_bytes().to_vec(), to: to.as_bytes().to_vec() }
    }

    /// [`Action::DropUids`] from a list.
    #[must_use]
    pub fn drop_uids(uids: &[u32]) -> Self {
        Self::DropUids(uids.iter().copied().collect())
    }

    /// [`Action::Call`] from a closure.
    #[must_use]
    pub fn call(f: impl Fn() + Send + Sync + 'static) -> Self {
        Self::Call(Arc::new(f))
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Action")
    }
}

/// A matcher on commands and what to do when it matches. All matching rules act together.
///
/// IMAP names are those of the protocol, with `UID ` in front where it applies (`UID FETCH`), and
/// `GREETING` and `DONE` beside them. SMTP names are the verbs, `GREETING`, `AUTH`, and `.` for
/// the end of DATA; POP3 names are the verbs and `GREETING`. `*` is any command.
#[derive(Debug, Clone)]
pub struct Rule {
    protocol: Protocol,
    name: String,
    containing: Option<Vec<u8>>,
    skip: u32,
    times: u32,
    pub(crate) actions: Vec<Action>,
}

impl Rule {
    /// Matches an IMAP command.
    #[must_use]
    pub fn imap(name: &str) -> Self {
        Self::new(Protocol::Imap, name)
    }

    /// Matches an SMTP command.
    #[must_use]
    pub fn smtp(name: &str) -> Self {
        Self::new(Protocol::Smtp, name)
    }

    /// Matches a POP3 command.
    #[must_use]
    pub fn pop3(name: &str) -> Self {
        Self::new(Protocol::Pop3, name)
    }

    fn new(protocol: Protocol, name: &str) -> Self {
        let name = name.to_ascii_uppercase();
        Self { protocol, name, containing: None, skip: 0, times: u32::MAX, actions: Vec::new() }
    }

    /// Only where the command's first line contains this text (ASCII case ignored).
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.containing = Some(text.to_ascii_uppercase().into_bytes());
        self
    }

    /// Only the nth match, 1-based. The default is every match.
    #[must_use]
    pub fn nth(mut self, n: u32) -> Self {
        self.skip = n.saturating_sub(1);
        self.times = 1;
        self
    }

    /// Only the first n matches.
    #[must_use]
    pub fn first(mut self, n: u32) -> Self {
        self.times = n;
        self
    }

    /// Adds an action.
    #[must_use]
    pub fn then(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    /// Counts a match down and tells whether the rule acts on it.
    pub(crate) fn meets(&mut self, protocol: Protocol, name: &str, line: &[u8]) -> bool {
        let named = self.name == "*" || self.name == name;
        let contained = self.containing.as_ref().is_none_or(|text| {
            let line = line.to_ascii_uppercase();
            text.is_empty() || line.windows(text.len()).any(|window| window == text)
        });
        if self.protocol != protocol || !named || !contained || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// All actions that meet one command, sorted by when they act.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) reply: Option<Vec<u8>>,
    pub(crate) refuse_early: Option<String>,
    pub(crate) refuse: Option<String>,
    pub(crate) tagged: Option<String>,
    pub(crate) tagged_raw: Option<Vec<u8>>,
    pub(crate) before: Vec<u8>,
    pub(crate) cut_before: bool,
    pub(crate) cut_after: bool,
    pub(crate) cut_at: Option<usize>,
    pub(crate) cut_receiving: Option<usize>,
    pub(crate) reset: bool,
    pub(crate) hang_before: Option<RuleId>,
    pub(crate) hang_after: Option<RuleId>,
    pub(crate) delay: Option<Duration>,
    pub(crate) drop_uids: BTreeSet<u32>,
    pub(crate) drop_lines: Vec<Vec<u8>>,
    pub(crate) rewrites: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) alterations: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) exists: Option<u32>,
    pub(crate) uid_validity: Vec<(Option<String>, u32)>,
    pub(crate) calls: Calls,
}

#[derive(Default)]
pub(crate) struct Calls(pub(crate) Vec<Arc<dyn Fn() + Send + Sync>>);

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls", self.0.len())
    }
}

impl Effects {
    pub(crate) fn add(&mut self, id: RuleId, action: Action) {
        match action {
            Action::Reply(raw) => self.reply = Some(raw),
            Action::RefuseEarly(text) => self.refuse_early = Some(text),
            Action::Refuse(text) => self.refuse = Some(text),
            Action::Tagged(text) => self.tagged = Some(text),
            Action::TaggedRaw(raw) => self.tagged_raw = Some(raw),
            Action::Before(raw) => self.before.extend(raw),
            Action::CutBefore => self.cut_before = true,
            Action::CutAfter => self.cut_after = true,
            Action::CutAt(bytes) => self.cut_at = Some(bytes),
            Action::CutReceiving(bytes) => self.cut_receiving = Some(bytes),
            Action::Reset => self.reset = true,
            Action::HangBefore => self.hang_before = Some(id),
            Action::HangAfter => self.hang_after = Some(id),
            Action::Delay(time) => self.delay = Some(time),
            Action::DropUids(uids) => self.drop_uids.extend(uids),
            Action::DropLines(text) => self.drop_lines.push(text),
            Action::Rewrite { from, to } => self.rewrites.push((from, to)),
            Action::AlterAppend { from, to } => self.alterations.push((from, to)),
            Action::Exists(count) => self.exists = Some(count),
            Action::UidValidity { mailbox, value } => self.uid_validity.push((mailbox, value)),
            Action::Call(f) => self.calls.0.push(f),
        }
    }

    /// Applies rewrites and dropped lines to one response; `None` when it is dropped.
    pub(crate) fn distort(&self, response: Vec<u8>) -> Option<Vec<u8>> {
        let contains = |text: &Vec<u8>| response.windows(text.len().max(1)).any(|w| w == text);
        if self.drop_lines.iter().any(contains) {
            return None;
        }
        let rewrites = self.rewrites.iter();
        Some(rewrites.fold(response, |bytes, (from, to)| replace(&bytes, from, to)))
    }
}

/// Replaces each `from`.
pub(crate) fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        match rest.strip_prefix(from) {
            Some(after) if !from.is_empty() => {
                out.extend_from_slice(to);
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}
