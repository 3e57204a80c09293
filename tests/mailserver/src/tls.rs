//! A connection before and after the TLS handshake, and compressed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_compression::tokio::bufread::DeflateDecoder;
use async_compression::tokio::write::DeflateEncoder;
use async_native_tls::{TlsAcceptor, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;

use crate::config::Tls;

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Compressed both ways (RFC 4978).
    Deflate(Box<Deflate>),
    /// In the middle of a handshake, or after one that failed.
    None,
}

/// The two directions of a compressed stream.
#[derive(Debug)]
pub(crate) struct Deflate {
    reader: DeflateDecoder<BufReader<ReadHalf<Stream>>>,
    writer: DeflateEncoder<WriteHalf<Stream>>,
}

/// Compresses a stream from here on.
pub(crate) fn compressed(stream: Stream) -> Stream {
    let (reader, writer) = split(stream);
    let reader = DeflateDecoder::new(BufReader::new(reader));
    Stream::Deflate(Box::new(Deflate { reader, writer: DeflateEncoder::new(writer) }))
}

/// Does the server's side of a handshake.
pub(crate) async fn accept(stream: TcpStream, tls: &Tls) -> io::Result<Stream> {
    let identity = native_tls::Identity::from_pkcs8(&tls.certificate_pem, &tls.key_pem);
    let acceptor = native_tls::TlsAcceptor::new(identity.map_err(io::Error::other)?);
    let acceptor = TlsAcceptor::from(acceptor.map_err(io::Error::other)?);
    let stream = acceptor.accept(stream).await.map_err(io::Error::other)?;
    Ok(Stream::Tls(Box::new(stream)))
}

impl Stream {
    /// Makes the end of the connection a TCP reset. Nothing to do if that fails: it is gone then.
    pub(crate) fn reset_on_close(&self) {
        let set = match self {
            Self::Plain(stream) => stream.set_zero_linger(),
            Self::Tls(stream) => stream.get_ref().set_zero_linger(),
            Self::Deflate(_) | Self::None => Ok(()),
        };
        // A peer that is gone already has been reset.
        drop(set);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Deflate(stream) => Pin::new(&mut stream.reader).poll_read(cx, buf),
            Self::None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::Deflate(stream) => Pin::new(&mut stream.writer).poll_write(cx, buf),
            Self::None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Deflate(stream) => Pin::new(&mut stream.writer).poll_flush(cx),
            Self::None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Deflate(stream) => Pin::new(&mut stream.writer).poll_shutdown(cx),
            Self::None => Poll::Ready(Ok(())),
        }
    }
}
