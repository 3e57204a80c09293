//! `postrider pause`. Beside floor 5.

use std::path::Path;
use std::time::Duration;

use super::client::Daemon;
use super::complaint::Complaint;
use super::print;
use crate::daemon::settings::duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long, like 30m or 2h; until `postrider resume` when left out
    #[arg(value_parser = duration)]
    duration: Option<Duration>,
}

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let seconds = args.duration.map_or(0, |duration| duration.as_secs());
    if args.duration.is_some() && seconds == 0 {
        return Err(Complaint::plain(64, "a pause of no length; to go on: postrider resume"));
    }
    Daemon::get(config).await?.manager.pause(seconds).await?;
    print::out(&match seconds {
        0 => "paused; to go on: postrider resume".to_owned(),
        seconds => format!("paused for {seconds} s; to go on before: postrider resume"),
    })?;
    Ok(0)
}
