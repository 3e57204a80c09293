//! `postrider send` and `postrider sendmail`, from the arguments to the exit code. Beside floor 5.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use chrono::Utc;

use super::bs::converse;
use super::client::Daemon;
use super::complaint::Complaint;
use super::outbox::hand::Hand;
use super::outbox::take_in;
use super::print;
use super::queue::queued;
use super::send::send as queue;
use super::sendmail::{Sendmail, sendmail as obey};
use crate::daemon::spool::{Answer, Spooling};
use crate::daemon::{paths, settings};
use crate::model::account::Settings;

#[derive(Debug, clap::Args)]
pub(super) struct SendArgs {
    /// The message; stdin when left out
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct SendmailArgs {
    /// As sendmail has them: -t, -f ADDRESS, -i, -bp, -q, ADDRESS...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) args: Vec<OsString>,
}

pub(super) fn send(config: Option<&Path>, args: &SendArgs) -> Result<u8, Complaint> {
    let settings = settings::load(&settings::locate(config))?;
    let state_dir = paths::state_dir();
    let how = spooling(&settings, &state_dir);
    say(&queue(&how, args.file.as_deref(), &mut std::io::stdin().lock()))
}

pub(super) async fn sendmail(config: Option<&Path>, args: &SendmailArgs) -> Result<u8, Complaint> {
    let texts: Option<Vec<String>> =
        args.args.iter().map(|arg| arg.to_str().map(str::to_owned)).collect();
    let texts = texts.ok_or_else(|| Complaint::plain(65, "an argument is not UTF-8"))?;
    let settings = settings::load(&settings::locate(config))?;
    let state_dir = paths::state_dir();
    let how = spooling(&settings, &state_dir);
    // Its own statement: the lock on stdin must not be held while the daemon is waited for.
    let asked = obey(&how, &texts, &mut std::io::stdin().lock());
    match asked {
        Sendmail::Done(answer) => say(&answer),
        Sendmail::Dialogue(wishes) => {
            let how = || spooling(&settings, &state_dir);
            let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
            match converse(&how, &wishes, &mut input, &mut output) {
                Ok(()) => Ok(0),
                Err(err) => Err(Complaint::plain(74, &format!("speak SMTP: {err}"))),
            }
        }
        Sendmail::List => {
            if Daemon::find(config).await?.is_none()
                && let Some(more) = take_in(config).await?
            {
                print::trouble(&format!("postrider: {more}"));
            }
            say(&queued(&state_dir, Utc::now()))
        }
        Sendmail::Flush(ids) => {
            Box::pin(async { Hand::find(config).await?.flush(&ids).await }).await
        }
    }
}

fn spooling<'a>(settings: &'a Settings, state_dir: &'a Path) -> Spooling<'a> {
    Spooling {
        settings,
        state_dir,
        daemon_runs: paths::holder(state_dir).is_some(),
        now: u64::try_from(Utc::now().timestamp_micros()).unwrap_or_default(),
        random: fastrand::u32(..),
    }
}

fn say(answer: &Answer) -> Result<u8, Complaint> {
    if !answer.err.is_empty() {
        print::trouble(answer.err.trim_end_matches('\n'));
    }
    if !answer.out.is_empty() {
        print::out(answer.out.trim_end_matches('\n'))?;
    }
    Ok(answer.code)
}
