//! The only place that dials: name resolution, TCP, TLS, one deadline over all of it. Floor 3.
//!
//! It knows nothing of the protocols above. Plain TCP is handed out for STARTTLS, whose caller must
//! call [`Stream::start_tls`] before any secret, and for `tls = "none"`, which is refused unless
//! every address is a loopback one.

mod der;
mod line;
mod meaning;
mod memory;
mod reach;
mod tls;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_native_tls::TlsStream;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use self::line::End;
pub use self::line::Line;
pub use self::memory::recall;
pub use self::reach::reach;
use crate::model::account::{Endpoint, Tls};
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// A connection: plain TCP, or TLS over it. Reads and writes bytes, nothing else.
pub struct Stream {
    inner: Inner,
    end: Option<End>,
}

enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to a server, and sets up TLS when it is implicit.
///
/// `protocol` is the word shown in failures: `IMAP`, `SMTP`. The endpoint's `timeout` is the deadline
/// over resolution, connect and TLS together. Dropping the future drops the connection.
///
/// # Errors
///
/// `Offline` and `Timeout` are worth retrying; `TlsUntrusted` says what is wrong with the
/// certificate, and is never retried when a pin does not match.
pub async fn dial(endpoint: &Endpoint, protocol: &str) -> Result<Stream, Failure> {
    dial_at(endpoint, None, protocol).await
}

/// Connects as [`dial`] does, at addresses that are known already.
///
/// # Errors
///
/// As [`dial`].
pub async fn dial_at(
    endpoint: &Endpoint,
    addresses: Option<Vec<IpAddr>>,
    protocol: &str,
) -> Result<Stream, Failure> {
    let deadline = Instant::now() + endpoint.timeout;
    let tcp = match timeout_at(deadline, connect(endpoint, addresses, protocol)).await {
        Ok(tcp) => tcp?,
        Err(_) => return Err(timed_out(endpoint, protocol, "connect")),
    };
    match endpoint.tls {
        Tls::Implicit => tls::upgrade(tcp, endpoint, protocol, deadline).await,
        Tls::StartTls | Tls::None => Ok(Stream { inner: Inner::Plain(tcp), end: None }),
    }
}

impl Stream {
    /// The same connection, which ends when the line is hung up.
    #[must_use]
    pub fn on(mut self, line: &Line) -> Self {
        self.end = Some(line.end());
        self
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.end.as_mut().map_or(Ok(()), |end| end.check(cx))
    }

    /// Upgrades a plain connection after the server agreed to STARTTLS.
    ///
    /// The caller must have checked that no byte arrived after the server's agreement, and must
    /// forget everything it learnt before.
    ///
    /// # Errors
    ///
    /// As [`dial`]; a connection that is encrypted already is a `Protocol` failure.
    pub async fn start_tls(self, endpoint: &Endpoint, protocol: &str) -> Result<Self, Failure> {
        match self.inner {
            Inner::Plain(tcp) => {
                let deadline = Instant::now() + endpoint.timeout;
                let upgraded = tls::upgrade(tcp, endpoint, protocol, deadline).await?;
                Ok(Self { end: self.end, ..upgraded })
            }
            Inner::Tls(_) => {
                Err(failure(endpoint, protocol, "STARTTLS", Kind::Protocol, "start TLS")
                    .detail("the connection is encrypted already"))
            }
        }
    }

    /// Whether the bytes travel encrypted.
    pub fn is_encrypted(&self) -> bool {
        match self.inner {
            Inner::Plain(_) => false,
            Inner::Tls(_) => true,
        }
    }

    /// The address of this end.
    pub fn local_ip(&self) -> Option<IpAddr> {
        let address = match &self.inner {
            Inner::Plain(tcp) => tcp.local_addr(),
            Inner::Tls(tls) => tls.get_ref().local_addr(),
        };
        address.ok().map(|address| address.ip())
    }

