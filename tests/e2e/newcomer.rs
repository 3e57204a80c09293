//! `setup` at a terminal from end to end: by each way in which servers can be found, against Dovecot and
//! Postfix; and at servers that behave as those of iCloud, Gmail and Microsoft do.

use std::net::Ipv4Addr;
use std::sync::Arc;

use base64::Engine as _;
use postrider_mailserver::dns::Zone;
use postrider_mailserver::web::{Reply, WebServer};
use postrider_mailserver::{
    Action, Capabilities, Capability, Config, MailServer, Rule, SmtpExtension, SmtpExtensions,
    TlsMode,
};
use sha2::{Digest, Sha256};

use crate::fixture::maildir::count;
use crate::fixture::shared::{self, Servers};
use crate::fixture::town::{Town, forward};
use crate::fixture::{PASSWORD, mail, scripted};

const BACKGROUND: &str = "Install the service, which runs it in the background? [Y/n]";
const READER: &str = "Show what a mail reader has to know (neomutt, mutt,";
const WRITE: &str = "Test the logins and write it? [Y/n]";

/// A way to find the servers of corp.test.
struct Way {
    /// What is said of it.
    told: &'static str,
    zone: fn(Zone, Ipv4Addr) -> Zone,
    /// Where the domain publishes a document.
    web: Option<&'static str>,
    /// Which domain the database knows.
    ispdb: Option<&'static str>,
}

const PACC: &str =
    r#"{"protocols": {"imap": {"host": "imap.corp.test"}, "submit": {"host": "smtp.corp.test"}}}"#;

const NOTHING: fn(Zone, Ipv4Addr) -> Zone = |zone, _| zone;

const WAYS: [Way; 7] = [
    Way {
        told: "PACC at https://ua-auto-config.corp.test",
        zone: |zone, ip| {
            let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(PACC));
            let record = format!("v=UAAC1; a=sha256; d={digest}");
            let zone = zone.a("ua-auto-config.corp.test", ip);
            zone.txt("_ua-auto-config.corp.test", &record)
        },
        web: Some("ua-auto-config.corp.test/.well-known/user-agent-configuration.json"),
        ispdb: None,
    },
    Way {
        told: "autoconfig at https://autoconfig.corp.test",
        zone: |zone, ip| zone.a("autoconfig.corp.test", ip),
        web: Some("autoconfig.corp.test/mail/config-v1.1.xml"),
        ispdb: None,
    },
    Way {
        told: "autoconfig at https://corp.test",
        zone: |zone, ip| zone.a("corp.test", ip),
        web: Some("corp.test/.well-known/autoconfig/mail/config-v1.1.xml"),
        ispdb: None,
    },
    Way {
        told: "Thunderbird's database (corp.test)",
        zone: NOTHING,
        web: None,
        ispdb: Some("/corp.test"),
    },
    Way {
        told: "its mail exchanger mx.host.test and Thunderbird's database (host.test)",
        zone: |zone, _| zone.mx("corp.test", 10, "mx.host.test"),
        web: None,
        ispdb: Some("/host.test"),
    },
    Way {
        told: "SRV records of corp.test",
        zone: |zone, _| {
            let zone = zone.srv("_imaps._tcp.corp.test", 10, "imap.corp.test", 993);
            zone.srv("_submissions._tcp.corp.test", 10, "smtp.corp.test", 465)
        },
        web: None,
        ispdb: None,
    },
    Way { told: "their usual names", zone: NOTHING, web: None, ispdb: None },
];

/// An autoconfig document for the mail servers.
fn document() -> String {
    let server = |tag, kind, port| {
        format!(
            "<{tag} type='{kind}'><hostname>{kind}.corp.test</hostname><port>{port}</port>\
             <socketType>SSL</socketType><username>%EMAILADDRESS%</username></{tag}>"
        )
    };
    let servers = [server("incomingServer", "imap", 993), server("outgoingServer", "smtp", 465)];
    format!("<clientConfig><emailProvider>{}</emailProvider></clientConfig>", servers.concat())
}

