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
        seconds => format!("paused for {}; to go on before: postrider resume", words(seconds)),
    })?;
    Ok(0)
}

fn words(seconds: u64) -> String {
    match (seconds % 86_400, seconds % 3600, seconds % 60) {
        (0, _, _) => format!("{} d", seconds / 86_400),
        (_, 0, _) => format!("{} h", seconds / 3600),
        (_, _, 0) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_told_in_its_largest_whole_unit() {
        let told = [30, 300, 7200, 90_061, 172_800].map(words);
        assert_eq!(told, ["30 s", "5 min", "2 h", "90061 s", "2 d"]);
    }
}
