//! Lines and replies over a stream: bounded, each with a deadline. Floor 3.

use std::io;
use std::time::Duration;

use smtp_proto::Response;
use smtp_proto::response::parser::ResponseReceiver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::adapters::net::{self, Stream};
use crate::model::account::Endpoint;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::outbox::Reply;

/// An SMTP connection: what was read and not yet understood, what is to be written.
pub(super) struct Wire {
    stream: Stream,
    endpoint: Endpoint,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

/// A reply with its lines apart, for EHLO; [`Reply`] has them in one.
pub(super) struct Lines {
    pub(super) reply: Reply,
    pub(super) raw: String,
}

impl Wire {
    pub(super) fn new(stream: Stream, endpoint: Endpoint) -> Self {
        Self { stream, endpoint, unread: Vec::new(), unsent: Vec::new() }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    pub(super) fn local_ip(&self) -> Option<std::net::IpAddr> {
        self.stream.local_ip()
    }

    /// Upgrades to TLS. Bytes that came behind the server's agreement were not sent by the server that
    /// TLS is going to authenticate, so they end the connection (response injection).
    pub(super) async fn start_tls(mut self) -> Result<Self, Failure> {
        if !self.unread.is_empty() {
            let bad = self.failure("STARTTLS", Kind::TlsUntrusted, "start TLS");
            return Err(bad
                .detail("the server, or someone in between, sent more before the encryption began")
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
    pub(super) async fn flush(&mut self, phase: &str, limit: Duration) -> Result<(), Failure> {
        let mut bytes = std::mem::take(&mut self.unsent);
        let sent = self.write(&bytes, phase, limit).await;
        zeroize::Zeroize::zeroize(&mut bytes);
        sent
    }

    /// Writes bytes as they are.
    pub(super) async fn write(
        &mut self,
        bytes: &[u8],
        phase: &str,
        limit: Duration,
    ) -> Result<(), Failure> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(limit, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(err)) => Err(self.lost(phase, &err)),
            Err(_) => Err(self.late(phase, limit)),
        }
    }

    /// Sends one command and reads its reply.
    pub(super) async fn command(
        &mut self,
        line: &str,
        phase: &str,
        limit: Duration,
    ) -> Result<Lines, Failure> {
        self.queue(line);
        self.flush(phase, limit).await?;
        self.reply(phase, limit).await
    }

    /// Reads one reply, at most 4 KiB long.
    pub(super) async fn reply(&mut self, phase: &str, limit: Duration) -> Result<Lines, Failure> {
        match timeout(limit, self.response(phase)).await {
            Ok(reply) => reply,
            Err(_) => Err(self.late(phase, limit)),
        }
    }

    async fn response(&mut self, phase: &str) -> Result<Lines, Failure> {
        let mut receiver = ResponseReceiver::default();
        loop {
            let mut rest = self.unread.iter();
            let parsed = receiver.parse(&mut rest);
            let left = rest.as_slice().len();
            self.unread.drain(..self.unread.len().saturating_sub(left));
            match parsed {
                Ok(response) => return self.checked(response, phase),
                Err(smtp_proto::Error::NeedsMoreData { .. }) => self.fill(phase).await?,
                Err(err) => {
                    return Err(self
                        .failure(phase, Kind::Protocol, "read the server's reply")
                        .detail(err));
                }
            }
        }
    }

    fn checked(&self, response: Response<String>, phase: &str) -> Result<Lines, Failure> {
        let enhanced = (response.esc != [0; 3]).then_some(response.esc);
        let text = response.message.split('\n').map(str::trim_end).collect::<Vec<_>>().join(" / ");
        let reply = Reply::new(response.code, enhanced, &text);
        if !(200..600).contains(&response.code) {
            return Err(self
                .failure(phase, Kind::Protocol, "read the server's reply")
                .detail("not a reply code")
                .said(&reply.to_string()));
        }
        Ok(Lines { reply, raw: response.message })
    }

    async fn fill(&mut self, phase: &str) -> Result<(), Failure> {
        let mut chunk = [0_u8; 4096];
        match self.stream.read(&mut chunk).await {
            Ok(0) => Err(self.lost(phase, &io::Error::from(io::ErrorKind::UnexpectedEof))),
            Ok(n) => {
                self.unread.extend_from_slice(chunk.get(..n).unwrap_or_default());
                Ok(())
            }
            Err(err) => Err(self.lost(phase, &err)),
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

    fn lost(&self, phase: &str, err: &io::Error) -> Failure {
        let words = if err.kind() == io::ErrorKind::UnexpectedEof {
            "the server closed the connection".to_owned()
        } else {
            err.to_string()
        };
        self.failure(phase, Kind::Offline, "talk to the server").detail(words)
    }

    fn late(&self, phase: &str, limit: Duration) -> Failure {
        let late = self
            .failure(phase, Kind::Timeout, "wait for the server")
            .detail(format_args!("no answer within {} s", limit.as_secs()));
        if phase == "greeting" && !self.is_encrypted() {
            late.cure("a port that waits for TLS is silent: check tls and port")
        } else {
            late
        }
    }
}

pub(super) const PROTOCOL: &str = "SMTP";
