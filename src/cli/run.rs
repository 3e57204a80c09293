//! `postrider run`: the daemon in the foreground. Beside floor 5.

use std::path::Path;

use super::complaint::Complaint;
use super::{Entry, log};
use crate::daemon::settings;

pub(super) async fn run(config: Option<&Path>, entry: &Entry) -> Result<u8, Complaint> {
    let settings = settings::load(&settings::locate(config))?;
    log::start(&settings.daemon.log);
    (entry.run)(settings).await?;
    Ok(0)
}
