//! `postrider held`: deletions that wait for a word. Beside floor 5.
//!
//! Through a daemon, which follows the word at once; without one the word is recorded, and the next
//! sync follows it.

use std::path::Path;

use clap::ValueEnum;
use serde_json::json;

use super::client::Daemon;
use super::complaint::Complaint;
use super::{completions, print};
use crate::daemon::held::{HeldMailbox, held, is_meant};
use crate::daemon::settings::nearest;
use crate::daemon::{paths, settings, stopped};
use crate::model::event::{Consent, Target};
use crate::model::failure::server_words;
use crate::model::ids::{AccountName, MailboxName};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to do
    #[arg(value_enum, default_value = "list")]
    action: Action,
    /// Where; everywhere when left out
    #[arg(value_name = "ACCOUNT[/MAILBOX]", add = completions::targets())]
    targets: Vec<String>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Show what is held back
    List,
    /// Carry the deletions out
    Confirm,
    /// Bring the messages back
    Reject,
}

impl Action {
    fn consent(self) -> Option<Consent> {
        match self {
            Self::List => None,
            Self::Confirm => Some(Consent::Confirm),
            Self::Reject => Some(Consent::Reject),
        }
    }
}

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let targets: Vec<Target> = args.targets.iter().map(|t| Target::parse(t)).collect();
    let consent = args.action.consent();
    let (found, when) = match Daemon::find(config).await? {
        Some(daemon) => (through_daemon(&daemon, &targets, consent).await?, "now"),
        None => {
            let settings = settings::load(&settings::locate(config))?;
            let state_dir = paths::state_dir();
            let known = stopped::mailboxes(&settings, &state_dir)?;
            let accounts: Vec<&str> = settings.accounts.keys().map(AccountName::as_str).collect();
            check_targets(&targets, &accounts, |account, mailbox| {
                known.iter().any(|(a, m)| a == account && m == mailbox)
            })?;
            // Looking does not disturb a pass that runs; a word must not cross one.
            let _lock = match consent {
                None => None,
                Some(_) => Some(paths::StateLock::take(&state_dir)?),
            };
            (held(&settings, &state_dir, &targets, consent)?, "with the next sync")
        }
    };
    if !targets.is_empty() && found.is_empty() && consent.is_some() {
        return Err(Complaint::plain(
            67,
            "nothing is held back there\n  to see more: postrider held",
        ));
    }
    print::out(&if args.json { as_json(&found) } else { shown(&found, consent, when) })?;
    Ok(0)
}

async fn through_daemon(
    daemon: &Daemon,
    targets: &[Target],
    consent: Option<Consent>,
) -> Result<Vec<HeldMailbox>, Complaint> {
    let (_, status) = daemon.status().await?;
    let accounts: Vec<&str> = status.accounts.iter().map(|a| a.name.as_str()).collect();
    check_targets(targets, &accounts, |account, mailbox| {
        let of = status.accounts.iter().find(|a| a.name == account.as_str());
        of.is_some_and(|a| a.mailboxes.iter().any(|m| m.name == mailbox.as_str()))
    })?;
    let mut found = Vec::new();
    for account in &status.accounts {
        for mailbox in account.mailboxes.iter().filter(|m| m.held > 0) {
            let held = HeldMailbox {
                account: AccountName(account.name.clone()),
                mailbox: MailboxName(mailbox.name.clone()),
                count: mailbox.held,
            };
            if !is_meant(targets, &held.account, &held.mailbox) {
                continue;
            }
            match consent {
                None => {}
                Some(consent) => daemon.decide(&held.account, &held.mailbox, consent).await?,
            }
            found.push(held);
        }
    }
    Ok(found)
}

/// Each target has to be there.
fn check_targets(
    targets: &[Target],
    accounts: &[&str],
    has: impl Fn(&AccountName, &MailboxName) -> bool,
) -> Result<(), Complaint> {
    for target in targets {
        let account = target.account.as_str();
        if !accounts.contains(&account) {
            return Err(Complaint::no_account(account, nearest(account, accounts.iter().copied())));
        }
        if let Some(mailbox) = target.mailbox.as_ref().filter(|m| !has(&target.account, m)) {
            return Err(Complaint::no_mailbox(account, mailbox.as_str()));
        }
    }
    Ok(())
}

fn as_json(found: &[HeldMailbox]) -> String {
    let rows = found.iter().map(|held| {
        json!({
            "account": held.account.as_str(),
            "mailbox": held.mailbox.as_str(),
            "count": held.count,
        })
    });
    json!({ "held": rows.collect::<Vec<_>>() }).to_string()
}

fn shown(found: &[HeldMailbox], consent: Option<Consent>, when: &str) -> String {
    if found.is_empty() {
        return "no deletion is held back".to_owned();
    }
    let rows = found.iter().map(|held| {
        vec![
            server_words(held.account.as_str()),
            server_words(held.mailbox.as_str()),
            format!("{} deletions", held.count),
        ]
    });
    let table = print::columns(&rows.collect::<Vec<_>>());
    let note = match consent {
        None => "to carry them out: postrider held confirm ACCOUNT/MAILBOX\n\
                 to undo them:      postrider held reject ACCOUNT/MAILBOX"
            .to_owned(),
        Some(Consent::Confirm) => format!("they are carried out {when}"),
        Some(Consent::Reject) => format!("the messages are brought back {when}"),
    };
    format!("{table}\n{note}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_how_to_go_on() {
        let held = HeldMailbox {
            account: AccountName("work".to_owned()),
            mailbox: MailboxName("INBOX".to_owned()),
            count: 412,
        };
        let text = shown(&[held], None, "now");
        assert!(text.starts_with("work  INBOX  412 deletions\n"), "{text}");
        assert!(text.contains("held confirm"), "{text}");
        assert_eq!(shown(&[], None, "now"), "no deletion is held back");
    }
}
