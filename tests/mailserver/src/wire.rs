//! Bytes in and out of one connection: bounded lines, literals, and cuts at an exact byte.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;

const LINE_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<BufWriter<TcpStream>>,
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
        let stream =
            BufReader::with_capacity(64 * 1024, BufWriter::with_capacity(64 * 1024, stream));
        Self {
            stream,
            partial: Vec::new(),
            budget: None,
            reset: false,
        }
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
        (&mut self.stream)
            .take(limit)
            .read_to_end(&mut bytes)
            .await?;
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
            // Nothing to do if it fails: the connection is gone then.
            let _ = self.stream.get_ref().get_ref().set_zero_linger();
            return;
        }
        let drain = async {
            let _ = self.stream.shutdown().await;
            let mut sink = [0_u8; 4096];
            while matches!(self.stream.read(&mut sink).await, Ok(n) if n > 0) {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), drain).await;
    }
}
