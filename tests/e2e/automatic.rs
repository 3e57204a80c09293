//! Settings that are left out: what works is found, remembered and shown, and never becomes less.

use std::net::{Ipv4Addr, TcpListener};

use postrider_mailserver::{Config, MailServer, Tls, TlsMode};
use serde_json::{Value, json};

use crate::fixture::certs::Certs;
use crate::fixture::dovecot::Dovecot;
use crate::fixture::maildir::count;
use crate::fixture::{Letter, PASSWORD, SOON, World, eventually, mail, scripted};

/// A host of its own on this machine, so that the usual ports are free.
struct Host {
    world: World,
    ip: Ipv4Addr,
    certs: Certs,
}

const ADDRESS: &str = "work@example.org";

/// Takes a port as soon as nobody has it. A process that another test starts in this moment has what this one has
/// just closed, until it becomes the program.
fn once_free<T>(take: impl Fn() -> std::io::Result<T>) -> T {
    eventually("the port is free", SOON, || match take() {
        Err(err) if err.kind() == std::io::ErrorKind::AddrInUse => None,
        taken => Some(taken.unwrap()),
    })
}

impl Host {
    fn new() -> Self {
        let world = World::new();
        let part = || fastrand::u8(1..=254);
        let ip = Ipv4Addr::new(127, part(), part(), part());
        let certs = Certs::for_names(&world.path("log"), &[&ip.to_string()]);
        let host = Self { world, ip, certs };
        host.configure("");
        host
    }

    /// An account of which only the host is known, and `imap` of its IMAP server.
    fn configure(&self, imap: &str) {
        let (ip, ca) = (self.ip, self.certs.ca.display());
        self.world.configure(&format!(
            "{}[account.work.imap]\nhost = \"{ip}\"\nca_file = \"{ca}\"\n{imap}\
             [account.work.smtp]\nhost = \"{ip}\"\nca_file = \"{ca}\"\n",
            self.world.account("work")
        ));
    }

    /// Servers at the usual ports, encrypted in this way or not at all, that know one user.
    fn serve(&self, mode: Option<TlsMode>, user: &str) -> MailServer {
        let read = |file| std::fs::read(file).unwrap();
        let pem = || (read(&self.certs.chain), read(&self.certs.key));
        let tls = mode.map(|mode| {
            let (certificate_pem, key_pem) = pem();
            Tls { mode, certificate_pem, key_pem }
        });
        let is_implicit = mode == Some(TlsMode::Implicit);
        let (imap_port, smtp_port) = if is_implicit { (993, 465) } else { (143, 587) };
        let users = vec![(user.to_owned(), PASSWORD.to_owned())];
        let address = self.ip;
        let config = Config { users, tls, address, imap_port, smtp_port, ..scripted::config() };
        once_free(|| MailServer::start(config.clone()))
    }

    /// Notices whoever knocks at a port.
    fn listen(&self, port: u16) -> TcpListener {
        let listener = once_free(|| TcpListener::bind((self.ip, port)));
        listener.set_nonblocking(true).unwrap();
        listener
    }

    /// What the status says was found.
    fn found(&self) -> Value {
        self.world.ok(&["status", "--json"]).json()["accounts"][0]["servers"].clone()
    }

    fn imap_at(&self, port: u16, tls: &str, user: &str) -> Value {
        json!({"protocol": "imap", "host": self.ip.to_string(), "port": port, "tls": tls,
            "user": user, "auth": "plain"})
    }

    fn forget(&self) {
        std::fs::remove_dir_all(self.world.path("state")).unwrap();
    }
}

fn logins(server: &MailServer) -> usize {
    let is_login = |name: &str| ["AUTHENTICATE", "LOGIN", "AUTH"].contains(&name);
    server.commands().iter().filter(|command| is_login(&command.name)).count()
}

fn is_quiet(listener: &TcpListener) -> bool {
    listener.accept().is_err()
}

#[test]
fn what_works_is_found_and_remembered_and_tried_anew_only_after_a_failed_connection() {
    let host = Host::new();
    let server = host.serve(Some(TlsMode::StartTls), ADDRESS);
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    host.world.sync();
    assert_eq!(count(&host.world.mailbox("INBOX")), 1);
    assert_eq!(host.found(), json!([host.imap_at(143, "starttls", ADDRESS)]));
    let screen = host.world.ok(&["status"]).stdout;
    let line = format!("found: imap {}:143 starttls, plain, user {ADDRESS}", host.ip);
    assert!(screen.contains(&line), "{screen}");

    let implicit = host.listen(993);
    host.world.sync();
    host.world.set_password("wrong");
    let refused = host.world.run(&["sync"]);
    assert_eq!((refused.code, logins(&server)), (77, 3), "{refused:?}");
    host.world.set_password(PASSWORD);
    assert!(is_quiet(&implicit), "what works is not tried anew, nor is it after a refused login");

    drop((server, implicit));
    let server = host.serve(Some(TlsMode::Implicit), ADDRESS);
    let daemon = host.world.daemon();
    daemon.reaches("work", "idle");
    host.world.drop_letter("a", &Letter::new(ADDRESS, "you@example.net", "found").text());
    eventually("it is sent", SOON, || (!server.sent().is_empty()).then_some(()));
    let smtp = json!({"protocol": "smtp", "host": host.ip.to_string(), "port": 465,
        "tls": "implicit", "user": ADDRESS, "auth": "plain"});
    let wanted = json!([host.imap_at(993, "implicit", ADDRESS), smtp]);
    eventually("the status shows both", SOON, || (host.found() == wanted).then_some(()));
    daemon.stop();

    let file = host.world.path("state/postrider/servers/imap/work.json");
    std::fs::write(&file, "{\"host\"").unwrap();
    host.world.sync();
    assert_eq!(host.found()[0], host.imap_at(993, "implicit", ADDRESS));
}

