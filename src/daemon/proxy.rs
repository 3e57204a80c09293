//! Clients of the D-Bus objects, as the commands use them over the private socket. Floor 5.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;
use zbus::{Connection, Fd, OwnedVariant, Variant};

use crate::daemon::paths::own_uid;
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// `org.postrider.Postrider1.Manager`.
#[zbus::proxy(
    interface = "org.postrider.Postrider1.Manager",
    default_service = "org.postrider.Postrider1",
    default_path = "/org/postrider/Postrider1"
)]
pub trait Manager {
    /// Begins a sync of `ACCOUNT` or `ACCOUNT/MAILBOX`; none means everything.
    fn sync(&self, targets: &[&str], options: HashMap<&str, Variant<'_>>) -> zbus::Result<u32>;
    /// Waits for a job.
    fn wait_job(&self, job: u32) -> zbus::Result<HashMap<String, OwnedVariant>>;
    /// Pauses everything; 0 seconds means until resumed.
    fn pause(&self, seconds: u64) -> zbus::Result<()>;
    /// Goes on.
    fn resume(&self) -> zbus::Result<()>;
    /// Reads the configuration again.
    fn reload(&self) -> zbus::Result<()>;
    /// The status document.
    fn get_status(&self) -> zbus::Result<String>;
    /// A job ended.
    #[zbus(signal)]
    fn job_done(&self, job: u32, ok: bool, result: HashMap<String, OwnedVariant>);
    /// The version of the daemon.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;
    /// The configuration file of the daemon.
    #[zbus(property(emits_changed_signal = "const"))]
    fn config_path(&self) -> zbus::Result<String>;
    /// The state of the service in one word.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    /// Whether everything is paused.
    #[zbus(property)]
    fn paused(&self) -> zbus::Result<bool>;
    /// Unread messages.
    #[zbus(property)]
    fn unread(&self) -> zbus::Result<u32>;
    /// Messages in the outbox that may still be sent.
    #[zbus(property)]
    fn outbox_count(&self) -> zbus::Result<u32>;
    /// Whether a person has to do something.
    #[zbus(property)]
    fn attention_needed(&self) -> zbus::Result<bool>;
    /// When a pass ended last.
    #[zbus(property)]
    fn last_sync(&self) -> zbus::Result<u64>;
}

/// `org.postrider.Postrider1.Account`.
#[zbus::proxy(
    interface = "org.postrider.Postrider1.Account",
    default_service = "org.postrider.Postrider1"
)]
pub trait Account {
    /// Begins a sync of some mailboxes; none means all.
    fn sync(&self, mailboxes: &[&str], options: HashMap<&str, Variant<'_>>) -> zbus::Result<u32>;
    /// Pauses the account; 0 seconds means until resumed.
    fn pause(&self, seconds: u64) -> zbus::Result<()>;
    /// Goes on.
    fn resume(&self) -> zbus::Result<()>;
    /// The mailboxes with their numbers.
    fn list_mailboxes(&self) -> zbus::Result<Vec<HashMap<String, OwnedVariant>>>;
    /// Carries out the deletions that are held back in a mailbox.
    fn confirm_deletes(&self, mailbox: &str) -> zbus::Result<()>;
    /// Brings the messages back instead.
    fn reject_deletes(&self, mailbox: &str) -> zbus::Result<()>;
    /// Deletions are held back.
    #[zbus(signal)]
    fn deletes_held(&self, mailbox: String, count: u32);
    /// The server numbered a mailbox anew.
    #[zbus(signal)]
    fn mailbox_reset(&self, mailbox: String);
    /// Unseen mail landed.
    #[zbus(signal)]
    fn new_messages(&self, mailbox: String, paths: Vec<String>);
    /// The name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> zbus::Result<String>;
    /// The address.
    #[zbus(property)]
    fn address(&self) -> zbus::Result<String>;
    /// `imap`, `pop3` or `none`.
    #[zbus(property)]
    fn protocol(&self) -> zbus::Result<String>;
    /// Whether it runs at all.
    #[zbus(property)]
    fn enabled(&self) -> zbus::Result<bool>;
    /// The root of its Maildir.
    #[zbus(property)]
    fn maildir(&self) -> zbus::Result<String>;
    /// How server changes are noticed.
    #[zbus(property)]
    fn push(&self) -> zbus::Result<String>;
    /// How local changes are noticed.
    #[zbus(property)]
    fn watch(&self) -> zbus::Result<String>;
    /// Its state.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    /// The name of the error that lasts, or empty.
    #[zbus(property)]
    fn error_name(&self) -> zbus::Result<String>;
    /// Its text.
    #[zbus(property)]
    fn error_text(&self) -> zbus::Result<String>;
    /// Since when.
    #[zbus(property)]
    fn error_since(&self) -> zbus::Result<u64>;
    /// When the next try is due.
    #[zbus(property)]
    fn next_retry(&self) -> zbus::Result<u64>;
    /// When the last pass ended.
    #[zbus(property)]
    fn last_sync(&self) -> zbus::Result<u64>;
    /// When the last pass ended well.
    #[zbus(property)]
    fn last_success(&self) -> zbus::Result<u64>;
    /// Unread messages.
    #[zbus(property)]
    fn unread(&self) -> zbus::Result<u32>;
    /// Messages.
    #[zbus(property)]
    fn total(&self) -> zbus::Result<u32>;
    /// Deletions held back.
    #[zbus(property)]
    fn held(&self) -> zbus::Result<u32>;
    /// The pass that runs.
    #[zbus(property)]
    fn progress(&self) -> zbus::Result<HashMap<String, OwnedVariant>>;
}

/// `org.postrider.Postrider1.Outbox`.
#[zbus::proxy(
    interface = "org.postrider.Postrider1.Outbox",
    default_service = "org.postrider.Postrider1",
    default_path = "/org/postrider/Postrider1/outbox"
)]
pub trait Outbox {
    /// Takes a message from a descriptor: a regular file from its beginning, or a pipe to its end.
    fn submit(
        &self,
        message: Fd<'_>,
        sender: &str,
        recipients: &[&str],
        options: HashMap<&str, Variant<'_>>,
    ) -> zbus::Result<String>;
    /// The messages that are not done.
    fn list(&self) -> zbus::Result<Vec<HashMap<String, OwnedVariant>>>;
    /// Holds messages.
    fn hold(&self, ids: &[&str]) -> zbus::Result<()>;
    /// Releases messages that are held or delayed.
    fn release(&self, ids: &[&str]) -> zbus::Result<()>;
    /// Forgets messages, unsent.
    fn cancel(&self, ids: &[&str]) -> zbus::Result<()>;
    /// Decides about a message of unknown fate: `sent`, `resend` or `drop`.
    fn resolve(&self, id: &str, decision: &str) -> zbus::Result<()>;
    /// Tries messages now, failed ones too if they are named; none means all that wait.
    fn flush(&self, ids: &[&str]) -> zbus::Result<u32>;
    /// A message was taken into the queue.
    #[zbus(signal)]
    fn message_queued(&self, id: String, account: String);
    /// A message was sent.
    #[zbus(signal)]
    fn message_sent(&self, id: String, account: String, message_id: String, reply: String);
    /// A message is tried again later.
    #[zbus(signal)]
    fn message_deferred(&self, id: String, error_name: String, next_attempt: u64);
    /// A message was parked.
    #[zbus(signal)]
    fn message_failed(&self, id: String, recipients: Vec<HashMap<String, OwnedVariant>>);
    /// The fate of a message is not known.
    #[zbus(signal)]
    fn message_uncertain(&self, id: String);
    /// Messages waiting to be sent.
    #[zbus(property)]
    fn queued(&self) -> zbus::Result<u32>;
    /// Messages held.
    #[zbus(property)]
    fn held(&self) -> zbus::Result<u32>;
    /// Messages whose fate is not known.
    #[zbus(property)]
    fn uncertain(&self) -> zbus::Result<u32>;
    /// Messages parked in `failed/`.
    #[zbus(property)]
    fn failed(&self) -> zbus::Result<u32>;
    /// Whether a message is on the wire.
    #[zbus(property)]
    fn sending(&self) -> zbus::Result<bool>;
    /// When the next attempt is due.
    #[zbus(property)]
    fn next_attempt(&self) -> zbus::Result<u64>;
    /// The directory.
    #[zbus(property)]
    fn directory(&self) -> zbus::Result<String>;
}

