//! The errors of the D-Bus surface, by the names of the product page. Floor 5.

use crate::model::failure::{Failure, Kind};

/// Why a call was refused.
#[derive(Debug, PartialEq, zbus::DBusError)]
#[zbus(prefix = "org.postrider.Postrider1.Error")]
pub(super) enum Error {
    /// The connection itself.
    #[zbus(error)]
    Bus(zbus::Error),
    /// There is no account of this name.
    NoSuchAccount(String),
    /// The account has no mailbox of this name.
    NoSuchMailbox(String),
    /// There is no job of this number, or its result was forgotten.
    NoSuchJob(String),
    /// There is no message of this id in the outbox.
    NoSuchMessage(String),
    /// An address cannot be used, or the message has none.
    InvalidAddress(String),
    /// No account sends for the message's address.
    NoAccountForSender(String),
    /// The message is bigger than what is taken.
    MessageTooBig(String),
    /// A read or write on this machine failed.
    LocalIo(String),
    /// Too much is waiting; ask again later.
    Busy(String),
    /// The service, or the account, is paused.
    Paused(String),
    /// The configuration has a mistake.
    ConfigInvalid(String),
    /// This cannot be done here.
    NotSupported(String),
}

impl Error {
    /// The error of this name (without prefix); what the outbox has no name for is local trouble.
    pub(super) fn named(name: &str, text: String) -> Self {
        match name {
            "NoSuchAccount" => Self::NoSuchAccount(text),
            "InvalidAddress" => Self::InvalidAddress(text),
            "NoAccountForSender" => Self::NoAccountForSender(text),
            "MessageTooBig" => Self::MessageTooBig(text),
            "NotSupported" => Self::NotSupported(text),
            "Busy" => Self::Busy(text),
            _ => Self::LocalIo(text),
        }
    }

    /// What the outbox refused.
    pub(super) fn of_outbox(failure: &Failure) -> Self {
        if failure.kind == Kind::NotFound {
            return Self::NoSuchMessage(failure.to_string());
        }
        Self::named(failure.kind.error_name(), failure.to_string())
    }
}
