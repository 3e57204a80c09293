//! From the greeting to a session that is encrypted and logged in. Floor 3.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::timeout;

use super::throttle::{is_throttle, remedy};
use super::wire::{Lines, PROTOCOL, Wire};
use crate::adapters::{net, sasl, secrets};
use crate::model::account::{Endpoint, Mechanism, Tls};
use crate::model::failure::{Failure, Kind, Remedy};
use crate::model::ids::AccountName;
use crate::model::outbox::Reply;

/// A session between two transactions.
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) offers: Offers,
    pub(super) limits: Limits,
    pub(super) usable: bool,
    pub(super) transactions: u32,
    /// Whether there was a transaction, so that the next begins with RSET.
    pub(super) is_used: bool,
}

/// What the server said it can do, since the last EHLO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offers {
    pub(super) starttls: bool,
    pub(super) pipelining: bool,
    pub(super) eight_bit: bool,
    pub(super) utf8: bool,
    /// Delivery reports can be asked for (RFC 3461).
    pub(super) dsn: bool,
    /// Whether SIZE is offered, and the limit; 0 is none.
    pub(super) size: Option<u64>,
    pub(super) auth: Vec<Mechanism>,
    /// Its words, where it refused EHLO and took HELO.
    pub(super) refusal: Option<String>,
}

/// How long each phase may take (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) command: Duration,
    pub(super) mail: Duration,
    pub(super) data: Duration,
    pub(super) block: Duration,
    pub(super) dot: Duration,
}

impl Limits {
    fn of(endpoint: &Endpoint) -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            command: endpoint.timeout,
            mail: endpoint.timeout.max(minutes(5)),
            data: endpoint.timeout.max(minutes(2)),
            block: endpoint.timeout.max(minutes(3)),
            dot: endpoint.timeout.max(minutes(10)),
        }
    }
}

/// Dials, greets, encrypts and logs in.
pub(super) async fn open(endpoint: &Endpoint, account: &AccountName) -> Result<Session, Failure> {
    // The secret comes first, because a password command may ask a person, and no server waits for that.
    let source = endpoint.password.as_ref().filter(|_| !endpoint.user.is_empty());
    let log_in = |password: Option<SecretString>| async move {
        let log_in = |session| Box::pin(logged_in(session, account, password.clone()));
        net::reach(endpoint, PROTOCOL, |endpoint| Box::pin(greet(endpoint)), log_in).await
    };
    secrets::log_in(source, account.as_str(), log_in).await
}

/// Connects and encrypts: what comes before anything is said about the user.
async fn greet(endpoint: Endpoint) -> Result<Session, Failure> {
    let limits = Limits::of(&endpoint);
    let stream = net::dial(&endpoint, PROTOCOL).await?;
    let mut wire = Wire::new(stream, endpoint.clone());
    let greeting = wire.reply("greeting", limits.command).await?.reply;
    if greeting.code != 220 {
        return Err(refused(&wire, "greeting", "be greeted", &greeting));
    }
    let mut offers = hello(&mut wire, &limits).await?;
    if endpoint.tls == Tls::StartTls {
        (wire, offers) = start_tls(wire, &offers, &limits).await?;
    }
    Ok(Session { wire, offers, limits, usable: true, transactions: 0, is_used: false })
}

async fn logged_in(
    mut session: Session,
    account: &AccountName,
    password: Option<SecretString>,
) -> Result<(Session, Option<Mechanism>), Failure> {
    let mechanism = match password {
        Some(password) => Some(login(&mut session, password, account).await?),
        None => None,
    };
    Ok((session, mechanism))
}

impl Session {
    /// Whether another transaction may follow.
    pub(super) fn is_usable(&self) -> bool {
        self.usable && self.transactions < TRANSACTIONS_MAX
    }

    /// Says goodbye. What the server makes of it does not matter.
    pub(super) async fn quit(mut self) {
        let _goodbye =
            timeout(GOODBYE, self.wire.command("QUIT", "QUIT", self.limits.command)).await.is_ok();
    }
}

async fn hello(wire: &mut Wire, limits: &Limits) -> Result<Offers, Failure> {
    let name = match wire.local_ip() {
        Some(std::net::IpAddr::V4(ip)) => format!("[{ip}]"),
        Some(std::net::IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => format!("[{ip}]"),
            None => format!("[IPv6:{ip}]"),
        },
        None => "localhost".to_owned(),
    };
    let answer = wire.command(&format!("EHLO {name}"), "EHLO", limits.command).await?;
    match answer.reply.code {
        250 => Ok(offers(&answer)),
        500..=504 | 550 => {
            let refusal = answer.reply;
            let answer = wire.command(&format!("HELO {name}"), "HELO", limits.command).await?;
            match answer.reply.code {
                250 => Ok(Offers { refusal: Some(refusal.to_string()), ..Offers::default() }),
                _ => Err(refused(wire, "HELO", "greet the server", &answer.reply)),
            }
        }
        _ => Err(refused(wire, "EHLO", "greet the server", &answer.reply)),
    }
}

