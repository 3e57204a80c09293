//! `postrider reload`. Beside floor 5.

use std::path::{Path, PathBuf};

use super::client::Daemon;
use super::complaint::Complaint;
use super::print;
use crate::daemon::settings;

/// A configuration that is wrong is told here: the daemon would keep the old one and only log it.
pub(super) async fn run(config: Option<&Path>) -> Result<u8, Complaint> {
    let daemon = Daemon::get(config).await?;
    let path = PathBuf::from(daemon.manager.config_path().await?);
    settings::load(&path)?;
    daemon.manager.reload().await?;
    print::out(&format!("reloading {}", path.display()))?;
    Ok(0)
}
