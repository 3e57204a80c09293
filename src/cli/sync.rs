//! `postrider sync`: through a running daemon, else one pass in this process. Beside floor 5.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::oneshot;
use zbus::Variant;

use super::client::Daemon;
use super::complaint::{self, Complaint, exit_code, unfold};
use super::progress::{self, Moment};
use super::view::{AccountView, SyncView};
use super::{Entry, completions, log, print};
use crate::daemon::document::{self, JobResult};
use crate::daemon::settings::{self, nearest};
use crate::model::event::{AccountReport, ReportError, Target};
use crate::model::failure::server_words;
use crate::model::ids::AccountName;
use crate::model::status::{AccountStatus, Status};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to sync; everything when left out
    #[arg(value_name = "ACCOUNT[/MAILBOX]", add = completions::targets())]
    targets: Vec<String>,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print the sync document
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    config: Option<&Path>,
    args: &Args,
    entry: &Entry,
) -> Result<u8, Complaint> {
    let document = match Daemon::find(config).await? {
        Some(daemon) => through_daemon(&daemon, args).await?,
        None => alone(config, args, entry).await?,
    };
    show(document, args.json)
}

/// Prints a sync document; answers the exit code.
pub(super) fn show(document: String, json: bool) -> Result<u8, Complaint> {
    let view: SyncView = serde_json::from_str(&document).map_err(|err| {
        Complaint::plain(76, &format!("understand the daemon: {err}; is it of this version?"))
    })?;
    let text = if json { document } else { table(&view) };
    if !text.is_empty() {
        print::out(&text)?;
    }
    Ok(tell_errors(&view))
}

async fn through_daemon(daemon: &Daemon, args: &Args) -> Result<String, Complaint> {
    let (_, status) = daemon.status().await?;
    let names: Vec<&str> = status.accounts.iter().map(|account| account.name.as_str()).collect();
    check_targets(&args.targets, &names)?;
    let targets: Vec<&str> = args.targets.iter().map(String::as_str).collect();
    // A person who asks for mail gets it, although traffic is counted.
    let said = [("dry_run", args.dry_run), ("unmetered", status.metered)];
    let said = said.into_iter().filter(|(_, is_so)| *is_so);
    let options: HashMap<&str, Variant<'_>> =
        said.map(|(name, is_so)| (name, Variant::from(is_so))).collect();
    let job = match daemon.manager.sync(&targets, options).await {
        Ok(job) => job,
        Err(err) => {
            let refused = complaint::answered(&err).filter(|_| args.json);
            let refused = refused.map(|why| refusal(why, &args.targets, &status.accounts));
            return refused.ok_or_else(|| err.into());
        }
    };
    if args.json || !progress::is_wanted() {
        return daemon.result(job).await;
    }
    progress::beside(daemon.result(job), async || {
        let view = daemon.status().await.ok().map(|(_, view)| view);
        let accounts = view.into_iter().flat_map(|view| view.accounts);
        let moment = |account: AccountView| {
            let progress = account.progress?;
            Some(Moment {
                account: account.name,
                mailbox: progress.mailbox,
                done: progress.done,
                total: progress.total,
                bytes_done: progress.bytes_done,
            })
        };
        accounts.filter_map(moment).collect()
    })
    .await
}

/// The document of a sync that the daemon refused: each account that was asked for has its word.
fn refusal((code, text): (&str, String), targets: &[String], accounts: &[AccountView]) -> String {
    let error = ReportError { code: code.to_owned(), text, exit: exit_code(code) };
    let syncs = |account: &&AccountView| account.state != "disabled" && account.protocol != "none";
    let all = accounts.iter().filter(syncs).map(|account| AccountName(account.name.clone()));
    let named = targets.iter().map(|target| Target::parse(target).account);
    let names: Vec<AccountName> = if targets.is_empty() { all.collect() } else { named.collect() };
    let report = AccountReport { error: Some(error), ..AccountReport::default() };
    let accounts = names.into_iter().map(|name| (name, report.clone())).collect();
    document::sync(&JobResult { accounts, elapsed: Duration::ZERO, outbox: None }).to_string()
}

async fn alone(config: Option<&Path>, args: &Args, entry: &Entry) -> Result<String, Complaint> {
    let settings = settings::load(&settings::locate(config))?;
    let names: Vec<&str> = settings.accounts.keys().map(|name| name.as_str()).collect();
    check_targets(&args.targets, &names)?;
    log::start("warn");
    let targets = args.targets.iter().map(|text| Target::parse(text)).collect();
    let result = if args.json || !progress::is_wanted() {
        (entry.sync_once)(settings, targets, args.dry_run, None).await?
    } else {
        let (onlooker, mut status) = oneshot::channel();
        let work = (entry.sync_once)(settings, targets, args.dry_run, Some(onlooker));
        let mut board = None;
        progress::beside(work, async || {
            if board.is_none() {
                board = status.try_recv().ok();
            }
            board.as_ref().map(|status| moments(&status.borrow())).unwrap_or_default()
        })
        .await?
    };
    Ok(document::sync(&result).to_string())
}

