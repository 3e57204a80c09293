//! Newtypes for every id that crosses a module border. Floor 0.

use std::fmt;
use std::num::NonZeroU32;

/// The name of an account: the key of its `[account.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(pub String);

/// The decoded name of a mailbox: UTF-8, levels separated by `/`, whatever the server's delimiter.
///
/// A `/` inside one level is written `%2F`, so that the mapping to the server's name can be
/// reversed. `INBOX` in any case is `INBOX` (RFC 9051 §5.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(pub String);

/// The unique id of a message in a mailbox of one UIDVALIDITY (RFC 9051 §2.3.1.1). Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub NonZeroU32);

/// The validity of a mailbox's UIDs (RFC 9051 §2.3.1.1). Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UidValidity(pub NonZeroU32);

/// A modification sequence (RFC 7162 §3.1.1): at most 63 bits, 0 when unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ModSeq(pub u64);

/// The part of a Maildir file name before the info separator: the identity of a local message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base(pub String);

/// The id of a queued outgoing message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub String);

impl AccountName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MailboxName {
    /// The inbox, the one mailbox that every account has.
    pub fn inbox() -> Self {
        Self("INBOX".to_owned())
    }

    /// The name that a person wrote; `inbox` in any case is `INBOX`.
    pub fn parse(text: &str) -> Self {
        if text.eq_ignore_ascii_case("INBOX") { Self::inbox() } else { Self(text.to_owned()) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels of the name, outermost first.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether this is the inbox.
    pub fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }
}

impl Uid {
    /// A UID, unless `n` is zero.
    pub fn new(n: u32) -> Option<Self> {
        NonZeroU32::new(n).map(Self)
    }

    /// The number itself.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl UidValidity {
    /// A UIDVALIDITY, unless `n` is zero.
    pub fn new(n: u32) -> Option<Self> {
        NonZeroU32::new(n).map(Self)
    }

    /// The number itself.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

macro_rules! display_inner {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_inner!(AccountName, MailboxName, Uid, UidValidity, ModSeq, Base, OutboxId);
