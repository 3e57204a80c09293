//! From the greeting to a connection that is logged in, on the bare stream. Floor 3.
//!
//! Everything said before TLS is forgotten; nothing secret is said before TLS except on loopback;
//! no referral is followed; lines are short and bounded.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::deflate::{Deflate, Duplex};
use super::words::{
    INTRODUCTION, Tagged, capability_code, is_netease, is_passing, leaves_the_machine, mechanisms,
    personal_prefix, slowed_down, tagged, timed_out,
};
use crate::adapters::net::{self, Line, Stream, is_loopback_host};
use crate::adapters::{sasl, secrets};
use crate::model::account::{Endpoint, Mechanism, Tls};
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// A stream that is logged in.
#[derive(Debug)]
pub(super) struct LoggedIn {
    /// The stream, compressed where that was agreed on.
    pub(super) stream: Box<dyn Duplex>,
    /// What was read from it but not used.
    pub(super) leftover: Vec<u8>,
    /// Capabilities after the login, upper case.
    pub(super) capabilities: BTreeSet<String>,
    /// The prefix of the personal namespace (RFC 2342), where there is one.
    pub(super) namespace: Option<String>,
    /// Whether the server is on this machine.
    pub(super) is_near: bool,
}

/// What a connection is to have beside the login.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    /// The namespace is asked for only where nobody fixed the prefix.
    pub(super) namespace: bool,
    /// Whether to treat the server as one that is far away even if it is on this machine.
    pub(super) is_far: bool,
}

/// Connects, encrypts, logs in and compresses, all within the endpoint's timeout.
pub(super) async fn log_in(
    endpoint: &Endpoint,
    account: &str,
    line: &Line,
    wishes: Wishes,
) -> Result<LoggedIn, Failure> {
    let greet = |endpoint| Box::pin(Dialogue::begin(endpoint, account, line, wishes));
    let log_in = |secret: Option<SecretString>| async move {
        let run = |dialogue| Box::pin(Dialogue::run(dialogue, secret.clone()));
        net::reach(endpoint, "IMAP", greet, run).await
    };
    secrets::log_in(endpoint.password.as_ref(), account, log_in).await
}

struct Dialogue<'a> {
    stream: Stream,
    buffer: Vec<u8>,
    endpoint: Endpoint,
    account: &'a str,
    deadline: Instant,
    tag: u32,
    wishes: Wishes,
    /// The first line, and whether no login is wanted.
    greeting: (String, bool),
}

impl<'a> Dialogue<'a> {
    /// Connects and encrypts: what comes before anything is said about the user.
    async fn begin(
        endpoint: Endpoint,
        account: &'a str,
        line: &Line,
        wishes: Wishes,
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + endpoint.timeout;
        let stream = net::dial(&endpoint, "IMAP").await?.on(line);
        let (buffer, greeting) = (Vec::new(), (String::new(), false));
        let mut this =
            Self { stream, buffer, endpoint, account, deadline, tag: 0, wishes, greeting };
        let greeting = this.line("greeting").await?;
        let is_preauth = this.check_greeting(&greeting)?;
        this.greeting = (greeting, is_preauth);
        if this.endpoint.tls == Tls::StartTls { this.start_tls().await } else { Ok(this) }
    }

    /// Logs in, and agrees on the rest.
    async fn run(
        mut self,
        secret: Option<SecretString>,
    ) -> Result<(LoggedIn, Option<Mechanism>), Failure> {
        let (greeting, is_preauth) = std::mem::take(&mut self.greeting);
        let (mut told, mut mechanism) = (None, None);
        if !is_preauth {
            // What was said in cleartext before TLS counts for nothing.
            let capabilities = match capability_code(&greeting) {
                Some(told) if self.endpoint.tls != Tls::StartTls => told,
                _ => self.capability().await?,
            };
            let Some(secret) = secret else {
                let failure = self.failure("LOGIN", Kind::NeedsLogin, Remedy::Never);
                return Err(failure.cure(format!("set \"password\" of account {}", self.account)));
            };
            let (capabilities, used) = self.authenticate(&capabilities, secret).await?;
            (told, mechanism) = (capabilities, Some(used));
        }
        let capabilities = match told {
            Some(told) => told,
            None => self.capability().await?,
        };
        Ok((self.settle(capabilities).await?, mechanism))
    }

    /// Asks for the namespace, and compresses where that pays.
    async fn settle(mut self, capabilities: BTreeSet<String>) -> Result<LoggedIn, Failure> {
        let mut namespace = None;
        if capabilities.contains("NAMESPACE") && self.wishes.namespace {
            let end = self.command("NAMESPACE", "NAMESPACE", |line| {
                namespace = personal_prefix(line).or_else(|| namespace.take());
            });
            // A refusal means that there is none to speak of.
            end.await?;
        }
        if is_netease(&self.endpoint.host) && capabilities.contains("ID") {
            self.command(INTRODUCTION, "ID", |_| {}).await?;
        }
        let is_far = self.wishes.is_far || leaves_the_machine(self.stream.peer_ip());
        if !(is_far && capabilities.contains("COMPRESS=DEFLATE")) {
            let stream = Box::new(self.stream);
            let (leftover, is_near) = (self.buffer, !is_far);
            return Ok(LoggedIn { stream, leftover, capabilities, namespace, is_near });
        }
        let is_agreed = self.command("COMPRESS DEFLATE", "COMPRESS", |_| {}).await?.is_ok;
        let (stream, buffer) = (self.stream, self.buffer);
        let (stream, leftover): (Box<dyn Duplex>, _) = if is_agreed {
            // Whatever followed the answer is compressed already.
            (Box::new(Deflate::new(stream, buffer)), Vec::new())
        } else {
            (Box::new(stream), buffer)
        };
        Ok(LoggedIn { stream, leftover, capabilities, namespace, is_near: false })
    }

