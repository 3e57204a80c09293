//! async-imap as a wire: commands out, every response in, a verdict only on our own tag. Floor 3.
//!
//! Its helpers report a closed connection, NO and BAD as an empty success (measured); none of them
//! is used (clippy.toml). End of stream is always an error, every wait has a deadline, and a panic
//! of the grammar is a lost connection.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_imap::Session;
use futures_util::FutureExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::deflate::Duplex;
use super::guard::Guard;
use super::item::{Converted, Done, Item, Next, Verdict, convert, throttled};
use super::login::LoggedIn;
use super::words::slowed_down;
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// The connection.
#[derive(Debug)]
pub(super) struct Wire {
    session: Session<Guard<Box<dyn Duplex>>>,
    place: String,
    timeout: Duration,
}

impl Wire {
    /// Wraps a connection that is logged in.
    pub(super) async fn new(
        logged_in: LoggedIn,
        place: String,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let guard = Guard::new(logged_in.stream, logged_in.leftover);
        let client = async_imap::Client::new(guard);
        // Answered by the guard: async-imap has no other way to take a connection that is logged in.
        match client.login("guard", "guard").await {
            Ok(session) => Ok(Self { session, place, timeout: limit }),
            Err((err, _)) => Err(Failure::new(
                Scope::Account,
                Remedy::Later,
                Kind::Protocol,
                "begin the IMAP session",
            )
            .at(place)
            .detail(err)),
        }
    }

    /// Runs one command; `each` sees every response that comes before its end.
    pub(super) async fn exec(
        &mut self,
        command: &str,
        each: impl FnMut(Item),
    ) -> Result<Done, Failure> {
        let mut each = each;
        let tag = self.send(command).await?;
        loop {
            match self.next().await? {
                Next::Item(item) => each(item),
                Next::Done(done_tag, verdict) if done_tag == tag => {
                    return verdict.map_err(|f| self.refused(f, command));
                }
                // The answer to a command that was given up, or a proxy's own.
                Next::Done(..) => {}
            }
        }
    }

    /// Runs commands, up to `window` of them in flight; the verdicts come in the order of the
    /// commands.
    pub(super) async fn exec_all(
        &mut self,
        commands: &[String],
        window: usize,
        mut each: impl FnMut(Item),
    ) -> Result<Vec<Verdict>, Failure> {
        let mut verdicts: BTreeMap<usize, Verdict> = BTreeMap::new();
        let mut in_flight: BTreeMap<String, usize> = BTreeMap::new();
        let mut queue = commands.iter().enumerate();
        loop {
            while in_flight.len() < window {
                let Some((at, command)) = queue.next() else { break };
                in_flight.insert(self.send(command).await?, at);
            }
            if in_flight.is_empty() {
                return Ok(verdicts.into_values().collect());
            }
            match self.next().await? {
                Next::Item(item) => each(item),
                Next::Done(tag, verdict) => {
                    if let Some(at) = in_flight.remove(&tag) {
                        let command = commands.get(at).map_or("", String::as_str);
                        verdicts.insert(at, verdict.map_err(|f| self.refused(f, command)));
                    }
                }
            }
        }
    }

    /// Sends a command and returns its tag.
    pub(super) async fn send(&mut self, command: &str) -> Result<String, Failure> {
        let limit = self.timeout;
        match timeout(limit, self.session.run_command(command)).await {
            Ok(Ok(id)) => Ok(id.0),
            Ok(Err(err)) => Err(self.lost(&err.to_string())),
            Err(_) => Err(self.silent()),
        }
    }

    /// Sends a line without a tag: the end of IDLE.
    pub(super) async fn send_untagged(&mut self, line: &str) -> Result<(), Failure> {
        let limit = self.timeout;
        match timeout(limit, self.session.run_command_untagged(line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(err)) => Err(self.lost(&err.to_string())),
            Err(_) => Err(self.silent()),
        }
    }

