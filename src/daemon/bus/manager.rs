//! The object `org.postrider.Postrider1.Manager`. Floor 5.

use std::path::PathBuf;

use tokio::task::spawn_blocking;
use zbus::object_server::SignalEmitter;

use super::desk::View;
use super::error::Error;
use super::values::{JobValues, Options, job_values, manner, some_names};
use crate::daemon::document;
use crate::model::event::{Command, Target};
use crate::model::status::Micros;

pub(super) struct Manager(pub(super) View);

// Each getter is a look at the snapshot that the connection knows.
#[zbus::interface(name = "org.postrider.Postrider1.Manager")]
impl Manager {
    /// The version of the program.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        document::VERSION
    }

    /// The configuration file in use.
    #[zbus(property(emits_changed_signal = "const"))]
    fn config_path(&self) -> &str {
        &self.0.config_path
    }

    /// What matters most: starting, idle, syncing, attention, paused, offline or stopping.
    #[zbus(property)]
    fn state(&self) -> &str {
        document::state(&self.0.now())
    }

    /// Whether everything is paused.
    #[zbus(property)]
    fn paused(&self) -> bool {
        self.0.now().paused
    }

    /// Unread messages of all accounts.
    #[zbus(property)]
    fn unread(&self) -> u32 {
        document::unread(&self.0.now())
    }

    /// Messages in the outbox that may still be sent.
    #[zbus(property)]
    fn outbox_count(&self) -> u32 {
        document::outbox_count(&self.0.now().outbox)
    }

    /// Whether a person has to do something.
    #[zbus(property)]
    fn attention_needed(&self) -> bool {
        document::needs_attention(&self.0.now())
    }

    /// When a pass ended last; microseconds since the epoch, 0 = never.
    #[zbus(property)]
    fn last_sync(&self) -> Micros {
        document::last_sync(&self.0.now())
    }

    /// Syncs accounts or mailboxes ("work", "work/INBOX"); none means all. With the option dry_run (b) nothing is
    /// changed, and the result is what would be. With unmetered (b) old and large mail comes although traffic is
    /// counted.
    /// Answers a job at once; WaitJob waits for it.
    /// Errors: NoSuchAccount, ConfigInvalid, NotSupported, Paused, Busy.
    #[zbus(out_args("job"))]
    fn sync(&self, targets: Vec<String>, options: Options<'_>) -> Result<u32, Error> {
        let manner = manner(options)?;
        let targets = some_names(targets)?;
        self.0.sync(targets.iter().map(|text| Target::parse(text)).collect(), manner)
    }

    /// Waits for a job, and answers "ok" (b), "elapsed_ms" (t) and "json" (s), the sync document.
    /// Raise the time limit of the call: busctl with timeout=600. Errors: NoSuchJob.
    #[zbus(out_args("result"))]
    async fn wait_job(&self, job: u32) -> Result<JobValues, Error> {
        let result = self.0.wait(job).await?;
        self.0.catch_up().await;
        Ok(job_values(&result))
    }

    /// Stops syncing and sending; 0 seconds: until Resume.
    fn pause(&self, seconds: u64) -> Result<(), Error> {
        self.0.order(Command::Pause { account: None, seconds })
    }

    /// Goes on after Pause.
    fn resume(&self) -> Result<(), Error> {
        self.0.order(Command::Resume { account: None })
    }

    /// Reads the configuration again. One with a mistake changes nothing, and needs attention.
    /// Errors: ConfigInvalid, Busy.
    async fn reload(&self) -> Result<(), Error> {
        self.0.order(Command::Reload)?;
        let path = PathBuf::from(&self.0.config_path);
        let find_mistake = self.0.find_mistake;
        match spawn_blocking(move || find_mistake(&path)).await {
            Ok(Some(mistake)) => Err(Error::ConfigInvalid(mistake)),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// The status document, as JSON.
    #[zbus(out_args("json"))]
    fn get_status(&self) -> String {
        document::status(&self.0.newest(), std::process::id()).to_string()
    }

    /// A job ended.
    #[zbus(signal)]
    pub(super) async fn job_done(
        emitter: &SignalEmitter<'_>,
        job: u32,
        ok: bool,
        result: JobValues,
    ) -> zbus::Result<()>;
}
