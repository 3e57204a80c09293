//! `postrider mailboxes`: a table of the mailboxes. Beside floor 5.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::client::{Told, told};
use super::complaint::Complaint;
use super::view::{AccountView, MailboxView, span};
use super::{completions, print};
use crate::daemon::settings::nearest;
use crate::model::failure::server_words;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this account
    #[arg(add = completions::accounts())]
    account: Option<String>,
    /// Print the mailboxes as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let Told { document, view, is_running } = told(config).await?;
    let names = || view.accounts.iter().map(|account| account.name.as_str());
    if let Some(wanted) = args.account.as_deref()
        && !names().any(|name| name == wanted)
    {
        return Err(Complaint::no_account(wanted, nearest(wanted, names())));
    }
    let is_wanted = |name: &str| args.account.as_deref().is_none_or(|wanted| wanted == name);
    if !is_running {
        print::trouble("no service is running; these are the numbers of the last pass");
    }
    if args.json {
        print::out(&as_json(&document, is_wanted))?;
    } else {
        let accounts: Vec<&AccountView> =
            view.accounts.iter().filter(|account| is_wanted(&account.name)).collect();
        print::out(&table(&accounts, Utc::now()))?;
    }
    Ok(0)
}

/// The mailboxes as they stand in the status document.
fn as_json(document: &str, is_wanted: impl Fn(&str) -> bool) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let accounts = document.get("accounts").and_then(Value::as_array);
    let chosen = accounts.into_iter().flatten().filter_map(|account| {
        let name = account.get("name")?.as_str().filter(|name| is_wanted(name))?;
        Some(json!({"name": name, "mailboxes": account.get("mailboxes")?}))
    });
    json!({"accounts": chosen.collect::<Vec<_>>()}).to_string()
}

fn table(accounts: &[&AccountView], now: DateTime<Utc>) -> String {
    let heads = ["ACCOUNT", "NAME", "ROLE", "TOTAL", "UNREAD", "HELD", "SYNCED", "PUSH", "PATH"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for account in accounts {
        rows.extend(account.mailboxes.iter().map(|mailbox| {
            // What the server has is pushed or polled.
            let is_orphan = mailbox.push == "none" && account.push != "none";
            row(account, mailbox, is_orphan, now)
        }));
    }
    print::columns(&rows)
}

fn row(
    account: &AccountView,
    mailbox: &MailboxView,
    is_orphan: bool,
    now: DateTime<Utc>,
) -> Vec<String> {
    let last = match mailbox.last_sync {
        Some(at) => span(at, now) + " ago",
        None if account.state == "stopped" => "-".to_owned(),
        None => "never".to_owned(),
    };
    let mut path = server_words(&mailbox.path);
    if is_orphan {
        path.push_str(" (gone on the server; kept here, not synced)");
    }
    let left = [
        (mailbox.skipped, "left on the server by a limit"),
        (mailbox.failed, "could not be transferred"),
    ];
    for (n, why) in left.iter().filter(|(n, _)| *n > 0) {
        path.push_str(&format!(" ({n} {why})"));
    }
    let role = if mailbox.role.is_empty() { "-" } else { &mailbox.role };
    vec![
        account.name.clone(),
        server_words(&mailbox.name),
        role.to_owned(),
        mailbox.total.to_string(),
        mailbox.unread.to_string(),
        mailbox.held.to_string(),
        last,
        mailbox.push.clone(),
        path,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up() {
        let mailbox = |name: &str, skipped: u32| {
            json!({"name": name, "path": format!("/m/{name}"), "role": "", "total": 10, "unread": 2,
                "last_sync": null, "push": "poll", "held": 0, "skipped": skipped, "failed": 0})
        };
        let account = json!({"name": "work", "state": "idle", "push": "idle", "error": null,
            "last_sync": null, "unread": 1, "held": 0, "progress": null,
            "mailboxes": [mailbox("INBOX", 0), mailbox("Archive/2024", 3)]});
        let account: AccountView = serde_json::from_value(account).unwrap();
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        assert_eq!(
            table(&[&account], now),
            "ACCOUNT  NAME          ROLE  TOTAL  UNREAD  HELD  SYNCED  PUSH  PATH\n\
             work     INBOX         -     10     2       0     never   poll  /m/INBOX\n\
             work     Archive/2024  -     10     2       0     never   poll  \
             /m/Archive/2024 (3 left on the server by a limit)"
        );
    }
}
