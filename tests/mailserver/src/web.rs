//! A web server on loopback that answers as a function says, for what belongs to mail and is not mail.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::config::Tls;
use crate::tls::{self, Stream};

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// The host that was meant.
    pub host: String,
    /// The path.
    pub path: String,
    /// Names and values of the query, then of a form in the body.
    pub fields: Vec<(String, String)>,
    /// The `Authorization` field.
    pub authorization: Option<String>,
}

impl Request {
    /// The value of a field; empty if there is none.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names and values of header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long the answer takes.
    pub delay: Duration,
}

impl Reply {
    /// An answer with a media type.
    #[must_use]
    pub fn new(status: u16, media: &str, body: &str) -> Self {
        let headers = vec![("content-type".to_owned(), media.to_owned())];
        Self { status, headers, body: body.as_bytes().to_vec(), delay: Duration::ZERO }
    }

    /// Sends elsewhere.
    #[must_use]
    pub fn redirect(to: &str) -> Self {
        let headers = vec![("location".to_owned(), to.to_owned())];
        Self { status: 302, headers, body: Vec::new(), delay: Duration::ZERO }
    }
}

/// The server, until it is dropped.
pub struct WebServer {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    _stop: oneshot::Sender<()>,
}

type Answer = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

impl WebServer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None, answer)
    }

    /// Starts one at an address, with TLS from the first byte if there is a certificate.
    ///
    /// # Errors
    /// The address is taken.
    pub fn start_at(
        addr: SocketAddr,
        tls: Option<Tls>,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log): (Answer, _) = (Arc::new(answer), Arc::clone(&seen));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = serve(listener, tls, answer, log) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { addr, seen, _stop: stop })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// All that was asked.
    #[must_use]
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    answer: Answer,
    log: Arc<Mutex<Vec<Request>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, log, tls) = (Arc::clone(&answer), Arc::clone(&log), tls.clone());
        tokio::spawn(async move {
            let stream = match &tls {
                Some(tls) => tls::accept(stream, tls).await,
                None => Ok(Stream::Plain(stream)),
            };
            let Ok(stream) = stream else { return };
            let service = service_fn(|request| {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                async move { Ok::<_, Infallible>(respond(request, &answer, &log).await) }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away is its own business.
            drop(served.await);
        });
    }
}

async fn respond(
    request: hyper::Request<Incoming>,
    answer: &Answer,
    log: &Mutex<Vec<Request>>,
) -> hyper::Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    let pairs = |bytes: &[u8]| url::form_urlencoded::parse(bytes).into_owned().collect::<Vec<_>>();
    let text = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let asked = Request {
        method: head.method.to_string(),
        host: text("host").unwrap_or_default(),
        path: head.uri.path().to_owned(),
        fields: [pairs(query.as_bytes()), pairs(&body)].concat(),
        authorization: text("authorization"),
    };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    let reply = answer(&asked);
    tokio::time::sleep(reply.delay).await;
    let mut response = hyper::Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(Bytes::from(reply.body))).unwrap_or_default()
}