/// How far each account is.
fn moments(status: &Status) -> Vec<Moment> {
    let moment = |(name, account): (&AccountName, &AccountStatus)| {
        let progress = account.progress.as_ref()?;
        Some(Moment {
            account: name.to_string(),
            mailbox: progress.mailbox.clone(),
            done: progress.done,
            total: progress.total,
            bytes_done: progress.bytes_done,
        })
    };
    status.accounts.iter().filter_map(moment).collect()
}

fn check_targets(targets: &[String], names: &[&str]) -> Result<(), Complaint> {
    for target in targets {
        let target = Target::parse(target);
        let account = target.account.as_str();
        if !names.contains(&account) {
            return Err(Complaint::no_account(account, nearest(account, names.iter().copied())));
        }
    }
    Ok(())
}

/// A line per mailbox in which something was done, and one per account in which nothing was.
fn table(view: &SyncView) -> String {
    let mut rows = Vec::new();
    for account in &view.accounts {
        let name = server_words(&account.name);
        let n_before = rows.len();
        for mailbox in &account.mailboxes {
            let done = done(mailbox);
            if !done.is_empty() {
                let title = mailbox.get("name").and_then(Value::as_str).unwrap_or_default();
                rows.push(vec![name.clone(), server_words(title), done]);
            }
        }
        if rows.len() == n_before && account.error.is_none() {
            rows.push(vec![name, "nothing to do".to_owned()]);
        }
    }
    if let Some(outbox) = &view.outbox {
        let counts =
            [(outbox.sent, "sent"), (outbox.failed, "refused for good"), (outbox.left, "wait")];
        let words = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}"));
        let words = words.collect::<Vec<_>>().join(", ");
        let why = outbox.why.as_ref().map(|why| format!(": {}", server_words(why)));
        if !words.is_empty() {
            rows.push(vec!["outbox".to_owned(), words + &why.unwrap_or_default()]);
        }
    }
    print::columns(&rows)
}

fn done(mailbox: &Map<String, Value>) -> String {
    let words = WORDS.iter().filter_map(|(key, word)| {
        let n = mailbox.get(*key)?.as_u64().filter(|n| *n > 0)?;
        Some(format!("{n} {word}"))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Shows what failed; answers the worst exit code.
fn tell_errors(view: &SyncView) -> u8 {
    let mut worst = 0;
    if let Some(error) = view.outbox.as_ref().and_then(|outbox| outbox.error.as_ref()) {
        print::trouble(&format!("error: outbox: {}", unfold(&error.text)));
        worst = exit_code(&error.code);
    }
    for account in &view.accounts {
        if let Some(error) = &account.error {
            let (name, text) = (server_words(&account.name), unfold(&error.text));
            print::trouble(&format!("error: {name}: {text}"));
            worst = worst.max(exit_code(&error.code));
        }
    }
    worst
}

const WORDS: [(&str, &str); 11] = [
    ("downloaded", "downloaded"),
    ("uploaded", "uploaded"),
    ("flags_local", "flags changed here"),
    ("flags_remote", "flags changed on the server"),
    ("moved_local", "moved here"),
    ("moved_remote", "moved on the server"),
    ("deleted_local", "removed here"),
    ("deleted_remote", "removed on the server"),
    ("held", "deletions held back"),
    ("skipped", "left on the server by a limit"),
    ("failed", "failed"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_tells_what_was_done_and_the_worst_error_decides() {
        let view: SyncView = serde_json::from_value(json!({"ok": false, "elapsed_ms": 1, "accounts": [
            {"name": "a", "ok": true, "error": null, "mailboxes": [
                {"name": "INBOX", "downloaded": 2, "flags_remote": 1},
                {"name": "Sent", "downloaded": 0}]},
            {"name": "b", "ok": false, "error": {"code": "Offline", "text": "t"}, "mailboxes": []},
            {"name": "c", "ok": false, "error": {"code": "AuthFailed", "text": "t"}, "mailboxes": []},
            {"name": "d", "ok": true, "error": null, "mailboxes": []},
        ]}))
        .unwrap();
        assert_eq!(
            table(&view),
            "a  INBOX          2 downloaded, 1 flags changed on the server\nd  nothing to do"
        );
        assert_eq!(tell_errors(&view), 77);
    }

    #[test]
    fn an_account_that_is_not_there_is_told_with_its_nearest_name() {
        let names = ["work", "home"];
        assert!(check_targets(&["work/INBOX".to_owned()], &names).is_ok());
        let complaint = check_targets(&["wrok".to_owned()], &names).unwrap_err();
        assert_eq!(complaint.exit, 67);
        let text = "error: there is no account \"wrok\"; did you mean \"work\"?\n  to mend it:  ";
        assert!(complaint.text.starts_with(text), "{}", complaint.text);
    }
}
