//! From the greeting to a session that is encrypted and logged in. Floor 3.
//!
//! Everything said before TLS is forgotten; nothing secret is said before TLS except on loopback.

use md5::{Digest as _, Md5};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::code::{Code, Offers};
use super::wire::{PROTOCOL, Status, Wire};
use crate::adapters::net::{self, Line, is_loopback_host};
use crate::adapters::{sasl, secrets};
use crate::model::account::{Endpoint, Mechanism, Tls};
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// Connects, encrypts and logs in, all within the endpoint's timeout.
pub(super) async fn log_in(
    endpoint: &Endpoint,
    account: &str,
    line: &Line,
) -> Result<(Wire, Offers), Failure> {
    // The secret comes first, because a password command may ask a person, and no server waits for that.
    let greet = |endpoint| Box::pin(greeted(endpoint, line));
    let log_in = |secret: Option<SecretString>| async move {
        let Some(secret) = secret else {
            let failure =
                Failure::new(Scope::Account, Remedy::Never, Kind::NeedsLogin, "find the password")
                    .at(net::place(endpoint, PROTOCOL, "login"));
            return Err(failure.cure(format!("set \"password\" of account {account}")));
        };
        let log_in = |greeted| Box::pin(authenticated(greeted, account, secret.clone()));
        net::reach(endpoint, PROTOCOL, greet, log_in).await
    };
    secrets::log_in(endpoint.password.as_ref(), account, log_in).await
}

/// A session that is encrypted, and nobody's yet.
struct Greeted {
    wire: Wire,
    greeting: Status,
    deadline: Instant,
}

async fn greeted(endpoint: Endpoint, line: &Line) -> Result<Greeted, Failure> {
    let deadline = Instant::now() + endpoint.timeout;
    match timeout_at(deadline, greet(&endpoint, line)).await {
        Ok(done) => done.map(|(wire, greeting)| Greeted { wire, greeting, deadline }),
        Err(_) => Err(late(&endpoint)),
    }
}

async fn authenticated(
    greeted: Greeted,
    account: &str,
    secret: SecretString,
) -> Result<((Wire, Offers), Option<Mechanism>), Failure> {
    let Greeted { wire, greeting, deadline } = greeted;
    let endpoint = wire.endpoint().clone();
    match timeout_at(deadline, authenticate(wire, &greeting, account, &secret)).await {
        Ok(done) => done,
        Err(_) => Err(late(&endpoint)),
    }
}

fn late(endpoint: &Endpoint) -> Failure {
    let late = Failure::new(Scope::Account, Remedy::Later, Kind::Timeout, "connect to the server")
        .at(net::place(endpoint, PROTOCOL, "login"))
        .detail(format_args!("not ready within {} s", endpoint.timeout.as_secs()));
    match endpoint.tls {
        Tls::Implicit => late,
        Tls::StartTls | Tls::None => {
            late.cure("a port that waits for TLS is silent: check tls and port")
        }
    }
}

/// Connects and encrypts: what comes before anything is said about the user.
async fn greet(endpoint: &Endpoint, line: &Line) -> Result<(Wire, Status), Failure> {
    let stream = net::dial(endpoint, PROTOCOL).await?.on(line);
    let mut wire = Wire::new(stream, endpoint.clone());
    let greeting = wire.status("greeting").await?;
    if !greeting.is_ok {
        return Err(wire.refusal(&greeting, "greeting", "be greeted"));
    }
    if endpoint.tls == Tls::StartTls {
        wire = start_tls(wire).await?;
    }
    Ok((wire, greeting))
}

async fn authenticate(
    mut wire: Wire,
    greeting: &Status,
    account: &str,
    secret: &SecretString,
) -> Result<((Wire, Offers), Option<Mechanism>), Failure> {
    let offers = capa(&mut wire).await?;
    if offers.utf8 {
        // Without it a server may rewrite what it has (RFC 6856 §2.1). A refusal changes nothing for us.
        wire.command("UTF8", "UTF8").await?;
    }
    let way = Way { account, greeting, offers: &offers };
    let mechanism = way.authenticate(&mut wire, secret).await?;
    // Some servers tell more to whom they know.
    let mut after = capa(&mut wire).await?;
    if !after.is_known {
        after = offers;
    }
    Ok(((wire, after), Some(mechanism)))
}

async fn start_tls(mut wire: Wire) -> Result<Wire, Failure> {
    let answer = wire.command("STLS", "STLS").await?;
    if !answer.is_ok {
        return Err(wire
            .failure("STLS", Kind::NotEncrypted, "start TLS")
            .said(&answer.text)
            .detail("the server refuses to encrypt; no password was sent")
            .cure("use tls = \"implicit\" if the server has port 995"));
    }
    wire.start_tls().await
}

