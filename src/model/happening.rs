//! What happens that people and programs look for in the log: each kind has a name and, in the journal, an
//! id of its own that never changes. Floor 0.

/// A kind of event in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// The service is ready.
    Ready,
    /// The state of an account changed.
    AccountState,
    /// Something went wrong that did not before.
    Trouble,
    /// A trouble is over.
    TroubleOver,
    /// All mailboxes of an account were synced for the first time.
    FirstSync,
    /// So many deletions that they wait for a person's word.
    DeletesHeld,
    /// The server numbered a mailbox anew.
    MailboxReset,
    /// A message was taken into the outbox.
    MessageQueued,
    /// The outgoing server accepted a message.
    MessageSent,
    /// A message is tried again later.
    MessageDeferred,
    /// A message is parked in `failed/`.
    MessageFailed,
    /// Nobody knows whether the server has a message.
    MessageUncertain,
    /// A new configuration has a mistake and was not taken over.
    ConfigRefused,
    /// A loop hangs; the watchdog is not fed any more.
    Hangs,
}

impl Happening {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Ready,
        Self::AccountState,
        Self::Trouble,
        Self::TroubleOver,
        Self::FirstSync,
        Self::DeletesHeld,
        Self::MailboxReset,
        Self::MessageQueued,
        Self::MessageSent,
        Self::MessageDeferred,
        Self::MessageFailed,
        Self::MessageUncertain,
        Self::ConfigRefused,
        Self::Hangs,
    ];

    /// Its name: the value of the field `event` of a line of the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::AccountState => "account-state",
            Self::Trouble => "trouble",
            Self::TroubleOver => "trouble-over",
            Self::FirstSync => "first-sync",
            Self::DeletesHeld => "deletes-held",
            Self::MailboxReset => "mailbox-reset",
            Self::MessageQueued => "message-queued",
            Self::MessageSent => "message-sent",
            Self::MessageDeferred => "message-deferred",
            Self::MessageFailed => "message-failed",
            Self::MessageUncertain => "message-uncertain",
            Self::ConfigRefused => "config-refused",
            Self::Hangs => "hangs",
        }
    }

    /// Its `MESSAGE_ID` in the journal (systemd.journal-fields(7)).
    pub fn id(self) -> &'static str {
        match self {
            Self::Ready => "f02925e8f10343198695ffbf441b0127",
            Self::AccountState => "eb0c752b6cc6474eb836faad2338ab84",
            Self::Trouble => "9b8839973b0e42f8b5d9b8e9fb17b12e",
            Self::TroubleOver => "dce281871e024321b315d2ddd59bd209",
            Self::FirstSync => "1deacb9f7b29436488d9b96e2e0203d1",
            Self::DeletesHeld => "2b086d2b4b854b5dac0b72c75e625ab4",
            Self::MailboxReset => "1401e5393fc344d7bc8e528b9b44be64",
            Self::MessageQueued => "4130ef78103c4d9db597e55ec4589fd1",
            Self::MessageSent => "681f9e0d43f64777be40fd0b684cabd5",
            Self::MessageDeferred => "074af978c44349e48f53b21d149dca37",
            Self::MessageFailed => "1f6ac5a6baba418c975e43c18ce46e00",
            Self::MessageUncertain => "80a10005fad44e9c84ad0c1624368af9",
            Self::ConfigRefused => "fceac2e975c74a03971a21592047ce0f",
            Self::Hangs => "e7486d0d1b6e4460a4551b95a64147cb",
        }
    }

    /// What it means, for the manual.
    pub fn means(self) -> &'static str {
        match self {
            Self::Ready => "the service is ready",
            Self::AccountState => {
                "the state of an account changed: POSTRIDER_BEFORE, POSTRIDER_STATE"
            }
            Self::Trouble => {
                "an account, or the outbox, has trouble that it did not have before: POSTRIDER_CODE"
            }
            Self::TroubleOver => "that is over",
            Self::FirstSync => "all mailboxes of an account were synced for the first time",
            Self::DeletesHeld => "deletions wait for a word: postrider held",
            Self::MailboxReset => "the server numbered a mailbox anew",
            Self::MessageQueued => "a message was taken into the outbox",
            Self::MessageSent => "the outgoing server accepted a message",
            Self::MessageDeferred => "a message is tried again later: POSTRIDER_CODE",
            Self::MessageFailed => "a message was not sent to everybody, and is parked",
            Self::MessageUncertain => {
                "it is not known whether the server has a message: postrider outbox resolve"
            }
            Self::ConfigRefused => "a new configuration has a mistake and was not taken over",
            Self::Hangs => {
                "an account, or the outbox, does not move any more: the watchdog is not fed"
            }
        }
    }

    /// The kind that has this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_a_name_and_an_id_that_no_other_has() {
        let names: BTreeSet<&str> = Happening::ALL.iter().map(|one| one.as_str()).collect();
        let ids: BTreeSet<&str> = Happening::ALL.iter().map(|one| one.id()).collect();
        assert_eq!((names.len(), ids.len()), (Happening::ALL.len(), Happening::ALL.len()));
        for one in Happening::ALL {
            assert_eq!(Happening::parse(one.as_str()), Some(one));
            let is_hex = one.id().bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            assert!(one.id().len() == 32 && is_hex, "{one:?}");
        }
    }
}
