//! Tells the desktop of new mail and of trouble: once for each change. Floor 5.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::adapters::desktop::{Desktop, Notification, Urgency};
use crate::model::event::{Command, Notice};
use crate::model::ids::AccountName;
use crate::model::status::{AccountState, Status};

/// What is in trouble: the text that was shown about it.
type Troubles = BTreeMap<String, (String, String)>;

/// Shows notifications until it is stopped.
pub(super) async fn watch(
    mut notices: broadcast::Receiver<Notice>,
    mut status: watch::Receiver<Arc<Status>>,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
) {
    let mut desktop = Desktop::default();
    let mut arrived: BTreeMap<AccountName, usize> = BTreeMap::new();
    let mut due: Option<Instant> = None;
    let mut told = Troubles::new();
    loop {
        let at = due.unwrap_or_else(Instant::now);
        tokio::select! {
            () = stop.cancelled() => return,
            notice = notices.recv() => match notice {
                Ok(Notice::NewMessages { account, paths, .. }) => {
                    if is_settled(&status.borrow(), &account) {
                        *arrived.entry(account).or_default() += paths.len();
                        due.get_or_insert_with(|| Instant::now() + COALESCE);
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            (topic, key) = desktop.invoked() => {
                if let Some(command) = ordered(&topic, &key) {
                    // The daemon being gone is fine.
                    drop(commands.send(command).await);
                }
            }
            () = sleep_until(at), if due.is_some() => {
                due = None;
                for (account, count) in std::mem::take(&mut arrived) {
                    let text = new_mail(&account, count);
                    show(&mut desktop, &format!("new/{account}"), &text, Urgency::Normal).await;
                }
            }
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                let current = Arc::clone(&status.borrow_and_update());
                let now = troubles(&current);
                for (topic, text) in &now {
                    if told.get(topic) != Some(text) {
                        show(&mut desktop, topic, text, Urgency::Critical).await;
                    }
                }
                // While it is tried again, a trouble is not over.
                told.retain(|topic, _| is_being_tried(&current, topic));
                told.extend(now);
            }
        }
    }
}

/// Whether the first sync is over: what it brings is no news.
fn is_settled(status: &Status, account: &AccountName) -> bool {
    status.accounts.get(account).is_some_and(|account| account.last_success != 0)
}

fn new_mail(account: &AccountName, count: usize) -> (String, String) {
    let messages =
        if count == 1 { "1 new message".to_owned() } else { format!("{count} new messages") };
    (messages, account.to_string())
}

/// Whether the account that a trouble is about is on its way to show whether it is over.
fn is_being_tried(status: &Status, topic: &str) -> bool {
    let account = topic.strip_prefix(STATE).map(|name| AccountName(name.to_owned()));
    let account = account.and_then(|name| status.accounts.get(&name));
    account.is_some_and(|account| {
        matches!(
            account.state,
            AccountState::Connecting
                | AccountState::Syncing
                | AccountState::Backoff
                | AccountState::Offline
        )
    })
}

/// Everything that needs a person, in words that hold no text of mail.
fn troubles(status: &Status) -> Troubles {
    let mut troubles = Troubles::new();
    for (name, account) in &status.accounts {
        if account.state.needs_attention() {
            let text = account.trouble.as_ref().map(|trouble| trouble.text.clone());
            let summary = format!("{name}: {}", account.state.as_str());
            troubles.insert(format!("{STATE}{name}"), (summary, text.unwrap_or_default()));
        }
        let held = account.held();
        if held > 0 {
            let summary = format!("{name}: {held} deletions are held back");
            troubles.insert(format!("held/{name}"), (summary, "postrider held list".to_owned()));
        }
    }
    if let Some(error) = &status.config_error {
        let summary = "The new configuration was not taken over".to_owned();
        let first = error.text.lines().next().unwrap_or_default();
        troubles.insert("config".to_owned(), (summary, first.to_owned()));
    }
    let outbox = &status.outbox;
    for (topic, count, what) in [
        ("outbox/failed", outbox.failed, "could not be sent"),
        ("outbox/uncertain", outbox.uncertain, "may or may not have been sent"),
        ("outbox/late", outbox.late, "could not be sent for 4 hours"),
    ] {
        if count > 0 {
            let summary = format!("{count} of your messages {what}");
            troubles.insert(topic.to_owned(), (summary, "postrider outbox list".to_owned()));
        }
    }
    troubles
}

async fn show(desktop: &mut Desktop, topic: &str, text: &(String, String), urgency: Urgency) {
    let (summary, body) = (text.0.as_str(), escaped(&text.1));
    let action = action(topic);
    let notification = Notification { topic, summary, body: &body, urgency, action };
    if let Err(failure) = desktop.show(notification).await {
        tracing::debug!(%failure, "no notification");
    }
}

/// The button under a notification about this topic: its key and its label.
fn action(topic: &str) -> Option<(&'static str, &'static str)> {
    match topic {
        "config" => Some(("reload", "Read it again")),
        topic if topic.starts_with(STATE) => Some(("retry", "Try again")),
        _ => None,
    }
}

/// What somebody wants who presses it.
fn ordered(topic: &str, key: &str) -> Option<Command> {
    match (topic, key) {
        ("config", "reload") => Some(Command::Reload),
        (topic, "retry") => {
            let account = AccountName(topic.strip_prefix(STATE)?.to_owned());
            Some(Command::Resume { account: Some(account) })
        }
        _ => None,
    }
}

/// The body of a notification may be markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Topics about the state of an account begin like this.
const STATE: &str = "state/";
const COALESCE: Duration = Duration::from_secs(2);
