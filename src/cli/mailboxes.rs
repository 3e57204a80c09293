//! `postrider mailboxes`: a table of the mailboxes. Beside floor 5.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::client::{Told, told};
use super::complaint::Complaint;
use super::view::{AccountView, MailboxView, span};
use super::{completions, print};
use crate::daemon::settings::nearest;
use crate::daemon::{paths, skipped};
use crate::model::failure::server_words;
use crate::model::ids::{AccountName, MailboxName};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this account
    #[arg(add = completions::accounts())]
    account: Option<String>,
    /// Print the mailboxes as JSON
    #[arg(long)]
    json: bool,
}

/// How many messages each limit left on the server, by account and mailbox.
type Left = BTreeMap<(String, String), Vec<(String, u32)>>;

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let Told { document, view, silence } = told(config).await?;
    let names = || view.accounts.iter().map(|account| account.name.as_str());
    if let Some(wanted) = args.account.as_deref()
        && !names().any(|name| name == wanted)
    {
        return Err(Complaint::no_account(wanted, nearest(wanted, names())));
    }
    let is_wanted = |name: &str| args.account.as_deref().is_none_or(|wanted| wanted == name);
    if let Some(silence) = silence {
        print::trouble(&format!("{}; these are the numbers of the last pass", silence.why()));
    }
    let accounts: Vec<&AccountView> =
        view.accounts.iter().filter(|account| is_wanted(&account.name)).collect();
    let counts = left(&accounts)?;
    if args.json {
        print::out(&as_json(&document, is_wanted, &counts))?;
    } else {
        print::out(&table(&accounts, &counts, Utc::now()))?;
    }
    Ok(0)
}

fn left(accounts: &[&AccountView]) -> Result<Left, Complaint> {
    let mut left = Left::new();
    for account in accounts {
        if account.mailboxes.iter().all(|mailbox| mailbox.skipped == 0) {
            continue;
        }
        let counts = skipped::counts(&paths::state_dir(), &AccountName(account.name.clone()))?;
        let of = |mailbox: MailboxName| (account.name.clone(), mailbox.to_string());
        left.extend(counts.into_iter().map(|(mailbox, counts)| (of(mailbox), counts)));
    }
    Ok(left)
}

/// The mailboxes as they stand in the status document, with what each limit left on the server.
fn as_json(document: &str, is_wanted: impl Fn(&str) -> bool, left: &Left) -> String {
    let mut document: Value = serde_json::from_str(document).unwrap_or_default();
    let accounts = document.get_mut("accounts").and_then(Value::as_array_mut);
    let mut chosen = Vec::new();
    for account in accounts.into_iter().flatten() {
        let name = account.get("name").and_then(Value::as_str).map(str::to_owned);
        let Some(name) = name.filter(|name| is_wanted(name)) else { continue };
        let mut mailboxes = account.get_mut("mailboxes").map(Value::take).unwrap_or_default();
        for mailbox in mailboxes.as_array_mut().into_iter().flatten() {
            let title = mailbox.get("name").and_then(Value::as_str).unwrap_or_default();
            let counts = left.get(&(name.clone(), title.to_owned()));
            let counts = counts.map(Vec::as_slice).unwrap_or_default();
            let counts: Map<String, Value> =
                counts.iter().map(|(limit, n)| (limit.clone(), Value::from(*n))).collect();
            if let Some(keys) = mailbox.as_object_mut() {
                keys.insert("skipped_by".to_owned(), Value::Object(counts));
            }
        }
        chosen.push(json!({"name": name, "mailboxes": mailboxes}));
    }
    json!({ "accounts": chosen }).to_string()
}

fn table(accounts: &[&AccountView], left: &Left, now: DateTime<Utc>) -> String {
    let heads = ["ACCOUNT", "NAME", "ROLE", "TOTAL", "UNREAD", "HELD", "SYNCED", "PUSH", "PATH"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for account in accounts {
        for mailbox in &account.mailboxes {
            let mut row = row(account, mailbox, now);
            let notes = notes(account, mailbox, left);
            if !notes.is_empty() {
                row.push(notes.join("; "));
            }
            rows.push(row);
        }
    }
    let has_notes = rows.iter().any(|row| row.len() > heads.len());
    if let Some(first) = rows.first_mut().filter(|_| has_notes) {
        first.push("NOTE".to_owned());
    }
    print::columns(&rows)
}

/// What there is to say beside the numbers.
fn notes(account: &AccountView, mailbox: &MailboxView, left: &Left) -> Vec<String> {
    let mut notes = Vec::new();
    // What the server has is pushed or polled.
    if mailbox.push == "none" && account.push != "none" {
        notes.push("gone on the server; kept here, not synced".to_owned());
    }
    if mailbox.skipped > 0 {
        let counts = left.get(&(account.name.clone(), mailbox.name.clone()));
        let counts = counts.map(Vec::as_slice).unwrap_or_default();
        let by: Vec<String> =
            counts.iter().map(|(limit, n)| format!("{n} by {}", server_words(limit))).collect();
        let by = if by.is_empty() { "by a limit".to_owned() } else { by.join(", ") };
        notes.push(format!("{} left on the server: {by}", mailbox.skipped));
    }
    if mailbox.failed > 0 {
        notes.push(format!("{} could not be transferred", mailbox.failed));
    }
    notes
}

fn row(account: &AccountView, mailbox: &MailboxView, now: DateTime<Utc>) -> Vec<String> {
    let last = match mailbox.last_sync {
        Some(at) => span(at, now) + " ago",
        None if ["stopped", "unknown"].contains(&account.state.as_str()) => "-".to_owned(),
        None => "never".to_owned(),
    };
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
        server_words(&mailbox.path),
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
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let counts = [("max_age", 1), ("max_size", 2)].map(|(limit, n)| (limit.to_owned(), n));
        let of = ("work".to_owned(), "Archive/2024".to_owned());
        let left = Left::from([(of, counts.to_vec())]);
        let document = json!({"accounts": [&account]}).to_string();
        let shown: Value = serde_json::from_str(&as_json(&document, |_| true, &left)).unwrap();
        let mailboxes = &shown["accounts"][0]["mailboxes"];
        assert_eq!(mailboxes[0]["skipped_by"], json!({}));
        assert_eq!(mailboxes[1]["skipped_by"], json!({"max_age": 1, "max_size": 2}));
        let account: AccountView = serde_json::from_value(account).unwrap();
        assert_eq!(
            table(&[&account], &left, now),
            "ACCOUNT  NAME          ROLE  TOTAL  UNREAD  HELD  SYNCED  PUSH  PATH             NOTE\n\
             work     INBOX         -     10     2       0     never   poll  /m/INBOX\n\
             work     Archive/2024  -     10     2       0     never   poll  /m/Archive/2024  \
             3 left on the server: 1 by max_age, 2 by max_size"
        );
    }
}
