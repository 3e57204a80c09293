//! `postrider resume`. Beside floor 5.

use std::path::Path;

use super::client::Daemon;
use super::complaint::Complaint;
use super::print;

pub(super) async fn run(config: Option<&Path>) -> Result<u8, Complaint> {
    let daemon = Daemon::get(config).await?;
    daemon.manager.resume().await?;
    print::out("resumed")?;
    Ok(0)
}
