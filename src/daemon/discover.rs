//! Finds the servers of an address that no preset knows. Floor 5.
//!
//! All ways are gone side by side and bounded in time; which one counts is a matter of rank. Nothing is said
//! to a mail server but the greeting of TLS: no password and no user's name goes to a host before a person
//! agreed to it. The address itself goes to the domain's own web server only, as autoconfig wants it.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::adapters::autoconfig::{Published, autoconfig, pacc};
use crate::adapters::dns::{Dns, Service};
use crate::adapters::http::{self, Request, Web};
use crate::adapters::net;
use crate::daemon::settings::presets;
use crate::model::account::{Endpoint, Tls};
use crate::model::provider::{Preset, PresetServer};

/// What was found, by which way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The way to the incoming servers, for people: `autoconfig at https://…`.
    pub way: String,
    /// The way to the outgoing server, where it is another one.
    pub smtp_way: Option<String>,
    /// The preset of the domain's mail exchanger; its servers are not repeated below.
    pub preset: Option<&'static Preset>,
    /// Incoming by IMAP.
    pub imap: Option<PresetServer>,
    /// Incoming by POP3.
    pub pop3: Option<PresetServer>,
    /// Outgoing.
    pub smtp: Option<PresetServer>,
}

/// Looks for the servers of an address everywhere; takes at most some seconds.
///
/// Of several answers counts the first of: PACC, autoconfig of the domain, the ISPDB, the domain's mail
/// exchanger (presets, then the ISPDB), SRV, the usual names. One without an incoming server of the kind that
/// is wanted does not count; an outgoing server may come from a later one.
pub async fn discover(address: &str, wants_pop: bool, ca_file: Option<PathBuf>) -> Found {
    let domain = address.rsplit_once('@').map_or(address, |(_, domain)| domain).to_lowercase();
    let server = env::var("POSTRIDER_DNS").ok().and_then(|text| text.parse::<SocketAddr>().ok());
    let dns = Dns::new(server);
    let web = Web {
        purpose: "discovery",
        ca_file,
        timeout: PATIENCE,
        body_max: DOCUMENT_BYTES_MAX,
        redirects_max: 3,
        dns: dns.clone(),
    };
    let search = Search { address, domain: &domain, web, dns, ispdb: ispdb() };
    let (pacc, own, ispdb, exchanger, srv, guessed) = tokio::join!(
        within(search.pacc()),
        within(search.autoconfig()),
        within(search.ispdb(&domain)),
        within(search.exchanger()),
        within(search.srv()),
        within(search.guess()),
    );
    rank([pacc, own, ispdb, exchanger, srv, guessed], wants_pop)
}

async fn within(search: impl Future<Output = Option<Found>>) -> Option<Found> {
    timeout(OVERALL, Box::pin(search)).await.ok().flatten()
}

/// The first that has what is wanted, and the first outgoing server from there on.
fn rank(all: [Option<Found>; 6], wants_pop: bool) -> Found {
    let has_incoming = |found: &Found| match (found.preset, wants_pop) {
        (Some(preset), true) => preset.pop3.is_some(),
        (Some(preset), false) => preset.imap.is_some(),
        (None, true) => found.pop3.is_some(),
        (None, false) => found.imap.is_some(),
    };
    let mut all = all.into_iter().flatten().skip_while(|found| !has_incoming(found));
    let Some(mut best) = all.next() else { return Found::default() };
    if best.smtp.is_none() && best.preset.is_none() {
        let other = all.find(|found| found.smtp.is_some());
        best.smtp_way = other.as_ref().map(|other| other.way.clone());
        best.smtp = other.and_then(|other| other.smtp);
    }
    best
}

/// Where the database of Thunderbird is; a copy of one's own may be named.
fn ispdb() -> String {
    let named = env::var("POSTRIDER_ISPDB").ok().filter(|url| !url.is_empty());
    let url = named.unwrap_or_else(|| ISPDB.to_owned());
    url.trim_end_matches('/').to_owned()
}

struct Search<'a> {
    address: &'a str,
    domain: &'a str,
    web: Web,
    dns: Option<Dns>,
    ispdb: String,
}

