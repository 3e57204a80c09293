//! `postrider status`: the whole state on one screen. Beside floor 5.

mod bar;

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::client::{Daemon, Silence, told};
use super::complaint::Complaint;
use super::print;
use super::view::{AccountView, ErrorView, OutboxView, ServerView, StatusView, count, span};
use crate::daemon::paths;
use crate::model::failure::server_words;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the status document
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Go on, and show each change
    #[arg(long)]
    watch: bool,
    /// Print a line for a bar
    #[arg(long)]
    format: Option<bar::Format>,
}

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    if !args.watch {
        print::out(&shown(config, args).await?)?;
        return Ok(0);
    }
    let is_screen = print::is_terminal() && !args.json && args.format.is_none();
    let (mut last, mut is_shaken) = (String::new(), true);
    loop {
        let text = match shown(config, args).await {
            Ok(text) => text,
            // A service that just ended answers no more: the next look finds none.
            Err(_) if !is_shaken => {
                is_shaken = true;
                tokio::time::sleep(WATCH_EVERY).await;
                continue;
            }
            Err(complaint) => return Err(complaint),
        };
        is_shaken = false;
        if text != last {
            let clear = if is_screen { CLEAR_SCREEN } else { "" };
            print::out(&format!("{clear}{text}"))?;
            last = text;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// What is to be shown now. Where no daemon runs, it is what the last pass left behind.
async fn shown(config: Option<&Path>, args: &Args) -> Result<String, Complaint> {
    if let Some(format) = args.format {
        let view = match Daemon::find(config).await? {
            Some(daemon) => daemon.status().await.ok().map(|(_, view)| view),
            None => None,
        };
        let silent = if view.is_none() { paths::holder(&paths::state_dir()) } else { None };
        return Ok(bar::line(format, view.as_ref(), silent, Utc::now()));
    }
    let told = told(config).await?;
    if args.json {
        return Ok(told.document);
    }
    Ok(screen(&told.view, told.silence.as_ref(), Utc::now(), print::has_colours()))
}

fn screen(
    status: &StatusView,
    silence: Option<&Silence>,
    now: DateTime<Utc>,
    has_colours: bool,
) -> String {
    let lamp = Lamp::of_service(&status.state).paint(has_colours);
    let state = silence.map_or_else(|| status.state.clone(), Silence::why);
    let up = status.since.map(|since| format!(", up {}", span(since, now)));
    let mut lines = vec![format!(
        "{lamp} postrider {} — {}, {}{}",
        status.version,
        state,
        count(status.accounts.len(), "account", "accounts"),
        up.unwrap_or_default()
    )];
    let names = status.accounts.iter().map(|a| a.name.chars().count());
    let width = names
        .chain(["outbox".len(), "config".len(), if status.metered { "network".len() } else { 0 }])
        .max()
        .unwrap_or_default();
    for account in &status.accounts {
        lines.extend(of_account(account, now, width, has_colours));
    }
    lines.push(format!("  {:<width$} {}", "outbox", of_outbox(&status.outbox, now)));
    if let Some(error) = &status.config_error {
        lines.push(format!("  {:<width$} {}", "config", of_config_error(error, now)));
    }
    if status.metered {
        lines.push(format!("  {:<width$} {}", "network", of_metered(status)));
    }
    if let Some(silence) = silence {
        lines.push(format!("  {}", silence.cure()));
    }
    lines.join("\n")
}

fn of_account(
    account: &AccountView,
    now: DateTime<Utc>,
    width: usize,
    has_colours: bool,
) -> Vec<String> {
    let lamp = Lamp::of_account(&account.state).paint(has_colours);
    let state = account.state.replace('-', " ");
    let work = match &account.progress {
        Some(p) => format!("{} {}/{}", server_words(&p.mailbox), p.done, p.total),
        None => format!("{} unread", account.unread),
    };
    let mailboxes = count(account.mailboxes.len(), "mailbox", "mailboxes");
    let mut facts = if [STOPPED, UNKNOWN].contains(&account.state.as_str()) {
        vec![format!("({mailboxes})")]
    } else {
        let last = account.last_sync.map(|at| format!("last sync {} ago", span(at, now)));
        let push = if account.push == "idle" { "IDLE" } else { &account.push };
        vec![last.unwrap_or_else(|| "never synced".to_owned()), format!("({push}, {mailboxes})")]
    };
    if account.held > 0 {
        facts.push(format!("{} deletions held back", account.held));
    }
    let name = &account.name;
    let line = format!("  {name:<width$} {lamp} {state:<13} {work:<11} {}", facts.join("   "));
    let mut lines = vec![line];
    if let Some(error) = &account.error {
        lines.push(format!("  {:<width$}   {}", "", of_error(error, now)));
    }
    if !account.servers.is_empty() {
        let servers: Vec<String> = account.servers.iter().map(of_server).collect();
        lines.push(format!("  {:<width$}   found: {}", "", servers.join("; ")));
    }
    lines
}

/// What was found to work, in the words that the configuration has for it.
fn of_server(server: &ServerView) -> String {
    let port = server.port.map(|port| format!(":{port}")).unwrap_or_default();
    let tls = server.tls.as_ref().map(|tls| format!(" {tls}")).unwrap_or_default();
    let auth = server.auth.as_ref().map(|auth| format!(", {auth}")).unwrap_or_default();
    let user = server.user.as_ref().map(|user| format!(", user {}", server_words(user)));
    let user = user.unwrap_or_default();
    format!("{} {}{port}{tls}{auth}{user}", server.protocol, server.host)
}

fn of_error(error: &ErrorView, now: DateTime<Utc>) -> String {
    let since = error.since.map(|since| format!(" for {}", span(since, now)));
    let next = error.next_retry.map(|at| format!(", next try {}", ahead(now, at)));
    let text = server_words_of(&error.text);
    format!("{}{}{}: {text}", error.name, since.unwrap_or_default(), next.unwrap_or_default())
}

/// What waits because traffic is counted.
fn of_metered(status: &StatusView) -> String {
    let mailboxes = status.accounts.iter().flat_map(|account| &account.mailboxes);
    let left: u64 = mailboxes.map(|mailbox| u64::from(mailbox.skipped)).sum();
    let n = if left > 0 { format!(" ({left} on the server)") } else { String::new() };
    format!(
        "metered: new mail and what you send goes, old and large mail waits{n}; some now: postrider fetch"
    )
}

/// The first mistake will do: `reload` shows them all.
fn of_config_error(error: &ErrorView, now: DateTime<Utc>) -> String {
    let since = error.since.map(|since| format!(" for {}", span(since, now))).unwrap_or_default();
    let first = server_words_of(error.text.lines().next().unwrap_or_default());
    format!("not taken over{since}: {first}; to mend it: correct it, then: postrider reload")
}

/// A text of the daemon is made of several quotations, each shortened already.
fn server_words_of(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn of_outbox(outbox: &OutboxView, now: DateTime<Utc>) -> String {
    let mut facts = vec![format!("{} queued", outbox.queued)];
    let more = [(outbox.held, "held"), (outbox.uncertain, "uncertain")];
    facts.extend(more.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")));
    if let Some(at) = outbox.next_attempt.filter(|_| outbox.queued > 0) {
        facts.push(format!("next attempt {}", ahead(now, at)));
    }
    facts.push(format!("{} failed", outbox.failed));
    if outbox.late > 0 {
        facts.push(format!("{} waiting for more than 4 hours", outbox.late));
    }
    if let Some(error) = &outbox.error {
        facts.push(format!("it does not work: {}", server_words(&error.text)));
    }
    facts.join(", ")
}

fn ahead(now: DateTime<Utc>, at: DateTime<Utc>) -> String {
    if at <= now { "now".to_owned() } else { format!("in {}", span(now, at)) }
}

/// The sign before a state.
#[derive(Clone, Copy)]
enum Lamp {
    Good,
    Busy,
    Waiting,
    Bad,
}

impl Lamp {
    fn of_service(state: &str) -> Self {
        match state {
            "idle" => Self::Good,
            "attention" => Self::Bad,
            "paused" | "offline" | "stopping" | STOPPED | UNKNOWN => Self::Waiting,
            _ => Self::Busy,
        }
    }

    fn of_account(state: &str) -> Self {
        match state {
            "idle" => Self::Good,
            "connecting" | "syncing" => Self::Busy,
            "disabled" | "paused" | "offline" | "backoff" | STOPPED | UNKNOWN => Self::Waiting,
            _ => Self::Bad,
        }
    }

    fn paint(self, has_colours: bool) -> String {
        let (sign, colour) = match self {
            Self::Good => ('●', 32),
            Self::Busy => ('◐', 34),
            Self::Waiting => ('○', 33),
            Self::Bad => ('✖', 31),
        };
        if has_colours { format!("\u{1b}[{colour}m{sign}\u{1b}[0m") } else { sign.to_string() }
    }
}

/// The state of a daemon that does not run, and of its accounts.
const STOPPED: &str = "stopped";
/// The same of one that cannot be asked.
const UNKNOWN: &str = "unknown";
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// To the first line, and everything below it away (ECMA-48).
const CLEAR_SCREEN: &str = "\u{1b}[H\u{1b}[2J";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(document: serde_json::Value, wanted: &str) {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let view: StatusView = serde_json::from_value(document).unwrap();
        let silence = (view.state == STOPPED).then_some(Silence::Stopped);
        assert_eq!(screen(&view, silence.as_ref(), now, false), wanted);
    }

    #[test]
    fn one_screen_tells_it_all() {
        let mailbox = json!({
            "name": "INBOX", "path": "/m/INBOX", "role": "inbox", "total": 9031, "unread": 42,
            "last_sync": null, "push": "idle", "held": 0, "skipped": 0, "failed": 0,
        });
        let account = |name: &str, state: &str, more: serde_json::Value| {
            let mut account = json!({
                "name": name, "address": "a@b", "protocol": "imap", "state": state, "push": "idle",
                "error": null, "last_sync": "2023-11-14T22:13:08.000Z", "last_success": null,
                "unread": 42, "total": 9031, "held": 0, "progress": null, "mailboxes": [mailbox],
            });
            let fields = account.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            account
        };
        let servers = json!({"servers": [{"protocol": "imap", "host": "imap.b", "port": 143, "tls": "starttls",
            "user": "me", "auth": "plain"}, {"protocol": "smtp", "host": "smtp.b", "port": 465,
            "tls": "implicit", "user": null, "auth": null}]});
        let progress = json!({"progress": {"mailbox": "INBOX", "done": 412, "total": 9031,
            "bytes_done": 1, "bytes_total": 2}, "held": 30});
        let error = json!({"push": "none", "last_sync": null, "mailboxes": [], "error": {
            "name": "AuthFailed", "text": "log in at x (to mend it: postrider check uni)",
            "since": "2023-11-14T22:01:20.000Z", "next_retry": "2023-11-14T22:18:20.000Z"}});
        check(
            json!({
                "version": "0.1.0", "state": "attention", "pid": 7,
                "since": "2023-11-12T22:13:20.000Z",
                "accounts": [
                    account("home", "idle", servers),
                    account("uni", "needs-login", error),
                    account("work", "syncing", progress),
                ],
                "outbox": {"queued": 1, "held": 0, "uncertain": 2, "failed": 0,
                    "next_attempt": "2023-11-14T22:14:20.000Z", "directory": "/o"},
            }),
            "✖ postrider 0.1.0 — attention, 3 accounts, up 2 d\n  \
             home   ● idle          42 unread   last sync 12 s ago   (IDLE, 1 mailbox)\n           \
             found: imap imap.b:143 starttls, plain, user me; smtp smtp.b:465 implicit\n  \
             uni    ✖ needs login   42 unread   never synced   (none, 0 mailboxes)\n           \
             AuthFailed for 12 min, next try in 5 min: \
             log in at x (to mend it: postrider check uni)\n  \
             work   ◐ syncing       INBOX 412/9031 last sync 12 s ago   (IDLE, 1 mailbox)   \
             30 deletions held back\n  \
             outbox 1 queued, 2 uncertain, next attempt in 1 min, 0 failed",
        );
    }

    #[test]
    fn without_a_service_it_says_so_and_how_to_start_it() {
        let account = json!({
            "name": "work", "state": "stopped", "push": "none", "error": null, "last_sync": null,
            "unread": 3, "held": 30, "progress": null, "mailboxes": [],
        });
        check(
            json!({"version": "0.1.0", "state": "stopped", "pid": null, "since": null,
                "accounts": [account],
                "outbox": {"queued": 1, "held": 0, "uncertain": 0, "failed": 0,
                    "next_attempt": null, "directory": "/o"}}),
            "○ postrider 0.1.0 — no service is running, 1 account\n  \
             work   ○ stopped       3 unread    (0 mailboxes)   30 deletions held back\n  \
             outbox 1 queued, 0 failed\n  \
             to start it: systemctl --user start postrider, or: postrider run",
        );
    }

    #[test]
    fn nothing_configured_is_told_as_well() {
        check(
            json!({"version": "0.1.0", "state": "idle", "pid": 7, "since": null, "accounts": [],
                "outbox": {"queued": 0, "held": 0, "uncertain": 0, "failed": 0,
                    "next_attempt": null, "directory": ""}}),
            "● postrider 0.1.0 — idle, 0 accounts\n  outbox 0 queued, 0 failed",
        );
    }

    #[test]
    fn colours_are_only_painted_when_asked_for() {
        assert!(Lamp::Bad.paint(true).contains("\u{1b}[31m"));
        assert_eq!(Lamp::Bad.paint(false), "✖");
    }
}
