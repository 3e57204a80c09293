//! From an address of a domain that no preset knows to an account that works, by each way in which servers
//! can be found; name server and web servers are on this machine.

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine as _;
use postrider_mailserver::dns::{DnsServer, Zone};
use postrider_mailserver::web::{Reply, WebServer};
use postrider_mailserver::{Tls, TlsMode};
use sha2::{Digest, Sha256};

use crate::fixture::certs::Certs;
use crate::fixture::person::Person;
use crate::fixture::process::eventually;
use crate::fixture::shared::{self, Servers};
use crate::fixture::world::Ran;
use crate::fixture::{PASSWORD, SOON, World, mail, maildir};
use crate::keyring::Keyring;

/// The domain of a provider that publishes nothing elsewhere, and its mail servers.
struct Place {
    servers: std::sync::Arc<Servers>,
    world: World,
    /// An address of its own on this machine, so that ports with a meaning are free.
    ip: Ipv4Addr,
    certs: Certs,
    ca: String,
}

const NAMES: [&str; 6] = [
    "corp.test",
    "autoconfig.corp.test",
    "ua-auto-config.corp.test",
    "imap.corp.test",
    "smtp.corp.test",
    "localhost",
];

impl Place {
    fn new() -> Self {
        Self::with(World::new())
    }

    fn with(world: World) -> Self {
        let servers = shared::servers();
        let certs = Certs::for_names(&world.path("log"), &NAMES);
        let all = [&servers.dovecot.certs.ca, &servers.postfix.certs.ca, &certs.ca];
        let all = all.map(|file| std::fs::read_to_string(file).unwrap()).concat();
        let ca = world.path("ca.pem");
        std::fs::write(&ca, all).unwrap();
        let part = || fastrand::u8(1..=254);
        let ip = Ipv4Addr::new(127, part(), part(), part());
        Self { servers, world, ip, certs, ca: ca.display().to_string() }
    }

    fn tls(&self) -> Option<Tls> {
        let read = |file| std::fs::read(file).unwrap();
        let (certificate_pem, key_pem) = (read(&self.certs.chain), read(&self.certs.key));
        Some(Tls { mode: TlsMode::Implicit, certificate_pem, key_pem })
    }

    /// The domain's web servers.
    fn web(&self, path: &'static str, body: String) -> WebServer {
        let at = SocketAddr::from((self.ip, 443));
        WebServer::start_at(at, self.tls(), move |request| {
            let is_there = format!("{}{}", request.host, request.path) == path;
            if is_there {
                Reply::new(200, "text/xml", &body)
            } else {
                Reply::new(404, "text/plain", "")
            }
        })
        .unwrap()
    }

    /// An autoconfig document for the mail servers.
    fn document(&self) -> String {
        let server = |tag, kind, port, tls| {
            format!(
                "<{tag} type='{kind}'><hostname>localhost</hostname><port>{port}</port>\
                 <socketType>{tls}</socketType><username>%EMAILLOCALPART%</username></{tag}>"
            )
        };
        format!(
            "<clientConfig version='1.1'><emailProvider id='x'>{}{}{}</emailProvider></clientConfig>",
            server("incomingServer", "imap", self.servers.dovecot.tls_port, "SSL"),
            server("incomingServer", "pop3", self.servers.dovecot.pop_tls_port, "SSL"),
            server("outgoingServer", "smtp", self.servers.postfix.port, "STARTTLS")
        )
    }

    fn setup(&self, zone: Zone, ispdb: Option<&WebServer>, more: &[&str]) -> Ran {
        // Whatever is not told must not be asked of the real ones.
        let ispdb = ispdb.map_or_else(|| "http://127.0.0.1:9".to_owned(), WebServer::url);
        let dns = DnsServer::start(zone).unwrap();
        let password = format!("cat {}", self.world.path("secret/password").display());
        let args = ["setup", "me@corp.test", "--yes", "--password-command", &password];
        let args = [&args[..], &["--ca-file", &self.ca], more].concat();
        let dns = dns.addr().to_string();
        self.world.run_in(&args, &[("POSTRIDER_DNS", &dns), ("POSTRIDER_ISPDB", &ispdb)])
    }

