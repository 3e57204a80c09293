//! Outgoing messages: envelopes, phases, verdicts. Floor 0.

use crate::model::account::OnUncertain;
pub use crate::model::address::Address;
pub use crate::model::dsn::Dsn;
use crate::model::failure::Failure;
use crate::model::ids::{AccountName, OutboxId};
pub use crate::model::reply::Reply;
use crate::model::status::Micros;

/// Who a message is from and for, as SMTP sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The return path; none is the null sender `<>`.
    pub sender: Option<Address>,
    /// The recipients, each once.
    pub recipients: Vec<Address>,
}

/// What the arguments of `sendmail` said about the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Submitted {
    /// The return path of `-f`; `Some(None)` is the null sender.
    pub sender: Option<Option<Address>>,
    /// The recipients given as arguments.
    pub recipients: Vec<Address>,
    /// Whether the recipients of the header count as well (`-t`, or no argument at all).
    pub from_header: bool,
}

/// What became of one recipient in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server took the message for this recipient.
    Accepted(Reply),
    /// Not now.
    Deferred(Reply),
    /// Never.
    Refused(Reply),
}

/// One attempt that came to an end with a word for each recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// A verdict for each recipient of the job, in its order.
    pub verdicts: Vec<(Address, Verdict)>,
}

/// One attempt that broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Whether the server had been told of the message, so that it may be what broke it off.
    pub in_mail: bool,
    /// What happened.
    pub failure: Failure,
    /// Whether the server may have taken the message: the final dot may have reached it.
    pub after_dot: bool,
}

/// How far a message is. Each is durable before the world can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The file is ours; its envelope has not been made.
    Claimed,
    /// It waits for an attempt.
    Queued,
    /// It waits for a person.
    Held,
    /// An attempt runs; a crash here loses nothing and doubles nothing.
    Sending,
    /// The final dot may have left.
    Dot,
    /// The fate after the final dot is not known.
    Uncertain,
    /// All recipients are settled and at least one accepted; what is left is ours.
    Accepted,
    /// The copy for the Sent mailbox is being filed.
    SentCopy,
    /// It is parked in `failed/`.
    Failed,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 9] = [
        Self::Claimed,
        Self::Queued,
        Self::Held,
        Self::Sending,
        Self::Dot,
        Self::Uncertain,
        Self::Accepted,
        Self::SentCopy,
        Self::Failed,
    ];

    /// As in the ledger and in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Sending => "sending",
            Self::Dot => "dot",
            Self::Uncertain => "uncertain",
            Self::Accepted => "accepted",
            Self::SentCopy => "sent_copy",
            Self::Failed => "failed",
        }
    }

    /// The phase of a word of the ledger.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }
}

/// How far one recipient is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientState {
    /// Not tried, or tried without a word about it.
    Pending,
    /// Accepted; never sent to again.
    Accepted,
    /// Refused for now.
    Deferred,
    /// Refused for good.
    Failed,
    /// Another message of the outbox, with the same text, is for it; its reply names that one.
    Elsewhere,
}

impl RecipientState {
    /// All states.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Accepted, Self::Deferred, Self::Failed, Self::Elsewhere];

    /// As in the ledger and in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// The state of a word of the ledger.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether there is still something to do.
    pub fn is_open(self) -> bool {
        match self {
            Self::Pending | Self::Deferred => true,
            Self::Accepted | Self::Failed | Self::Elsewhere => false,
        }
    }
}

/// One recipient of a queued message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address.
    pub address: Address,
    /// How far it is.
    pub state: RecipientState,
    /// The server's last word about it.
    pub reply: Option<String>,
}

/// Whether a copy for the Sent mailbox is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// Nothing was accepted yet.
    NotYet,
    /// To be filed.
    Due,
    /// Filed, or not wanted.
    Done,
}

impl CopyState {
    /// As in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotYet => "not_yet",
            Self::Due => "due",
            Self::Done => "done",
        }
    }

    /// The state of a word of the ledger.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::NotYet, Self::Due, Self::Done].into_iter().find(|state| state.as_str() == word)
    }
}

/// What is known about why a message waits or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The D-Bus error name; `Paused` where a person is waited for.
    pub name: String,
    /// One line.
    pub text: String,
}

