//! When each account was synced last, and how that ended, for whoever asks while no service runs. Floor 5.
//!
//! A small file beside the ledger, replaced whole. It is not synced to disk: after a power cut it may be a
//! little old, and a missing or damaged one says nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::daemon::wiring;
use crate::engine::board::micros_now;
use crate::model::account::Settings;
use crate::model::ids::{AccountName, MailboxName};
use crate::model::status::{AccountStatus, Micros, Status, Trouble};

/// What is kept of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Last {
    last_sync: Micros,
    last_success: Micros,
    error: Option<Ended>,
    /// When each mailbox was synced last.
    mailboxes: BTreeMap<String, Micros>,
}

/// What was wrong at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    name: String,
    text: String,
    since: Micros,
}

/// The status of a daemon that starts: what was wrong then is found out anew.
pub fn first(settings: &Settings, state_dir: &Path) -> Status {
    let mut first = wiring::first_status(settings, micros_now());
    recall(state_dir, &mut first);
    first.accounts.values_mut().for_each(|account| account.trouble = None);
    first
}

/// Adds to a status what is kept of its accounts.
pub fn recall(state_dir: &Path, status: &mut Status) {
    for (name, account) in &mut status.accounts {
        let Some(last) = load(&path(state_dir, name)) else { continue };
        (account.last_sync, account.last_success) = (last.last_sync, last.last_success);
        for (mailbox, at) in last.mailboxes {
            if let Some(mailbox) = account.mailboxes.get_mut(&MailboxName(mailbox)) {
                mailbox.last_sync = at;
            }
        }
        let ended = last.error.map(|e| Trouble {
            name: e.name,
            text: e.text,
            since: e.since,
            next_retry: 0,
        });
        account.trouble = account.trouble.take().or(ended);
    }
}

/// Keeps what a status says of all its accounts.
pub fn keep_all(state_dir: &Path, status: &Status) {
    status.accounts.iter().for_each(|(name, account)| keep(state_dir, name, account));
}

/// Keeps what an account's status says. Best effort: the next one is written soon.
pub fn keep(state_dir: &Path, name: &AccountName, account: &AccountStatus) {
    if account.last_sync == 0 && account.trouble.is_none() {
        return;
    }
    let path = path(state_dir, name);
    let before = load(&path).unwrap_or_default();
    let mut mailboxes = before.mailboxes.clone();
    let synced = account.mailboxes.iter().filter(|(_, m)| m.last_sync > 0);
    mailboxes.extend(synced.map(|(name, m)| (name.0.clone(), m.last_sync)));
    let last = Last {
        last_sync: account.last_sync.max(before.last_sync),
        last_success: account.last_success.max(before.last_success),
        error: account.trouble.as_ref().map(|t| Ended {
            name: t.name.clone(),
            text: t.text.clone(),
            since: t.since,
        }),
        mailboxes,
    };
    if last != before
        && let Err(err) = write(&path, &last)
    {
        tracing::debug!(account = %name, %err, "the time of the last sync was not kept");
    }
}

fn path(state_dir: &Path, name: &AccountName) -> PathBuf {
    state_dir.join(format!("{name}.last.json"))
}

fn load(path: &Path) -> Option<Last> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, last: &Last) -> std::io::Result<()> {
    let text = serde_json::to_vec(last)?;
    let new = path.with_extension("json.new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(&new)?.write_all(&text)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::MailboxStatus;

    #[test]
    fn what_was_kept_is_there_again_and_rubbish_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let name = AccountName("work".to_owned());
        let inbox = |last_sync| MailboxStatus { last_sync, ..MailboxStatus::default() };
        let mut account = AccountStatus { last_sync: 7, ..AccountStatus::default() };
        account.mailboxes.insert(MailboxName::inbox(), inbox(6));
        let since = 5;
        let (wrong, text) = ("Offline".to_owned(), "no route".to_owned());
        account.trouble = Some(Trouble { name: wrong, text, since, next_retry: 9 });
        keep(dir.path(), &name, &account);
        let mut status = Status::default();
        let mut fresh = AccountStatus::default();
        fresh.mailboxes.insert(MailboxName::inbox(), inbox(0));
        status.accounts.insert(name.clone(), fresh.clone());
        recall(dir.path(), &mut status);
        let shown = status.accounts[&name].clone();
        assert_eq!((shown.last_sync, shown.mailboxes[&MailboxName::inbox()].last_sync), (7, 6));
        assert_eq!(shown.trouble.unwrap().next_retry, 0, "nothing tries again while nothing runs");
        fs::write(path(dir.path(), &name), "{").unwrap();
        status.accounts.insert(name.clone(), fresh.clone());
        recall(dir.path(), &mut status);
        assert_eq!(status.accounts[&name], fresh);
    }
}
