//! Signing in with OAuth 2.0 at an authorisation server of our own; Dovecot asks it about every token,
//! Postfix asks Dovecot.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postrider_mailserver::oauth::{AuthServer, CLIENT_ID, Lie};

use crate::fixture::dovecot::Dovecot;
use crate::fixture::postfix::Postfix;
use crate::fixture::process::{eventually, program, tied};
use crate::fixture::world::BINARY;
use crate::fixture::{Letter, PASSWORD, SOON, World, mail};
use crate::keyring::Keyring;

pub(crate) const USER: &str = "signed-in";

/// An authorisation server and servers that believe it.
pub(crate) struct Signed {
    server: Option<AuthServer>,
    pub(crate) dovecot: Dovecot,
    pub(crate) world: World,
}

impl Signed {
    /// Its tokens begin with the password, so that every world looks for them where it looks for that.
    pub(crate) fn new() -> Self {
        Self::with_mark(PASSWORD)
    }

    fn with_mark(mark: &str) -> Self {
        let server = AuthServer::start(USER, mark).unwrap();
        let dovecot = Dovecot::start_with_oauth(&server.url());
        let signed = Self { server: Some(server), dovecot, world: World::with_bus() };
        signed.configure("", "");
        signed
    }

    pub(crate) fn configure(&self, oauth: &str, more: &str) {
        let url = self.server().url();
        self.world.configure(&format!(
            "[daemon]\nlog = \"trace\"\n[account.work]\naddress = \"work@example.org\"\n\
             oauth = {{ client_id = \"{CLIENT_ID}\", {oauth} issuer = {{ auth_url = \"{url}/authorize\", \
             token_url = \"{url}/token\", device_url = \"{url}/device\", scopes = [\"mail\"] }} }}\n{}{more}",
            self.dovecot.imap_table("work", USER)
        ));
    }

    pub(crate) fn server(&self) -> &AuthServer {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.world.path("state/postrider/tokens/account/work.json")
    }

    /// Signs in by following the address that is printed, as a browser would.
    pub(crate) fn sign_in(&self) -> String {
        let mut login = Login::start(&self.world, &["login", "work"]);
        let url = login.url();
        fetch(&url);
        login.ends_with(0)
    }

    /// The token that is kept.
    pub(crate) fn kept(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.tokens()).unwrap();
        let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
        kept[name].as_str().unwrap().to_owned()
    }

    /// The kept access token was had ten minutes ago, and lasts for so long more.
    pub(crate) fn age(&self, seconds: u64) {
        let text = std::fs::read_to_string(self.tokens()).unwrap();
        let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        kept["obtained"] = (now - 600).into();
        kept["expires"] = (now + seconds).into();
        std::fs::write(self.tokens(), kept.to_string()).unwrap();
    }
}

/// `postrider login`, while it waits.
pub(crate) struct Login<'a> {
    world: &'a World,
    child: Child,
    said: String,
}

impl<'a> Login<'a> {
    pub(crate) fn start(world: &'a World, args: &[&str]) -> Self {
        let mut command = tied(Path::new(BINARY));
        world.surround(&mut command);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        Self { world, child, said: String::new() }
    }

    /// The address to be opened.
    pub(crate) fn url(&mut self) -> String {
        let mut lines = BufReader::new(self.child.stdout.as_mut().unwrap());
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "no address: {}", self.said);
            self.said.push_str(&line);
            if line.trim().starts_with("http") {
                // What was read ahead is not needed, but must not be lost to the checks.
                self.said.push_str(&String::from_utf8_lossy(lines.buffer()));
                return line.trim().to_owned();
            }
        }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn ends_with(mut self, code: i32) -> String {
        drop(self.child.stdin.take());
        let done = self.child.wait_with_output().unwrap();
        self.said.push_str(&String::from_utf8_lossy(&done.stdout));
        self.said.push_str(&String::from_utf8_lossy(&done.stderr));
        self.world.said.borrow_mut().push_str(&self.said);
        assert_eq!(done.status.code(), Some(code), "{}", self.said);
        self.said
    }
}

