//! TLS set-up: trust, pins, client certificates, and what went wrong in words. Floor 3.
//!
//! Building a connector reads the system's roots and costs tens of milliseconds of CPU, so it is
//! done on the blocking pool, few at a time. The handshake itself runs on the async workers.

use std::error::Error;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_native_tls::{TlsConnector, TlsStream};
use native_tls::{Certificate, Identity, Protocol};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::meaning::classify;
use super::{Stream, der, failure, timed_out};
use crate::model::account::Endpoint;
use crate::model::failure::{Failure, Kind, Remedy};

type Connected = native_tls::Result<TlsStream<TcpStream>>;
type Handshake = Pin<Box<dyn Future<Output = Connected> + Send>>;

/// A handshake whose connector has been built.
enum Begun {
    Done(Connected),
    Pending(Handshake),
}

/// Runs the handshake and checks the pin, before any byte of the protocol travels.
pub(super) async fn upgrade(
    tcp: TcpStream,
    endpoint: &Endpoint,
    protocol: &str,
    deadline: Instant,
) -> Result<Stream, Failure> {
    let stream = match timeout_at(deadline, handshake(tcp, endpoint, protocol)).await {
        Ok(stream) => stream?,
        Err(_) => {
            let mut late = timed_out(endpoint, protocol, "TLS");
            "agree on encryption with the server".clone_into(&mut late.what);
            return Err(late.cure("check that the port speaks TLS: see the key tls"));
        }
    };
    if let Some(pin) = &endpoint.pin_sha256 {
        check_pin(&stream, pin, endpoint, protocol)?;
    }
    Ok(Stream::encrypted(stream))
}

async fn handshake(
    tcp: TcpStream,
    endpoint: &Endpoint,
    protocol: &str,
) -> Result<TlsStream<TcpStream>, Failure> {
    let permit = BUILDS.acquire().await.map_err(|err| broken(endpoint, protocol, &err))?;
    let (ours, label) = (endpoint.clone(), protocol.to_owned());
    let begun = spawn_blocking(move || begin(tcp, &ours, &label))
        .await
        .map_err(|err| broken(endpoint, protocol, &err))??;
    drop(permit);
    let done = match begun {
        Begun::Done(done) => done,
        Begun::Pending(handshake) => handshake.await,
    };
    done.map_err(|err| classify(&err, endpoint, protocol))
}

/// Builds the connector, which the library does at the first poll of the handshake.
fn begin(tcp: TcpStream, endpoint: &Endpoint, protocol: &str) -> Result<Begun, Failure> {
    let connector = connector(endpoint, protocol)?;
    let host = endpoint.host.clone();
    let mut handshake: Handshake =
        Box::pin(async move { connector.connect(host.as_str(), tcp).await });
    // The worker that awaits the rest polls again and leaves its own waker, so none is lost here.
    let _runtime = Handle::try_current().map_err(|err| broken(endpoint, protocol, &err))?;
    Ok(match handshake.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Begun::Done(done),
        Poll::Pending => Begun::Pending(handshake),
    })
}

fn connector(endpoint: &Endpoint, protocol: &str) -> Result<TlsConnector, Failure> {
    let mut builder = native_tls::TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if let Some(path) = &endpoint.ca_file {
        for root in
            roots(path).map_err(|err| unusable(endpoint, protocol, "ca_file", path, &*err))?
        {
            builder.add_root_certificate(root);
        }
    }
    if let Some(path) = &endpoint.client_cert {
        let ours = identity(path)
            .map_err(|err| unusable(endpoint, protocol, "client_cert", path, &*err))?;
        builder.identity(ours);
    }
    if endpoint.pin_sha256.is_some() {
        // The pin replaces the chain and the name: `check_pin` accepts one key and no other.
        builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    }
    Ok(TlsConnector::from(builder))
}

fn roots(path: &Path) -> Result<Vec<Certificate>, Box<dyn Error>> {
    let found = Certificate::stack_from_pem(&fs::read(path)?)?;
    if found.is_empty() { Err("the file holds no PEM certificate".into()) } else { Ok(found) }
}

fn identity(path: &Path) -> Result<Identity, Box<dyn Error>> {
    let pem = Zeroizing::new(fs::read(path)?);
    let Some(start) = memchr::memmem::find(&pem, KEY_BEGIN) else {
        return Err("the file holds no PKCS#8 key: make one with \
                    `openssl pkcs8 -topk8 -nodes`, and keep the certificate beside it"
            .into());
    };
    Ok(Identity::from_pkcs8(&pem, pem.get(start..).unwrap_or_default())?)
}

fn check_pin(
    stream: &TlsStream<TcpStream>,
    pin: &[u8; 32],
    endpoint: &Endpoint,
    protocol: &str,
) -> Result<(), Failure> {
    let certificate = stream.peer_certificate().ok().flatten().and_then(|cert| cert.to_der().ok());
    let seen = certificate.as_deref().and_then(der::public_key_info).map(Sha256::digest);
    let Some(seen) = seen else {
        return Err(untrusted(endpoint, protocol, "the server showed no readable certificate"));
    };
    if seen.as_slice() == pin {
        return Ok(());
    }
    let shown: String = seen.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut mismatch = untrusted(endpoint, protocol, "the server's key is not the pinned one")
        .detail(format_args!("the server's key is not the pinned one: its SHA-256 is {shown}"))
        .cure("find out from the server's operator whether the key was changed; only then set pin_sha256");
    mismatch.remedy = Remedy::Never;
    Err(mismatch)
}

fn untrusted(endpoint: &Endpoint, protocol: &str, detail: &str) -> Failure {
    failure(endpoint, protocol, "TLS", Kind::TlsUntrusted, "trust the server").detail(detail)
}

fn unusable(
    endpoint: &Endpoint,
    protocol: &str,
    key: &str,
    path: &Path,
    err: &dyn Error,
) -> Failure {
    let mut bad = failure(endpoint, protocol, "TLS", Kind::Config, &format!("read {key}"))
        .detail(format_args!("{}: {err}", path.display()))
        .cure(format!("check the key {key}"));
    bad.remedy = Remedy::Never;
    bad
}

fn broken(endpoint: &Endpoint, protocol: &str, err: &dyn std::fmt::Display) -> Failure {
    failure(endpoint, protocol, "TLS", Kind::Offline, "set up encryption").detail(err)
}

/// Builds at one time: enough for a resume of several accounts, too few to fill the blocking pool.
static BUILDS: Semaphore = Semaphore::const_new(4);
const KEY_BEGIN: &[u8] = b"-----BEGIN PRIVATE KEY-----";
