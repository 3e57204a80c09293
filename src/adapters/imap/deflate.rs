//! COMPRESS=DEFLATE (RFC 4978): raw deflate both ways below the guard. Floor 3.
//!
//! Nothing decompressed is ever kept here: a read gives at most what its buffer holds, so that the
//! guard above sees every byte before there is more of it, and a bomb ends at its bounds.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection runs over.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + fmt::Debug> Duplex for S {}

/// A stream that is compressed both ways.
#[derive(Debug)]
pub(super) struct Deflate<S> {
    inner: S,
    inflater: Decompress,
    /// Bytes as they came, from `at` on not yet decompressed.
    input: Vec<u8>,
    at: usize,
    deflater: Compress,
    /// Compressed bytes on their way out.
    out: Vec<u8>,
    /// Whether the deflater holds bytes that no flush has pushed out.
    is_dirty: bool,
}

impl<S> Deflate<S> {
    /// Compresses a stream from here on; `leftover` was read from it and is compressed already.
    pub(super) fn new(inner: S, leftover: Vec<u8>) -> Self {
        Self {
            inner,
            inflater: Decompress::new(false),
            input: leftover,
            at: 0,
            deflater: Compress::new(Compression::fast(), false),
            out: Vec::new(),
            is_dirty: false,
        }
    }

    /// Decompresses into `buf`; whether anything came of it, `None` at the end of the stream.
    fn inflate(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<Option<bool>> {
        let input = self.input.get(self.at..).unwrap_or_default();
        let (read, made) = (self.inflater.total_in(), self.inflater.total_out());
        let status = self
            .inflater
            .decompress(input, buf.initialize_unfilled(), FlushDecompress::None)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("compressed: {e}")))?;
        self.at = self.at.saturating_add(as_len(self.inflater.total_in() - read));
        let n = as_len(self.inflater.total_out() - made);
        buf.advance(n);
        Ok((n > 0 || status != Status::StreamEnd).then_some(n > 0))
    }

    /// Compresses into `out`; returns how much of `data` was taken.
    fn deflate(&mut self, data: &[u8], flush: FlushCompress) -> io::Result<usize> {
        let before = self.deflater.total_in();
        loop {
            let done = as_len(self.deflater.total_in() - before);
            self.out.reserve(CHUNK_BYTES);
            let room = self.out.capacity() - self.out.len();
            let (length, rest) = (self.out.len(), data.get(done..).unwrap_or_default());
            self.deflater.compress_vec(rest, &mut self.out, flush).map_err(io::Error::other)?;
            let done = as_len(self.deflater.total_in() - before);
            // Room that is left over means that there was nothing more to write.
            if done == data.len() && self.out.len() - length < room {
                return Ok(done);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Deflate<S> {
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

impl<S: AsyncRead + Unpin> AsyncRead for Deflate<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.inflate(buf)? {
                Some(true) | None => return Poll::Ready(Ok(())),
                Some(false) => {}
            }
            if this.at < this.input.len() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "compressed data that cannot be read",
                )));
            }
            this.input.resize(CHUNK_BYTES, 0);
            this.at = this.input.len();
            let mut fresh = ReadBuf::new(&mut this.input);
            let read = Pin::new(&mut this.inner).poll_read(cx, &mut fresh);
            let n = fresh.filled().len();
            ready!(read)?;
            this.input.truncate(n);
            this.at = 0;
            if n == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deflate<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.out.len() >= CHUNK_BYTES {
            ready!(this.poll_drain(cx))?;
        }
        this.is_dirty |= !buf.is_empty();
        let part = buf.get(..CHUNK_BYTES).unwrap_or(buf);
        Poll::Ready(this.deflate(part, FlushCompress::None))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Once for each burst: a flush that has to wait is not repeated when it goes on.
        if std::mem::take(&mut this.is_dirty) {
            this.deflate(&[], FlushCompress::Sync)?;
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.is_dirty) {
            this.deflate(&[], FlushCompress::Sync)?;
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

/// The length of a part of a buffer, which fits.
fn as_len(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

const CHUNK_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn bursts_arrive_whole_however_the_stream_is_split() {
        for capacity in [1, 7, 4096] {
            let (ours, theirs) = tokio::io::duplex(capacity);
            let mut ours = Deflate::new(ours, Vec::new());
            let mut theirs = Deflate::new(theirs, Vec::new());
            let mut noise = vec![0_u8; 20_000];
            fastrand::Rng::with_seed(7).fill(&mut noise);
            let sent = noise.clone();
            let writing = async move {
                ours.write_all(b"A1 NOOP\r\n").await.unwrap();
                ours.flush().await.unwrap();
                ours.write_all(&sent).await.unwrap();
                ours.flush().await.unwrap();
                ours.flush().await.unwrap();
                ours.shutdown().await.unwrap();
            };
            let reading = async {
                let mut line = [0_u8; 9];
                theirs.read_exact(&mut line).await.unwrap();
                assert_eq!(&line, b"A1 NOOP\r\n");
                let mut rest = Vec::new();
                theirs.read_to_end(&mut rest).await.unwrap();
                assert!(rest == noise, "capacity {capacity}");
            };
            tokio::join!(writing, reading);
        }
    }

    #[tokio::test]
    async fn a_bomb_gives_no_more_than_was_asked_for_and_rubbish_is_an_error() {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let mut theirs = Deflate::new(theirs, Vec::new());
        theirs.write_all(&vec![b'x'; 20_000_000]).await.unwrap();
        theirs.flush().await.unwrap();
        let mut ours = Deflate::new(ours, Vec::new());
        let mut buffer = [0_u8; 1000];
        for _ in 0..50 {
            assert!(ours.read(&mut buffer).await.unwrap() <= 1000);
            assert!(ours.input.len() <= CHUNK_BYTES && ours.out.is_empty());
        }
        let (rubbish, _other) = tokio::io::duplex(10);
        let mut rubbish = Deflate::new(rubbish, vec![0xff; 100]);
        let error = rubbish.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