    /// It was found by this way, tested, written, and works.
    fn works(&self, ran: &Ran, way: &str) {
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains(&format!("found by {way}")), "{ran:?}");
        assert!(
            ran.stdout.contains("✓ corp: IMAP login") && ran.stdout.contains("SMTP login"),
            "{ran:?}"
        );
        let user = if ran.stdout.contains("user = \"me\"") { "me" } else { "me@corp.test" };
        self.servers.dovecot.client(user).append("INBOX", "", 1_500_000_000, &mail::numbered(1));
        self.world.sync();
        assert!(maildir::count(&self.world.path("home/Mail/corp/INBOX")) > 0);
        std::fs::remove_file(self.world.config_file()).unwrap();
        std::fs::remove_dir_all(self.world.path("home/Mail")).unwrap();
        std::fs::remove_dir_all(self.world.path("state")).unwrap();
    }
}

#[test]
fn what_a_domain_publishes_itself_is_found_with_the_form_of_the_users_name() {
    let place = Place::new();
    let zone = || {
        let zone = Zone::default().a("corp.test", place.ip);
        zone.a("autoconfig.corp.test", place.ip)
    };
    let web = place.web("autoconfig.corp.test/mail/config-v1.1.xml", place.document());
    let ran = place.setup(zone(), None, &[]);
    place.works(&ran, "autoconfig at https://autoconfig.corp.test: IMAP localhost");
    assert!(ran.stderr.contains("localhost does not belong to corp.test"), "{ran:?}");
    let asked = web.seen().into_iter().find(|r| r.host == "autoconfig.corp.test").unwrap();
    assert_eq!(asked.field("emailaddress"), "me@corp.test");
    drop(web);
    let place = Place { ip: Ipv4Addr::new(127, 3, fastrand::u8(1..), fastrand::u8(1..)), ..place };
    let _web = place.web("corp.test/.well-known/autoconfig/mail/config-v1.1.xml", place.document());
    let zone = Zone::default().a("corp.test", place.ip);
    place.works(&place.setup(zone, None, &[]), "autoconfig at https://corp.test");
}

#[test]
fn the_database_the_mail_exchanger_and_srv_records_lead_to_the_servers() {
    let place = Place::new();
    let document = place.document();
    let ispdb = |path: &'static str| {
        let document = document.clone();
        WebServer::start(move |request| match request.path == path {
            true => Reply::new(200, "text/xml", &document),
            false => Reply::new(404, "text/plain", ""),
        })
        .unwrap()
    };
    let own = ispdb("/corp.test");
    let ran = place.setup(Zone::default(), Some(&own), &[]);
    place.works(&ran, "Thunderbird's database (corp.test)");
    assert!(own.seen().iter().all(|r| r.fields.is_empty()), "the address is none of its business");

    let zone =
        Zone::default().mx("corp.test", 20, "x.example").mx("corp.test", 10, "mx1.in.host.test");
    let provider = ispdb("/host.test");
    let ran = place.setup(zone, Some(&provider), &[]);
    place.works(&ran, "its mail exchanger mx1.in.host.test and Thunderbird's database (host.test)");

    let (imap, smtp) = (place.servers.dovecot.tls_port, place.servers.postfix.port);
    let zone = Zone::default()
        .srv("_imaps._tcp.corp.test", 20, "nowhere.test", 993)
        .srv("_imaps._tcp.corp.test", 10, "localhost", imap)
        .srv("_imap._tcp.corp.test", 0, "nowhere.test", 143)
        .srv("_submissions._tcp.corp.test", 0, ".", 0)
        .srv("_submission._tcp.corp.test", 0, "localhost", smtp);
    let ran = place.setup(zone, None, &[]);
    place.works(&ran, "SRV records of corp.test: IMAP localhost");
}

