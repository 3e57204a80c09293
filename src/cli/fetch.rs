//! `postrider fetch`: messages that a limit left on the server. Beside floor 5.
//!
//! Without an id it shows them. Through a daemon where one runs, else in a pass of its own.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use chrono::DateTime;
use serde_json::json;
use zbus::Variant;

use super::client::Daemon;
use super::complaint::Complaint;
use super::{Entry, completions, log, print, sync};
use crate::daemon::settings::nearest;
use crate::daemon::skipped::{skipped, want};
use crate::daemon::{document, paths, settings};
use crate::model::event::Target;
use crate::model::failure::server_words;
use crate::model::ids::{MailboxName, Uid};
use crate::model::view::SkippedMessage;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where
    #[arg(value_name = "ACCOUNT/MAILBOX", add = completions::mailboxes())]
    target: String,
    /// Which messages; without one, those that a limit left on the server are shown
    #[arg(value_name = "ID")]
    ids: Vec<u32>,
    /// Print the list, or the sync document, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    config: Option<&Path>,
    args: &Args,
    entry: &Entry,
) -> Result<u8, Complaint> {
    let settings = settings::load(&settings::locate(config))?;
    let target = Target::parse(&args.target);
    if !settings.accounts.contains_key(&target.account) {
        let names = settings.accounts.keys().map(|name| name.as_str());
        let account = target.account.as_str();
        return Err(Complaint::no_account(account, nearest(account, names)));
    }
    let state_dir = paths::state_dir();
    let found = skipped(&state_dir, &target)?;
    if let Some(mailbox) = target.mailbox.as_ref().filter(|_| found.is_empty()) {
        return Err(Complaint::no_mailbox(target.account.as_str(), mailbox.as_str()));
    }
    if args.ids.is_empty() {
        print::out(&if args.json { as_json(&found) } else { shown(&target, &found) })?;
        return Ok(0);
    }
    let Some(mailbox) = target.mailbox.clone() else {
        let text = "which mailbox? say: postrider fetch ACCOUNT/MAILBOX ID";
        return Err(Complaint::plain(64, text));
    };
    let uids = chosen(&args.ids, &target, &mailbox, &found)?;
    let document = match Daemon::find(config).await? {
        Some(daemon) => {
            let uids: Vec<u32> = uids.iter().map(|uid| uid.get()).collect();
            let options = HashMap::from([("fetch", Variant::from(uids))]);
            let account = daemon.account(&target.account).await?;
            let job = account.sync(&[mailbox.as_str()], options).await?;
            daemon.result(job).await?
        }
        None => {
            let lock = paths::StateLock::take(&state_dir)?;
            want(&state_dir, &target, &mailbox, uids)?;
            drop(lock);
            log::start("warn");
            document::sync(&(entry.sync_once)(settings, vec![target], false, None).await?)
                .to_string()
        }
    };
    sync::show(document, args.json)
}

/// The messages that are meant, each of which must be one that was left on the server.
fn chosen(
    ids: &[u32],
    target: &Target,
    mailbox: &MailboxName,
    found: &[(MailboxName, Vec<SkippedMessage>)],
) -> Result<Vec<Uid>, Complaint> {
    let left: BTreeSet<Uid> = found
        .iter()
        .filter(|(name, _)| name == mailbox)
        .flat_map(|(_, messages)| messages.iter().map(|m| m.uid))
        .collect();
    let mut uids = Vec::new();
    for id in ids {
        match Uid::new(*id).filter(|uid| left.contains(uid)) {
            Some(uid) => uids.push(uid),
            None => {
                let name = format!("{}/{}", target.account.as_str(), mailbox.as_str());
                let text = format!(
                    "no limit left message {id} of {name} on the server\n  \
                     to see those that are: postrider fetch {name}"
                );
                return Err(Complaint::plain(67, &text));
            }
        }
    }
    Ok(uids)
}

fn as_json(found: &[(MailboxName, Vec<SkippedMessage>)]) -> String {
    let rows = found.iter().flat_map(|(mailbox, messages)| {
        messages.iter().map(|message| {
            let date = message.date.and_then(|at| DateTime::from_timestamp(at, 0));
            json!({
                "mailbox": mailbox.as_str(),
                "id": message.uid.get(),
                "size": message.size,
                "date": date.map(|at| at.to_rfc3339()),
                "limit": message.reason,
            })
        })
    });
    json!({ "skipped": rows.collect::<Vec<_>>() }).to_string()
}

fn shown(target: &Target, found: &[(MailboxName, Vec<SkippedMessage>)]) -> String {
    let mut rows = vec![["MAILBOX", "ID", "SIZE", "DATE", "LIMIT"].map(str::to_owned).to_vec()];
    for (mailbox, messages) in found {
        rows.extend(messages.iter().map(|message| {
            let date = message.date.and_then(|at| DateTime::from_timestamp(at, 0));
            vec![
                server_words(mailbox.as_str()),
                message.uid.to_string(),
                message
                    .size
                    .map_or_else(|| "-".to_owned(), |n| format!("{} KiB", n.div_ceil(1024))),
                date.map_or_else(|| "-".to_owned(), |at| at.format("%Y-%m-%d").to_string()),
                message.reason.clone(),
            ]
        }));
    }
    if rows.len() == 1 {
        return "no limit left a message on the server".to_owned();
    }
    let account = target.account.as_str();
    format!("{}\nto fetch some: postrider fetch {account}/MAILBOX ID", print::columns(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_what_was_left_and_only_that_can_be_fetched() {
        let uid = Uid::new(7).unwrap();
        let message = SkippedMessage {
            uid,
            size: Some(12_582_912),
            date: Some(1_700_000_000),
            reason: "max_size".to_owned(),
        };
        let found = [(MailboxName::inbox(), vec![message])];
        let target = Target::parse("work/INBOX");
        assert_eq!(
            shown(&target, &found),
            "MAILBOX  ID  SIZE       DATE        LIMIT\n\
             INBOX    7   12288 KiB  2023-11-14  max_size\n\
             to fetch some: postrider fetch work/MAILBOX ID"
        );
        let inbox = MailboxName::inbox();
        assert_eq!(chosen(&[7], &target, &inbox, &found).unwrap(), [uid]);
        let complaint = chosen(&[8], &target, &inbox, &found).unwrap_err();
        assert_eq!(complaint.exit, 67);
        assert!(complaint.text.contains("postrider fetch work/INBOX"), "{}", complaint.text);
    }
}
