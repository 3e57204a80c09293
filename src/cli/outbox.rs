//! `postrider outbox`: the queue, through the daemon; without one, looking works from the ledger.
//! Beside floor 5.

mod edit;
mod entry;

use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use tokio::time::sleep;

use self::entry::{Entry, show, table};
use super::client::{Daemon, START};
use super::complaint::Complaint;
use super::{completions, print};
use crate::daemon::{paths, queued, settings, stopped};
use crate::model::failure::server_words;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print the messages as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// One line per message [default]
    List {
        /// The messages; all when none is named
        #[arg(add = completions::messages())]
        ids: Vec<String>,
    },
    /// All that is known: each recipient, the server's words, why it waits
    Show {
        /// The messages; all when none is named
        #[arg(add = completions::messages())]
        ids: Vec<String>,
    },
    /// Keep messages here until they are released
    Hold(Ids),
    /// Send what is held or delayed
    Release(Ids),
    /// Change a message in $VISUAL or $EDITOR; it is held meanwhile, and sent afterwards
    Edit {
        /// The message
        #[arg(add = completions::messages())]
        id: String,
    },
    /// Try again now, failed messages too
    Retry {
        /// The messages; all that wait or failed when none is named
        #[arg(add = completions::messages())]
        ids: Vec<String>,
    },
    /// Forget messages, unsent
    Cancel(Ids),
    /// Say what became of a message whose fate is not known
    Resolve {
        /// The message
        #[arg(add = completions::messages())]
        id: String,
        /// It was delivered; send it again; forget it
        #[arg(value_parser = ["sent", "resend", "drop"])]
        decision: String,
    },
}

#[derive(Debug, clap::Args)]
struct Ids {
    /// The messages
    #[arg(required = true, add = completions::messages())]
    ids: Vec<String>,
}

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let as_table = |found: &[Entry]| print_all(found, args.json, |all| table(all, Utc::now()));
    match &args.action {
        None => as_table(&look(config, &[]).await?),
        Some(Action::List { ids }) => as_table(&look(config, ids).await?),
        Some(Action::Show { ids }) => {
            let found = look(config, ids).await?;
            print_all(&found, args.json, |all| {
                all.iter().map(|one| show(one, Utc::now())).collect::<Vec<_>>().join("\n\n")
            })
        }
        Some(steer) => {
            let done = Box::pin(obey(config, steer)).await?;
            if args.json {
                as_table(&look(config, &[]).await?)
            } else {
                print::out(&done)?;
                Ok(0)
            }
        }
    }
}

/// The messages that are meant, as the daemon knows them; as the ledger does when none runs.
async fn look(config: Option<&Path>, ids: &[String]) -> Result<Vec<Entry>, Complaint> {
    let all: Vec<Entry> = match Daemon::find(config).await? {
        Some(daemon) => {
            let listed = daemon.outbox().await?.list().await?;
            listed.iter().map(Entry::of_bus).collect()
        }
        None => {
            tell_what_waits(config)?;
            queued::items(&paths::state_dir())?.iter().map(Entry::of_item).collect()
        }
    };
    if let Some(unknown) = ids.iter().find(|id| !all.iter().any(|one| one.id == **id)) {
        return Err(unknown_message(unknown));
    }
    Ok(all.into_iter().filter(|one| ids.is_empty() || ids.contains(&one.id)).collect())
}

/// The ledger does not know what lies in the directory until a daemon takes it in.
fn tell_what_waits(config: Option<&Path>) -> Result<(), Complaint> {
    let dropped = stopped::dropped(&settings::load(&settings::locate(config))?)?;
    let waiting = match dropped {
        0 => String::new(),
        n => format!("; {n} more wait in the directory for it"),
    };
    print::trouble(&format!("no service is running{waiting}; to start it: {START}"));
    Ok(())
}

fn unknown_message(id: &str) -> Complaint {
    let text = format!(
        "there is no message \"{}\" in the outbox\n  to mend it:  postrider outbox list",
        server_words(id)
    );
    Complaint::plain(67, &text)
}

