//! POP3 (RFC 1939, 2449, 2595, 5034, 6856) behind the `PopDrop` port: a state machine of our own. Floor 3.
//!
//! Commands are pipelined where the server says that it can. It decides nothing: what is fetched and what
//! is removed comes from above.

mod body;
mod code;
mod list;
mod login;
mod wire;

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use self::body::Unstuff;
use self::code::{Code, Offers};
use self::wire::{Status, Wire};
use crate::adapters::net::Line;
use crate::model::account::PopSettings;
use crate::model::failure::{Failure, Kind, Scope};
use crate::model::pop::PopListing;
use crate::ports::pop::{PopConnector, PopDrop, PopWanted};
use crate::ports::remote::{FetchSink, Fetched, Header};

/// Dials one account's POP3 server.
#[derive(Debug, Clone)]
pub struct Pop3Connector {
    settings: PopSettings,
    account: String,
    line: Line,
}

impl Pop3Connector {
    /// A connector for an account.
    pub fn new(settings: PopSettings, account: &str) -> Self {
        Self { settings, account: account.to_owned(), line: Line::default() }
    }

    /// Has all sessions hang on a line.
    #[must_use]
    pub fn on(mut self, line: Line) -> Self {
        self.line = line;
        self
    }
}

impl PopConnector for Pop3Connector {
    type Drop = Pop3Drop;

    async fn connect(&self) -> Result<Pop3Drop, Failure> {
        let (wire, offers) = login::log_in(&self.settings.endpoint, &self.account, &self.line)
            .await
            .map_err(|failure| failure.of_login(&self.account))?;
        Ok(Pop3Drop { wire, offers })
    }
}

/// A session that is logged in.
pub struct Pop3Drop {
    wire: Wire,
    offers: Offers,
}

impl std::fmt::Debug for Pop3Drop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pop3Drop").field("offers", &self.offers).finish_non_exhaustive()
    }
}

impl PopDrop for Pop3Drop {
    fn login_delay(&self) -> Option<Duration> {
        self.offers.login_delay
    }

    async fn list(&mut self) -> Result<PopListing, Failure> {
        list::list(&mut self.wire, self.offers.pipelining).await
    }

    async fn heads(&mut self, numbers: &[u32]) -> Result<Vec<Option<[u8; 32]>>, Failure> {
        let mut hashes = Vec::with_capacity(numbers.len());
        let mut sent = 0;
        for at in 0..numbers.len() {
            self.send_ahead(numbers, at, &mut sent, |n| format!("TOP {n} 0")).await?;
            let status = self.wire.status("TOP").await?;
            hashes.push(if status.is_ok { Some(self.head(&status).await?) } else { None });
        }
        Ok(hashes)
    }

    async fn fetch<S: FetchSink>(
        &mut self,
        wanted: &[PopWanted],
        sink: &mut S,
    ) -> Result<(), Failure> {
        let (all, mut sent, mut n_refused) = (wanted, 0, 0);
        for (at, wanted) in all.iter().enumerate() {
            self.send_ahead(all, at, &mut sent, |w| format!("RETR {}", w.number)).await?;
            let status = self.wire.status("RETR").await?;
            if status.is_ok {
                n_refused = 0;
                self.message(wanted, &status, sink).await?;
                continue;
            }
            n_refused += 1;
            let what = format!("fetch message {}", wanted.number);
            let refusal = self.wire.refusal(&status, "RETR", &what);
            let is_ours = matches!(status.code, None | Some(Code::Auth));
            if !is_ours || n_refused >= REFUSED_MAX {
                return Err(refusal);
            }
            sink.put(Fetched::Failed(wanted.uid, refusal.scoped(Scope::Message))).await?;
        }
        Ok(())
    }

    async fn remove(&mut self, numbers: &[u32]) -> Result<Vec<bool>, Failure> {
        let mut taken = Vec::with_capacity(numbers.len());
        let mut sent = 0;
        for at in 0..numbers.len() {
            self.send_ahead(numbers, at, &mut sent, |n| format!("DELE {n}")).await?;
            taken.push(self.wire.status("DELE").await?.is_ok);
        }
        Ok(taken)
    }

    async fn quit(mut self) -> Result<(), Failure> {
        let answer = self.wire.command("QUIT", "QUIT").await?;
        if answer.is_ok {
            return Ok(());
        }
        let mut refused = self.wire.refusal(&answer, "QUIT", "end the session");
        refused.kind = Kind::Refused;
        Err(refused.detail("messages that were to be removed may still be there"))
    }
}

