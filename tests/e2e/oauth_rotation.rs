//! Refresh tokens that are replaced at each use: what is lost when, and what is said then. And which
//! mechanisms carry the access tokens.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::fixture::postfix::Postfix;
use crate::fixture::process::{eventually, tied};
use crate::fixture::world::BINARY;
use crate::fixture::{SOON, mail};
use crate::oauth::{Signed, USER};
use postrider_mailserver::oauth::Lie;

#[test]
fn a_kill_between_the_answer_and_the_disk_needs_a_sign_in_and_says_so() {
    let signed = Signed::new();
    signed.sign_in();
    let before = std::fs::read(signed.tokens()).unwrap();
    signed.age(60);
    let aged = std::fs::read(signed.tokens()).unwrap();
    assert_ne!(before, aged);
    // The provider has replaced the token, and its answer is on the way.
    signed.server().lie(Some(Lie::Late(Duration::from_secs(30))));
    let mut command = tied(Path::new(BINARY));
    signed.world.surround(&mut command);
    command.arg("sync").stdout(Stdio::null()).stderr(Stdio::null());
    let mut cut = command.spawn().unwrap();
    eventually("the provider answers", SOON, || {
        (signed.server().grants().len() == 2).then_some(())
    });
    cut.kill().unwrap();
    cut.wait().unwrap();
    signed.server().lie(None);

    let ran = signed.world.run(&["check", "work"]);
    assert_eq!(ran.code, 77, "{ran:?}");
    for words in ["invalid_grant", "the sign-in has run out", "postrider login work"] {
        assert!(ran.stdout.contains(words), "{ran:?}");
    }
    assert_eq!(signed.server().reused(), 1);
    let daemon = signed.world.daemon();
    let text = daemon.shows_trouble("work", "needs-login", "NeedsLogin");
    assert!(text.contains("postrider login work"), "{text}");
    signed.sign_in();
    daemon.reaches("work", "idle");
    daemon.stop();
    assert_eq!(signed.server().reused(), 1, "it was tried once");
    std::fs::remove_file(signed.tokens()).unwrap();
}

#[test]
fn where_a_new_token_could_not_be_kept_none_is_asked_for() {
    let signed = Signed::new();
    signed.sign_in();
    signed.age(60);
    // Nothing can be written beside the tokens.
    let blocked = signed.tokens().with_extension("new");
    std::fs::create_dir(&blocked).unwrap();
    let ran = signed.world.run(&["check", "work"]);
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.stdout.contains("write the tokens"), "{ran:?}");
    assert_eq!(signed.server().grants(), ["authorization_code"], "a replaced token would be lost");
    std::fs::remove_dir(&blocked).unwrap();
    signed.world.ok(&["check", "work"]);
    assert_eq!(signed.server().reused(), 0);
    std::fs::remove_file(signed.tokens()).unwrap();
}

#[test]
fn each_mechanism_that_takes_tokens_logs_in_to_each_kind_of_server() {
    let signed = Signed::new();
    let postfix = Postfix::start(&signed.dovecot.auth_socket());
    signed.configure("", &postfix.smtp_table("work"));
    signed.sign_in();
    signed.dovecot.client("x").append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    let world = &signed.world;
    let imap = signed.dovecot.imap_table("work", USER);
    let pop3 = signed.dovecot.pop3_table("work", USER);
    let text = std::fs::read_to_string(world.config_file()).unwrap();
    for mechanism in ["xoauth2", "oauthbearer"] {
        let auth = format!("auth = [\"{mechanism}\"]\n");
        let smtp = postfix.smtp_table("work");
        for (incoming, name) in [(&imap, "imap"), (&pop3, "pop3")] {
            let text = text
                .replace(&imap, &format!("{incoming}{auth}"))
                .replace(&smtp, &format!("{smtp}{auth}"));
            world.configure(&text);
            let said = world.ok(&["check", "work"]).stdout;
            let login = format!("✓ work: {} login", name.to_uppercase());
            assert!(said.contains(&login) && said.contains("✓ work: SMTP login"), "{said}");
            // Nothing else is allowed; Dovecot says so as well.
            let logged = format!(
                "{name}-login: Info: Login: user=<{USER}>, method={}",
                mechanism.to_uppercase()
            );
            eventually(&logged, SOON, || signed.dovecot.log().contains(&logged).then_some(()));
        }
    }
    std::fs::remove_file(signed.tokens()).unwrap();
}
