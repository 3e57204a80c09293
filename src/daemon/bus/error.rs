//! The errors of the D-Bus surface, by the names of the product page. Floor 5.

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
    /// Too much is waiting; ask again later.
    Busy(String),
    /// The service, or the account, is paused.
    Paused(String),
    /// This cannot be done here.
    NotSupported(String),
}
