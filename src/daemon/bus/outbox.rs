//! The object `org.postrider.Postrider1.Outbox`. Floor 5.

use std::collections::HashMap;

use zbus::Variant;
use zbus::object_server::SignalEmitter;

use super::Submission;
use super::desk::View;
use super::error::Error;
use super::values::{Options, item_values, some_names, submit_options};
use crate::engine::relay::Ask;
use crate::model::ids::OutboxId;
use crate::model::outbox::{Address, Decision, Submitted};
use crate::model::status::Micros;

pub(super) struct Outbox(pub(super) View);

#[zbus::interface(name = "org.postrider.Postrider1.Outbox")]
impl Outbox {
    /// Messages that wait to be sent.
    #[zbus(property)]
    fn queued(&self) -> u32 {
        self.0.now().outbox.queued
    }

    /// Messages that wait for Release.
    #[zbus(property)]
    fn held(&self) -> u32 {
        self.0.now().outbox.held
    }

    /// Messages that may or may not have been delivered: they wait for Resolve.
    #[zbus(property)]
    fn uncertain(&self) -> u32 {
        self.0.now().outbox.uncertain
    }

    /// Messages that lie in failed/.
    #[zbus(property)]
    fn failed(&self) -> u32 {
        self.0.now().outbox.failed
    }

    /// Whether a message is on the wire.
    #[zbus(property)]
    fn sending(&self) -> bool {
        self.0.now().outbox.sending
    }

    /// When the next attempt is due; microseconds since the epoch, 0 = none.
    #[zbus(property)]
    fn next_attempt(&self) -> Micros {
        self.0.now().outbox.next_attempt
    }

    /// The directory whose files are sent.
    #[zbus(property)]
    fn directory(&self) -> String {
        self.0.now().outbox.directory.clone()
    }

    /// Tries now; none means all that wait. Answers a job. Errors: NoSuchMessage, Paused, Busy.
    #[zbus(out_args("job"))]
    async fn flush(&self, ids: Vec<String>) -> Result<u32, Error> {
        let ids: Vec<OutboxId> = some_names(ids)?.into_iter().map(OutboxId).collect();
        if !ids.is_empty() {
            let known = self.0.ask(Ask::List).await?;
            if let Some(unknown) = ids.iter().find(|id| !known.iter().any(|item| item.id == **id)) {
                let text = format!("there is no message {:?} in the outbox", unknown.0);
                return Err(Error::NoSuchMessage(text));
            }
        }
        self.0.flush(ids)
    }

    /// Queues a message from a descriptor, and answers its id once it is durable. An empty sender is that of the
    /// header, "<>" the empty one; no recipients are those of the header. Options: recipients_of_header (b), account (s),
    /// hold (b), dsn (s), send_after (t).
    /// Errors: InvalidAddress, NoAccountForSender, MessageTooBig, NotSupported, LocalIo, Busy.
    #[zbus(out_args("id"))]
    async fn submit(
        &self,
        message: zbus::OwnedFd,
        sender: &str,
        recipients: Vec<String>,
        options: Options<'_>,
    ) -> Result<String, Error> {
        let (from_header, wishes) = submit_options(options)?;
        let recipients = some_names(recipients)?;
        let submitted = Submitted {
            sender: match sender {
                "" => None,
                "<>" => Some(None),
                text => Some(Some(address(text)?)),
            },
            from_header: from_header || recipients.is_empty(),
            recipients: recipients.iter().map(|to| address(to)).collect::<Result<_, _>>()?,
        };
        let message = message.into();
        let id = self.0.submit(|reply| Submission { message, submitted, wishes, reply }).await?;
        Ok(id.0)
    }

    /// The messages: id, account, sender, message_id, phase, reason_name, reason_text (s), size, queued_at, next_attempt
    /// (t), tries (u), recipients (aa{sv}: address, state, reply). No subject.
    #[zbus(out_args("messages"))]
    async fn list(&self) -> Result<Vec<HashMap<&'static str, Variant<'static>>>, Error> {
        Ok(self.0.ask(Ask::List).await?.iter().map(item_values).collect())
    }

    /// Keeps messages here. Errors: NoSuchMessage, Busy.
    async fn hold(&self, ids: Vec<String>) -> Result<(), Error> {
        self.0.ask(Ask::Hold(some_ids(ids)?)).await.map(drop)
    }

    /// Sends what is held or delayed. Errors: NoSuchMessage.
    async fn release(&self, ids: Vec<String>) -> Result<(), Error> {
        self.0.ask(Ask::Release(some_ids(ids)?)).await.map(drop)
    }

    /// Forgets messages, unsent. Errors: NoSuchMessage, Busy.
    async fn cancel(&self, ids: Vec<String>) -> Result<(), Error> {
        self.0.ask(Ask::Cancel(some_ids(ids)?)).await.map(drop)
    }

    /// Says what became of an uncertain message: sent, resend or drop. Errors: NoSuchMessage, NotSupported, Busy.
    async fn resolve(&self, id: String, decision: &str) -> Result<(), Error> {
        let decision = match decision {
            "sent" => Decision::Sent,
            "resend" => Decision::Resend,
            "drop" => Decision::Drop,
            _ => {
                let words = "a decision is one of: sent, resend, drop";
                return Err(Error::NotSupported(words.to_owned()));
            }
        };
        self.0.ask(Ask::Resolve(OutboxId(id), decision)).await.map(drop)
    }

    /// A message was taken in.
    #[zbus(signal)]
    pub(super) async fn message_queued(
        emitter: &SignalEmitter<'_>,
        id: &str,
        account: &str,
    ) -> zbus::Result<()>;

    /// Accepted for all who were left (MessageFailed tells the others); reply is the server's last answer.
    #[zbus(signal)]
    pub(super) async fn message_sent(
        emitter: &SignalEmitter<'_>,
        id: &str,
        account: &str,
        message_id: &str,
        reply: &str,
    ) -> zbus::Result<()>;

    /// It is tried again later.
    #[zbus(signal)]
    pub(super) async fn message_deferred(
        emitter: &SignalEmitter<'_>,
        id: &str,
        error_name: &str,
        next_attempt: Micros,
    ) -> zbus::Result<()>;

    /// Recipients were refused for good: address and reply (s) of each.
    #[zbus(signal)]
    pub(super) async fn message_failed(
        emitter: &SignalEmitter<'_>,
        id: &str,
        recipients: Vec<HashMap<&str, Variant<'_>>>,
    ) -> zbus::Result<()>;

    /// The connection was lost after the final dot.
    #[zbus(signal)]
    pub(super) async fn message_uncertain(
        emitter: &SignalEmitter<'_>,
        id: &str,
    ) -> zbus::Result<()>;
}

/// The ids that are meant. None is never all: nobody cancels everything by an empty list.
fn some_ids(ids: Vec<String>) -> Result<Vec<OutboxId>, Error> {
    if ids.is_empty() {
        return Err(Error::NoSuchMessage("no message is named".to_owned()));
    }
    Ok(some_names(ids)?.into_iter().map(OutboxId).collect())
}

fn address(text: &str) -> Result<Address, Error> {
    Address::new(text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Error::InvalidAddress(format!("address {shown:?} cannot be used: correct it"))
    })
}
