//! The transport of the private socket, with the limits that zbus does not set. Floor 5.
//!
//! A message is at most 1 MiB. A peer that does not read what is written to it is not read from
//! either, so its calls cannot pile up here, and is dropped after ten seconds. File descriptors are
//! not passed.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, RwLock};
use tokio::time::timeout;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::fdo::ConnectionCredentials;

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) stream: UnixStream,
    /// The place that the peer takes among the connections.
    pub(super) place: OwnedSemaphorePermit,
}

/// Held for reading while a message is written.
type Gate = Arc<RwLock<()>>;

#[derive(Debug)]
pub(super) struct Reader {
    half: OwnedReadHalf,
    gate: Gate,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) struct Writer {
    half: OwnedWriteHalf,
    gate: Gate,
}

impl Socket for Peer {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.stream.into_split();
        let gate = Gate::default();
        let reader = Reader { half: read, gate: Arc::clone(&gate), _place: self.place };
        Split::new(reader, Writer { half: write, gate })
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        if buffer.len() > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message over 1 MiB"));
        }
        // Passed when nothing is stuck on the way out.
        drop(self.gate.write().await);
        let read = self.half.read(buffer).await?;
        Ok((read, Vec::new()))
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        credentials(self.half.as_ref())
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], _fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let _writing = self.gate.read().await;
        match timeout(WRITE_LIMIT, self.half.write(buffer)).await {
            Ok(written) => written,
            Err(_) => {
                // Ends the reader as well, and with it the connection.
                let stream: &UnixStream = self.half.as_ref();
                rustix::net::shutdown(stream, rustix::net::Shutdown::Both)?;
                Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"))
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.half.shutdown().await
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        credentials(self.half.as_ref())
    }
}

fn credentials(stream: &UnixStream) -> io::Result<ConnectionCredentials> {
    Ok(ConnectionCredentials::default().set_unix_user_id(stream.peer_cred()?.uid()))
}

const MESSAGE_BYTES_MAX: usize = 1 << 20;

const WRITE_LIMIT: Duration = Duration::from_secs(10);