#[test]
fn by_each_way_an_address_and_a_password_become_an_account_that_works() {
    let servers: Arc<Servers> = shared::servers();
    let names = [
        "corp.test",
        "autoconfig.corp.test",
        "ua-auto-config.corp.test",
        "imap.corp.test",
        "smtp.corp.test",
    ];
    let town = Town::new(&names, &[&servers.dovecot.certs.ca, &servers.postfix.certs.ca]);
    forward(town.ip, 993, servers.dovecot.tls_port);
    forward(town.ip, 465, servers.postfix.tls_port);
    servers.dovecot.client("me@corp.test").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    for way in &WAYS {
        let body = if way.told.starts_with("PACC") { PACC.to_owned() } else { document() };
        let _web = way.web.map(|place| town.web(place, &body));
        let ispdb = way.ispdb.map(|path| {
            WebServer::start(move |request| match request.path == path {
                true => Reply::new(200, "text/xml", &document()),
                false => Reply::new(404, "text/plain", ""),
            })
            .unwrap()
        });
        let zone = Zone::default().a("imap.corp.test", town.ip).a("smtp.corp.test", town.ip);
        let talk = town.setup("me@corp.test", (way.zone)(zone, town.ip), ispdb.as_ref());
        let found = format!("found by {}: IMAP imap.corp.test:993 (TLS)", way.told);
        let shown = talk.through(
            &[
                (&format!("{found}\r\n"), ""),
                ("A command that prints the password", &town.password()),
                (WRITE, ""),
                ("✓ corp: IMAP login at imap.corp.test:993", "n"),
                (READER, "neomutt"),
            ],
            0,
        );
        assert!(shown.contains("✓ corp: SMTP login at smtp.corp.test:465"), "{shown}");
        let n_bytes = mail::numbered(1).len();
        let there = "on the server:\r\n  INBOX   1 message\r\n  Sent    0 messages, sent\r\n";
        assert!(shown.contains(there), "{shown}");
        let total = format!("\r\n1 message, {n_bytes} bytes, INBOX first\r\n");
        assert!(shown.contains(&total), "{shown}");
        assert!(shown.contains(BACKGROUND) && shown.contains("set sendmail = "), "{shown}");
        assert!(shown.contains("next: postrider service install"), "{shown}");
        town.sync();
        assert!(count(&town.world.path("home/Mail/corp/INBOX")) > 0, "{}", way.told);
        town.move_out();
    }
}

#[test]
fn the_service_is_installed_when_the_person_says_so_and_what_fails_there_spoils_nothing() {
    let town = Town::new(&["imap.gmail.com", "smtp.gmail.com"], &[]);
    let _server = MailServer::start(gmail(&town)).unwrap();
    let talk = town.setup("me@gmail.com", Zone::default(), None);
    let questions = [
        ("kept in the keyring", ""),
        ("A command that prints the password", &*town.password()),
        (WRITE, "y"),
        (BACKGROUND, "y"),
        (READER, "pine"),
    ];
    let shown = talk.through(&questions, 0);
    let unit = town.world.path("config/systemd/user/postrider.service");
    assert!(unit.exists() && shown.contains("wrote "), "{shown}");
    // There is no service manager of a user's own here.
    assert!(shown.contains("error: systemctl --user"), "{shown}");
    assert!(shown.contains("\"pine\" is none of neomutt, mutt, aerc"), "{shown}");
    assert!(shown.contains("next: postrider service install"), "{shown}");
    assert!(town.config().contains("[account.gmail]"), "{shown}");
}

/// Gmail: labels as mailboxes, some of which only hold copies.
fn gmail(town: &Town) -> Config {
    let mailboxes = [
        ("[Gmail]/All Mail", "\\All"),
        ("[Gmail]/Important", "\\Important"),
        ("[Gmail]/Starred", "\\Flagged"),
        ("[Gmail]/Sent Mail", "\\Sent"),
        ("[Gmail]/Trash", "\\Trash"),
    ];
    let owned = |(name, role): (&str, &str)| (name.to_owned(), Some(role.to_owned()));
    let capabilities = Capabilities::default().without(Capability::QResync);
    Config {
        users: vec![("me@gmail.com".to_owned(), PASSWORD.to_owned())],
        mailboxes: mailboxes.into_iter().map(owned).collect(),
        capabilities: capabilities.claiming("X-GM-EXT-1"),
        address: town.ip,
        imap_port: 993,
        smtp_port: 465,
        tls: town.tls(TlsMode::Implicit),
        ..Config::default()
    }
}

