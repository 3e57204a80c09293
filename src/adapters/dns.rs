//! Questions to the DNS beside addresses: SRV (RFC 2782), MX, TXT. Floor 3, shared by the adapters. The
//! only place that knows hickory.
//!
//! No answer and an answer of nothing are the same here: whoever asks has other ways to go on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use crate::adapters::net::is_loopback_host;

/// A way to ask the DNS.
#[derive(Clone)]
pub struct Dns {
    resolver: TokioResolver,
    is_own: bool,
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The host; without a dot at the end.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Dns {
    /// Asks the servers of the system, or this one. None where there are none.
    pub fn new(server: Option<SocketAddr>) -> Option<Self> {
        let builder = match server {
            None => TokioResolver::builder_tokio().ok()?,
            Some(server) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                let server = NameServerConfig::new(server.ip(), true, connections.into());
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let mut builder = builder;
        builder.options_mut().timeout = TIMEOUT;
        builder.options_mut().attempts = 2;
        Some(Self { resolver: builder.build().ok()?, is_own: server.is_some() })
    }

    /// The places of a service, the one to prefer first. None: it is not told; empty: it is told that
    /// there is no such service (RFC 2782, the target ".").
    pub async fn services(&self, name: &str) -> Option<Vec<Service>> {
        let mut found: Vec<_> = self
            .ask(name, RecordType::SRV)
            .await
            .into_iter()
            .filter_map(|data| if let RData::SRV(srv) = data { Some(srv) } else { None })
            .collect();
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|srv| (srv.priority, u16::MAX - srv.weight));
        let service = |srv: &hickory_resolver::proto::rr::rdata::SRV| {
            Some(Service { host: host(&srv.target)?, port: srv.port })
        };
        Some(found.iter().filter_map(service).collect())
    }

    /// The mail exchangers of a domain, the one to prefer first.
    pub async fn exchangers(&self, domain: &str) -> Vec<String> {
        let mut found: Vec<_> = self
            .ask(domain, RecordType::MX)
            .await
            .into_iter()
            .filter_map(|data| {
                let RData::MX(mx) = data else { return None };
                Some((mx.preference, host(&mx.exchange)?))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, host)| host).collect()
    }

    /// The texts of a name, the pieces of each joined.
    pub async fn texts(&self, name: &str) -> Vec<String> {
        let text = |data| {
            let RData::TXT(txt) = data else { return None };
            let whole: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.to_vec()).collect();
            String::from_utf8(whole).ok()
        };
        self.ask(name, RecordType::TXT).await.into_iter().filter_map(text).collect()
    }

    /// The addresses of a host, where a server was named that is to be asked for everything; else none,
    /// and the system knows better (`/etc/hosts`, nsswitch).
    pub async fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        if !self.is_own || is_loopback_host(host) {
            return None;
        }
        let (v4, v6) =
            tokio::join!(self.ask(host, RecordType::A), self.ask(host, RecordType::AAAA));
        Some(v4.iter().chain(&v6).filter_map(RData::ip_addr).collect())
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Vec<RData> {
        // With the dot no search domain is tried.
        let Ok(mut name) = Name::from_utf8(name) else { return Vec::new() };
        name.set_fqdn(true);
        match self.resolver.lookup(name, kind).await {
            Ok(found) => {
                found.answers().iter().take(RECORDS_MAX).map(|record| record.data.clone()).collect()
            }
            Err(err) => {
                tracing::debug!(%kind, %err, "the DNS gave no answer");
                Vec::new()
            }
        }
    }
}

fn host(name: &Name) -> Option<String> {
    let host = name.to_ascii().trim_end_matches('.').to_lowercase();
    (!host.is_empty()).then_some(host)
}

const TIMEOUT: Duration = Duration::from_secs(2);
const RECORDS_MAX: usize = 32;