#[test]
fn presets_by_exchanger_pacc_and_usual_names_are_told_and_nothing_is_found_without_encryption() {
    let place = Place::new();
    let ran =
        place.setup(Zone::default().mx("corp.test", 0, "aspmx.l.google.com"), None, &["--dry-run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("provider = \"gmail\""), "{ran:?}");
    assert!(ran.stderr.contains("aspmx.l.google.com: Gmail"), "{ran:?}");

    let body = r#"{"protocols": {"imap": {"host": "imap.corp.test"}, "submit": {"host": "smtp.corp.test"}}}"#;
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(body));
    let path = "ua-auto-config.corp.test/.well-known/user-agent-configuration.json";
    let web = place.web(path, body.to_owned());
    let zone = |digest: &str| {
        let zone = Zone::default().a("ua-auto-config.corp.test", place.ip);
        zone.txt("_ua-auto-config.corp.test", &format!("v=UAAC1; a=sha256; d={digest}"))
    };
    let ran = place.setup(zone(&digest), None, &["--dry-run"]);
    assert!(ran.stderr.contains("PACC at https://ua-auto-config.corp.test: IMAP"), "{ran:?}");
    assert!(ran.stdout.contains("host = \"smtp.corp.test\"\nport = 465"), "{ran:?}");
    let ran = place.setup(zone("AAAA"), None, &["--dry-run"]);
    assert_eq!(ran.code, 69, "a document that nobody vouches for: {ran:?}");
    drop(web);

    let listen = |port| {
        let at = SocketAddr::from((place.ip, port));
        WebServer::start_at(at, place.tls(), |_| Reply::new(200, "text/plain", "")).unwrap()
    };
    let _servers = [listen(993), listen(465)];
    let zone = Zone::default().a("imap.corp.test", place.ip).a("smtp.corp.test", place.ip);
    let ran = place.setup(zone, None, &["--dry-run"]);
    assert!(ran.stderr.contains("their usual names: IMAP imap.corp.test:993 (TLS)"), "{ran:?}");
    assert!(ran.stderr.contains("SMTP smtp.corp.test:465 (TLS)"), "{ran:?}");

    let plain = "<clientConfig><emailProvider><incomingServer type='imap'><hostname>localhost</hostname>\
        <port>143</port><socketType>plain</socketType></incomingServer></emailProvider></clientConfig>";
    let ispdb = WebServer::start(move |_| Reply::new(200, "text/xml", plain)).unwrap();
    let ran = place.setup(Zone::default(), Some(&ispdb), &["--dry-run"]);
    assert_eq!(ran.code, 69, "{ran:?}");
    assert!(ran.stderr.contains("--imap HOST"), "{ran:?}");
}

#[test]
fn at_a_terminal_a_newcomer_types_a_password_that_goes_to_the_keyring_and_agrees() {
    let place = Place::with(World::with_bus());
    let _keyring = Keyring::start(&place.world);
    eventually("the keyring is there", SOON, || {
        let store = ["store", "--label=x", "service", "x", "account", "x"];
        Keyring::tool(&place.world, &store, "x").then_some(())
    });
    let (imap, smtp) = (place.servers.dovecot.tls_port, place.servers.postfix.port);
    let zone = Zone::default().srv("_imaps._tcp.corp.test", 10, "localhost", imap).srv(
        "_submission._tcp.corp.test",
        0,
        "localhost",
        smtp,
    );
    let dns = DnsServer::start(zone).unwrap();
    let dns = dns.addr().to_string();
    let environment = [("POSTRIDER_DNS", &*dns), ("POSTRIDER_ISPDB", "http://127.0.0.1:9")];
    let args = format!("setup me@corp.test --ca-file {}", place.ca);
    let mut person = Person::runs(&place.world, &args, &environment);
    person.reads("localhost does not belong to corp.test");
    person.reads("kept in the keyring; empty: a command prints it):");
    person.types(PASSWORD);
    person.reads("Test the logins and write it? [Y/n]");
    assert!(!place.world.config_file().exists(), "nothing is written before the person agrees");
    person.types("");
    person.reads("Install the service, which runs it in the background? [Y/n]");
    person.types("n");
    person.reads("Show what a mail reader has to know (neomutt, mutt,");
    person.types("");
    let shown = person.ends_with(0);
    assert!(shown.contains("✓ corp: IMAP login") && shown.contains("next: postrider"), "{shown}");
    let text = std::fs::read_to_string(place.world.config_file()).unwrap();
    assert!(text.contains("password = { keyring = true }"), "{text}");
    place.world.sync();
    assert!(place.world.path("home/Mail/corp/INBOX").exists());

    let mut person = Person::runs(&place.world, &format!("{args} --name other"), &environment);
    person.reads("kept in the keyring");
    person.types("");
    person.reads("A command that prints the password");
    person.types("echo x");
    person.reads("Test the logins");
    person.types("n");
    assert!(person.ends_with(0).contains("nothing was written"));
    assert_eq!(std::fs::read_to_string(place.world.config_file()).unwrap(), text);
}

#[test]
fn where_passwords_are_not_taken_setup_says_what_is() {
    let world = World::new();
    let ran = world.run(&["setup", "me@outlook.com", "--yes"]);
    assert_eq!(ran.code, 64, "{ran:?}");
    assert!(ran.stderr.contains("--client-id"), "{ran:?}");
    let google =
        ["setup", "me@gmail.com", "--yes", "--client-id", "x", "--client-secret-command", "cat s"];
    let ran = world.ok(&[&google[..], &["--dry-run"]].concat());
    let line = "oauth = { client_id = \"x\", client_secret = { command = [\"cat\", \"s\"] } }";
    assert!(ran.stdout.contains(line), "{ran:?}");
}