#[test]
fn at_gmail_mailboxes_that_only_hold_copies_stay_there() {
    let town = Town::new(&["imap.gmail.com", "smtp.gmail.com"], &[]);
    let server = MailServer::start(gmail(&town)).unwrap();
    for mailbox in ["INBOX", "[Gmail]/All Mail", "[Gmail]/Sent Mail"] {
        server.mailbox(mailbox).append(&mail::numbered(1), &[], None);
    }
    // One message with several labels has one name.
    let name = "* 1 FETCH (UID 1 X-GM-MSGID 1278455344230334865)\r\n{tag} OK done\r\n";
    let asks = Rule::imap("UID FETCH").containing("X-GM-MSGID");
    server.script(asks.then(Action::Reply(name.as_bytes().to_vec())));
    let talk = town.setup("me@gmail.com", Zone::default(), None);
    let questions = [
        ("make an app password", ""),
        ("A command that prints the password", &*town.password()),
        (WRITE, "y"),
        (BACKGROUND, "n"),
        (READER, ""),
    ];
    let shown = talk.through(&questions, 0);
    assert!(shown.contains("✓ gmail: SMTP login at smtp.gmail.com:465"), "{shown}");
    assert!(!town.config().contains("host"), "{}", town.config());
    assert!(shown.contains("  [Gmail]/All Mail   1 message, all, not synced\r\n"), "{shown}");
    assert!(shown.contains("  [Gmail]/Sent Mail  1 message, sent\r\n"), "{shown}");
    let n_bytes = 2 * mail::numbered(1).len();
    let total = format!("\r\n2 messages, about {n_bytes} bytes, INBOX first\r\n");
    assert!(shown.contains(&total), "{shown}");
    town.sync();
    let gmail = town.world.path("home/Mail/gmail");
    assert_eq!((count(&gmail.join("INBOX")), count(&gmail.join("[Gmail]/Sent Mail"))), (1, 1));
    for copies in ["All Mail", "Important", "Starred"] {
        assert!(!gmail.join("[Gmail]").join(copies).exists(), "{copies}");
    }
}

#[test]
fn what_the_server_does_not_say_in_time_is_not_waited_for() {
    let town = Town::new(&["imap.gmail.com", "smtp.gmail.com"], &[]);
    let config = gmail(&town);
    let capabilities = config.capabilities.clone().without(Capability::ListStatus);
    let server = MailServer::start(Config { capabilities, ..config }).unwrap();
    for n in 0..250 {
        let length = if n % 2 == 0 { 1_000 } else { 3_000 };
        let text = format!("Subject: {n}\r\n\r\n{}", "x".repeat(length));
        server.mailbox("INBOX").append(text.as_bytes(), &[], None);
        server.mailbox("[Gmail]/Sent Mail").append(&mail::numbered(n), &[], None);
    }
    let asks = |mailbox| Rule::imap("STATUS").containing(mailbox);
    let setup = || {
        let talk = town.setup("me@gmail.com", Zone::default(), None);
        let questions = [
            ("kept in the keyring", ""),
            ("A command that prints the password", &*town.password()),
            (WRITE, ""),
            (BACKGROUND, "n"),
            (READER, ""),
        ];
        talk.through(&questions, 0)
    };
    let shown = setup();
    let sizes: Vec<&str> = shown.lines().filter(|line| line.starts_with("500 messages")).collect();
    let [total] = sizes[..] else { panic!("{shown}") };
    let n_kb: u32 = total.split(' ').nth(3).unwrap().parse().unwrap();
    // Half a megabyte in INBOX, 50 kB in the other.
    assert!(total.ends_with(" kB, INBOX first") && (500..=600).contains(&n_kb), "{total}");

    std::fs::remove_file(town.world.config_file()).unwrap();
    server.script(Rule::imap("FETCH").then(Action::refuse("NO not today")));
    server.script(asks("Sent Mail").then(Action::HangBefore));
    let shown = setup();
    assert!(shown.contains("  [Gmail]/Sent Mail  not counted, sent\r\n"), "{shown}");
    assert!(
        shown.contains("at least 250 messages, INBOX first; the server does not say"),
        "{shown}"
    );
}

