//! Lines and answers over a stream: bounded, each with a deadline. Floor 3.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroize as _;

use super::code::{Code, code};
use crate::adapters::net::{self, Stream};
use crate::model::account::Endpoint;
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// A POP3 connection: what was read and not yet understood, what is to be written.
pub(super) struct Wire {
    stream: Stream,
    endpoint: Endpoint,
    /// Read into without being cleared again: the unread part is from `start` to `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    unsent: Vec<u8>,
}

/// A line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    /// Whether it ended in CRLF, as it must, or in a bare LF.
    pub(super) is_crlf: bool,
}

/// A status line (RFC 1939 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) is_ok: bool,
    /// The whole line.
    pub(super) text: String,
    /// Its response code (RFC 2449 §8).
    pub(super) code: Option<Code>,
    /// Whether the line ended in CRLF.
    pub(super) is_crlf: bool,
}

impl Status {
    /// What follows `+OK` or `-ERR`.
    pub(super) fn words(&self) -> &str {
        self.text.split_once(' ').map_or("", |(_, rest)| rest.trim())
    }
}

impl Wire {
    pub(super) fn new(stream: Stream, endpoint: Endpoint) -> Self {
        Self { stream, endpoint, buffer: Vec::new(), start: 0, end: 0, unsent: Vec::new() }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    /// Upgrades to TLS. Bytes that came behind the server's agreement were not sent by the server that TLS
    /// is going to authenticate, so they end the connection (response injection).
    pub(super) async fn start_tls(mut self) -> Result<Self, Failure> {
        if !self.unread().is_empty() {
            return Err(self
                .failure("STLS", Kind::TlsUntrusted, "start TLS")
                .detail("data followed the answer in cleartext: somebody is injecting it")
                .cure("try another network, and tell the server's operator"));
        }
        self.stream = self.stream.start_tls(&self.endpoint, PROTOCOL).await?;
        Ok(self)
    }

    /// Puts a command into the buffer; `line` holds no line end.
    pub(super) fn queue(&mut self, line: &str) {
        debug_assert!(!line.contains(['\r', '\n']), "a command is one line");
        // It may hold a password: growing must leave no copy of it behind.
        self.unsent.reserve(line.len() + 2);
        self.unsent.extend_from_slice(line.as_bytes());
        self.unsent.extend_from_slice(b"\r\n");
    }

    /// Writes what was queued.
    pub(super) async fn flush(&mut self, phase: &str) -> Result<(), Failure> {
        let mut bytes = std::mem::take(&mut self.unsent);
        let write = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        let written = timeout(self.endpoint.timeout, write).await;
        // It may have been a password.
        bytes.zeroize();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(err)) => Err(self.lost(phase, &err)),
            Err(_) => Err(self.late(phase)),
        }
    }

    /// Sends one command and reads its status line.
    pub(super) async fn command(&mut self, line: &str, phase: &str) -> Result<Status, Failure> {
        self.queue(line);
        self.flush(phase).await?;
        self.status(phase).await
    }

    /// Reads a status line.
    pub(super) async fn status(&mut self, phase: &str) -> Result<Status, Failure> {
        let line = self.line(phase).await?;
        self.status_of(&line, phase)
    }

    pub(super) fn status_of(&self, line: &Line, phase: &str) -> Result<Status, Failure> {
        let text = String::from_utf8_lossy(&line.bytes).into_owned();
        let word = text.split([' ', '\t']).next().unwrap_or_default();
        let is_ok = match word.to_ascii_uppercase().as_str() {
            "+OK" => true,
            "-ERR" => false,
            _ => {
                return Err(self
                    .failure(phase, Kind::Protocol, "read the server's answer")
                    .said(&text)
                    .detail("this is no answer of a POP3 server"));
            }
        };
        let code = code(&text);
        Ok(Status { is_ok, text, code, is_crlf: line.is_crlf })
    }

    /// Reads a line of at most 64 KiB.
    pub(super) async fn line(&mut self, phase: &str) -> Result<Line, Failure> {
        let mut seen = 0;
        loop {
            let rest = self.unread().get(seen..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', rest) {
                let end = seen.saturating_add(at);
                let line = self.unread().get(..end).unwrap_or_default();
                let is_crlf = line.last() == Some(&b'\r');
                let bytes = if is_crlf { line.split_last().map_or(line, |(_, l)| l) } else { line };
                let bytes = bytes.to_vec();
                self.consume(end.saturating_add(1));
                return Ok(Line { bytes, is_crlf });
            }
            seen = self.unread().len();
            if seen > LINE_BYTES_MAX {
                return Err(self
                    .failure(phase, Kind::Protocol, "read the server's answer")
                    .detail("a line of more than 64 KiB"));
            }
            self.fill(phase).await?;
        }
    }

    /// What was read and not yet consumed.
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Is done with so many bytes of what was read.
    pub(super) fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads more, at least a byte.
    pub(super) async fn fill(&mut self, phase: &str) -> Result<(), Failure> {
        if self.buffer.len().saturating_sub(self.end) < CHUNK_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
            let enough = self.end.saturating_add(CHUNK_BYTES);
            if self.buffer.len() < enough {
                self.buffer.resize(enough.saturating_add(CHUNK_BYTES), 0);
            }
        }
        let read = self.stream.read(self.buffer.get_mut(self.end..).unwrap_or_default());
        match timeout(self.endpoint.timeout, read).await {
            Ok(Ok(0)) => Err(self.lost(phase, &io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(n)) => {
                self.end = self.end.saturating_add(n);
                Ok(())
            }
            Ok(Err(err)) => Err(self.lost(phase, &err)),
            Err(_) => Err(self.late(phase)),
        }
    }

    /// A failure of the account at this server.
    pub(super) fn failure(&self, phase: &str, kind: Kind, what: &str) -> Failure {
        Failure::new(Scope::Account, Remedy::Later, kind, what).at(net::place(
            &self.endpoint,
            PROTOCOL,
            phase,
        ))
    }

    /// What a refusal means: its code, or words that every server uses, tell whether it passes.
    pub(super) fn refusal(&self, status: &Status, phase: &str, what: &str) -> Failure {
        let (kind, remedy, cure) = match status.code {
            Some(Code::InUse) => (
                Kind::Throttled,
                Remedy::Later,
                "another program has the mailbox open; it is tried again by itself",
            ),
            Some(Code::LoginDelay) => (
                Kind::Throttled,
                Remedy::After(LOGIN_DELAY),
                "the server wants more time between logins: raise [daemon] poll_interval",
            ),
            Some(Code::SysTemp) => (Kind::Throttled, Remedy::Later, "it is tried again by itself"),
            Some(Code::SysPerm) => (Kind::Refused, Remedy::Later, "ask the provider"),
            Some(Code::Auth) | None => (Kind::Refused, Remedy::Later, ""),
        };
        let mut failure = self.failure(phase, kind, what).said(&status.text);
        failure.remedy = remedy;
        if cure.is_empty() { failure } else { failure.cure(cure) }
    }

    fn lost(&self, phase: &str, err: &io::Error) -> Failure {
        let words = if err.kind() == io::ErrorKind::UnexpectedEof {
            "the server closed the connection".to_owned()
        } else {
            err.to_string()
        };
        self.failure(phase, Kind::Offline, "talk to the server").detail(words)
    }

    fn late(&self, phase: &str) -> Failure {
        let limit = self.endpoint.timeout.as_secs();
        let late = self
            .failure(phase, Kind::Timeout, "wait for the server")
            .detail(format_args!("no answer within {limit} s"));
        if phase == "greeting" && !self.is_encrypted() {
            late.cure("a port that waits for TLS is silent: check tls and port")
        } else {
            late
        }
    }
}

pub(super) const PROTOCOL: &str = "POP3";
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Room for one read: a TLS record at most.
const CHUNK_BYTES: usize = 16 * 1024;
/// Where a server does not say how long.
const LOGIN_DELAY: Duration = Duration::from_secs(300);
