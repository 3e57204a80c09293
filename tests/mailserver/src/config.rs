//! What a server offers: users, capabilities, names, limits.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// One IMAP capability. Switched off, it is neither advertised nor honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Capability {
    Idle,
    UidPlus,
    Move,
    CondStore,
    QResync,
    LiteralPlus,
    LiteralMinus,
    SaslIr,
    SpecialUse,
    ListExtended,
    ListStatus,
    Namespace,
    Enable,
    Id,
    Unselect,
    MultiAppend,
    Notify,
    Compress,
    AuthPlain,
    AuthLogin,
    /// The token is compared as a password is.
    AuthXOAuth2,
    /// LOGIN is refused; AUTHENTICATE still works.
    LoginDisabled,
}

impl Capability {
    const ALL: [Self; 22] = [
        Self::SaslIr,
        Self::AuthPlain,
        Self::AuthLogin,
        Self::AuthXOAuth2,
        Self::LoginDisabled,
        Self::LiteralPlus,
        Self::LiteralMinus,
        Self::Enable,
        Self::Id,
        Self::Idle,
        Self::Namespace,
        Self::Unselect,
        Self::MultiAppend,
        Self::Notify,
        Self::Compress,
        Self::UidPlus,
        Self::Move,
        Self::SpecialUse,
        Self::ListExtended,
        Self::ListStatus,
        Self::CondStore,
        Self::QResync,
    ];

    /// Returns the word in the CAPABILITY response.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::UidPlus => "UIDPLUS",
            Self::Move => "MOVE",
            Self::CondStore => "CONDSTORE",
            Self::QResync => "QRESYNC",
            Self::LiteralPlus => "LITERAL+",
            Self::LiteralMinus => "LITERAL-",
            Self::SaslIr => "SASL-IR",
            Self::SpecialUse => "SPECIAL-USE",
            Self::ListExtended => "LIST-EXTENDED",
            Self::ListStatus => "LIST-STATUS",
            Self::Namespace => "NAMESPACE",
            Self::Enable => "ENABLE",
            Self::Id => "ID",
            Self::Unselect => "UNSELECT",
            Self::MultiAppend => "MULTIAPPEND",
            Self::Notify => "NOTIFY",
            Self::Compress => "COMPRESS=DEFLATE",
            Self::AuthPlain => "AUTH=PLAIN",
            Self::AuthLogin => "AUTH=LOGIN",
            Self::AuthXOAuth2 => "AUTH=XOAUTH2",
            Self::LoginDisabled => "LOGINDISABLED",
        }
    }
}

/// The set of IMAP capabilities of a server, and words that it merely claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    on: BTreeSet<Capability>,
    claimed: Vec<String>,
}

impl Default for Capabilities {
    /// Everything but LITERAL-, LOGINDISABLED, NOTIFY and tokens.
    fn default() -> Self {
        let on = BTreeSet::from(Capability::ALL);
        Self { on, claimed: Vec::new() }
            .without(Capability::LiteralMinus)
            .without(Capability::LoginDisabled)
            .without(Capability::AuthXOAuth2)
            .without(Capability::Notify)
    }
}

impl Capabilities {
    /// Returns a bare IMAP4rev1 server: no extension at all.
    #[must_use]
    pub fn none() -> Self {
        Self { on: BTreeSet::new(), claimed: Vec::new() }
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, capability: Capability) -> Self {
        self.on.insert(capability);
        self
    }

    /// Removes one.
    #[must_use]
    pub fn without(mut self, capability: Capability) -> Self {
        self.on.remove(&capability);
        self
    }

    /// Adds a word to the CAPABILITY response that means nothing to the server.
    #[must_use]
    pub fn claiming(mut self, word: &str) -> Self {
        self.claimed.push(word.to_owned());
        self
    }

    /// Returns whether the capability is on.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.on.contains(&capability)
    }

    /// Returns the words after `CAPABILITY`.
    pub(crate) fn line(&self) -> String {
        let known = Capability::ALL.iter().filter(|c| self.has(**c)).map(|c| c.name());
        let claimed = self.claimed.iter().map(String::as_str);
        let words: Vec<&str> = std::iter::once("IMAP4rev1").chain(known).chain(claimed).collect();
        words.join(" ")
    }
}

/// One SMTP extension. Switched off, it is neither advertised nor honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum SmtpExtension {
    Pipelining,
    Size,
    EightBitMime,
    EnhancedStatusCodes,
    SmtpUtf8,
    Dsn,
    AuthPlain,
    AuthLogin,
    AuthXOAuth2,
}

/// The set of SMTP extensions of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpExtensions(BTreeSet<SmtpExtension>);

impl Default for SmtpExtensions {
    fn default() -> Self {
        Self(BTreeSet::from([
            SmtpExtension::Pipelining,
            SmtpExtension::Size,
            SmtpExtension::EightBitMime,
            SmtpExtension::EnhancedStatusCodes,
            SmtpExtension::SmtpUtf8,
            SmtpExtension::Dsn,
            SmtpExtension::AuthPlain,
            SmtpExtension::AuthLogin,
        ]))
    }
}

