//! The object `org.postrider.Postrider1.Outbox`. Floor 5.

use std::collections::HashMap;

use zbus::Variant;
use zbus::object_server::SignalEmitter;

use super::desk::View;
use super::error::Error;
use super::values::some_names;
use crate::model::ids::OutboxId;
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
