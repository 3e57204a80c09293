//! The object `org.postrider.Postrider1.Manager`. Floor 5.

use zbus::object_server::SignalEmitter;

use super::desk::View;
use super::error::Error;
use super::values::{JobValues, Options, job_values, no_options, some_names};
use crate::daemon::document;
use crate::model::event::{Command, Target};
use crate::model::status::Micros;

pub(super) struct Manager(pub(super) View);

// Each getter is a look at the snapshot that the connection knows.
#[zbus::interface(name = "org.postrider.Postrider1.Manager", introspection_docs = false)]
impl Manager {
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        document::VERSION
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn config_path(&self) -> &str {
        &self.0.config_path
    }

    #[zbus(property)]
    fn state(&self) -> &str {
        document::state(&self.0.now())
    }

    #[zbus(property)]
    fn paused(&self) -> bool {
        self.0.now().paused
    }

    #[zbus(property)]
    fn unread(&self) -> u32 {
        document::unread(&self.0.now())
    }

    #[zbus(property)]
    fn outbox_count(&self) -> u32 {
        document::outbox_count(&self.0.now().outbox)
    }

    #[zbus(property)]
    fn attention_needed(&self) -> bool {
        document::needs_attention(&self.0.now())
    }

    #[zbus(property)]
    fn last_sync(&self) -> Micros {
        document::last_sync(&self.0.now())
    }

    #[zbus(out_args("job"))]
    fn sync(&self, targets: Vec<String>, options: Options<'_>) -> Result<u32, Error> {
        no_options(options)?;
        let targets = some_names(targets)?;
        self.0.sync(targets.iter().map(|text| Target::parse(text)).collect())
    }

    #[zbus(out_args("result"))]
    async fn wait_job(&self, job: u32) -> Result<JobValues, Error> {
        let result = self.0.wait(job).await?;
        self.0.catch_up().await;
        Ok(job_values(&result))
    }

    fn pause(&self, seconds: u64) -> Result<(), Error> {
        self.0.order(Command::Pause { account: None, seconds })
    }

    fn resume(&self) -> Result<(), Error> {
        self.0.order(Command::Resume { account: None })
    }

    fn reload(&self) -> Result<(), Error> {
        self.0.order(Command::Reload)
    }

    #[zbus(out_args("json"))]
    fn get_status(&self) -> String {
        document::status(&self.0.newest(), std::process::id()).to_string()
    }

    #[zbus(signal)]
    pub(super) async fn job_done(
        emitter: &SignalEmitter<'_>,
        job: u32,
        ok: bool,
        result: JobValues,
    ) -> zbus::Result<()>;
}