impl Search<'_> {
    async fn get(&self, url: &str) -> Option<Vec<u8>> {
        match self.web.send(Request { url, headers: Vec::new(), body: None }).await {
            Ok(answer) if answer.status == 200 => Some(answer.body.to_vec()),
            Ok(_) => None,
            Err(failure) => {
                tracing::debug!(%failure, "nothing is published there");
                None
            }
        }
    }

    async fn pacc(&self) -> Option<Found> {
        let host = format!("ua-auto-config.{}", self.domain);
        let url = format!("https://{host}/.well-known/user-agent-configuration.json");
        let name = format!("_ua-auto-config.{}", self.domain);
        let (body, records) =
            tokio::join!(self.get(&url), async { Some(self.dns.as_ref()?.texts(&name).await) });
        found(format!("PACC at https://{host}"), pacc(&body?, &records?)?)
    }

    /// What the domain publishes, at the first of its two places.
    async fn autoconfig(&self) -> Option<Found> {
        let (domain, address) = (self.domain, self.address);
        let encoded = http::query_value(address);
        let first = format!("autoconfig.{domain}/mail/config-v1.1.xml?emailaddress={encoded}");
        let second = format!("{domain}/.well-known/autoconfig/mail/config-v1.1.xml");
        let (first, second) = tokio::join!(
            self.published(
                format!("https://{first}"),
                format!("autoconfig at https://autoconfig.{domain}")
            ),
            self.published(format!("https://{second}"), format!("autoconfig at https://{domain}")),
        );
        first.or(second)
    }

    async fn ispdb(&self, domain: &str) -> Option<Found> {
        let url = format!("{}/{domain}", self.ispdb);
        self.published(url, format!("Thunderbird's database ({domain})")).await
    }

    async fn published(&self, url: String, way: String) -> Option<Found> {
        let body = self.get(&url).await?;
        found(way, autoconfig(std::str::from_utf8(&body).ok()?)?)
    }

    /// Who takes the domain's mail in, is as a rule who keeps it.
    async fn exchanger(&self) -> Option<Found> {
        let exchangers = self.dns.as_ref()?.exchangers(self.domain).await;
        let exchanger = exchangers.first()?;
        let preset = presets().values().find(|preset| {
            let is_end = |end: &String| {
                exchanger
                    .strip_suffix(end.as_str())
                    .is_some_and(|r| r.is_empty() || r.ends_with('.'))
            };
            preset.mx.iter().any(is_end)
        });
        if preset.is_some() {
            let way = format!("its mail exchanger {exchanger}");
            return Some(Found { way, preset, ..Found::default() });
        }
        let lookups = above(exchanger).map(|domain| async move { self.ispdb(domain).await });
        let found = join_all(lookups).await.into_iter().flatten().next()?;
        Some(Found { way: format!("its mail exchanger {exchanger} and {}", found.way), ..found })
    }

    async fn srv(&self) -> Option<Found> {
        let dns = self.dns.as_ref()?;
        let ask = |label: &'static str, tls| async move {
            let services = dns.services(&format!("_{label}._tcp.{}", self.domain)).await?;
            let Service { host, port } = services.into_iter().next()?;
            Some(PresetServer::new(host, port, tls, None))
        };
        let (imaps, imap, pop3s, pop3, submissions, submission) = tokio::join!(
            ask("imaps", Tls::Implicit),
            ask("imap", Tls::StartTls),
            ask("pop3s", Tls::Implicit),
            ask("pop3", Tls::StartTls),
            ask("submissions", Tls::Implicit),
            ask("submission", Tls::StartTls),
        );
        let (imap, pop3, smtp) = (imaps.or(imap), pop3s.or(pop3), submissions.or(submission));
        found(format!("SRV records of {}", self.domain), Published { imap, pop3, smtp })
    }

    async fn guess(&self) -> Option<Found> {
        let (imap, pop3, smtp) = tokio::join!(
            self.first("IMAP", &["imap.", "mail.", ""], [993, 143]),
            self.first("POP3", &["pop3.", "pop.", "mail.", ""], [995, 110]),
            self.first("SMTP", &["smtp.", "mail.", ""], [465, 587]),
        );
        found("their usual names".to_owned(), Published { imap, pop3, smtp })
    }

    /// Dials the usual names side by side. One that speaks TLS from the first byte, with a good certificate,
    /// goes before one that only listens where STARTTLS belongs; that it has it shows in the login.
    async fn first(
        &self,
        protocol: &str,
        prefixes: &[&str],
        ports: [u16; 2],
    ) -> Option<PresetServer> {
        let kinds = ports.into_iter().zip([Tls::Implicit, Tls::StartTls]);
        let all = kinds.flat_map(|kind| prefixes.iter().map(move |prefix| (prefix, kind)));
        let tries = all.map(|(prefix, (port, tls))| async move {
            let host = format!("{prefix}{}", self.domain);
            let ca_file = self.web.ca_file.clone();
            let endpoint =
                Endpoint { ca_file, ..Endpoint::bare(host.clone(), port, tls, PATIENCE) };
            let addresses = match &self.dns {
                Some(dns) => dns.addresses(&host).await,
                None => None,
            };
            let answered = net::dial_at(&endpoint, addresses, protocol).await.is_ok();
            answered.then_some(PresetServer::new(host, port, tls, None))
        });
        join_all(tries).await.into_iter().flatten().next()
    }
}

