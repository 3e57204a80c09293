//! What is wrong with encryption is said in plain words, and what is said to mend it does.

use std::path::Path;

use crate::fixture::certs;
use crate::fixture::dovecot::Dovecot;
use crate::fixture::{World, shared};

/// The `[account.work.imap]` table of a server on this machine.
fn at(world: &World, host: &str, port: u16, more: &str) {
    world.configure(&format!(
        "{}[account.work.imap]\nhost = \"{host}\"\nport = {port}\nuser = \"tls\"\n{more}\n",
        world.account("work")
    ));
}

fn ca(file: &Path) -> String {
    format!("ca_file = \"{}\"\n", file.display())
}

/// `check` says what it means and what mends it, and names no functions of a library.
fn is_told(world: &World, means: &str, mends: &str) {
    for (args, code) in [(["check", "work"], 76), (["sync", "work"], 76)] {
        let ran = world.run(&args);
        assert_eq!(ran.code, code, "{ran:?}");
        let all = format!("{}{}", ran.stdout, ran.stderr);
        for words in [means, mends, "postrider check work"] {
            assert!(all.contains(words), "{words:?} in {all}");
        }
        for raw in ["routines", "error:0", "../ssl"] {
            assert!(!all.contains(raw), "{all}");
        }
    }
}

#[test]
fn each_trouble_with_a_certificate_has_its_own_words_and_its_own_cure() {
    let mut dovecot = Dovecot::start();
    let world = World::new();
    let (port, tls_port) = (dovecot.port, dovecot.tls_port);
    let (own, stranger) = (ca(&dovecot.certs.ca), ca(&dovecot.certs.stranger));

    at(&world, "localhost", tls_port, &stranger);
    is_told(&world, "signed by an authority that is not trusted here", "set ca_file to");
    at(&world, "localhost", tls_port, &own);
    world.ok(&["check", "work"]);

    at(&world, "127.0.0.1", tls_port, &own);
    is_told(&world, "for another name than 127.0.0.1", "check \"host\"");

    at(&world, "localhost", port, &format!("tls = \"implicit\"\n{own}"));
    let means = format!("what answers at port {port} does not speak TLS");
    is_told(&world, &means, "set tls = \"starttls\"");
    at(&world, "localhost", port, &format!("tls = \"starttls\"\n{own}"));
    world.ok(&["check", "work"]);

    let (chain, key, authority) = certs::expired();
    dovecot.show(&chain, &key);
    let file = world.path("old-ca.pem");
    std::fs::write(&file, authority).unwrap();
    at(&world, "localhost", tls_port, &ca(&file));
    is_told(&world, "the server's certificate has expired", "check the clock of this machine");

    let (chain, key) = certs::self_signed();
    dovecot.show(&chain, &key);
    at(&world, "localhost", tls_port, "");
    is_told(&world, "self-signed: nobody else vouches for it", "pin_sha256");
    let file = world.path("self.pem");
    std::fs::write(&file, chain).unwrap();
    at(&world, "localhost", tls_port, &ca(&file));
    world.ok(&["check", "work"]);
}

#[test]
fn a_server_that_waits_for_tls_is_told_from_one_that_is_silent() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let more = format!("tls = \"starttls\"\ntimeout = \"2s\"\n{}", ca(&dovecot.certs.ca));
    at(&world, "localhost", dovecot.tls_port, &more);
    let ran = world.run(&["check", "work"]);
    assert_eq!(ran.code, 69, "{ran:?}");
    assert!(ran.stdout.contains("a port that waits for TLS is silent: check tls"), "{ran:?}");
}

#[test]
fn an_outgoing_server_is_told_in_the_same_words() {
    let servers = shared::servers();
    let world = World::new();
    let smtp = |port: u16, more: &str| {
        let table = format!("[account.work.smtp]\nhost = \"localhost\"\nport = {port}\n{more}");
        world.configure(&format!("{}{table}", world.account("work")));
    };
    let postfix = &servers.postfix;
    smtp(postfix.tls_port, &format!("tls = \"implicit\"\n{}", ca(&postfix.certs.stranger)));
    let ran = world.run(&["check", "work"]);
    assert_eq!(ran.code, 76, "{ran:?}");
    assert!(ran.stdout.contains("signed by an authority that is not trusted here"), "{ran:?}");
    assert!(!ran.stdout.contains("routines"), "{ran:?}");
    smtp(postfix.port, &format!("tls = \"implicit\"\n{}", ca(&postfix.certs.ca)));
    let ran = world.run(&["check", "work"]);
    assert_eq!(ran.code, 76, "{ran:?}");
    assert!(ran.stdout.contains("does not speak TLS"), "{ran:?}");
    assert!(ran.stdout.contains("set tls = \"starttls\""), "{ran:?}");
    assert!(!ran.stdout.contains("routines"), "{ran:?}");
}
