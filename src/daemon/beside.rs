//! What runs beside the sync and may be slow, fail or hang: hooks and notifications. Floor 5.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::daemon::{hooks, notifications};
use crate::model::account::Settings;
use crate::model::event::{Command, Notice};
use crate::model::status::Status;

/// Stops all of it when it is dropped.
pub(super) struct Beside {
    _stop: DropGuard,
}

impl Beside {
    /// Starts what the settings ask for.
    pub(super) fn start(
        settings: &Settings,
        notices: &broadcast::Sender<Notice>,
        status: &watch::Receiver<Arc<Status>>,
        commands: &mpsc::Sender<Command>,
    ) -> Self {
        let stop = CancellationToken::new();
        if let Some(hook) = settings.new_mail.clone() {
            tokio::spawn(hooks::watch(hook, notices.subscribe(), stop.clone()));
        }
        if settings.daemon.notifications {
            let (notices, status) = (notices.subscribe(), status.clone());
            let commands = commands.clone();
            tokio::spawn(notifications::watch(notices, status, commands, stop.clone()));
        }
        Self { _stop: stop.drop_guard() }
    }
}