fn offers(answer: &Lines) -> Offers {
    let mut found = Offers::default();
    for line in answer.raw.split('\n').skip(1) {
        // "AUTH=LOGIN" is an old server's way to write it.
        let line = line.trim().to_ascii_uppercase().replacen("AUTH=", "AUTH ", 1);
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("STARTTLS") => found.starttls = true,
            Some("PIPELINING") => found.pipelining = true,
            Some("8BITMIME") => found.eight_bit = true,
            Some("SMTPUTF8") => found.utf8 = true,
            Some("DSN") => found.dsn = true,
            Some("SIZE") => found.size = Some(words.next().map_or(0, |n| n.parse().unwrap_or(0))),
            Some("AUTH") => found.auth.extend(words.filter_map(sasl::mechanism)),
            _ => {}
        }
    }
    found
}

async fn start_tls(
    mut wire: Wire,
    offers: &Offers,
    limits: &Limits,
) -> Result<(Wire, Offers), Failure> {
    if !offers.starttls {
        return Err(wire
            .failure("STARTTLS", Kind::NotEncrypted, "start TLS")
            .detail("the server does not offer STARTTLS, or someone in between removed it")
            .cure("set tls = \"implicit\" and port = 465 if the server has it; else try another network"));
    }
    let answer = wire.command("STARTTLS", "STARTTLS", limits.command).await?.reply;
    if answer.code != 220 {
        let mut failure = refused(&wire, "STARTTLS", "start TLS", &answer);
        // 4yz is a word for now: the server has no TLS at this moment.
        if answer.code >= 500 {
            failure.kind = Kind::NotEncrypted;
        }
        return Err(failure);
    }
    let mut wire = wire.start_tls().await?;
    // What was offered before TLS may have been anyone's offer, so it is asked again.
    let offers = hello(&mut wire, limits).await?;
    Ok((wire, offers))
}

async fn login(
    session: &mut Session,
    password: SecretString,
    account: &AccountName,
) -> Result<Mechanism, Failure> {
    let (wire, limit) = (&mut session.wire, session.limits.command);
    if !wire.is_encrypted() && wire.endpoint().tls != Tls::None {
        return Err(wire.failure("AUTH", Kind::TlsUntrusted, "log in without encryption"));
    }
    let Some(mechanism) = sasl::choose(&wire.endpoint().auth, &session.offers.auth) else {
        let none = wire
            .failure("AUTH", Kind::NotSupported, "log in")
            .detail("the server offers no login that both sides have")
            .cure(format!("check the keys host, port, tls and auth of account {account}"));
        return Err(match &session.offers.refusal {
            Some(words) => none.said(words),
            None => none,
        });
    };
    let mut exchange = sasl::Exchange::new(mechanism, &wire.endpoint().user.clone(), password);
    let mut line = zeroize::Zeroizing::new(format!("AUTH {}", exchange.name()));
    if let Some(first) = exchange.initial_response() {
        line.push(' ');
        line.push_str(&first);
    }
    let mut reply = wire.command(&line, "AUTH", limit).await?.reply;
    while reply.code == 334 {
        let answer = match exchange.respond(&reply.text) {
            Ok(answer) => answer,
            Err(sasl::OutOfAnswers) => "*".to_owned().into(),
        };
        reply = wire.command(&answer, "AUTH", limit).await?.reply;
        if answer.as_str() == "*" {
            break;
        }
    }
    if reply.code == 235 && !exchange.is_server_proved() {
        return Err(wire
            .failure("AUTH", Kind::TlsUntrusted, "log in")
            .detail("the server did not prove that it knows the password, so it may be another one")
            .cure("try another network; else ask the provider"));
    }
    if reply.code == 235 { Ok(mechanism) } else { Err(login_refused(wire, &reply, account)) }
}

fn login_refused(wire: &Wire, reply: &Reply, account: &AccountName) -> Failure {
    if reply.is_transient() {
        return refused(wire, "AUTH", "log in", reply);
    }
    let mut failure = wire.failure("AUTH", Kind::AuthFailed, "log in").said(&reply.to_string());
    failure.remedy = Remedy::Never;
    failure.cure(format!("check \"user\" and \"password\" of account {account}"))
}

/// A server that says no before there is a message: trouble of the account.
pub(super) fn refused(wire: &Wire, phase: &str, what: &str, reply: &Reply) -> Failure {
    if is_throttle(reply) {
        let mut failure = wire.failure(phase, Kind::Throttled, what).said(&reply.to_string());
        failure.remedy = remedy(reply);
        return failure.cure("wait: it is tried again by itself; send less at a time");
    }
    let kind = match reply.code {
        450..=454 => Kind::Throttled,
        530 | 534 | 535 | 538 => Kind::AuthFailed,
        _ => Kind::Refused,
    };
    wire.failure(phase, kind, what).said(&reply.to_string())
}

const TRANSACTIONS_MAX: u32 = 100;
const GOODBYE: Duration = Duration::from_secs(2);