/// Connects to the daemon that listens on the private socket; none when no daemon does.
///
/// # Errors
/// The socket belongs to another user, or what listens does not speak D-Bus.
pub async fn connect_private(socket: &Path) -> Result<Option<Connection>, Failure> {
    let failed = |detail: &dyn std::fmt::Display| {
        Failure::new(Scope::Daemon, Remedy::Later, Kind::LocalIo, "connect to the daemon")
            .at(socket.display().to_string())
            .detail(detail)
    };
    let connected = UnixStream::connect(socket).await;
    let is_nobody = |err: &io::Error| {
        matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(err) if is_nobody(&err) => return Ok(None),
        Err(err) => return Err(failed(&err)),
    };
    let uid = stream.peer_cred().map_err(|err| failed(&err))?.uid();
    if uid != own_uid() {
        return Err(failed(&"another user listens there")
            .cure("set XDG_RUNTIME_DIR to a directory of your own"));
    }
    let stream = stream.into_std().map_err(|err| failed(&err))?;
    let builder = zbus::connection::Builder::unix_stream(stream).p2p();
    match timeout(HELLO_LIMIT, builder.build()).await {
        Ok(Ok(connection)) => Ok(Some(connection)),
        Ok(Err(err)) => Err(failed(&err)),
        Err(_) => Err(failed(&"it does not answer").cure("restart the daemon")),
    }
}

const HELLO_LIMIT: Duration = Duration::from_secs(10);
