//! A server's table: host, port, encryption, login. One reader for `imap`, `pop3` and `smtp`. Floor 5.

use std::path::PathBuf;
use std::time::Duration;

use super::Surroundings;
use super::oauth::Holder;
use super::raw::{Spot, Table, Value, nearest, quoted};
use super::{secret, values};
use crate::model::account::{Endpoint, Mechanism, SecretSource, SentCopy, Tls};
use crate::model::automatic::{Open, Way};
use crate::model::provider::{PresetServer, UserForm};

/// Which protocol a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Imap,
    Pop,
    Smtp,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop => "pop3",
            Self::Smtp => "smtp",
        }
    }
}

/// A server before the account's login is filled in.
#[derive(Debug)]
pub(super) struct Server<'a> {
    spot: Spot<'a>,
    host: String,
    /// How it may be reached; the first is to be preferred.
    ways: Vec<Way>,
    /// The login of this server, when it has one of its own.
    pub(super) user: Option<String>,
    password: Option<SecretSource>,
    /// Whether `password` stands here, even if it is not usable.
    has_password: bool,
    auth: Vec<Mechanism>,
    ca_file: Option<PathBuf>,
    pin_sha256: Option<[u8; 32]>,
    client_cert: Option<PathBuf>,
    timeout: Duration,
    /// What the preset says of the user's name: the form to try first, and the other one.
    forms: Vec<UserForm>,
    /// Where it is remembered what works, by the kind of server.
    memory: PathBuf,
    /// How far apart logins have to be, as far as the preset knows.
    pub(super) login_gap: Duration,
    /// Whether the preset is about this server.
    pub(super) is_preset: bool,
    /// Only for SMTP.
    pub(super) sent_copy: SentCopy,
}

/// The login of an account.
#[derive(Debug)]
pub(super) struct Login<'l> {
    /// The account's name.
    pub(super) account: &'l str,
    pub(super) address: String,
    /// The user's name where a server has none of its own; none: the address, or a part of it.
    pub(super) user: Option<String>,
    /// What is known of the passwords that the preset's servers take.
    pub(super) advice: Option<String>,
    pub(super) password: Option<SecretSource>,
    /// Whether the account says `password` at all, even if it is not usable.
    pub(super) has_password: bool,
}

/// Reads the keys that all servers have, and those of `protocol`; the caller finishes the table.
pub(super) fn server<'a>(
    table: &Table<'a>,
    protocol: Protocol,
    preset: Option<&PresetServer>,
    around: &Surroundings,
) -> Server<'a> {
    let path = |v: Value<'_>| v.parsed(|text| values::path(text, around));
    let (host, preset) = host(table, preset);
    let port = table.take("port").and_then(|v| v.integer(1, 65_535));
    let port = port.and_then(|port| u16::try_from(port).ok());
    let tls = encryption(table, &host);
    let ways = ways(protocol, port, tls, preset);
    let is_cleartext = tls == Some(Tls::None);
    let mut server = Server {
        spot: table.spot.clone(),
        host,
        ways,
        user: table.take("user").and_then(|v| v.parsed(user)),
        password: None,
        has_password: false,
        auth: table.take("auth").and_then(|v| mechanisms(&v)).unwrap_or_default(),
        ca_file: table.take("ca_file").and_then(path),
        pin_sha256: table.take("pin_sha256").and_then(|v| v.parsed(values::pin)),
        client_cert: None,
        timeout: timeout(table),
        is_preset: preset.is_some(),
        forms: preset
            .map_or_else(Vec::new, |known| known.user.into_iter().chain(known.or_user).collect()),
        memory: around.state_dir.join("servers").join(protocol.as_str()),
        login_gap: preset.map_or(Duration::ZERO, |known| known.login_gap),
        sent_copy: SentCopy::Auto,
    };
    match protocol {
        // POP3 has no way to use one beside the login.
        Protocol::Pop => {}
        Protocol::Imap => server.client_cert = table.take("client_cert").and_then(path),
        Protocol::Smtp => smtp_keys(&mut server, table, around),
    }
    if is_cleartext && server.needs_tls() {
        table.spot.below("tls").problem("\"none\" leaves ca_file, pin_sha256, client_cert idle");
    }
    server
}

