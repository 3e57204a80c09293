//! The transport of the private socket, with the limits that zbus does not set. Floor 5.
//!
//! A message is at most 1 MiB. A peer that does not read what is written to it is not read from
//! either, so its calls cannot pile up here, and is dropped after ten seconds. A message may carry one
//! file descriptor (`Submit` needs it); a peer that passes more is dropped, so that none can use up
//! those of this process.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use tokio::io::{AsyncWriteExt, Interest};
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
    /// How many descriptors the message at hand may still bring.
    descriptors: usize,
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
        let reader = Reader {
            half: read,
            gate: Arc::clone(&gate),
            descriptors: DESCRIPTORS_MAX,
            _place: self.place,
        };
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
        // zbus reads the fixed part of the header of each message on its own.
        if buffer.len() == HEADER_BYTES {
            self.descriptors = DESCRIPTORS_MAX;
        }
        let stream: &UnixStream = self.half.as_ref();
        let read = stream.async_io(Interest::READABLE, || receive(stream.as_fd(), buffer));
        let (read, passed) = read.await?;
        self.descriptors = self.descriptors.checked_sub(passed.len()).ok_or_else(too_many)?;
        Ok((read, passed))
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
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

/// Reads once. Descriptors beyond the place that there is for them are closed by the kernel.
fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let got = recvmsg(socket, &mut parts, &mut ancillary, receive_flags())?;
    let mut passed = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            passed.extend(descriptors);
        }
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(too_many());
    }
    Ok((got.bytes, passed))
}

/// So that no command that is started now inherits a descriptor; macOS has no such flag.
fn receive_flags() -> RecvFlags {
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    flags
}

fn too_many() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "more than one file descriptor in a message")
}

fn credentials(stream: &UnixStream) -> io::Result<ConnectionCredentials> {
    Ok(ConnectionCredentials::default().set_unix_user_id(stream.peer_cred()?.uid()))
}

const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The part of a header that has a fixed size.
const HEADER_BYTES: usize = 16;

const DESCRIPTORS_MAX: usize = 1;

const WRITE_LIMIT: Duration = Duration::from_secs(10);
