//! The port on this machine that a browser comes back to (RFC 8252 §7.3). Floor 3.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The open port.
#[derive(Debug)]
pub(super) struct Loopback {
    listener: TcpListener,
    port: u16,
}

impl Loopback {
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Path and query of the next request that is `ours`. Others are answered by 400.
    pub(super) async fn target(&self, ours: impl Fn(&str) -> bool) -> io::Result<String> {
        // A browser opens connections ahead and says nothing on them: nobody waits for those.
        let mut visitors = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if visitors.len() < VISITORS_MAX => {
                    visitors.push(timeout(PATIENCE, serve(accepted?.0, &ours)));
                }
                Some(served) = visitors.next() => {
                    if let Ok(Some(target)) = served {
                        return Ok(target);
                    }
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, ours: &impl Fn(&str) -> bool) -> Option<String> {
    let found = RefCell::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let target = request.uri().path_and_query().map_or("/", |it| it.as_str()).to_owned();
        let is_ours = ours(&target);
        if is_ours {
            found.replace(Some(target));
        }
        async move { Ok::<_, Infallible>(page(is_ours)) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(err) = served {
        tracing::debug!(%err, "a browser's connection ended early");
    }
    found.into_inner()
}

fn page(is_ours: bool) -> Response<Full<Bytes>> {
    let text = match is_ours {
        true => {
            "<!doctype html><title>postrider</title><p>Done. You can close this page; the terminal says how it went."
        }
        false => {
            "<!doctype html><title>postrider</title><p>This page does not belong to the sign-in that is waiting."
        }
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    if !is_ours {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/html; charset=utf-8"));
    // The address has a code in it.
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    response
}

const VISITORS_MAX: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 * 1024;