/// A message in the outbox, as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id; the base name of its file in `cur/` as well.
    pub id: OutboxId,
    /// The account that sends it; none until the envelope is made.
    pub account: Option<AccountName>,
    /// The return path; none is the null sender.
    pub sender: Option<Address>,
    /// Its Message-ID, with angle brackets; empty until the envelope is made.
    pub message_id: String,
    /// The size of its file in bytes.
    pub size: u64,
    /// When it was claimed.
    pub queued_at: Micros,
    /// No attempt before this; 0: at once. The undo delay and `X-Postrider-Send-After`.
    pub hold_until: Micros,
    /// How far it is.
    pub phase: Phase,
    /// Attempts that ended with a word of the server about this message.
    pub tries: u32,
    /// When the next attempt is due.
    pub next_try: Micros,
    /// Why it waits or failed.
    pub reason: Option<Reason>,
    /// The copy for Sent.
    pub copy: CopyState,
    /// What its own header says about an unknown fate.
    pub on_uncertain: Option<OnUncertain>,
    /// The recipients.
    pub recipients: Vec<Recipient>,
}

impl Item {
    /// A message whose file has just been claimed.
    pub fn claimed(id: OutboxId, now: Micros) -> Self {
        Self {
            id,
            account: None,
            sender: None,
            message_id: String::new(),
            size: 0,
            queued_at: now,
            hold_until: 0,
            phase: Phase::Claimed,
            tries: 0,
            next_try: 0,
            reason: None,
            copy: CopyState::NotYet,
            on_uncertain: None,
            recipients: Vec::new(),
        }
    }

    /// The recipients that still have to be tried.
    pub fn open(&self) -> Vec<Address> {
        let open = self.recipients.iter().filter(|one| one.state.is_open());
        open.map(|one| one.address.clone()).collect()
    }

    /// Whom the next transaction is for, at most [`BATCH_MAX`]: those who were not tried go first, and whoever was
    /// refused for now waits for them.
    pub fn batch(&self) -> Vec<Address> {
        let of = |state: RecipientState| {
            let some = self.recipients.iter().filter(move |one| one.state == state);
            some.take(BATCH_MAX).map(|one| one.address.clone()).collect::<Vec<_>>()
        };
        let fresh = of(RecipientState::Pending);
        if fresh.is_empty() { of(RecipientState::Deferred) } else { fresh }
    }

    /// When it is tried next, in microseconds since the epoch; 0 where nothing is planned.
    pub fn next_attempt(&self) -> Micros {
        if self.phase == Phase::Queued { self.next_try.max(self.hold_until) } else { 0 }
    }

    /// Whether any recipient is in this state.
    pub fn has(&self, state: RecipientState) -> bool {
        self.recipients.iter().any(|one| one.state == state)
    }
}

/// Servers take 100 at least (RFC 5321 §4.5.3.1.8), and most of them a thousand.
pub const BATCH_MAX: usize = 1000;

/// What happened to a queued message, for the bus and for notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxEvent {
    /// It was taken into the queue.
    Queued {
        /// The message.
        id: OutboxId,
        /// The account that sends it.
        account: AccountName,
    },
    /// The server accepted it for all recipients that were left.
    Sent {
        /// The message.
        id: OutboxId,
        /// The account that sent it.
        account: AccountName,
        /// Its Message-ID.
        message_id: String,
        /// The server's word.
        reply: String,
    },
    /// A message was accepted that answers or forwards others.
    Answers {
        /// The account that sent it.
        account: AccountName,
        /// The Message-IDs of the others, with angle brackets, the likeliest first.
        originals: Vec<String>,
        /// Whether it says that it forwards, and not that it answers.
        is_forward: bool,
    },
    /// It is tried again later.
    Deferred {
        /// The message.
        id: OutboxId,
        /// The D-Bus error name.
        error_name: String,
        /// When.
        next_attempt: Micros,
    },
    /// It, or a copy of it for some of its recipients, is parked in `failed/`.
    Failed {
        /// The message as it was queued.
        id: OutboxId,
        /// Who did not get it, and why.
        recipients: Vec<(String, String)>,
    },
    /// Its fate after the final dot is not known.
    Uncertain {
        /// The message.
        id: OutboxId,
    },
}

/// What a person decides about a message of unknown fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It was delivered.
    Sent,
    /// Send it again.
    Resend,
    /// Forget it, unsent.
    Drop,
}