fn smtp_keys<'a>(server: &mut Server<'a>, table: &Table<'a>, around: &Surroundings) {
    let holder = Holder { kind: "smtp", address: "", issuer: None };
    (server.password, server.has_password) = secret::login(table, around, holder);
    let choices = [
        ("auto", SentCopy::Auto),
        ("append", SentCopy::Append),
        ("server", SentCopy::Server),
        ("none", SentCopy::None),
    ];
    let sent_copy = table.take("sent_copy").and_then(|v| v.choice(&choices));
    server.sent_copy = sent_copy.unwrap_or(SentCopy::Auto);
}

impl Server<'_> {
    fn needs_tls(&self) -> bool {
        self.ca_file.is_some() || self.pin_sha256.is_some() || self.client_cert.is_some()
    }

    /// The mechanisms, which must fit what there is to log in with.
    fn mechanisms(&self, password: Option<&SecretSource>) -> Vec<Mechanism> {
        let is_token = password.is_some_and(SecretSource::is_token);
        if is_token && self.auth.is_empty() {
            return vec![Mechanism::OAuthBearer, Mechanism::XOAuth2];
        }
        if password.is_some() && self.auth.iter().any(|one| one.takes_token() != is_token) {
            self.spot.below("auth").problem(
                "does not fit: oauthbearer and xoauth2 go with oauth, the others with a password",
            );
        }
        self.auth.clone()
    }

    /// The complete endpoint: what this table leaves out comes from the account.
    ///
    /// `user = ""` means no login, which only a server on this machine can mean seriously.
    pub(super) fn endpoint(
        &self,
        protocol: Protocol,
        login: &Login<'_>,
        spot: &Spot<'_>,
    ) -> Endpoint {
        let mut users = self.users(login);
        let has_password = self.has_password || login.has_password;
        let mut password = self.password.clone().or_else(|| login.password.clone());
        let may_skip_login = protocol == Protocol::Smtp && values::is_loopback(&self.host);
        if self.user.as_deref() == Some("") {
            password = None;
            if !may_skip_login {
                self.spot
                    .below("user")
                    .problem("is empty: only an SMTP server on loopback goes without login");
            }
        } else if !has_password {
            if may_skip_login && self.user.is_none() {
                users = vec![String::new()];
            } else {
                spot.below("password").problem("is missing: { command = [...] } is the best form");
            }
        }
        let auth = self.mechanisms(password.as_ref());
        if password.as_ref().is_none_or(SecretSource::is_token) {
            // A token names its user itself.
            users.truncate(1);
        }
        let has_mechanism = !self.auth.is_empty() || password.is_none();
        let is_decided = self.ways.len() < 2 && users.len() < 2 && has_mechanism;
        let memory = self.memory.join(format!("{}.json", login.account));
        let way = self.ways.first().copied().unwrap_or(Way { port: 0, tls: Tls::Implicit });
        Endpoint {
            host: self.host.clone(),
            port: way.port,
            tls: way.tls,
            user: users.first().cloned().unwrap_or_default(),
            password,
            auth,
            ca_file: self.ca_file.clone(),
            pin_sha256: self.pin_sha256,
            client_cert: self.client_cert.clone(),
            timeout: self.timeout,
            open: (!is_decided).then(|| Box::new(Open { ways: self.ways.clone(), users, memory })),
            advice: login.advice.clone().filter(|_| self.is_preset),
        }
    }

    /// The user's names that may be tried: one that is written down, or what the preset knows, or what is
    /// usual.
    fn users(&self, login: &Login<'_>) -> Vec<String> {
        let usual = [UserForm::Address, UserForm::LocalPart];
        let forms = match (self.forms.as_slice(), self.is_preset) {
            // Of the presets only those say it whose servers do not take the address.
            ([], true) => usual.get(..1).unwrap_or_default(),
            ([], false) => &usual,
            (known, _) => known,
        };
        let inherited = || login.user.clone().filter(|_| self.forms.is_empty());
        match self.user.clone().or_else(inherited) {
            Some(user) => vec![user],
            None => {
                let mut users: Vec<String> =
                    forms.iter().map(|form| form.of(&login.address)).collect();
                users.dedup();
                users
            }
        }
    }
}