/// Opens an address and follows where it leads; the text of the last page with its headers.
pub(crate) fn fetch(url: &str) -> String {
    let mut curl = Command::new(program("curl", "curl"));
    let done = curl.args(["-sSiL", "--max-time", "20", url]).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Where an address leads, without going there.
fn leads_to(url: &str) -> String {
    let mut curl = Command::new(program("curl", "curl"));
    let done =
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{redirect_url}", url]).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn a_sign_in_in_the_browser_makes_an_account_that_syncs_sends_and_never_shows_a_token() {
    let signed = Signed::new();
    let postfix = Postfix::start(&signed.dovecot.auth_socket());
    signed.configure("", &postfix.smtp_table("work"));
    let before = signed.world.run(&["check", "work"]);
    assert_eq!(before.code, 77, "{before:?}");
    assert!(before.stdout.contains("postrider login work"), "{before:?}");

    let said = signed.sign_in();
    assert!(said.contains("✓ work: IMAP login") && said.contains("✓ work: SMTP login"), "{said}");
    assert_eq!(signed.tokens().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(signed.server().grants(), ["authorization_code"]);

    let world = &signed.world;
    let daemon = world.daemon_with(&[("POSTRIDER_LOG", "trace")]);
    daemon.reaches("work", "idle");
    world.drop_letter("m", &Letter::new("work@example.org", "a@example.net", "token 1").text());
    eventually("it is sent", SOON, || postfix.accepted("token 1").pop());
    assert_eq!(signed.server().grants().len(), 1, "nothing was renewed before its time");

    signed.age(60);
    assert_eq!(world.run(&["check"]).code, 0);
    assert_eq!(signed.server().grants(), ["authorization_code", "refresh_token"]);
    daemon.stop();
    // The store is where tokens belong; nothing else may have them.
    std::fs::rename(signed.tokens(), world.path("secret/tokens.json")).unwrap();
    world.assert_no_secret();
}

#[test]
fn over_ssh_the_address_is_pasted_and_one_of_another_sign_in_is_turned_away() {
    let signed = Signed::new();
    let mut login = Login::start(&signed.world, &["login", "work", "--paste"]);
    let url = login.url();
    let back = leads_to(&url);
    assert!(back.starts_with("http://127.0.0.1:") && back.contains("&state="), "{back}");
    let foreign = back.replace("&state=", "&state=x");
    assert!(
        fetch(&foreign).starts_with("HTTP/1.1 400"),
        "a browser with another state is not ours"
    );
    login.types(&foreign);
    login.types(&back);
    let said = login.ends_with(0);
    assert!(said.contains("paste the whole address") && said.contains("ssh -L"), "{said}");
    assert_eq!(signed.server().grants(), ["authorization_code"]);

    signed.server().decline();
    let mut login = Login::start(&signed.world, &["login", "work"]);
    let url = login.url();
    fetch(&url);
    let said = login.ends_with(77);
    assert!(
        said.contains("access_denied not today") && said.contains("postrider login work"),
        "{said}"
    );
    signed.world.ok(&["sync"]);
    std::fs::remove_file(signed.tokens()).unwrap();
}

#[test]
fn a_device_code_is_waited_for_as_slowly_as_the_provider_wants() {
    let signed = Signed::new();
    signed.server().device_waits(1, 1);
    let login = Login::start(&signed.world, &["login", "work", "--device"]);
    let said = login.ends_with(0);
    assert!(
        said.contains("https://login.example.org/device") && said.contains("ABCD-EFGH"),
        "{said}"
    );
    assert_eq!(signed.server().grants().len(), 3, "{said}");
    signed.world.ok(&["sync"]);
    signed.server().decline();
    let said = Login::start(&signed.world, &["login", "work", "--device"]).ends_with(77);
    assert!(said.contains("declined"), "{said}");
    std::fs::remove_file(signed.tokens()).unwrap();
}

#[test]
fn many_who_want_a_token_at_once_cause_one_renewal_and_all_get_the_new_one() {
    let signed = Signed::with_mark("token");
    signed.sign_in();
    let first = signed.world.ok(&["token", "show", "work"]).stdout;
    assert!(signed.server().knows(first.trim()), "{first}");
    signed.age(60);
    // Long enough that all of them find the old token.
    signed.server().lie(Some(Lie::Late(Duration::from_secs(1))));
    let asked: Vec<Child> = (0..6)
        .map(|_| {
            let mut command = tied(Path::new(BINARY));
            signed.world.surround(&mut command);
            command.args(["token", "show", "work"]).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let shown = asked.into_iter().map(|child| child.wait_with_output().unwrap().stdout);
    let shown: Vec<String> = shown.map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    assert!(shown.iter().all(|token| *token == shown[0] && *token != first), "{shown:?}");
    assert_eq!(signed.server().grants(), ["authorization_code", "refresh_token"]);
    assert_eq!(signed.server().reused(), 0);
}

#[test]
fn a_token_that_the_mail_server_refuses_is_renewed_once_and_a_cut_before_its_use_loses_nothing() {
    let mut signed = Signed::new();
    signed.sign_in();
    signed.server().expire();
    let refused = signed.world.run(&["sync"]);
    assert_eq!(refused.code, 77, "{refused:?}");
    assert_eq!(
        signed.server().grants().len(),
        1,
        "a new token that is refused is not renewed again"
    );
    signed.age(1000);
    signed.dovecot.client("x").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    signed.world.ok(&["sync"]);
    assert_eq!(signed.server().grants(), ["authorization_code", "refresh_token"]);

    // The new refresh token is handed out and kept, and nobody comes to use what came with it.
    let old = signed.kept("refresh_token");
    signed.age(60);
    signed.dovecot.stop();
    let cut = signed.world.run(&["sync"]);
    assert_eq!(cut.code, 69, "{cut:?}");
    assert_ne!(signed.kept("refresh_token"), old);
    signed.dovecot.run();
    signed.age(60);
    signed.world.ok(&["sync"]);
    assert_eq!((signed.server().grants().len(), signed.server().reused()), (4, 0));
    std::fs::remove_file(signed.tokens()).unwrap();
}

#[test]
fn a_sign_in_that_is_over_needs_a_login_once_and_the_daemon_goes_on_at_once_after_it() {
    let signed = Signed::new();
    signed.sign_in();
    signed.server().revoke();
    signed.age(60);
    let daemon = signed.world.daemon();
    let text = daemon.shows_trouble("work", "needs-login", "NeedsLogin");
    assert!(text.contains("invalid_grant") && text.contains("postrider login work"), "{text}");
    for _ in 0..3 {
        assert_eq!(signed.world.run(&["check"]).code, 77);
        assert_eq!(signed.world.run(&["token", "show", "work"]).code, 77);
    }
    assert_eq!(signed.server().grants(), ["authorization_code", "refresh_token"], "asked once");
    signed.sign_in();
    let healed = daemon.reaches("work", "idle");
    assert!(healed["error"].is_null(), "{healed}");
    daemon.stop();
    std::fs::remove_file(signed.tokens()).unwrap();
}

#[test]
fn a_provider_that_cannot_be_reached_is_offline_and_its_lies_are_no_login() {
    let mut signed = Signed::new();
    signed.sign_in();
    signed.age(60);
    let elsewhere = AuthServer::start(USER, PASSWORD).unwrap();
    let json = |body: &str| Lie::Answer(200, "application/json".to_owned(), body.to_owned());
    let half = format!("{{\"access_token\": \"{PASSWORD}\", \"token_type\": 7}}");
    let lies = [
        (Lie::Answer(503, "text/html".to_owned(), "<p>busy".to_owned()), 75, "HTTP status 503"),
        (Lie::Answer(200, "text/html".to_owned(), "<p>log in here".to_owned()), 76, "no token"),
        (json(&half), 76, "no token"),
        (json(&format!("{{\"error\": \"{}\"}}", "x".repeat(200_000))), 76, "limit"),
        (Lie::Redirect(format!("{}/token", elsewhere.url())), 76, "302"),
    ];
    for (lie, code, text) in lies {
        signed.server().lie(Some(lie.clone()));
        let ran = signed.world.run(&["check", "work"]);
        assert_eq!(ran.code, code, "{lie:?}: {ran:?}");
        assert!(ran.stdout.contains(text), "{lie:?}: {ran:?}");
    }
    assert!(elsewhere.grants().is_empty(), "the refresh token went elsewhere");
    signed.server().lie(Some(Lie::NoRefreshToken));
    signed.world.ok(&["check", "work"]);
    let mut login = Login::start(&signed.world, &["login", "work"]);
    fetch(&login.url());
    assert!(login.ends_with(77).contains("no refresh token"));
    signed.server().lie(Some(Lie::LessScope));
    let mut login = Login::start(&signed.world, &["login", "work"]);
    fetch(&login.url());
    assert!(login.ends_with(77).contains("does not cover mail"));

    signed.server = None;
    signed.age(60);
    let ran = signed.world.run(&["check", "work"]);
    assert_eq!(ran.code, 69, "{ran:?}");
    let daemon = signed.world.daemon();
    daemon.shows_trouble("work", "offline", "Offline");
    daemon.stop();
    std::fs::remove_file(signed.tokens()).unwrap();
}

#[test]
fn tokens_are_kept_in_the_keyring_where_the_account_says_so() {
    let signed = Signed::new();
    signed.configure("keyring = true,", "");
    let _keyring = Keyring::start(&signed.world);
    eventually("the keyring is there", SOON, || {
        let store = ["store", "--label=x", "service", "x", "account", "x"];
        Keyring::tool(&signed.world, &store, "x").then_some(())
    });
    signed.sign_in();
    assert!(!signed.tokens().exists());
    signed.world.ok(&["sync"]);
    assert_eq!(signed.server().grants().len(), 1);
}

#[test]
fn pop3_takes_the_same_tokens() {
    let signed = Signed::new();
    let table = signed.dovecot.imap_table("work", USER);
    let pop = table
        .replace(".imap]", ".pop3]")
        .replace(&signed.dovecot.tls_port.to_string(), &signed.dovecot.pop_tls_port.to_string());
    let file = signed.world.config_file();
    let text = std::fs::read_to_string(&file).unwrap().replace(&table, &pop);
    signed.world.configure(&text);
    assert!(signed.sign_in().contains("✓ work: POP3 login"));
    std::fs::remove_file(signed.tokens()).unwrap();
}
