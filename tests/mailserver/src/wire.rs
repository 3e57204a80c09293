//! Bytes in and out of one connection: bounded lines, literals, and cuts at an exact byte.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;

use crate::config::Tls;
use crate::tls::{Stream, accept, compressed};

const LINE_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<BufWriter<Stream>>,
    /// The line that is being received; kept here so that reading may be cancelled.
    partial: Vec<u8>,
    /// Bytes that may still be sent before a scripted cut.
    budget: Option<usize>,
    /// Whether the end of the connection is a TCP reset.
    pub(crate) reset: bool,
}

/// The error of a scripted cut.
pub(crate) fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "scripted cut")
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let writer = BufWriter::with_capacity(64 * 1024, Stream::Plain(stream));
        let stream = BufReader::with_capacity(64 * 1024, writer);
        Self { stream, partial: Vec::new(), budget: None, reset: false }
    }

    /// Returns whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        !matches!(self.stream.get_ref().get_ref(), Stream::Plain(_))
    }

    /// Does the TLS handshake. Plain bytes that came too early are dropped: obeying them would be
    /// the command injection of STARTTLS.
    pub(crate) async fn start_tls(&mut self, tls: &Tls) -> io::Result<()> {
        self.flush().await?;
        let stream = std::mem::replace(self.stream.get_mut().get_mut(), Stream::None);
        let Stream::Plain(stream) = stream else {
            return Err(io::ErrorKind::AlreadyExists.into());
        };
        let early = self.stream.buffer().len();
        self.stream.consume(early);
        *self.stream.get_mut().get_mut() = accept(stream, tls).await?;
        Ok(())
    }

    /// Compresses both ways from here on.
    pub(crate) async fn compress(&mut self) -> io::Result<()> {
        self.flush().await?;
        let stream = std::mem::replace(self.stream.get_mut().get_mut(), Stream::None);
        *self.stream.get_mut().get_mut() = compressed(stream);
        Ok(())
    }

    /// Reads one line and strips its end; `None` at the end of the stream. Cancel safe.
    pub(crate) async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.raw_line().await?;
        Ok(line.map(|mut line| {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            line
        }))
    }

    /// Reads one line with its LF; `None` at the end of the stream. Cancel safe.
    pub(crate) async fn raw_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let buffer = self.stream.fill_buf().await?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let newline = buffer.iter().position(|b| *b == b'\n');
            let used = newline.map_or(buffer.len(), |at| at + 1);
            self.partial.extend(buffer.get(..used).unwrap_or_default());
            self.stream.consume(used);
            if newline.is_some() {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            if self.partial.len() > LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "line too long"));
            }
        }
    }

    /// Reads exactly so many bytes. Not cancel safe.
    pub(crate) async fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        (&mut self.stream).take(limit).read_to_end(&mut bytes).await?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    /// Ends the connection after so many more bytes.
    pub(crate) fn limit(&mut self, budget: Option<usize>) {
        self.budget = budget;
    }

    /// Sends bytes into the buffer; the scripted cut is an error.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(budget) = self.budget else {
            return self.stream.write_all(bytes).await;
        };
        let now = bytes.get(..budget).unwrap_or(bytes);
        self.stream.write_all(now).await?;
        self.budget = Some(budget - now.len());
        if now.len() < bytes.len() || budget == now.len() {
            self.stream.flush().await?;
            return Err(cut());
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    /// Returns whether the client sent more that is already here.
    pub(crate) fn has_input(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// Ends the connection so that the peer gets every byte sent: closing with unread input would
    /// be a reset, which may take delivered bytes away from it.
    pub(crate) async fn end(mut self) {
        if self.reset {
            self.stream.get_ref().get_ref().reset_on_close();
            return;
        }
        let drain = async {
            drop(self.stream.shutdown().await);
            let mut sink = [0_u8; 4096];
            while matches!(self.stream.read(&mut sink).await, Ok(n) if n > 0) {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), drain).await;
    }
}