    /// The address of the other end.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        let address = match &self.inner {
            Inner::Plain(tcp) => tcp.peer_addr(),
            Inner::Tls(tls) => tls.get_ref().peer_addr(),
        };
        address.ok().map(|address| address.ip())
    }

    fn encrypted(stream: TlsStream<TcpStream>) -> Self {
        Self { inner: Inner::Tls(Box::new(stream)), end: None }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("encrypted", &self.is_encrypted()).finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        match &mut self.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Inner::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        match &mut self.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Inner::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Inner::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Inner::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

/// Whether a configured host name can only mean this machine.
pub fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where a failure happened, as it stands in messages: `host:port (IMAP, TLS)`.
pub fn place(endpoint: &Endpoint, protocol: &str, phase: &str) -> String {
    format!("{} ({protocol}, {phase})", endpoint.authority())
}

async fn connect(
    endpoint: &Endpoint,
    addresses: Option<Vec<IpAddr>>,
    protocol: &str,
) -> Result<TcpStream, Failure> {
    let cleartext = endpoint.tls == Tls::None;
    if cleartext && !is_loopback_host(&endpoint.host) {
        return Err(cleartext_refused(endpoint, protocol));
    }
    let addresses = match addresses {
        Some(known) => known.into_iter().map(|ip| SocketAddr::new(ip, endpoint.port)).collect(),
        None => resolve(endpoint, protocol).await?,
    };
    if cleartext && addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(cleartext_refused(endpoint, protocol));
    }
    let tcp = race(addresses).await.map_err(|err| {
        failure(endpoint, protocol, "connect", Kind::Offline, "connect to the server")
            .detail(err)
            .cure("check the network, the host and the port")
    })?;
    tune(&tcp, endpoint.timeout).map_err(|err| {
        failure(endpoint, protocol, "connect", Kind::Offline, "set up the socket").detail(err)
    })?;
    Ok(tcp)
}

async fn resolve(endpoint: &Endpoint, protocol: &str) -> Result<Vec<SocketAddr>, Failure> {
    let wrong = |detail: &dyn fmt::Display| {
        failure(endpoint, protocol, "DNS", Kind::Offline, "find the server's address")
            .detail(detail)
            .cure("check the network and the host name")
    };
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let addresses = interleave(found.map_err(|err| wrong(&err))?);
    if addresses.is_empty() { Err(wrong(&"the name has no address")) } else { Ok(addresses) }
}

/// Alternates the families, the resolver's favourite first (RFC 8305 §4).
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<SocketAddr> = addresses.take(ADDRESSES_MAX).collect();
    let Some(first) = all.first() else { return all };
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for address in &all {
        if address.is_ipv6() == first.is_ipv6() {
            ours.push(*address);
        } else {
            others.push(*address);
        }
    }
    let mut others = others.into_iter();
    let mut mixed: Vec<SocketAddr> =
        ours.into_iter().flat_map(|one| [Some(one), others.next()]).flatten().collect();
    mixed.extend(others);
    mixed
}

/// Tries all addresses, a new one after each failure or each 250 ms; the first to connect wins.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(address));
        }
        tokio::select! {
            biased;
            done = attempts.next() => match done {
                Some(Ok(tcp)) => return Ok(tcp),
                Some(Err(err)) => last = err,
                None => return Err(last),
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

/// A peer that vanished must be noticed: by probes when idle, by unacknowledged data when busy.
fn tune(tcp: &TcpStream, timeout: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    {
        let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(tcp, millis)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _unused = timeout;
    Ok(())
}

fn failure(endpoint: &Endpoint, protocol: &str, phase: &str, kind: Kind, what: &str) -> Failure {
    Failure::new(Scope::Account, Remedy::Later, kind, what).at(place(endpoint, protocol, phase))
}

fn timed_out(endpoint: &Endpoint, protocol: &str, phase: &str) -> Failure {
    failure(endpoint, protocol, phase, Kind::Timeout, "connect to the server")
        .detail(format_args!("no answer within {} s", endpoint.timeout.as_secs()))
        .cure("check the network, the host and the port")
}

fn cleartext_refused(endpoint: &Endpoint, protocol: &str) -> Failure {
    let mut refused =
        failure(endpoint, protocol, "connect", Kind::Config, "connect without encryption")
            .detail("tls = \"none\" is only for hosts on this machine")
            .cure("set tls = \"implicit\" or \"starttls\"");
    refused.remedy = Remedy::Never;
    refused
}

const ADDRESSES_MAX: usize = 16;
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
const KEEPALIVE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
