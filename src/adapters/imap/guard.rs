//! Stands between the network and async-imap: bounds what a server can make us hold, gathers writes
//! until a flush, and lets a connection in that is logged in already. Floor 3.
//!
//! async-imap never sees a credential: the login happens before, on the bare stream, and the LOGIN
//! that its types insist on is answered here and goes nowhere.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest line that is taken, in bytes.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest literal that is taken, in bytes; larger bodies are fetched in pieces.
pub(super) const LITERAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Deepest nesting of parentheses: the grammar below recurses, and a stack overflow is no panic.
const DEPTH_MAX: u32 = 64;
/// Writes are gathered up to this many bytes.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// The guarded stream.
#[derive(Debug)]
pub(super) struct Guard<S> {
    inner: S,
    leftover: Vec<u8>,
    login: FakeLogin,
    scanner: Scanner,
    received: u64,
    out: Vec<u8>,
}

#[derive(Debug)]
enum FakeLogin {
    /// Takes the LOGIN command off the writes.
    Swallow(Vec<u8>),
    /// Answers it.
    Answer(Vec<u8>),
    Done,
}

impl<S> Guard<S> {
    /// Guards a stream that is logged in; `leftover` was read from it but not used.
    pub(super) fn new(inner: S, leftover: Vec<u8>) -> Self {
        Self {
            inner,
            leftover,
            login: FakeLogin::Swallow(Vec::new()),
            scanner: Scanner::default(),
            received: 0,
            out: Vec::new(),
        }
    }

    /// Bytes received so far: tells a slow transfer from a dead one.
    pub(super) fn received(&self) -> u64 {
        self.received
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let FakeLogin::Answer(answer) = &this.login {
            buf.put_slice(answer);
            this.login = FakeLogin::Done;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if this.leftover.is_empty() {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        } else {
            let n = this.leftover.len().min(buf.remaining());
            buf.put_slice(&this.leftover.drain(..n).collect::<Vec<u8>>());
        }
        let fresh = buf.filled().get(before..).unwrap_or_default();
        this.received = this.received.saturating_add(fresh.len() as u64);
        Poll::Ready(this.scanner.take(fresh))
    }
}

impl<S: AsyncWrite + Unpin> Guard<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let FakeLogin::Swallow(line) = &mut this.login {
            line.extend_from_slice(buf);
            if line.ends_with(b"\n") {
                let tag = line.split(|b| *b == b' ').next().unwrap_or_default();
                this.login = FakeLogin::Answer([tag, b" OK\r\n"].concat());
            }
            return Poll::Ready(Ok(buf.len()));
        }
        if this.out.len() >= WRITE_BYTES_MAX {
            ready!(this.poll_drain(cx))?;
        }
        this.out.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

/// Follows lines and literals, one byte at a time, and refuses what is too much.
#[derive(Debug, Default)]
struct Scanner {
    literal_left: u64,
    line_bytes: usize,
    depth: u32,
    is_quoted: bool,
    is_escaped: bool,
    number: Number,
}

/// Where a `{123}` at the end of a line stands.
#[derive(Debug, Default, Clone, Copy)]
enum Number {
    #[default]
    None,
    Digits(u64),
    Closed(u64),
}

impl Scanner {
    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.literal_left > 0 {
                let n = usize::try_from(self.literal_left).unwrap_or(usize::MAX).min(bytes.len());
                self.literal_left -= n as u64;
                bytes = bytes.get(n..).unwrap_or_default();
                continue;
            }
            let Some((first, rest)) = bytes.split_first() else { break };
            self.byte(*first)?;
            bytes = rest;
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> io::Result<()> {
        self.line_bytes += 1;
        if self.line_bytes > LINE_BYTES_MAX {
            return refuse("a line of more than 8 MiB");
        }
        match byte {
            b'\n' => return self.end_of_line(),
            b'\r' => return Ok(()),
            _ => {}
        }
        self.number = match (self.number, byte) {
            (_, b'{') => Number::Digits(0),
            (Number::Digits(n), b'0'..=b'9') => {
                Number::Digits(n.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            (Number::Digits(n), b'+') => Number::Digits(n),
            (Number::Digits(n), b'}') => Number::Closed(n),
            _ => Number::None,
        };
        self.nesting(byte)
    }

    fn nesting(&mut self, byte: u8) -> io::Result<()> {
        if self.is_quoted {
            match (self.is_escaped, byte) {
                (true, _) => self.is_escaped = false,
                (false, b'\\') => self.is_escaped = true,
                (false, b'"') => self.is_quoted = false,
                (false, _) => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => self.is_quoted = true,
            b'(' => self.depth += 1,
            b')' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth > DEPTH_MAX {
            return refuse("parentheses nested deeper than 64");
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> io::Result<()> {
        let number = std::mem::take(&mut self.number);
        self.is_quoted = false;
        self.is_escaped = false;
        if let Number::Closed(n) = number {
            if n > LITERAL_BYTES_MAX {
                return refuse("a literal of more than 64 MiB");
            }
            self.literal_left = n;
        } else {
            self.line_bytes = 0;
            self.depth = 0;
        }
        Ok(())
    }
}

fn refuse(what: &str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("the server sent {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn scan(bytes: &[u8]) -> io::Result<()> {
        let mut whole = Scanner::default();
        let together = whole.take(bytes).map_err(|e| e.to_string());
        let mut single = Scanner::default();
        let apart = bytes.iter().try_for_each(|b| single.take(&[*b])).map_err(|e| e.to_string());
        assert_eq!(together, apart, "the split of the stream does not matter");
        together.map_err(io::Error::other)
    }

    #[test]
    fn bombs_are_refused_before_they_are_held() {
        assert!(scan(b"* 1 FETCH (UID 1 BODY[] {5}\r\n((((( FLAGS ())\r\n").is_ok());
        assert!(scan(b"* 1 FETCH (BODY[] {99999999999}\r\n").is_err());
        assert!(scan(&[b'('; 65]).is_err());
        assert!(scan(&[b"* X \"".to_vec(), vec![b'('; 500], b"\"\r\n".to_vec()].concat()).is_ok());
        let lines = b"* 1 FETCH (FLAGS ()\r\n".repeat(1000);
        assert!(scan(&lines).is_ok(), "depth ends with the line");
        assert!(scan(&vec![b'x'; LINE_BYTES_MAX + 1]).is_err());
    }

    #[tokio::test]
    async fn the_login_goes_nowhere_and_writes_wait_for_the_flush() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut guard = Guard::new(ours, b"* 1 EXISTS\r\n".to_vec());
        guard.write_all(b"A0001 LOGIN \"x\" \"y\"\r\n").await.unwrap();
        guard.flush().await.unwrap();
        let mut answer = [0_u8; 10];
        guard.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"A0001 OK\r\n");
        let mut rest = [0_u8; 12];
        guard.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"* 1 EXISTS\r\n");
        guard.write_all(b"A0002").await.unwrap();
        guard.write_all(b" NOOP\r\n").await.unwrap();
        guard.flush().await.unwrap();
        let mut seen = vec![0_u8; 100];
        let n = theirs.read(&mut seen).await.unwrap();
        assert_eq!(&seen[..n], b"A0002 NOOP\r\n");
    }
}
