//! HTTP for what is not mail: OAuth 2.0 and published settings. Floor 3, shared by the adapters.
//!
//! The only place that knows hyper. Connections are dialled by `net`, so trust, deadlines and the rule
//! that cleartext is for this machine only are the same as for mail. One request is one connection.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::adapters::dns::Dns;
use crate::adapters::net;
use crate::model::account::{Endpoint, Tls};
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// A way to ask web servers.
#[derive(Clone)]
pub struct Web {
    /// What it is for, as it stands in failures: `OAuth`.
    pub purpose: &'static str,
    /// PEM file of certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The deadline of a request with all its redirects.
    pub timeout: Duration,
    /// The largest answer that is read, in bytes.
    pub body_max: usize,
    /// How many redirects of a GET are followed; a POST is never sent elsewhere.
    pub redirects_max: u8,
    /// Who is asked for addresses; none: the system.
    pub dns: Option<Dns>,
}

/// What is asked.
#[derive(Debug)]
pub struct Request<'a> {
    /// The address: https, or http on this machine.
    pub url: &'a str,
    /// Names and values of header fields.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// The body of a POST; none: a GET.
    pub body: Option<Zeroizing<Vec<u8>>>,
}

/// What was answered.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The media type.
    pub content_type: Option<String>,
    /// The whole body.
    pub body: Zeroizing<Vec<u8>>,
}

/// Checks an address as [`Web::send`] does before it dials.
///
/// # Errors
/// It is none, names a user, or is neither https nor on this machine.
pub fn check_address(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// A text as the value of a query.
pub fn query_value(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl Web {
    /// Asks, and follows redirects as far as they go to encrypted places.
    ///
    /// # Errors
    /// `Offline`, `Timeout`, `TlsUntrusted` as for mail servers; `Protocol` for what is no HTTP, too
    /// large an answer, or a redirect that is not followed; `Config` for an address that is refused.
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let start = request.url;
        match timeout(self.timeout, Box::pin(self.follow(request))).await {
            Ok(done) => done,
            Err(_) => Err(self
                .failure(Kind::Timeout, "get an answer")
                .at(self.place(start))
                .detail(format_args!("no answer within {} s", self.timeout.as_secs()))
                .cure("check the network")),
        }
    }

    async fn follow(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let mut url = self.parsed(request.url)?;
        for _ in 0..=self.redirects_max {
            let response = self.once(&url, &request).await?;
            let status = response.status();
            let target =
                response.headers().get(header::LOCATION).filter(|_| status.is_redirection());
            let Some(target) = target.filter(|_| request.body.is_none() && self.redirects_max > 0)
            else {
                return self.read(&url, response).await;
            };
            let target = target.to_str().unwrap_or_default();
            url = next(&url, target).map_err(|why| self.stray(&url, &why))?;
        }
        Err(self.stray(&url, "there are too many"))
    }

    async fn once(&self, url: &Url, request: &Request<'_>) -> Result<Response<Incoming>, Failure> {
        let broken = |err: &dyn std::fmt::Display| {
            self.failure(Kind::Protocol, "ask the web server")
                .at(self.place(url.as_str()))
                .detail(err)
        };
        let endpoint = self.endpoint(url);
        let addresses = match &self.dns {
            Some(dns) => dns.addresses(&endpoint.host).await,
            None => None,
        };
        let stream = net::dial_at(&endpoint, addresses, self.purpose).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|err| broken(&err))?;
        // It ends with the sender, or with what the server makes of it.
        tokio::spawn(async move { drop(connection.await) });
        let method = if request.body.is_some() { Method::POST } else { Method::GET };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut message = hyper::Request::builder()
            .method(method)
            .uri(format!("{}{query}", url.path()))
            .header(header::HOST, endpoint_host(url))
            .header(header::USER_AGENT, concat!("postrider/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        for (name, value) in &request.headers {
            let mut value = HeaderValue::from_str(value).map_err(|err| broken(&err))?;
            value.set_sensitive(true);
            message = message.header(name, value);
        }
        let body = request.body.as_ref().map(|body| Bytes::copy_from_slice(body));
        let message =
            message.body(Full::new(body.unwrap_or_default())).map_err(|err| broken(&err))?;
        sender.send_request(message).await.map_err(|err| {
            let kind = if err.is_parse() { Kind::Protocol } else { Kind::Offline };
            self.failure(kind, "ask the web server").at(self.place(url.as_str())).detail(err)
        })
    }

    async fn read(&self, url: &Url, response: Response<Incoming>) -> Result<Answer, Failure> {
        let status = response.status().as_u16();
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), self.body_max).collect().await;
        let body = body.map_err(|err| {
            self.failure(Kind::Protocol, "read the answer")
                .at(self.place(url.as_str()))
                .detail(format_args!("{err} (the limit is {} bytes)", self.body_max))
        })?;
        Ok(Answer { status, content_type, body: Zeroizing::new(body.to_bytes().to_vec()) })
    }

    fn endpoint(&self, url: &Url) -> Endpoint {
        let is_https = url.scheme() == "https";
        let (host, port) = (host(url), url.port_or_known_default().unwrap_or(443));
        let tls = if is_https { Tls::Implicit } else { Tls::None };
        let ca_file = self.ca_file.clone().filter(|_| is_https);
        Endpoint { ca_file, ..Endpoint::bare(host, port, tls, self.timeout) }
    }

    fn parsed(&self, text: &str) -> Result<Url, Failure> {
        parse(text).map_err(|what| {
            let mut refused = self.failure(Kind::Config, "use the address").at(self.place(text));
            refused.remedy = Remedy::Never;
            refused.detail(what)
        })
    }

    fn stray(&self, url: &Url, why: &str) -> Failure {
        self.failure(Kind::Protocol, "follow a redirect").at(self.place(url.as_str())).detail(why)
    }

    fn failure(&self, kind: Kind, what: &str) -> Failure {
        Failure::new(Scope::Account, Remedy::Later, kind, what)
    }

    /// Where it happened; never with the query, in which a code may stand.
    fn place(&self, url: &str) -> String {
        let bare = url.split(['?', '#']).next().unwrap_or_default();
        format!("{bare} ({})", self.purpose)
    }
}

/// Where a redirect leads: never from encryption to cleartext.
fn next(from: &Url, location: &str) -> Result<Url, String> {
    let target = from.join(location).map_err(|err| format!("it leads to no address: {err}"))?;
    if from.scheme() == "https" && target.scheme() != "https" {
        return Err("it leads from https to what is not encrypted".to_owned());
    }
    parse(target.as_str())
}

fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|err| format!("is no web address: {err}"))?;
    let is_allowed = match url.scheme() {
        "https" => true,
        "http" => net::is_loopback_host(&host(&url)),
        _ => false,
    };
    if !is_allowed || url.host().is_none() {
        return Err("must begin with https:// (http:// is for this machine only)".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not name a user".to_owned());
    }
    Ok(url)
}

fn host(url: &Url) -> String {
    match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => String::new(),
    }
}

fn endpoint_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The head of an answer may be so long.
const HEAD_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests;
