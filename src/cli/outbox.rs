//! `postrider outbox`: the queue, through the daemon; without one, looking works from the ledger.
//! Beside floor 5.

mod edit;
mod entry;
pub(super) mod hand;

use std::path::Path;

use chrono::Utc;
use serde_json::Value;

use self::entry::{Entry, show, table};
use self::hand::Hand;
use super::client::{Daemon, START};
use super::complaint::Complaint;
use super::{completions, print};
use crate::daemon::errand::{self, Errand};
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
            let (done, code) = Box::pin(obey(config, steer)).await?;
            if args.json {
                as_table(&look(config, &[]).await?)?;
            } else {
                print::out(&done)?;
            }
            Ok(code)
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
            let more = take_in(config).await?.map(|more| format!("; {more}")).unwrap_or_default();
            print::trouble(&format!("no service is running{more}; to start it: {START}"));
            queued::items(&paths::state_dir())?.iter().map(Entry::of_item).collect()
        }
    };
    if let Some(unknown) = ids.iter().find(|id| !all.iter().any(|one| one.id == **id)) {
        return Err(unknown_message(unknown));
    }
    Ok(all.into_iter().filter(|one| ids.is_empty() || ids.contains(&one.id)).collect())
}

/// Takes in what lies in the directory, which the ledger does not know; where somebody else is at it, that is
/// what it answers.
pub(super) async fn take_in(config: Option<&Path>) -> Result<Option<String>, Complaint> {
    let settings = settings::load(&settings::locate(config))?;
    Ok(match stopped::dropped(&settings)? {
        0 => None,
        n => match errand::run(&settings, Errand::Look).await {
            Ok(_) => None,
            Err(_) => Some(format!("{n} more wait in the directory")),
        },
    })
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

/// Does what is asked, and says what was done.
async fn obey(config: Option<&Path>, action: &Action) -> Result<(String, u8), Complaint> {
    let hand = Hand::find(config).await?;
    let text = match action {
        Action::List { .. } | Action::Show { .. } => String::new(),
        Action::Hold(Ids { ids }) => {
            hand.hold(ids).await?;
            format!("held {0}; to send: postrider outbox release {0}", ids.join(" "))
        }
        Action::Release(Ids { ids }) => {
            hand.release(ids).await?;
            format!("released {}", ids.join(" "))
        }
        Action::Cancel(Ids { ids }) => {
            hand.cancel(ids).await?;
            format!("cancelled {}", ids.join(" "))
        }
        Action::Edit { id } => edit::edit(config, &hand, id).await?,
        Action::Resolve { id, decision } => {
            hand.resolve(id, decision).await?;
            format!("resolved {id}: {decision}")
        }
        Action::Retry { ids } => {
            let (text, code) = hand.retry(config, ids).await?;
            let nothing = || "nothing waits to be tried again".to_owned();
            return Ok((if text.is_empty() { nothing() } else { text }, code));
        }
    };
    Ok((text, 0))
}