#[test]
fn a_maildrop_is_counted_as_well() {
    let servers: Arc<Servers> = shared::servers();
    let town = Town::new(&["pop.corp.test", "smtp.corp.test"], &[]);
    servers.dovecot.client("pop@corp.test").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let password = town.password();
    let ca = town.world.path("both.pem");
    let certs = [&servers.dovecot.certs.ca, &servers.postfix.certs.ca];
    std::fs::write(&ca, certs.map(|file| std::fs::read_to_string(file).unwrap()).concat()).unwrap();
    let ran = town.world.ok(&[
        "setup",
        "pop@corp.test",
        "--yes",
        "--password-command",
        &password,
        "--ca-file",
        ca.to_str().unwrap(),
        "--pop3",
        &format!("localhost:{}", servers.dovecot.pop_tls_port),
        "--smtp",
        &format!("localhost:{}", servers.postfix.tls_port),
    ]);
    let total = format!("\n1 message, {} bytes\n", mail::numbered(1).len());
    assert!(ran.stdout.contains("POP3 login") && ran.stdout.contains(&total), "{ran:?}");
}

#[test]
fn at_gmx_the_other_ports_are_found_where_a_network_blocks_the_first() {
    let town = Town::new(&["imap.gmx.net", "mail.gmx.net"], &[]);
    let _server = MailServer::start(Config {
        users: vec![("me@gmx.net".to_owned(), PASSWORD.to_owned())],
        address: town.ip,
        imap_port: 143,
        smtp_port: 587,
        tls: town.tls(TlsMode::StartTls),
        ..scripted::config()
    })
    .unwrap();
    let talk = town.setup("me@gmx.net", Zone::default(), None);
    let questions = [
        ("switch POP3 and IMAP on in the settings of the web page", ""),
        ("A command that prints the password", &*town.password()),
        (WRITE, ""),
        (BACKGROUND, "n"),
        (READER, ""),
    ];
    let shown = talk.through(&questions, 0);
    assert!(shown.contains("✓ gmx: IMAP login at imap.gmx.net:143"), "{shown}");
    assert!(shown.contains("✓ gmx: SMTP login at mail.gmx.net:587"), "{shown}");
    town.sync();
}

#[test]
fn at_netease_the_program_says_what_it_is_and_sends_nothing_ahead() {
    let town = Town::new(&["imap.163.com", "smtp.163.com"], &[]);
    let server = MailServer::start(Config {
        users: vec![("me@163.com".to_owned(), PASSWORD.to_owned())],
        address: town.ip,
        imap_port: 993,
        smtp_port: 465,
        tls: town.tls(TlsMode::Implicit),
        ..scripted::config()
    })
    .unwrap();
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    // It offers what it then refuses.
    let ahead = Rule::imap("AUTHENTICATE").containing("PLAIN ");
    server.script(ahead.then(Action::refuse("BAD invalid command or parameters")));
    let talk = town.setup("me@163.com", Zone::default(), None);
    let questions = [
        ("the password is an authorisation code from the web settings", ""),
        ("A command that prints the password", &*town.password()),
        (WRITE, ""),
        (BACKGROUND, "n"),
        (READER, ""),
    ];
    let shown = talk.through(&questions, 0);
    assert!(shown.contains("✓ netease-163: IMAP login at imap.163.com:993"), "{shown}");
    town.sync();
    assert_eq!(count(&town.world.path("home/Mail/netease-163/INBOX")), 1);
    let commands = server.commands();
    let names: Vec<&str> = commands.iter().map(|one| one.name.as_str()).collect();
    let place = |name: &str| names.iter().position(|one| *one == name);
    assert!(place("ID") > place("AUTHENTICATE") && place("ID") < place("SELECT"), "{names:?}");
    assert!(place("ID").is_some(), "{names:?}");
}

/// iCloud: a name that is refused in the form of its own, and two ways to send.
fn icloud(town: &Town, mode: TlsMode, (imap_port, smtp_port): (u16, u16)) -> MailServer {
    MailServer::start(Config {
        users: vec![("me@icloud.com".to_owned(), PASSWORD.to_owned())],
        capabilities: Capabilities::default().without(Capability::QResync),
        address: town.ip,
        imap_port,
        smtp_port,
        tls: town.tls(mode),
        ..scripted::config()
    })
    .unwrap()
}