impl SmtpExtensions {
    /// Returns a server without extensions.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, extension: SmtpExtension) -> Self {
        self.0.insert(extension);
        self
    }

    /// Removes one.
    #[must_use]
    pub fn without(mut self, extension: SmtpExtension) -> Self {
        self.0.remove(&extension);
        self
    }

    /// Returns whether the extension is on.
    #[must_use]
    pub fn has(&self, extension: SmtpExtension) -> bool {
        self.0.contains(&extension)
    }
}

/// One POP3 extension, or a part of the protocol that servers may lack. Switched off, it is neither
/// advertised nor honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Pop3Extension {
    /// CAPA itself.
    Capa,
    User,
    Uidl,
    Top,
    Pipelining,
    Utf8,
    /// A timestamp in the greeting.
    Apop,
    AuthPlain,
    AuthLogin,
    AuthXOAuth2,
    AuthOAuthBearer,
}

/// The set of POP3 extensions of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pop3Extensions(BTreeSet<Pop3Extension>);

impl Default for Pop3Extensions {
    /// Everything.
    fn default() -> Self {
        Self(BTreeSet::from([
            Pop3Extension::Capa,
            Pop3Extension::User,
            Pop3Extension::Uidl,
            Pop3Extension::Top,
            Pop3Extension::Pipelining,
            Pop3Extension::Utf8,
            Pop3Extension::Apop,
            Pop3Extension::AuthPlain,
            Pop3Extension::AuthLogin,
            Pop3Extension::AuthXOAuth2,
            Pop3Extension::AuthOAuthBearer,
        ]))
    }
}

impl Pop3Extensions {
    /// Removes one.
    #[must_use]
    pub fn without(mut self, extension: Pop3Extension) -> Self {
        self.0.remove(&extension);
        self
    }

    /// Returns whether the extension is on.
    #[must_use]
    pub fn has(&self, extension: Pop3Extension) -> bool {
        self.0.contains(&extension)
    }
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// At once.
    Implicit,
    /// After STARTTLS or STLS, which is then advertised.
    StartTls,
}

/// A certificate, and when it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// When TLS begins.
    pub mode: TlsMode,
    /// The certificate chain in PEM.
    pub certificate_pem: Vec<u8>,
    /// The private key in PKCS #8 PEM.
    pub key_pem: Vec<u8>,
}

/// How to set up a [`MailServer`](crate::MailServer).
#[derive(Debug, Clone)]
pub struct Config {
    /// Names and passwords, for all servers.
    pub users: Vec<(String, String)>,
    /// IMAP capabilities.
    pub capabilities: Capabilities,
    /// SMTP extensions.
    pub smtp_extensions: SmtpExtensions,
    /// POP3 extensions.
    pub pop3_extensions: Pop3Extensions,
    /// The LOGIN-DELAY that CAPA tells, in seconds.
    pub pop3_login_delay: Option<u32>,
    /// A POP3 session shows only so many messages that no session has fetched yet, as Gmail does.
    pub pop3_window: Option<usize>,
    /// The hierarchy delimiter; `None` is a flat server that answers NIL.
    pub delimiter: Option<char>,
    /// The personal namespace prefix that NAMESPACE tells, for example `INBOX.`.
    pub namespace_prefix: String,
    /// Mailboxes to start with, and their SPECIAL-USE attribute (`\Sent`), if any. INBOX is
    /// always there.
    pub mailboxes: Vec<(String, Option<String>)>,
    /// Whether PERMANENTFLAGS has `\*`; without it unknown keywords are dropped in silence.
    pub keywords: bool,
    /// Largest IMAP literal, in bytes.
    pub literal_bytes_max: u32,
    /// Largest message that SMTP takes, in bytes.
    pub smtp_bytes_max: usize,
    /// Whether MAIL before AUTH is refused with 530.
    pub smtp_auth_required: bool,
    /// TLS for all servers; `None` is plain TCP.
    pub tls: Option<Tls>,
    /// The address that all servers listen at.
    pub address: Ipv4Addr,
    /// Loopback port of the IMAP server, 0 for any.
    pub imap_port: u16,
    /// Loopback port of the SMTP server, 0 for any.
    pub smtp_port: u16,
    /// Loopback port of the POP3 server, 0 for any.
    pub pop3_port: u16,
}

impl Default for Config {
    /// User `user` with password `secret`, delimiter `/`, only INBOX, everything on.
    fn default() -> Self {
        Self {
            users: vec![("user".to_owned(), "secret".to_owned())],
            capabilities: Capabilities::default(),
            smtp_extensions: SmtpExtensions::default(),
            pop3_extensions: Pop3Extensions::default(),
            pop3_login_delay: None,
            pop3_window: None,
            delimiter: Some('/'),
            namespace_prefix: String::new(),
            mailboxes: Vec::new(),
            keywords: true,
            literal_bytes_max: 256 * 1024 * 1024,
            smtp_bytes_max: 64 * 1024 * 1024,
            smtp_auth_required: true,
            tls: None,
            address: Ipv4Addr::LOCALHOST,
            imap_port: 0,
            smtp_port: 0,
            pop3_port: 0,
        }
    }
}

impl Config {
    /// Returns the certificate if TLS begins in that way.
    pub(crate) fn tls(&self, mode: TlsMode) -> Option<Tls> {
        self.tls.clone().filter(|tls| tls.mode == mode)
    }

    /// Returns whether the password is the user's.
    pub(crate) fn accepts(&self, user: &str, password: &str) -> bool {
        self.users.iter().any(|(u, p)| u == user && p == password)
    }
}
