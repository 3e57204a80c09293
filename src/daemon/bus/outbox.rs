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

#[zbus::interface(name = "org.postrider.Postrider1.Outbox", introspection_docs = false)]
impl Outbox {
    #[zbus(property)]
    fn queued(&self) -> u32 {
        self.0.now().outbox.queued
    }

    #[zbus(property)]
    fn held(&self) -> u32 {
        self.0.now().outbox.held
    }

    #[zbus(property)]
    fn uncertain(&self) -> u32 {
        self.0.now().outbox.uncertain
    }

    #[zbus(property)]
    fn failed(&self) -> u32 {
        self.0.now().outbox.failed
    }

    #[zbus(property)]
    fn sending(&self) -> bool {
        self.0.now().outbox.sending
    }

    #[zbus(property)]
    fn next_attempt(&self) -> Micros {
        self.0.now().outbox.next_attempt
    }

    #[zbus(property)]
    fn directory(&self) -> String {
        self.0.now().outbox.directory.clone()
    }

    #[zbus(out_args("job"))]
    fn flush(&self, ids: Vec<String>) -> Result<u32, Error> {
        self.0.flush(some_names(ids)?.into_iter().map(OutboxId).collect())
    }

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

    #[zbus(out_args("messages"))]
    async fn list(&self) -> Result<Vec<HashMap<&'static str, Variant<'static>>>, Error> {
        Ok(self.0.ask(Ask::List).await?.iter().map(item_values).collect())
    }

    async fn hold(&self, ids: Vec<String>) -> Result<(), Error> {
        self.0.ask(Ask::Hold(some_ids(ids)?)).await.map(drop)
    }

    async fn release(&self, ids: Vec<String>) -> Result<(), Error> {
        self.0.ask(Ask::Release(some_ids(ids)?)).await.map(drop)
    }

    async fn cancel(&self, ids: Vec<String>) -> Result<(), Error> {
        self.0.ask(Ask::Cancel(some_ids(ids)?)).await.map(drop)
    }

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

    #[zbus(signal)]
    pub(super) async fn message_queued(
        emitter: &SignalEmitter<'_>,
        id: &str,
        account: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn message_sent(
        emitter: &SignalEmitter<'_>,
        id: &str,
        account: &str,
        message_id: &str,
        reply: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn message_deferred(
        emitter: &SignalEmitter<'_>,
        id: &str,
        error_name: &str,
        next_attempt: Micros,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn message_failed(
        emitter: &SignalEmitter<'_>,
        id: &str,
        recipients: Vec<HashMap<&str, Variant<'_>>>,
    ) -> zbus::Result<()>;

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