#[test]
fn at_icloud_the_password_is_explained_and_the_other_name_and_the_other_port_are_found() {
    let town = Town::new(&["imap.mail.me.com", "smtp.mail.me.com"], &[]);
    let imap = icloud(&town, TlsMode::Implicit, (993, 0));
    let smtp = icloud(&town, TlsMode::StartTls, (0, 587));
    let logins = || imap.commands().iter().filter(|one| one.name == "AUTHENTICATE").count();
    let setup = |password: &str, code| {
        let talk = town.setup("me@icloud.com", Zone::default(), None);
        let questions = [
            ("iCloud Mail: the password is an app-specific one", ""),
            ("A command that prints the password", password),
            (WRITE, ""),
            (BACKGROUND, "n"),
            (READER, ""),
        ];
        talk.through(&questions[..if code == 0 { 5 } else { 3 }], code)
    };
    let shown = setup("echo my-apple-account", 77);
    let refusal = &shown[shown.find("✗").unwrap()..];
    assert!(refusal.contains("as \"me\" and as \"me@icloud.com\""), "{shown}");
    assert!(refusal.contains("app-specific one, like xxxx-xxxx-xxxx-xxxx"), "{shown}");
    assert!(refusal.contains("account.apple.com") && refusal.contains("nothing was written"));
    assert_eq!(logins(), 2);

    std::fs::remove_dir_all(town.world.path("state")).unwrap();
    let shown = setup(&town.password(), 0);
    assert!(shown.contains("✓ icloud: SMTP login at smtp.mail.me.com:587"), "{shown}");
    assert_eq!(logins(), 4);
    town.sync();
    assert_eq!(logins(), 5, "the name that works is remembered");
    drop(smtp);
    let _smtp = icloud(&town, TlsMode::Implicit, (0, 465));
    let shown = town.hosts.ok(&town.world, &["check", "icloud"]);
    assert!(shown.contains("✓ icloud: SMTP login at smtp.mail.me.com:465"), "{shown}");
    let clear = imap.commands().iter().any(|one| one.line.contains("QRESYNC"));
    assert!(!clear, "QRESYNC stays off");
}

/// Microsoft: tokens, and nothing else.
fn microsoft(town: &Town, mode: TlsMode, (imap_port, smtp_port): (u16, u16)) -> MailServer {
    let capabilities = Capabilities::default().with(Capability::AuthXOAuth2);
    let extensions = SmtpExtensions::default().with(SmtpExtension::AuthXOAuth2);
    MailServer::start(Config {
        users: vec![("me@outlook.com".to_owned(), PASSWORD.to_owned())],
        capabilities: [Capability::AuthPlain, Capability::AuthLogin, Capability::CondStore]
            .into_iter()
            .fold(capabilities, Capabilities::without)
            .without(Capability::QResync)
            .with(Capability::LoginDisabled),
        smtp_extensions: extensions
            .without(SmtpExtension::AuthPlain)
            .without(SmtpExtension::AuthLogin),
        address: town.ip,
        imap_port,
        smtp_port,
        tls: town.tls(mode),
        ..scripted::config()
    })
    .unwrap()
}

#[test]
fn at_microsoft_nobody_is_asked_for_a_password_and_a_token_signs_in() {
    let town = Town::new(&["outlook.office365.com", "smtp-mail.outlook.com"], &[]);
    let imap = microsoft(&town, TlsMode::Implicit, (993, 0));
    let smtp = microsoft(&town, TlsMode::StartTls, (0, 587));
    let talk = town.setup("me@outlook.com", Zone::default(), None);
    let questions = [
        ("The client id of your registration (empty: a command prints tokens):", ""),
        ("A command that prints a token:", &*town.password()),
        (WRITE, ""),
        (BACKGROUND, "n"),
        (READER, "aerc"),
    ];
    let shown = talk.through(&questions, 0);
    assert!(shown.contains("passwords ended in September 2024"), "{shown}");
    assert!(!shown.contains("kept in the keyring"), "{shown}");
    assert!(shown.contains("✓ outlook: IMAP login at outlook.office365.com:993"), "{shown}");
    assert!(shown.contains("✓ outlook: SMTP login at smtp-mail.outlook.com:587"), "{shown}");
    for server in [&imap, &smtp] {
        let commands = server.commands();
        let logins = commands.iter().filter(|one| one.name.starts_with("AUTH"));
        let lines: Vec<&str> = logins.map(|one| one.line.as_str()).collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.contains("XOAUTH2")),
            "{lines:?}"
        );
    }
    assert!(town.config().contains("token_command"), "{}", town.config());
    town.sync();
}
