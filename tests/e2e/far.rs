//! A server that is not on this machine: what is done only there, against a real Dovecot.
//!
//! The test runs itself again in a network of its own, where the server has an address that is not loopback.

use std::process::Command;

use crate::fixture::dovecot::Dovecot;
use crate::fixture::maildir::{entries, local};
use crate::fixture::process::{eventually, program};
use crate::fixture::{SOON, World, mail};

const ADDRESS: &str = "192.0.2.1";
const WITHIN: &str = "POSTRIDER_TEST_NETWORK";
const N_MESSAGES: usize = 1_200;

#[test]
fn mail_from_afar_comes_compressed_and_over_several_connections() {
    if !is_apart() {
        return again_in_a_network_of_its_own(
            "far::mail_from_afar_comes_compressed_and_over_several_connections",
        );
    }
    let dovecot = Dovecot::start_afar(ADDRESS);
    let world = World::alone();
    world.configure(&format!(
        "{}[account.work.imap]\nhost = \"{ADDRESS}\"\nport = {}\nuser = \"far\"\n\
         max_connections = 3\nca_file = \"{}\"\n",
        world.account("work"),
        dovecot.tls_port,
        dovecot.certs.ca.display()
    ));
    let mut imap = dovecot.client("far");
    let mut bytes = 0;
    for n in 0..N_MESSAGES {
        let prose = format!("line {n}: the same words again and again\r\n").repeat(100);
        let message = [mail::numbered(n), prose.into_bytes()].concat();
        bytes += message.len() as u64;
        imap.append("INBOX", "\\Seen", 1_700_000_000, &message);
    }
    let (sessions, before) = (dovecot.fetching(), on_the_wire());
    world.sync();
    let moved = on_the_wire() - before;
    println!("{N_MESSAGES} messages, {bytes} bytes: {moved} bytes on the wire");
    assert!(moved < bytes / 2, "{moved} bytes for {bytes}");
    // Dovecot logs a session a little after its end.
    eventually("two connections fetched", SOON, || {
        (dovecot.fetching() - sessions >= 2).then_some(())
    });

    let mut expected: Vec<Vec<u8>> =
        imap.messages("INBOX").iter().map(|m| local(&m.bytes)).collect();
    let mut found: Vec<Vec<u8>> =
        entries(&world.mailbox("INBOX")).iter().map(|entry| entry.bytes()).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert!(found == expected, "each message once, and as it is on the server");
}

fn again_in_a_network_of_its_own(test: &str) {
    apart(&format!("ip link set lo up && ip address add {ADDRESS}/32 dev lo"), test);
}

/// Whether this is the run in a network of its own.
pub(crate) fn is_apart() -> bool {
    std::env::var_os(WITHIN).is_some()
}

/// Runs a test again in a network of its own, made by these commands.
pub(crate) fn apart(setup: &str, test: &str) {
    program("ip", "iproute2");
    let status = Command::new(program("unshare", "util-linux"))
        .args(["--net", "--mount", "--", "sh", "-ec"])
        .arg(format!("{setup} && exec \"$0\" --exact {test} --nocapture"))
        .arg(std::env::current_exe().unwrap())
        .env(WITHIN, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test}, in a network of its own: {status}");
}

/// Bytes that went over the one interface that there is.
fn on_the_wire() -> u64 {
    let table = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}