    /// Writes bytes of a literal; they leave with the next flush.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let limit = self.timeout;
        match timeout(limit, self.session.get_mut().write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(err)) => Err(self.lost(&err.to_string())),
            Err(_) => Err(self.silent()),
        }
    }

    /// Flushes what was written.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        let limit = self.timeout;
        match timeout(limit, self.session.get_mut().flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(err)) => Err(self.lost(&err.to_string())),
            Err(_) => Err(self.silent()),
        }
    }

    /// The next response, within the timeout; a transfer that moves is not silent. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Next, Failure> {
        let limit = self.timeout;
        loop {
            let before = self.session.get_ref().received();
            match timeout(limit, self.read()).await {
                Ok(next) => return next,
                Err(_) => {
                    let floor = limit.as_secs().saturating_mul(BYTES_PER_SECOND_MIN);
                    let got = self.session.get_ref().received().saturating_sub(before);
                    if got < floor {
                        return Err(self.silent());
                    }
                }
            }
        }
    }

    /// The next response, however long it takes. Cancel safe: async-imap keeps its state.
    pub(super) async fn read(&mut self) -> Result<Next, Failure> {
        // imap-proto panics on some inputs; that must end this connection and nothing else.
        let read = AssertUnwindSafe(self.session.read_response()).catch_unwind().await;
        match read {
            Ok(Ok(Some(data))) => match convert(data.parsed()) {
                Converted::Next(next) => Ok(next),
                Converted::Bye(words) => {
                    let lost = self.lost("the server said goodbye").said(&words);
                    Err(Failure { remedy: slowed_down(&words), ..lost })
                }
            },
            Ok(Ok(None)) => Err(self.lost("the server closed the connection")),
            Ok(Err(err)) if err.kind() == std::io::ErrorKind::InvalidData => {
                Err(self.broken(&err.to_string()))
            }
            Ok(Err(err)) => {
                let text = err.to_string();
                // The parser's own words show what it was given, which may be mail.
                if text.contains("input: ") {
                    return Err(self.broken("a response that the parser does not understand"));
                }
                Err(self.lost(&text))
            }
            Err(_) => Err(self.broken("a response that the parser could not survive")),
        }
    }

    /// A failure of this connection.
    pub(super) fn lost(&self, detail: &str) -> Failure {
        Failure::new(Scope::Account, Remedy::Later, Kind::Offline, "talk to the server")
            .at(&self.place)
            .detail(detail)
    }

    /// The server broke the protocol.
    pub(super) fn broken(&self, detail: &str) -> Failure {
        Failure::new(Scope::Account, Remedy::Later, Kind::Protocol, "talk to the server")
            .at(&self.place)
            .detail(detail)
    }

    fn silent(&self) -> Failure {
        Failure::new(Scope::Account, Remedy::Later, Kind::Timeout, "talk to the server")
            .at(&self.place)
            .detail("no answer in time")
    }

    /// Names the command in a refusal: its first two words, never its arguments.
    pub(super) fn refused(&self, failure: Failure, command: &str) -> Failure {
        let words: Vec<&str> = command.split(' ').take(2).collect();
        let uid = words.first().is_some_and(|w| *w == "UID");
        let verb = if uid { words.join(" ") } else { words.first().copied().unwrap_or("").into() };
        let place = format!("{} (IMAP, {verb})", self.place);
        let adds = ["CREATE", "UID COPY", "UID MOVE"].contains(&verb.as_str());
        let over_quota = failure.server_said.as_deref().is_some_and(|s| s.contains("[OVERQUOTA]"));
        if over_quota && !adds {
            // Nothing was to be stored: it is the quota of commands or traffic (Gmail).
            return throttled(failure.server_said.as_deref().unwrap_or_default()).at(place);
        }
        failure.at(place)
    }
}

/// A transfer below this is called dead.
const BYTES_PER_SECOND_MIN: u64 = 1024;
