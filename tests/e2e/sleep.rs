//! A laptop that slept: its connections are dead and do not know it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::far;
use crate::fixture::daemon::Daemon;
use crate::fixture::maildir::count;
use crate::fixture::process::{Running, tied};
use crate::fixture::{SOON, World, eventually, mail, scripted, shared};

/// A wire to a server that can be cut so that neither end notices.
struct Wire {
    port: u16,
    /// Connections of an older age carry nothing any more.
    age: Arc<AtomicUsize>,
}

impl Wire {
    fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let age = Arc::new(AtomicUsize::new(0));
        let current = Arc::clone(&age);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let born = current.load(Ordering::SeqCst);
                let pairs =
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
                for (from, to) in pairs {
                    let current = Arc::clone(&current);
                    std::thread::spawn(move || {
                        carry(from, to, || current.load(Ordering::SeqCst) == born)
                    });
                }
            }
        });
        Self { port, age }
    }

    /// All connections go silent; new ones work.
    fn silence(&self) {
        self.age.fetch_add(1, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_alive: impl Fn() -> bool) {
    let mut part = [0_u8; 16 * 1024];
    while let Ok(n) = from.read(&mut part)
        && n > 0
    {
        if is_alive() && to.write_all(&part[..n]).is_err() {
            break;
        }
    }
    if is_alive() {
        drop(to.shutdown(Shutdown::Both));
    }
}

#[test]
fn s113_after_sleep_mail_is_there_although_the_connections_are_dead() {
    let dovecot = shared::dovecot();
    let world = World::new();
    let wire = Wire::to(dovecot.tls_port);
    let table = dovecot.imap_table("work", "sleep");
    let table =
        table.replace(&format!("port = {}", dovecot.tls_port), &format!("port = {}", wire.port));
    world.configure(&format!("{}{table}", world.account("work")));
    let mut daemon = world.daemon();
    daemon.reaches("work", "idle");
    let mut imap = dovecot.client("sleep");
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(1));
    eventually("mail comes", SOON, || (count(&world.mailbox("INBOX")) == 1).then_some(()));

    daemon.signal(Signal::STOP);
    wire.silence();
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(2));
    // This is how long it sleeps; nothing happens meanwhile that could be waited for.
    std::thread::sleep(Duration::from_secs(10));
    daemon.signal(Signal::CONT);
    eventually("mail is there after sleep", Duration::from_secs(10), || {
        (count(&world.mailbox("INBOX")) == 2).then_some(())
    });
    daemon.reaches("work", "idle");

    // A pass that was caught by it is made again, and whoever waits for it gets its result.
    wire.silence();
    imap.append("INBOX", "", 1_500_000_000, &mail::numbered(3));
    let mut sync = tied(std::path::Path::new(env!("CARGO_BIN_EXE_postrider")));
    world.surround(&mut sync);
    sync.args(["sync", "work"]);
    let mut sync = Running::start("postrider sync", sync);
    daemon.reaches("work", "syncing");
    daemon.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(10));
    daemon.signal(Signal::CONT);
    assert!(sync.ends_within(SOON).is_some_and(|code| code.success()));
    assert_eq!(count(&world.mailbox("INBOX")), 3);
    assert!(daemon.stop().success());
}

/// A machine whose only way out is a cable, and which nothing but the kernel says anything to.
const CABLE: &str = "mount -t sysfs sysfs /sys && ip link set lo up && ip link add name out type veth peer name far && \
                     ip link set far up && ip link set out up && \
                     ip address add 198.51.100.1/24 dev out && \
                     ip route add default via 198.51.100.254 dev out";

/// Runs a test on such a machine: with a mail server, by a line that can be silenced.
fn at_the_cable(test: &str, run: impl FnOnce(&Wire, &dyn Fn(), &World, &Daemon<'_>)) {
    if !far::is_apart() {
        return far::apart(CABLE, test);
    }
    let server = scripted::server();
    let world = World::new();
    let wire = Wire::to(server.imap_addr().port());
    world.configure(&format!(
        "{}[account.work.imap]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nuser = \"user\"\n",
        world.account("work"),
        wire.port
    ));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let mail = || {
        server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    };
    run(&wire, &mail, &world, &daemon);
    eventually("mail is there", Duration::from_secs(10), || {
        (count(&world.mailbox("INBOX")) == 1).then_some(())
    });
    daemon.reaches("work", "idle");
    assert!(daemon.stop().success());
}

fn ip(args: &str) {
    let done = Command::new("ip").args(args.split(' ')).status().unwrap();
    assert!(done.success(), "ip {args}");
}

/// What a machine without NetworkManager has: another address, and connections that are dead and do not know it.
#[test]
fn in_another_network_mail_is_there_within_ten_seconds_and_no_bus_has_to_say_so() {
    const TEST: &str =
        "sleep::in_another_network_mail_is_there_within_ten_seconds_and_no_bus_has_to_say_so";
    at_the_cable(TEST, |wire, mail, _, daemon| {
        wire.silence();
        mail();
        // The link goes, and comes back in another network.
        ip("link set out down");
        ip("address flush dev out");
        ip("link set out up");
        ip("address add 203.0.113.7/24 dev out");
        ip("route add default via 203.0.113.254 dev out");
        daemon.says("the network changed");
    });
}

/// The cable is out for a while, and nothing else changes: addresses and routes stay.
#[test]
fn when_the_cable_is_back_mail_is_there_within_ten_seconds() {
    const TEST: &str = "sleep::when_the_cable_is_back_mail_is_there_within_ten_seconds";
    at_the_cable(TEST, |wire, mail, world, daemon| {
        ip("link set far down");
        daemon.says("there is no network");
        wire.silence();
        mail();
        assert_eq!(count(&world.mailbox("INBOX")), 0);
        ip("link set far up");
    });
}
