//! What the servers of an account offer, against what is used; and where another port would answer. Floor 5.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::daemon::check::Finding;
use crate::model::account::{Account, Endpoint, Role, Tls};
use crate::model::failure::{Failure, Kind};
use crate::model::view::RemoteMailbox;
use crate::ports::remote::Remote;
use crate::rules::mailboxes;

fn of(account: &Account, what: String, advice: Option<String>) -> Finding {
    Finding { account: Some(account.name.clone()), what, failure: None, advice }
}

/// What an IMAP server offers, and which mailboxes have which role.
pub(in crate::daemon) async fn imap<R: Remote>(account: &Account, remote: &mut R) -> Vec<Finding> {
    let mut findings = vec![capabilities(account, remote)];
    match Box::pin(remote.mailboxes()).await {
        Ok(found) => findings.push(roles(account, &found)),
        Err(failure) => {
            let what = "mailboxes".to_owned();
            findings.push(Finding { failure: Some(failure), ..of(account, what, None) });
        }
    }
    findings
}

fn capabilities<R: Remote>(account: &Account, remote: &R) -> Finding {
    let push = if remote.can_notify() {
        "new mail at once in all mailboxes (NOTIFY)"
    } else if remote.can_push() {
        "new mail at once in INBOX (IDLE)"
    } else {
        "no push"
    };
    let removal = if remote.can_expunge() { "exact removal (UIDPLUS)" } else { "no exact removal" };
    let moves = if remote.can_move() { "MOVE" } else { "no MOVE" };
    let what = format!("IMAP server: {push}, {removal}, {moves}");
    let mut advice = Vec::new();
    if !remote.can_push() && !remote.can_notify() {
        advice.push("new mail comes with each poll: set poll_interval to what you can wait for");
    }
    if !remote.can_expunge() {
        advice.push("what you delete is only marked as deleted there, and another program has to expunge it");
    }
    of(account, what, (!advice.is_empty()).then(|| advice.join("; ")))
}

fn roles(account: &Account, found: &[RemoteMailbox]) -> Finding {
    let roles = mailboxes::roles(&account.roles, found);
    let wanted = [Role::Sent, Role::Drafts, Role::Trash];
    let shown: Vec<String> = wanted
        .iter()
        .filter_map(|role| Some(format!("{} {:?}", role.as_str(), roles.get(role)?.as_str())))
        .collect();
    let missing: Vec<&str> =
        wanted.iter().filter(|role| !roles.contains_key(role)).map(|role| role.as_str()).collect();
    let what = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
    let strange = account.roles.iter().find(|(_, name)| !found.iter().any(|m| m.name == **name));
    let advice = match (strange, missing.is_empty()) {
        (Some((role, name)), _) => Some(format!(
            "the server has no mailbox {:?}: correct roles.{} of account {}",
            name.as_str(),
            role.as_str(),
            account.name
        )),
        (None, false) => Some(format!(
            "no mailbox for {}: one is made when it is needed; or name yours: roles = {{ {} = \"NAME\" }}",
            missing.join(", "),
            missing.first().copied().unwrap_or_default()
        )),
        (None, true) => None,
    };
    of(account, format!("mailbox roles: {what}"), advice)
}

/// Where a server did not answer: whether it does on the other ports of its kind. Networks of guests
/// and providers block some of them.
pub(in crate::daemon) async fn other_port(endpoint: &Endpoint, failure: Failure) -> Failure {
    if !matches!(failure.kind, Kind::Offline | Kind::Timeout) {
        return failure;
    }
    for (port, tls) in others(endpoint) {
        let dialled = timeout(PATIENCE, TcpStream::connect((endpoint.host.as_str(), port))).await;
        if matches!(dialled, Ok(Ok(_))) {
            let cure = format!(
                "port {} does not answer here, port {port} does: set port = {port} and tls = \"{tls}\"",
                endpoint.port
            );
            return failure.cure(cure);
        }
    }
    failure
}

fn others(endpoint: &Endpoint) -> Vec<(u16, &'static str)> {
    let known: &[(u16, &str)] = match endpoint.port {
        25 | 465 | 587 | 2525 => &[(465, "implicit"), (587, "starttls"), (2525, "starttls")],
        993 | 143 => &[(993, "implicit"), (143, "starttls")],
        995 | 110 => &[(995, "implicit"), (110, "starttls")],
        _ => &[],
    };
    let is_other = |(port, _): &&(u16, &str)| *port != endpoint.port && endpoint.tls != Tls::None;
    known.iter().filter(is_other).copied().collect()
}

const PATIENCE: Duration = Duration::from_secs(5);