fn print_all(
    found: &[Entry],
    as_json: bool,
    text: impl FnOnce(&[Entry]) -> String,
) -> Result<u8, Complaint> {
    let text = if as_json {
        Value::from(found.iter().map(Entry::json).collect::<Vec<_>>()).to_string()
    } else if found.is_empty() {
        "the outbox is empty".to_owned()
    } else {
        text(found)
    };
    print::out(&text)?;
    Ok(0)
}

/// Asks again for a moment while a message is on its way: most attempts are short, and then it waits again.
async fn patiently<F: Future<Output = zbus::Result<()>>>(ask: impl Fn() -> F) -> zbus::Result<()> {
    for _ in 0..ON_ITS_WAY_TRIES {
        match ask().await {
            Err(err) if err.to_string().contains("it is on its way") => sleep(TRY_APART).await,
            done => return done,
        }
    }
    ask().await
}

/// Does what is asked, and says what was done.
async fn obey(config: Option<&Path>, action: &Action) -> Result<String, Complaint> {
    let daemon = Daemon::get(config).await?;
    let outbox = daemon.outbox().await?;
    let texts = |ids: &[String]| ids.join(" ");
    fn refs(ids: &[String]) -> Vec<&str> {
        ids.iter().map(String::as_str).collect()
    }
    match action {
        Action::List { .. } | Action::Show { .. } => Ok(String::new()),
        Action::Hold(Ids { ids }) => {
            let ours = refs(ids);
            patiently(|| outbox.hold(&ours)).await?;
            Ok(format!("held {}; to send: postrider outbox release ID", texts(ids)))
        }
        Action::Release(Ids { ids }) => {
            outbox.release(&refs(ids)).await?;
            Ok(format!("released {}", texts(ids)))
        }
        Action::Cancel(Ids { ids }) => {
            let ours = refs(ids);
            patiently(|| outbox.cancel(&ours)).await?;
            Ok(format!("cancelled {}", texts(ids)))
        }
        Action::Edit { id } => edit::edit(config, &outbox, id).await,
        Action::Resolve { id, decision } => {
            outbox.resolve(id, decision).await?;
            Ok(format!("resolved {id}: {decision}"))
        }
        Action::Retry { ids } => {
            let ids = if ids.is_empty() { waiting(config).await? } else { ids.clone() };
            if ids.is_empty() {
                return Ok("nothing waits to be tried again".to_owned());
            }
            let job = outbox.flush(&refs(&ids)).await?;
            let result = daemon.manager.wait_job(job).await?;
            let ok = result.get("ok").and_then(|ok| bool::try_from(&**ok).ok());
            if ok == Some(false) {
                return Err(refused(&result));
            }
            let left = look(config, &[]).await?;
            let left = left.iter().filter(|one| ids.contains(&one.id) && !one.is_sent()).count();
            Ok(format!("tried {}: {} sent, {left} left in the outbox", ids.len(), ids.len() - left))
        }
    }
}

/// What can be tried again.
async fn waiting(config: Option<&Path>) -> Result<Vec<String>, Complaint> {
    let all = look(config, &[]).await?;
    let some = all.into_iter().filter(|one| matches!(one.phase.as_str(), "queued" | "failed"));
    Ok(some.map(|one| one.id).collect())
}

/// What the result of the job says.
fn refused(result: &std::collections::HashMap<String, zbus::OwnedVariant>) -> Complaint {
    let json = result.get("json").and_then(|json| <&str>::try_from(&**json).ok());
    let document: Value = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let error = document.pointer("/accounts/0/error");
    let word = |key| error.and_then(|error| error.get(key)).and_then(Value::as_str);
    let text = server_words(word("text").unwrap_or("the outbox did not answer"));
    Complaint::plain(word("code").map_or(75, super::complaint::exit_code), &text)
}

const ON_ITS_WAY_TRIES: u32 = 20;
const TRY_APART: Duration = Duration::from_millis(100);