    /// Whether the server lets us in without a login; that is believed on an encrypted line only.
    fn check_greeting(&self, line: &str) -> Result<bool, Failure> {
        let word = line.strip_prefix("* ").and_then(|l| l.split_whitespace().next());
        let word = word.unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "OK" => Ok(false),
            "PREAUTH" if self.stream.is_encrypted() => Ok(true),
            "PREAUTH" => Err(self
                .failure("greeting", Kind::TlsUntrusted, Remedy::Later)
                .said(line)
                .detail("a login-free greeting without TLS is how an attacker steals mail")),
            "BYE" => Err(self.failure("greeting", Kind::Throttled, slowed_down(line)).said(line)),
            _ => Err(self
                .failure("greeting", Kind::Protocol, Remedy::Later)
                .said(line)
                .detail("this is not an IMAP server")
                .cure("check host and port of the account's [imap] table")),
        }
    }

    async fn start_tls(mut self) -> Result<Self, Failure> {
        let end = self.command("STARTTLS", "STARTTLS", |_| {}).await?;
        if !end.is_ok {
            return Err(self
                .failure("STARTTLS", Kind::NotEncrypted, Remedy::Later)
                .said(&end.text)
                .detail("the server refuses to encrypt; no password was sent")
                .cure("use tls = \"implicit\" if the server has port 993"));
        }
        if !self.buffer.is_empty() {
            return Err(self
                .failure("STARTTLS", Kind::TlsUntrusted, Remedy::Later)
                .detail("data followed the answer in cleartext: somebody is injecting it"));
        }
        let upgraded = self.stream.start_tls(&self.endpoint, "IMAP");
        let stream = timeout_at(self.deadline, upgraded).await;
        let stream = stream.map_err(|_| timed_out(&self.endpoint, "STARTTLS"))??;
        Ok(Self { stream, ..self })
    }

    async fn capability(&mut self) -> Result<BTreeSet<String>, Failure> {
        let mut found = BTreeSet::new();
        let end = self
            .command("CAPABILITY", "CAPABILITY", |line| {
                let mut words = line.split_whitespace().skip(1);
                if words.next().is_some_and(|w| w.eq_ignore_ascii_case("CAPABILITY")) {
                    found.extend(words.map(str::to_ascii_uppercase));
                }
            })
            .await?;
        if !end.is_ok {
            return Err(self.failure("CAPABILITY", Kind::Protocol, Remedy::Later).said(&end.text));
        }
        Ok(found)
    }

    async fn authenticate(
        &mut self,
        capabilities: &BTreeSet<String>,
        secret: SecretString,
    ) -> Result<(Option<BTreeSet<String>>, Mechanism), Failure> {
        if !self.stream.is_encrypted() && !is_loopback_host(&self.endpoint.host) {
            return Err(self
                .failure("LOGIN", Kind::TlsUntrusted, Remedy::Never)
                .detail("no password is sent over a line that is not encrypted"));
        }
        let chosen = sasl::choose(&self.endpoint.auth, &mechanisms(capabilities));
        let end = match chosen {
            Some(mechanism) => {
                let has_ir = capabilities.contains("SASL-IR") && !is_netease(&self.endpoint.host);
                let mut exchange = sasl::Exchange::new(mechanism, &self.endpoint.user, secret);
                let end = self.sasl(&mut exchange, has_ir).await?;
                if end.is_ok && !exchange.is_server_proved() {
                    // RFC 5802 §3: the server let us in without showing that it knows the password.
                    return Err(self
                        .failure("AUTHENTICATE", Kind::TlsUntrusted, Remedy::Later)
                        .detail("the server did not prove that it knows the password, so it may be another one")
                        .cure("try another network; else ask the provider"));
                }
                end
            }
            None if !capabilities.contains("LOGINDISABLED") && self.may_login() => {
                self.login(&secret).await?
            }
            None => {
                return Err(self
                    .failure("LOGIN", Kind::NotSupported, Remedy::Never)
                    .detail(
                        "the server offers no login that fits this account's secret and \"auth\"",
                    )
                    .cure("check \"auth\" of the account's [imap] table"));
            }
        };
        if !end.is_ok {
            return Err(self.refused(&end.text));
        }
        // The LOGIN command shows the password, as the mechanism of that name does.
        Ok((capability_code(&end.text), chosen.unwrap_or(Mechanism::Login)))
    }

    fn may_login(&self) -> bool {
        self.endpoint.auth.is_empty() || self.endpoint.auth.contains(&Mechanism::Login)
    }

    /// Sorts the ways in which a login is refused: only some of them are about the password.
    fn refused(&self, text: &str) -> Failure {
        if is_passing(text) {
            return self.failure("LOGIN", Kind::Throttled, slowed_down(text)).said(text);
        }
        self.failure("LOGIN", Kind::AuthFailed, Remedy::Later).said(text).cure(format!(
            "check \"user\" and \"password\" of account {}; providers with two-factor login want \
             an app-specific password",
            self.account
        ))
    }

    async fn sasl(
        &mut self,
        exchange: &mut sasl::Exchange,
        has_ir: bool,
    ) -> Result<Tagged, Failure> {
        let first = if has_ir { exchange.initial_response() } else { None };
        let tag = self.tag();
        let begin = format!("{tag} AUTHENTICATE {}", exchange.name());
        match &first {
            Some(first) => self.write(&[&begin, " ", first]).await?,
            None => self.write(&[&begin]).await?,
        }
        loop {
            let line = self.line("AUTHENTICATE").await?;
            if let Some(challenge) = line.strip_prefix('+') {
                let answer = exchange.respond(challenge.trim());
                let answer = answer.unwrap_or_else(|_| zeroize::Zeroizing::new("*".to_owned()));
                self.write(&[&answer]).await?;
            } else if let Some(end) = tagged(&line, &tag) {
                return Ok(end);
            }
        }
    }

    /// The LOGIN command; both arguments travel as literals, so that any byte may be in them.
    async fn login(&mut self, secret: &SecretString) -> Result<Tagged, Failure> {
        let user = self.endpoint.user.clone();
        let tag = self.send(&format!("LOGIN {{{}}}", user.len())).await?;
        let second = format!("{user} {{{}}}", secret.expose_secret().len());
        for part in [second.as_str(), secret.expose_secret()] {
            let line = self.line("LOGIN").await?;
            if let Some(end) = tagged(&line, &tag) {
                return Ok(end);
            }
            if line.starts_with('+') {
                self.write(&[part]).await?;
            }
        }
        loop {
            let line = self.line("LOGIN").await?;
            if let Some(end) = tagged(&line, &tag) {
                return Ok(end);
            }
        }
    }

    async fn command(
        &mut self,
        command: &str,
        phase: &str,
        mut untagged: impl FnMut(&str),
    ) -> Result<Tagged, Failure> {
        let tag = self.send(command).await?;
        for _ in 0..UNTAGGED_LINES_MAX {
            let line = self.line(phase).await?;
            if let Some(end) = tagged(&line, &tag) {
                return Ok(end);
            }
            untagged(&line);
        }
        Err(self.failure(phase, Kind::Protocol, Remedy::Later).detail("the server does not stop"))
    }

    fn tag(&mut self) -> String {
        self.tag += 1;
        format!("L{}", self.tag)
    }

    async fn send(&mut self, command: &str) -> Result<String, Failure> {
        let tag = self.tag();
        self.write(&[&tag, " ", command]).await?;
        Ok(tag)
    }

    /// Writes a line, and wipes it: it may hold a secret.
    async fn write(&mut self, parts: &[&str]) -> Result<(), Failure> {
        let line = zeroize::Zeroizing::new([parts, &["\r\n"][..]].concat().concat());
        let write = async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.flush().await
        };
        match timeout_at(self.deadline, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(self.failure("write", Kind::Offline, Remedy::Later).detail(e)),
            Err(_) => Err(timed_out(&self.endpoint, "write")),
        }
    }

    async fn line(&mut self, phase: &str) -> Result<String, Failure> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer) {
                let mut line: Vec<u8> = self.buffer.drain(..=at).collect();
                while line.last().is_some_and(|b| matches!(b, b'\r' | b'\n')) {
                    line.pop();
                }
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(self
                    .failure(phase, Kind::Protocol, Remedy::Later)
                    .detail("a line of more than 64 KiB before the login"));
            }
            let mut chunk = [0_u8; 4096];
            let n = match timeout_at(self.deadline, self.stream.read(&mut chunk)).await {
                Ok(Ok(0)) => {
                    return Err(self
                        .failure(phase, Kind::Offline, Remedy::Later)
                        .detail("the server closed the connection"));
                }
                Ok(Ok(n)) => n,
                Ok(Err(e)) => {
                    return Err(self.failure(phase, Kind::Offline, Remedy::Later).detail(e));
                }
                Err(_) => return Err(timed_out(&self.endpoint, phase)),
            };
            self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
        }
    }

    fn failure(&self, phase: &str, kind: Kind, remedy: Remedy) -> Failure {
        let what = match kind {
            Kind::AuthFailed => "login refused",
            _ => "connect",
        };
        let place = net::place(&self.endpoint, "IMAP", phase);
        Failure::new(Scope::Account, remedy, kind, what).at(place)
    }
}

const LINE_BYTES_MAX: usize = 64 * 1024;
const UNTAGGED_LINES_MAX: usize = 1000;