impl Pop3Drop {
    /// How many messages are there, and how many bytes they have together (STAT).
    ///
    /// # Errors
    /// The server refuses to say, or says something else.
    pub async fn totals(&mut self) -> Result<(u64, u64), Failure> {
        let answer = self.wire.command("STAT", "STAT").await?;
        let mut numbers = answer.words().split_ascii_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(n_messages)), Some(Ok(n_bytes))) if answer.is_ok => Ok((n_messages, n_bytes)),
            _ => Err(self.wire.refusal(&answer, "STAT", "look into the mailbox")),
        }
    }

    /// Sends the command `at`, and those after it that may wait on the wire.
    async fn send_ahead<T>(
        &mut self,
        all: &[T],
        at: usize,
        sent: &mut usize,
        command: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        // Few and large writes: the window is filled again once half of it was answered.
        let window = if self.offers.pipelining { WINDOW } else { 1 };
        if *sent > at.saturating_add(window / 2) {
            return Ok(());
        }
        let end = at.saturating_add(window).min(all.len());
        if *sent >= end {
            return Ok(());
        }
        for one in all.get(*sent..end).unwrap_or_default() {
            self.wire.queue(&command(one));
        }
        *sent = end;
        self.wire.flush("commands").await
    }

    /// Receives a message: small ones whole, larger ones in pieces.
    async fn message<S: FetchSink>(
        &mut self,
        wanted: &PopWanted,
        status: &Status,
        sink: &mut S,
    ) -> Result<(), Failure> {
        let header = Header { uid: wanted.uid, flags: None, date: None };
        // A size is a server's word; what is far beyond it does not end.
        let bytes_max = wanted.octets.saturating_mul(2).saturating_add(BEYOND_BYTES_MAX);
        let expected = usize::try_from(wanted.octets).unwrap_or(WHOLE_BYTES_MAX);
        let mut piece = Vec::with_capacity(expected.min(WHOLE_BYTES_MAX));
        let mut unstuff = Unstuff::after(status.is_crlf);
        let (mut n_bytes, mut is_open) = (0_u64, false);
        loop {
            let n = unstuff.take(self.wire.unread(), &mut piece);
            self.wire.consume(n);
            if unstuff.is_done() {
                break;
            }
            if piece.len() >= WHOLE_BYTES_MAX {
                if !is_open {
                    is_open = true;
                    sink.put(Fetched::Begin(header.clone())).await?;
                }
                n_bytes = n_bytes.saturating_add(piece.len() as u64);
                sink.put(Fetched::Chunk(std::mem::take(&mut piece))).await?;
            }
            if n_bytes > bytes_max {
                let endless = self.endless(wanted);
                sink.put(Fetched::Failed(wanted.uid, endless.clone().scoped(Scope::Message)))
                    .await?;
                return Err(endless);
            }
            self.wire.fill("RETR").await?;
        }
        if !is_open {
            return sink.put(Fetched::Whole(header, piece)).await;
        }
        if !piece.is_empty() {
            sink.put(Fetched::Chunk(piece)).await?;
        }
        sink.put(Fetched::End).await
    }

    fn endless(&self, wanted: &PopWanted) -> Failure {
        let what = format!("fetch message {}", wanted.number);
        self.wire
            .failure("RETR", Kind::Protocol, &what)
            .detail(format_args!("it does not end; the server said {} octets", wanted.octets))
    }

    /// A hash over the header of a message, of which more than a mebibyte is not looked at.
    async fn head(&mut self, status: &Status) -> Result<[u8; 32], Failure> {
        let (mut hash, mut piece) = (Sha256::new(), Vec::new());
        let mut unstuff = Unstuff::after(status.is_crlf);
        let mut n_bytes = 0_usize;
        loop {
            let n = unstuff.take(self.wire.unread(), &mut piece);
            self.wire.consume(n);
            if n_bytes < HEAD_BYTES_MAX {
                hash.update(&piece);
            }
            n_bytes = n_bytes.saturating_add(piece.len());
            piece.clear();
            if unstuff.is_done() {
                return Ok(hash.finalize().into());
            }
            if n_bytes as u64 > BEYOND_BYTES_MAX {
                let endless = self.wire.failure("TOP", Kind::Protocol, "look at a message");
                return Err(endless.detail("its header does not end"));
            }
            self.wire.fill("TOP").await?;
        }
    }
}

/// Commands on their way at one time.
const WINDOW: usize = 64;
/// Larger messages go to disk in pieces of this size.
const WHOLE_BYTES_MAX: usize = 1024 * 1024;
const HEAD_BYTES_MAX: usize = 1024 * 1024;
/// What a message may have beyond twice the size that was told.
const BEYOND_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// So many refusals in a row are no longer about single messages.
const REFUSED_MAX: u32 = 20;