/// Asks what the server can do (RFC 2449 §5).
async fn capa(wire: &mut Wire) -> Result<Offers, Failure> {
    let mut offers = Offers::default();
    if !wire.command("CAPA", "CAPA").await?.is_ok {
        return Ok(offers);
    }
    offers.is_known = true;
    for _ in 0..CAPA_LINES_MAX {
        let line = wire.line("CAPA").await?;
        if line.bytes == b"." {
            return Ok(offers);
        }
        offers.take(&line.bytes);
    }
    let endless = wire.failure("CAPA", Kind::Protocol, "ask what the server can do");
    Err(endless.detail("the server does not stop"))
}

/// What decides about the way to log in.
struct Way<'a> {
    account: &'a str,
    greeting: &'a Status,
    offers: &'a Offers,
}

impl Way<'_> {
    /// Answers by which mechanism it went.
    async fn authenticate(
        &self,
        wire: &mut Wire,
        secret: &SecretString,
    ) -> Result<Mechanism, Failure> {
        let endpoint = wire.endpoint().clone();
        if !wire.is_encrypted() && !is_loopback_host(&endpoint.host) {
            let mut refused = wire.failure("login", Kind::TlsUntrusted, "log in");
            refused.remedy = Remedy::Never;
            return Err(refused.detail("no password is sent over a line that is not encrypted"));
        }
        let user = endpoint.user.as_str();
        let may_plain = endpoint.auth.is_empty() || endpoint.auth.contains(&Mechanism::Login);
        // USER and PASS show the password, as LOGIN does; APOP does not, as CRAM-MD5.
        let (answer, mechanism) = match sasl::choose(&endpoint.auth, &self.offers.mechanisms) {
            Some(mechanism) => (self.sasl(wire, mechanism, user, secret).await?, mechanism),
            None if may_plain && self.may_user(user, secret) => {
                (self.user(wire, user, secret).await?, Mechanism::Login)
            }
            None if may_plain || endpoint.auth.contains(&Mechanism::CramMd5) => {
                match timestamp(self.greeting) {
                    Some(stamp) => (apop(wire, &stamp, user, secret).await?, Mechanism::CramMd5),
                    None => return Err(no_way(wire)),
                }
            }
            None => return Err(no_way(wire)),
        };
        if answer.is_ok { Ok(mechanism) } else { Err(self.refused(wire, &answer)) }
    }

    /// USER and PASS are what a server has that says nothing; names beyond ASCII need its word.
    fn may_user(&self, user: &str, secret: &SecretString) -> bool {
        let is_offered = !self.offers.is_known || self.offers.user;
        let is_plain = user.is_ascii() && secret.expose_secret().is_ascii();
        is_offered && (is_plain || self.offers.utf8_user || !self.offers.is_known)
    }

    async fn user(
        &self,
        wire: &mut Wire,
        user: &str,
        secret: &SecretString,
    ) -> Result<Status, Failure> {
        let secret = secret.expose_secret();
        if user.contains(['\r', '\n']) || secret.contains(['\r', '\n', '\0']) {
            let unfit = wire.failure("USER", Kind::NeedsLogin, "log in");
            return Err(unfit.detail("the user or the password has more than one line"));
        }
        let answer = wire.command(&format!("USER {user}"), "USER").await?;
        if !answer.is_ok {
            return Ok(answer);
        }
        wire.command(&Zeroizing::new(format!("PASS {secret}")), "PASS").await
    }

    async fn sasl(
        &self,
        wire: &mut Wire,
        mechanism: Mechanism,
        user: &str,
        secret: &SecretString,
    ) -> Result<Status, Failure> {
        let mut exchange = sasl::Exchange::new(mechanism, user, secret.clone());
        let mut line = Zeroizing::new(format!("AUTH {}", exchange.name()));
        let mut ahead = exchange.initial_response();
        // A command has at most 255 octets (RFC 5034 §4); what is longer waits for the server's "+".
        if let Some(first) = ahead.take_if(|first| line.len() + first.len() < 250) {
            line.push(' ');
            line.push_str(&first);
        }
        wire.queue(&line);
        wire.flush("AUTH").await?;
        for _ in 0..CHALLENGES_MAX {
            let said = wire.line("AUTH").await?;
            let Some(challenge) = said.bytes.strip_prefix(b"+ ").or_else(|| is_bare(&said.bytes))
            else {
                let status = wire.status_of(&said, "AUTH")?;
                if status.is_ok && !exchange.is_server_proved() {
                    return Err(unproved(wire));
                }
                return Ok(status);
            };
            let challenge = String::from_utf8_lossy(challenge);
            let answer = match ahead.take() {
                Some(first) => first,
                None => exchange
                    .respond(challenge.trim())
                    .unwrap_or_else(|_| Zeroizing::new("*".to_owned())),
            };
            wire.queue(&answer);
            wire.flush("AUTH").await?;
        }
        Err(wire
            .failure("AUTH", Kind::Protocol, "log in")
            .detail("the server does not stop asking"))
    }

    /// Sorts the ways in which a login is refused: only some of them are about the password.
    fn refused(&self, wire: &Wire, answer: &Status) -> Failure {
        let mut refusal = wire.refusal(answer, "login", "log in");
        let upper = answer.text.to_ascii_uppercase();
        match answer.code {
            Some(Code::InUse | Code::SysTemp | Code::SysPerm) => return refusal,
            Some(Code::LoginDelay) => {
                if let Some(delay) = self.offers.login_delay {
                    refusal.remedy = Remedy::After(delay);
                }
                return refusal;
            }
            None if PASSING.iter().any(|word| upper.contains(word)) => {
                refusal.kind = Kind::Throttled;
                return refusal;
            }
            Some(Code::Auth) | None => {}
        }
        refusal.kind = Kind::AuthFailed;
        "login refused".clone_into(&mut refusal.what);
        refusal.cure(format!(
            "check \"user\" and \"password\" of account {}; some providers want POP3 switched on in \
             their web settings, or an app-specific password",
            self.account
        ))
    }
}