fn found(way: String, published: Published) -> Option<Found> {
    if published.is_empty() {
        return None;
    }
    let Published { imap, pop3, smtp } = published;
    Some(Found { way, imap, pop3, smtp, ..Found::default() })
}

/// The domains above a host, down to two labels. That one of them may be a public suffix does no harm: the
/// database knows none.
fn above(host: &str) -> impl Iterator<Item = &str> {
    let parents = std::iter::successors(host.split_once('.').map(|(_, rest)| rest), |domain| {
        domain.split_once('.').map(|(_, rest)| rest)
    });
    parents.filter(|domain| domain.contains('.')).take(3)
}

const ISPDB: &str = "https://v1.ispdb.net";
/// One request, one connection.
const PATIENCE: Duration = Duration::from_secs(6);
/// One way, with all that it asks.
const OVERALL: Duration = Duration::from_secs(12);
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str) -> Option<PresetServer> {
        Some(PresetServer::new(host.to_owned(), 1, Tls::Implicit, None))
    }

    #[test]
    fn the_first_way_with_what_is_wanted_counts_and_later_ones_fill_in_the_outgoing_server() {
        let of = |way: &str, imap, pop3, smtp| {
            Some(Found { way: way.to_owned(), imap, pop3, smtp, ..Found::default() })
        };
        let all = || {
            [
                None,
                of("own", None, server("pop"), server("out")),
                of("db", server("imap"), None, None),
                Some(Found {
                    way: "mx".to_owned(),
                    preset: presets().get("icloud"),
                    ..Found::default()
                }),
                of("srv", server("other"), None, server("srv-out")),
                None,
            ]
        };
        let found = rank(all(), false);
        assert_eq!((found.way.as_str(), found.imap), ("db", server("imap")));
        assert_eq!((found.smtp, found.smtp_way.as_deref()), (server("srv-out"), Some("srv")));
        let found = rank(all(), true);
        assert_eq!((found.way.as_str(), found.smtp, found.smtp_way), ("own", server("out"), None));
        let [_, _, _, mx, _, _] = all();
        let only_mx = || [None, None, None, mx.clone(), None, None];
        assert_eq!(rank(only_mx(), false).preset.unwrap().name, "icloud");
        assert_eq!(rank(only_mx(), true), Found::default(), "iCloud has no POP3");
    }

    #[test]
    fn the_domains_above_an_exchanger_are_asked_for() {
        let all = |host| above(host).collect::<Vec<_>>();
        assert_eq!(all("mx1.mail.a.co.uk"), ["mail.a.co.uk", "a.co.uk", "co.uk"]);
        assert_eq!(all("a.b"), Vec::<&str>::new());
        assert_eq!(http::query_value("a+b@c.d"), "a%2Bb%40c.d");
    }
}
