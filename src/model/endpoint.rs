//! How to reach a server: host, port, encryption, login. Floor 0.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::automatic::Open;
use crate::model::secret::SecretSource;

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// STARTTLS or STLS before anything else; a server without it is refused.
    StartTls,
    /// Cleartext; only for loopback hosts.
    None,
}

impl Tls {
    /// As it stands in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::StartTls => "starttls",
            Self::None => "none",
        }
    }

    /// What a word of the configuration means.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Implicit, Self::StartTls, Self::None].into_iter().find(|tls| tls.as_str() == name)
    }
}

/// A SASL mechanism that the configuration may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The obsolete but widespread LOGIN.
    Login,
    /// RFC 2195.
    CramMd5,
    /// RFC 7677.
    ScramSha256,
    /// RFC 7628; with an OAuth token.
    OAuthBearer,
    /// What Google and Microsoft had before; with an OAuth token.
    XOAuth2,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Plain,
        Self::Login,
        Self::CramMd5,
        Self::ScramSha256,
        Self::OAuthBearer,
        Self::XOAuth2,
    ];

    /// As it stands in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Login => "login",
            Self::CramMd5 => "cram-md5",
            Self::ScramSha256 => "scram-sha-256",
            Self::OAuthBearer => "oauthbearer",
            Self::XOAuth2 => "xoauth2",
        }
    }

    /// What a word of the configuration means.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// Whether it takes an OAuth token instead of a password.
    pub fn takes_token(self) -> bool {
        match self {
            Self::OAuthBearer | Self::XOAuth2 => true,
            Self::Plain | Self::Login | Self::CramMd5 | Self::ScramSha256 => false,
        }
    }
}

/// One server of an account: where it is, how to talk to it, who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Encryption.
    pub tls: Tls,
    /// The login name; empty means no login (SMTP on loopback only).
    pub user: String,
    /// Where the password comes from; none means no login (SMTP on loopback only).
    pub password: Option<SecretSource>,
    /// Mechanisms in order of preference; empty means the best that both sides have.
    pub auth: Vec<Mechanism>,
    /// PEM file of certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the server's SubjectPublicKeyInfo; with it no other certificate is accepted.
    pub pin_sha256: Option<[u8; 32]>,
    /// PEM file with a client certificate and its key.
    pub client_cert: Option<PathBuf>,
    /// The deadline of one command, and of connect, TLS and login together.
    pub timeout: Duration,
    /// What the settings leave open. `port`, `tls` and `user` are then what is tried first.
    pub open: Option<Box<Open>>,
    /// What is known of the passwords that the provider takes; for whom a login is refused.
    pub advice: Option<String>,
}

impl Endpoint {
    /// A server that nobody logs in to, with the system's certificates.
    pub fn bare(host: String, port: u16, tls: Tls, timeout: Duration) -> Self {
        Self {
            host,
            port,
            tls,
            user: String::new(),
            password: None,
            auth: Vec::new(),
            ca_file: None,
            pin_sha256: None,
            client_cert: None,
            timeout,
            open: None,
            advice: None,
        }
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}
