//! An outgoing server with a sign-in of its own, beside accounts that receive with a password.

use postrider_mailserver::oauth::{AuthServer, CLIENT_ID};

use crate::fixture::dovecot::Dovecot;
use crate::fixture::postfix::Postfix;
use crate::fixture::{Letter, PASSWORD, SOON, World, eventually};
use crate::oauth::{Login, fetch};

#[test]
fn a_shared_outgoing_server_is_signed_in_to_once_for_all_accounts() {
    let server = AuthServer::start("relay", PASSWORD).unwrap();
    let dovecot = Dovecot::start_with_oauth(&server.url());
    let postfix = Postfix::start(&dovecot.auth_socket());
    let (world, url) = (World::with_bus(), server.url());
    let account = |name: &str| {
        let table = dovecot.imap_table(name, name);
        format!("{}smtp = \"out\"\n{table}", world.account(name))
    };
    world.configure(&format!(
        "[smtp.out]\nhost = \"localhost\"\nport = {}\ntls = \"starttls\"\nca_file = \"{}\"\n\
         user = \"relay\"\noauth = {{ client_id = \"{CLIENT_ID}\", issuer = {{ \
         auth_url = \"{url}/authorize\", token_url = \"{url}/token\", scopes = [\"mail\"] }} }}\n{}{}",
        postfix.port,
        postfix.certs.ca.display(),
        account("work"),
        account("home")
    ));
    let before = world.run(&["check", "work"]);
    assert_eq!(before.code, 77, "{before:?}");
    assert!(before.stdout.contains("✓ work: IMAP login"), "{before:?}");
    assert!(before.stdout.contains("postrider login work"), "{before:?}");

    let mut login = Login::start(&world, &["login", "work"]);
    fetch(&login.url());
    let said = login.ends_with(0);
    assert!(said.contains("✓ work: SMTP login"), "{said}");
    let daemon = world.daemon();
    for name in ["work", "home"] {
        daemon.reaches(name, "idle");
        let from = format!("{name}@example.org");
        let letter = Letter::new(&from, "a@example.net", &format!("of {name}"));
        world.drop_letter(name, &letter.text());
        let sent = || postfix.accepted(&format!("of {name}")).pop();
        eventually("it is sent", SOON, sent);
    }
    assert_eq!(server.grants(), ["authorization_code"], "one sign-in serves both");
    daemon.stop();
    // The store is where tokens belong; nothing else may have them.
    let tokens = world.path("state/postrider/tokens/smtp/smtp.out.json");
    std::fs::rename(tokens, world.path("secret/tokens.json")).unwrap();
    world.assert_no_secret();
}
