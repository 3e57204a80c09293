//! The document as a whole: `[daemon]`, `[outbox]`, the servers and accounts, and what holds
//! between them. Floor 5.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::Surroundings;
use super::account::{Shared, account};
use super::overlap::{Place, refuse_overlaps};
use super::raw::{Spot, Table, nearest, quoted};
use super::server::{Protocol, server};
use super::{hooks, values};
use crate::model::account::{
    Account, BusChoice, DaemonSettings, OnUncertain, OutboxSettings, Settings,
};
use crate::model::ids::AccountName;

/// Reads everything. The answer is only valid if no problem was noted.
pub(super) fn settings(path: &Path, root: Table<'_>, around: &Surroundings) -> Settings {
    let new_mail = hooks::new_mail(root.take("hooks").and_then(|v| v.table()));
    let daemon = daemon(root.take("daemon").and_then(|v| v.table()));
    let (outbox, outbox_spot) = outbox(&root, around);
    let shared = shared(&root, around);
    let state_dir = around.state_dir.clone();
    let mut places = vec![
        Place { what: "the state directory".to_owned(), path: state_dir, spot: root.spot.clone() },
        Place { what: "the outbox".to_owned(), path: outbox.dir.clone(), spot: outbox_spot },
    ];
    let accounts = accounts(&root, &shared, around, &mut places);
    refuse_overlaps(&places);
    root.finish();
    Settings { path: path.to_owned(), daemon, outbox, new_mail, accounts }
}

fn accounts<'a>(
    root: &Table<'a>,
    shared: &Shared<'a>,
    around: &Surroundings,
    places: &mut Vec<Place<'a>>,
) -> BTreeMap<AccountName, Account> {
    let mut accounts = BTreeMap::new();
    let table = root.take("account");
    if table.is_none() {
        root.spot.problem("there is no account: add an [account.NAME] table");
    }
    let Some(table) = table.and_then(|v| v.table()) else { return accounts };
    for (name, value) in table.named() {
        let Some(own) = value.table() else { continue };
        let (account, spot) = account(name, own, shared, around);
        if let Err(what) = account_name(name) {
            value.name_spot.problem(what);
            continue;
        }
        let what = format!("the maildir of account {name}");
        places.push(Place { what, path: account.maildir.clone(), spot });
        accounts.insert(account.name.clone(), account);
    }
    accounts
}

/// An account's name becomes a file name and a bus path.
fn account_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("the name of an account cannot be empty".to_owned())
    } else if name.len() > 100 {
        Err("the name of an account has at most 100 bytes".to_owned())
    } else if name.starts_with('.') || name.contains('/') || name.contains(char::is_control) {
        Err("the name of an account cannot begin with a dot, or contain \"/\" or control \
             characters"
            .to_owned())
    } else if name.eq_ignore_ascii_case("outbox") {
        Err("\"outbox\" cannot be the name of an account: the outbox has its ledger under it"
            .to_owned())
    } else {
        Ok(())
    }
}

fn shared<'a>(root: &Table<'a>, around: &Surroundings) -> Shared<'a> {
    let mut shared = Shared::new();
    let Some(table) = root.take("smtp").and_then(|v| v.table()) else { return shared };
    for (name, value) in table.named() {
        if let Some(own) = value.table() {
            shared.insert(name, server(&own, Protocol::Smtp, None, around));
            own.finish();
        }
    }
    shared
}

fn daemon(table: Option<Table<'_>>) -> DaemonSettings {
    let mut settings = DaemonSettings {
        poll_interval: Duration::from_secs(300),
        log: "info".to_owned(),
        bus: BusChoice::Session,
        notifications: false,
    };
    let Some(table) = table else { return settings };
    if let Some(value) = table.take("poll_interval")
        && let Some(interval) = value.parsed(values::duration)
    {
        if interval < POLL_INTERVAL_MIN {
            value.spot.problem("must be at least \"1s\"");
        }
        settings.poll_interval = interval;
    }
    if let Some(log) = table.take("log").and_then(|v| v.parsed(log_filter)) {
        settings.log = log;
    }
    let buses =
        [("session", BusChoice::Session), ("private", BusChoice::Private), ("off", BusChoice::Off)];
    settings.bus = table.take("bus").and_then(|v| v.choice(&buses)).unwrap_or(settings.bus);
    let notifications = table.take("notifications").and_then(|v| v.boolean());
    settings.notifications = notifications.unwrap_or(false);
    table.finish();
    settings
}

/// A level, or directives such as `postrider::engine=debug,info`.
///
/// The filter itself takes any single word as the name of a module, so a misspelt level would
/// silence the log: hence the check here.
/// A filter of the log, as `log` and `POSTRIDER_LOG` have it: levels, each after a target and `=` or alone.
///
/// # Errors
/// What is wrong with it.
pub fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let hint = nearest(level, LEVELS).map(|l| format!("; did you mean {}?", quoted(l)));
            let hint = hint.unwrap_or_default();
            return Err(format!("{} is not a level ({}){hint}", quoted(level), LEVELS.join(", ")));
        }
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(err) => Err(format!("{} is not a log filter: {err}", quoted(text))),
    }
}

/// The outbox, and where its directory is named.
fn outbox<'a>(root: &Table<'a>, around: &Surroundings) -> (OutboxSettings, Spot<'a>) {
    let mut settings = OutboxSettings {
        dir: around.home.join("Mail/Outbox"),
        undo_delay: Duration::ZERO,
        retry_for: Duration::from_secs(5 * 86_400),
        on_uncertain: OnUncertain::Hold,
    };
    let mut spot = root.spot.below("outbox");
    let Some(table) = root.take("outbox").and_then(|v| v.table()) else { return (settings, spot) };
    if let Some(value) = table.take("dir") {
        let dir = value.parsed(|text| values::path(text, around));
        settings.dir = dir.unwrap_or(settings.dir);
        spot = value.spot;
    }
    if let Some(delay) = table.take("undo_delay").and_then(|v| v.parsed(values::duration)) {
        settings.undo_delay = delay;
    }
    if let Some(span) = table.take("retry_for").and_then(|v| v.parsed(values::duration)) {
        settings.retry_for = span;
    }
    let choices = [("hold", OnUncertain::Hold), ("retry", OnUncertain::Retry)];
    if let Some(choice) = table.take("on_uncertain").and_then(|v| v.choice(&choices)) {
        settings.on_uncertain = choice;
    }
    table.finish();
    (settings, spot)
}

const POLL_INTERVAL_MIN: Duration = Duration::from_secs(1);
