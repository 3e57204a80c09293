//! From the settings of a server to a login, by what they leave open. Floor 3.
//!
//! The rules say what may be tried; here it is tried, and remembered.

use std::time::Duration;

use tokio::time::timeout;

use super::memory::{keep, recalled};
use crate::model::account::{Endpoint, Mechanism};
use crate::model::automatic::{Memory, Open, Way};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::rules::automatic;

/// Connects to a server and logs in.
///
/// `protocol` is the word shown in failures. `greet` does what comes before anything is said about the user: it connects, reads the greeting, and
/// encrypts. `log_in` does the rest, and says by which mechanism it went. Where the settings leave port,
/// encryption, user or mechanism open, what worked before is used, and where nothing is known or the
/// connection fails, the other ways are tried that are left open.
///
/// # Errors
/// As `greet` and `log_in`. Of several ways that fail, the first is told at which a server answered.
pub async fn reach<C, T, G, L>(
    endpoint: &Endpoint,
    protocol: &str,
    greet: impl Fn(Endpoint) -> G,
    log_in: impl Fn(C) -> L,
) -> Result<T, Failure>
where
    G: Future<Output = Result<C, Failure>>,
    L: Future<Output = Result<(T, Option<Mechanism>), Failure>>,
{
    let done = match &endpoint.open {
        None => log_in(greet(endpoint.clone()).await?).await.map(|(done, _)| done),
        Some(open) => by_trial((endpoint, protocol), open, &greet, &log_in).await,
    };
    done.map_err(|failure| advised(failure, endpoint))
}

async fn by_trial<C, T, G, L>(
    (endpoint, protocol): (&Endpoint, &str),
    open: &Open,
    greet: &impl Fn(Endpoint) -> G,
    log_in: &impl Fn(C) -> L,
) -> Result<T, Failure>
where
    G: Future<Output = Result<C, Failure>>,
    L: Future<Output = Result<(T, Option<Mechanism>), Failure>>,
{
    let before = automatic::about(recalled(&open.memory).await, open, &endpoint.host);
    let floor = if endpoint.auth.is_empty() { automatic::mechanisms(&before) } else { &[] };
    let users = automatic::users(open, &before);
    let mut ways = automatic::ways(open, &before);
    let mut memory = before.clone();
    let mut failures: Vec<(&str, Failure)> = Vec::new();
    for user in users {
        let attempt = |way: Way| Endpoint {
            port: way.port,
            tls: way.tls,
            user: user.to_owned(),
            auth: if floor.is_empty() { endpoint.auth.clone() } else { floor.to_vec() },
            ..endpoint.clone()
        };
        let (way, greeted) = match first(&ways, before.way, protocol, attempt, greet).await {
            Ok(reached) => reached,
            Err(failure) => {
                remember(open, &before, &memory).await;
                return Err(failure);
            }
        };
        memory = automatic::reached(memory, &endpoint.host, way);
        // Whatever follows, follows on this way.
        ways = vec![way];
        match log_in(greeted).await {
            Ok((done, mechanism)) => {
                memory = automatic::let_in(memory, user, mechanism);
                remember(open, &before, &memory).await;
                return Ok(done);
            }
            Err(failure) if failure.kind == Kind::AuthFailed => {
                memory = automatic::refused(memory, open, user);
                failures.push((user, failure));
            }
            Err(failure) => {
                remember(open, &before, &memory).await;
                return Err(weaker(failure, floor));
            }
        }
    }
    remember(open, &before, &memory).await;
    Err(refused(failures, endpoint))
}

/// The first way that leads to a server. One that worked before is given all the time that it wants.
async fn first<C, G>(
    ways: &[Way],
    known: Option<Way>,
    protocol: &str,
    attempt: impl Fn(Way) -> Endpoint,
    greet: &impl Fn(Endpoint) -> G,
) -> Result<(Way, C), Failure>
where
    G: Future<Output = Result<C, Failure>>,
{
    let mut told: Option<Failure> = None;
    for (n, way) in ways.iter().enumerate() {
        let endpoint = attempt(*way);
        let is_last = n + 1 == ways.len();
        let greeted = if is_last || Some(*way) == known {
            greet(endpoint).await
        } else {
            let place = super::place(&endpoint, protocol, "connect");
            let late = || {
                Failure::new(Scope::Account, Remedy::Later, Kind::Timeout, "connect to the server")
                    .at(place)
                    .detail(format_args!("no answer within {} s", PATIENCE.as_secs()))
            };
            timeout(PATIENCE, greet(endpoint)).await.unwrap_or_else(|_| Err(late()))
        };
        let failure = match greeted {
            Ok(greeted) => return Ok((*way, greeted)),
            Err(failure) => failure,
        };
        let may_go_on = automatic::is_about_the_way(&failure);
        if may_go_on && !is_last {
            tracing::debug!(%failure, "another port or encryption is tried");
        }
        // A server that answers, and is not to be trusted or not to be used, says more than a closed port.
        let is_silent = |failure: &Failure| matches!(failure.kind, Kind::Offline | Kind::Timeout);
        told = match told {
            Some(first) if may_go_on && (!is_silent(&first) || is_silent(&failure)) => Some(first),
            _ => Some(failure),
        };
        if !may_go_on {
            break;
        }
    }
    Err(told.unwrap_or_else(|| {
        Failure::new(Scope::Account, Remedy::Never, Kind::Config, "find a way to the server")
    }))
}

async fn remember(open: &Open, before: &Memory, now: &Memory) {
    if before != now {
        keep(&open.memory, now).await;
    }
}

/// No login fits: it may be that one did before.
fn weaker(failure: Failure, floor: &[Mechanism]) -> Failure {
    let Some(strongest) = floor.first().filter(|_| failure.kind == Kind::NotSupported) else {
        return failure;
    };
    let name = strongest.as_str();
    failure
        .detail(format_args!(
            "it took a login that does not show the password before, and offers none now; no password was sent"
        ))
        .cure(format!(
            "try another network; if its operator gave up {name}, allow the others: auth = [\"plain\", \"login\"]"
        ))
}

/// All names were refused.
fn refused(mut failures: Vec<(&str, Failure)>, endpoint: &Endpoint) -> Failure {
    let names: Vec<String> = failures.iter().map(|(user, _)| format!("{user:?}")).collect();
    let Some((_, failure)) = failures.pop() else {
        return Failure::new(Scope::Account, Remedy::Never, Kind::Config, "log in")
            .at(endpoint.authority());
    };
    if names.len() < 2 {
        return failure;
    }
    let mut failure = failure.detail(format_args!("as {}", names.join(" and as ")));
    // That were the two logins that a server is asked for before a person has to help.
    failure.remedy = Remedy::Never;
    failure
}

/// Adds what is known of the provider's passwords to a refused login.
fn advised(failure: Failure, endpoint: &Endpoint) -> Failure {
    match (&endpoint.advice, &failure.cure) {
        (Some(advice), Some(cure)) if failure.kind == Kind::AuthFailed => {
            let cure = format!("{cure}; {advice}");
            failure.cure(cure)
        }
        _ => failure,
    }
}

/// How long a way that is new may take while there are others.
const PATIENCE: Duration = Duration::from_secs(20);
