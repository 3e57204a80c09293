//! The state of the service in one line, for the service manager. Floor 5.

use chrono::{DateTime, TimeZone};

use crate::daemon::document;
use crate::model::ids::AccountName;
use crate::model::status::{AccountState, AccountStatus, Micros, Status};

/// What hangs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) accounts: Vec<AccountName>,
    pub(super) outbox: bool,
}

/// `2 accounts ok · work: syncing INBOX 412/9031 · outbox 1 (next try 14:05)`, with the times of a zone.
pub(super) fn line<Z: TimeZone>(status: &Status, lost: &Lost, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    let mut parts = Vec::new();
    if status.config_error.is_some() {
        parts.push("the new configuration has a mistake and was not taken over".to_owned());
    }
    let state = document::state(status);
    if matches!(state, "starting" | "stopping" | "paused") {
        parts.push(state.to_owned());
    }
    let enabled = status.accounts.iter().filter(|(_, account)| account.enabled);
    let mut n_fine = 0_u32;
    for (name, account) in enabled {
        let state = status.state(name);
        if lost.accounts.contains(name) {
            parts.push(format!("{name}: does not answer any more"));
        } else if state == AccountState::Idle {
            n_fine += 1;
        } else {
            parts.push(format!("{name}: {}", doing(state, account)));
        }
    }
    if n_fine > 0 || parts.is_empty() {
        let word = if n_fine == 1 { "account" } else { "accounts" };
        parts.insert(0, format!("{n_fine} {word} ok"));
    }
    if lost.outbox {
        parts.push("outbox: does not answer any more".to_owned());
    } else {
        parts.extend(outbox(status, zone));
    }
    parts.join(" · ")
}

fn doing(state: AccountState, account: &AccountStatus) -> String {
    match &account.progress {
        Some(p) if state == AccountState::Syncing => {
            format!("syncing {} {}/{}", p.mailbox, p.done, p.total)
        }
        _ => state.as_str().replace('-', " "),
    }
}

fn outbox<Z: TimeZone>(status: &Status, zone: &Z) -> Option<String>
where
    Z::Offset: std::fmt::Display,
{
    let outbox = &status.outbox;
    let next = (outbox.queued > 0).then(|| time(outbox.next_attempt, zone)).flatten();
    let next = next.map(|at| format!(" (next try {at})")).unwrap_or_default();
    let failed = match outbox.failed {
        0 => String::new(),
        n => format!(", {n} failed"),
    };
    let waiting = document::outbox_count(outbox);
    (waiting > 0 || outbox.failed > 0).then(|| format!("outbox {waiting}{next}{failed}"))
}

fn time<Z: TimeZone>(at: Micros, zone: &Z) -> Option<String>
where
    Z::Offset: std::fmt::Display,
{
    let at = i64::try_from(at).ok().filter(|at| *at > 0)?;
    let at = DateTime::from_timestamp_micros(at)?;
    Some(at.with_timezone(zone).format("%H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::model::status::Progress;

    #[test]
    fn one_line_says_what_goes_on() {
        let account = |state| AccountStatus { enabled: true, state, ..AccountStatus::default() };
        let mut status = Status::default();
        let none = Lost::default();
        assert_eq!(line(&status, &none, &Utc), "0 accounts ok");
        let mut add = |name: &str, account| {
            status.accounts.insert(AccountName(name.to_owned()), account);
        };
        add("home", account(AccountState::Idle));
        add("uni", account(AccountState::NeedsLogin));
        let progress =
            Progress { mailbox: "INBOX".to_owned(), done: 412, total: 9031, ..Progress::default() };
        add("work", AccountStatus { progress: Some(progress), ..account(AccountState::Syncing) });
        status.outbox.queued = 1;
        status.outbox.next_attempt = 1_700_000_000_000_000;
        let lost = Lost { accounts: vec![AccountName("uni".to_owned())], outbox: true };
        assert_eq!(
            line(&status, &none, &Utc),
            "1 account ok · uni: needs login · work: syncing INBOX 412/9031 · outbox 1 (next try 22:13)"
        );
        let line = line(&status, &lost, &Utc);
        assert!(line.contains("uni: does not answer any more"), "{line}");
        assert!(line.ends_with("outbox: does not answer any more"), "{line}");
    }
}