/// A challenge without a text.
fn is_bare(line: &[u8]) -> Option<&[u8]> {
    (line == b"+").then_some(&[])
}

/// The server let us in without showing that it knows the password itself (RFC 5802 §3).
fn unproved(wire: &Wire) -> Failure {
    wire.failure("AUTH", Kind::TlsUntrusted, "log in")
        .detail("the server did not prove that it knows the password, so it may be another one")
        .cure("try another network; else ask the provider")
}

fn no_way(wire: &Wire) -> Failure {
    let mut failure = wire
        .failure("login", Kind::NotSupported, "log in")
        .detail("the server offers no login that fits this account's secret and \"auth\"")
        .cure("check \"auth\" of the account's [pop3] table");
    failure.remedy = Remedy::Never;
    failure
}

/// The timestamp of a greeting, in its angle brackets, where it is one (RFC 1939 §7).
fn timestamp(greeting: &Status) -> Option<String> {
    let from = greeting.text.find('<')?;
    let stamp = greeting.text.get(from..)?;
    let stamp = stamp.get(..=stamp.find('>')?)?;
    let is_good = stamp.contains('@') && stamp.bytes().all(|b| b.is_ascii_graphic());
    is_good.then(|| stamp.to_owned())
}

async fn apop(
    wire: &mut Wire,
    stamp: &str,
    user: &str,
    secret: &SecretString,
) -> Result<Status, Failure> {
    let digest = apop_digest(stamp, secret.expose_secret());
    wire.command(&format!("APOP {user} {digest}"), "APOP").await
}

fn apop_digest(stamp: &str, secret: &str) -> String {
    let digest = Md5::new().chain_update(stamp).chain_update(secret).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What servers say without a code when it is not about the password.
const PASSING: [&str; 8] = [
    "TOO MANY",
    "TRY AGAIN LATER",
    "TEMPORAR",
    "UNAVAILABLE",
    "IN USE",
    "LOCKED BY ANOTHER",
    "ALREADY LOCKED",
    "LOGIN DELAY",
];
const CAPA_LINES_MAX: usize = 1000;
const CHALLENGES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apop_is_that_of_rfc_1939() {
        let stamp = "<1896.697170952@dbc.mtview.ca.us>";
        assert_eq!(apop_digest(stamp, "tanstaaf"), "c4c9334bac560ecc979e58001b3e22fb");
        let greeting = |text: &str| Status {
            is_ok: true,
            text: format!("+OK {text}"),
            code: None,
            is_crlf: true,
        };
        assert_eq!(timestamp(&greeting(&format!("ready {stamp}"))).as_deref(), Some(stamp));
        assert_eq!(timestamp(&greeting("ready <not one>")), None);
        assert_eq!(timestamp(&greeting("> ready <")), None);
    }
}