/// `host`, or that of the preset; what the preset says beside it counts for its own host only.
fn host<'p>(
    table: &Table<'_>,
    preset: Option<&'p PresetServer>,
) -> (String, Option<&'p PresetServer>) {
    match (table.take("host"), preset) {
        (Some(value), _) => {
            let host = value.parsed(values::host).unwrap_or_default();
            let preset = preset.filter(|known| known.host.eq_ignore_ascii_case(&host));
            (host, preset)
        }
        (None, Some(known)) => (known.host.clone(), preset),
        (None, None) => {
            table.spot.below("host").problem("is missing");
            (String::new(), None)
        }
    }
}

/// `tls`; cleartext only where nobody listens in.
fn encryption(table: &Table<'_>, host: &str) -> Option<Tls> {
    let value = table.take("tls");
    let choices = [("implicit", Tls::Implicit), ("starttls", Tls::StartTls), ("none", Tls::None)];
    let tls = value.as_ref().and_then(|v| v.choice(&choices));
    if let (Some(value), Some(Tls::None)) = (&value, tls)
        && !host.is_empty()
        && !values::is_loopback(host)
    {
        let what = format!("\"none\" is only for loopback hosts, and {} is none", quoted(host));
        value.spot.problem(format!("{what}: use \"implicit\" or \"starttls\""));
    }
    tls
}

/// How the server may be reached: as `port` and `tls` say, else as the preset says, else in the usual ways,
/// TLS from the first byte before STARTTLS (RFC 8314 §3).
fn ways(
    protocol: Protocol,
    port: Option<u16>,
    tls: Option<Tls>,
    preset: Option<&PresetServer>,
) -> Vec<Way> {
    let encrypted = [Tls::Implicit, Tls::StartTls];
    let usual = |tls| Way { port: default_port(protocol, tls), tls };
    match (port, tls) {
        (Some(port), Some(tls)) => vec![Way { port, tls }],
        (Some(port @ (25 | 110 | 143 | 587)), None) => vec![Way { port, tls: Tls::StartTls }],
        (Some(port @ (465 | 993 | 995)), None) => vec![Way { port, tls: Tls::Implicit }],
        (Some(port), None) => encrypted.map(|tls| Way { port, tls }).into(),
        (None, Some(tls)) => {
            let known = preset.and_then(|known| known.ways().find(|way| way.tls == tls));
            vec![known.unwrap_or_else(|| usual(tls))]
        }
        (None, None) => match preset {
            Some(known) => known.ways().collect(),
            None => encrypted.map(usual).into(),
        },
    }
}

fn default_port(protocol: Protocol, tls: Tls) -> u16 {
    match (protocol, tls) {
        (Protocol::Imap, Tls::Implicit) => 993,
        (Protocol::Imap, Tls::StartTls | Tls::None) => 143,
        (Protocol::Pop, Tls::Implicit) => 995,
        (Protocol::Pop, Tls::StartTls | Tls::None) => 110,
        (Protocol::Smtp, Tls::Implicit) => 465,
        (Protocol::Smtp, Tls::StartTls) => 587,
        (Protocol::Smtp, Tls::None) => 25,
    }
}

fn user(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { values::one_line(text) }
}

fn timeout(table: &Table<'_>) -> Duration {
    let value = table.take("timeout");
    let timeout = value.as_ref().and_then(|v| v.parsed(values::duration));
    if let (Some(value), Some(Duration::ZERO)) = (&value, timeout) {
        value.spot.problem("must be longer than nothing");
    }
    timeout.unwrap_or(TIMEOUT)
}

fn mechanisms(value: &Value<'_>) -> Option<Vec<Mechanism>> {
    let names = value.texts()?;
    if names.is_empty() {
        value.spot.problem("is empty: leave it out for the best that both sides have");
    }
    let mut mechanisms = Vec::new();
    for (name, item) in names {
        let name = name.to_ascii_lowercase();
        if let Some(mechanism) = Mechanism::from_name(&name) {
            mechanisms.push(mechanism);
        } else if MECHANISMS_LATER.contains(&name.as_str()) {
            item.spot.problem(format!("{} is not supported yet", quoted(&name)));
        } else {
            let known = Mechanism::ALL.map(Mechanism::as_str).into_iter().chain(MECHANISMS_LATER);
            let what = format!("{} is not a login mechanism", quoted(&name));
            item.spot.suggest(what, nearest(&name, known));
        }
    }
    Some(mechanisms)
}

const MECHANISMS_LATER: [&str; 2] = ["external", "scram-sha-1"];

const TIMEOUT: Duration = Duration::from_secs(60);