#[test]
fn whoever_blocks_a_port_or_takes_encryption_away_gets_no_login() {
    let host = Host::new();
    for is_known in [false, true] {
        if is_known {
            let server = host.serve(Some(TlsMode::StartTls), ADDRESS);
            host.world.sync();
            drop(server);
        }
        let stripped = host.serve(None, ADDRESS);
        let ran = host.world.run(&["sync"]);
        assert_eq!(ran.code, 76, "{ran:?}");
        assert!(ran.stderr.contains("STARTTLS"), "{ran:?}");
        assert_eq!(host.world.run(&["check", "work"]).code, 76);
        let names: Vec<String> = stripped.commands().into_iter().map(|one| one.name).collect();
        assert!(names.iter().any(|name| name == "STARTTLS"), "{names:?}");
        assert_eq!(logins(&stripped), 0, "{names:?}");
    }
    // A certificate that is not trusted is told, and nothing else is tried.
    let other = host.listen(143);
    let _server = host.serve(Some(TlsMode::Implicit), ADDRESS);
    host.forget();
    let text = std::fs::read_to_string(host.world.config_file()).unwrap();
    host.world.configure(&text.replace("/ca.pem", "/stranger.pem"));
    let ran = host.world.run(&["sync"]);
    assert!(ran.code == 76 && ran.stderr.contains("ca_file"), "{ran:?}");
    assert!(is_quiet(&other));
}

#[test]
fn what_is_written_down_is_not_tried_out() {
    let host = Host::new();
    let server = host.serve(Some(TlsMode::StartTls), ADDRESS);
    let implicit = host.listen(993);
    for settings in ["port = 143\n", "tls = \"starttls\"\n"] {
        host.configure(settings);
        host.world.sync();
    }
    assert!(is_quiet(&implicit));
    drop(implicit);
    let before = server.commands().len();
    host.configure("tls = \"implicit\"\n");
    assert_eq!(host.world.run(&["sync"]).code, 69);
    assert_eq!(server.commands().len(), before);
    host.forget();
    host.configure(&format!(
        "port = 143\ntls = \"starttls\"\nuser = \"{ADDRESS}\"\nauth = [\"plain\"]\n"
    ));
    host.world.sync();
    assert_eq!(host.found(), Value::Null, "nothing was left open");
}

#[test]
fn a_password_that_was_proved_is_not_shown_to_a_server_that_wants_to_see_it() {
    let mut dovecot = Dovecot::start_with_logins();
    let world = World::new();
    let table = dovecot.imap_table("work", "proved");
    let configure = |more: &str| {
        world.configure(&format!("{}{table}{more}", world.account("work")));
    };
    configure("");
    world.sync();
    let used = || {
        let file = world.path("state/postrider/servers/imap/work.json");
        let memory: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        memory["auth"].as_str().unwrap().to_owned()
    };
    assert_eq!(used(), "scram-sha-256");
    dovecot.offer("plain login");
    let refused = world.run(&["sync"]);
    assert_eq!(refused.code, 76, "{refused:?}");
    assert!(refused.stderr.contains("no password was sent"), "{refused:?}");
    assert!(refused.stderr.contains("auth = [\"plain\", \"login\"]"), "{refused:?}");
    configure("auth = [\"plain\"]\n");
    world.sync();
    configure("");
    world.sync();
    assert_eq!(used(), "plain");
    dovecot.offer("plain login scram-sha-256");
    world.sync();
    assert_eq!(used(), "scram-sha-256", "what is stronger is taken at once");
}

#[test]
fn the_other_form_of_the_name_is_tried_once_and_a_wrong_password_costs_no_more_logins() {
    let host = Host::new();
    let server = host.serve(Some(TlsMode::Implicit), "work");
    host.world.sync();
    assert_eq!(
        (logins(&server), host.found()),
        (2, json!([host.imap_at(993, "implicit", "work")]))
    );
    host.world.sync();
    assert_eq!(logins(&server), 3, "it is remembered");

    host.forget();
    host.world.set_password("wrong");
    let mut before = logins(&server);
    for n in [2, 1, 1] {
        let ran = host.world.run(&["sync"]);
        assert_eq!((ran.code, logins(&server) - before), (77, n), "{ran:?}");
        let both = format!("as \"{ADDRESS}\" and as \"work\"");
        assert_eq!(ran.stderr.contains(&both), n == 2, "{ran:?}");
        before = logins(&server);
    }
    host.forget();
    let daemon = host.world.daemon();
    daemon.shows_trouble("work", "needs-login", "AuthFailed");
    assert_eq!(daemon.account("work")["error"]["next_retry"], Value::Null, "it waits for a person");
    assert_eq!(logins(&server) - before, 2);
    host.world.set_password(PASSWORD);
    host.world.ok(&["resume"]);
    daemon.reaches("work", "idle");
    daemon.stop();
}
