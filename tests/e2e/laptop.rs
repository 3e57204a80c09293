//! A laptop: sleep that is announced, captive portals and metered networks, as logind and
//! NetworkManager tell them on the system bus. Both are played by the test on a real dbus-daemon.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postrider_mailserver::MailServer;
use zbus::object_server::{InterfaceRef, SignalEmitter};
use zbus::{Connection, connection};

use crate::fixture::bus::Bus;
use crate::fixture::daemon::Daemon;
use crate::fixture::maildir::count;
use crate::fixture::{Letter, SOON, World, eventually, mail, scripted};

/// The far end of each inhibitor that was given away, with its arguments.
type Given = Arc<Mutex<Vec<(String, std::io::PipeReader)>>>;

struct Logind(Given);

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::OwnedFd {
        assert!(!why.is_empty());
        let (reader, writer) = std::io::pipe().unwrap();
        self.0.lock().unwrap().push((format!("{what} {who} {mode}"), reader));
        zbus::OwnedFd::from(OwnedFd::from(writer))
    }

    #[zbus(signal)]
    async fn prepare_for_sleep(emitter: &SignalEmitter<'_>, start: bool) -> zbus::Result<()>;
}

#[derive(Clone, Copy)]
pub(crate) struct NetworkManager {
    state: u32,
    connectivity: u32,
    pub(crate) metered: u32,
}

#[zbus::interface(name = "org.freedesktop.NetworkManager")]
impl NetworkManager {
    #[zbus(property)]
    fn state(&self) -> u32 {
        self.state
    }

    #[zbus(signal, name = "StateChanged")]
    async fn state_told(emitter: &SignalEmitter<'_>, state: u32) -> zbus::Result<()>;

    #[zbus(property)]
    fn connectivity(&self) -> u32 {
        self.connectivity
    }

    #[zbus(property)]
    fn metered(&self) -> u32 {
        self.metered
    }
}

/// The system bus with both on it.
pub(crate) struct System {
    pub(crate) bus: Bus,
    runtime: tokio::runtime::Runtime,
    connection: Connection,
    given: Given,
}

impl System {
    pub(crate) fn start() -> Self {
        let bus = Bus::start();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let given = Given::default();
        let logind = Logind(Arc::clone(&given));
        let network = NetworkManager { state: 70, connectivity: 4, metered: 2 };
        let connection = runtime.block_on(async {
            let builder = connection::Builder::address(bus.address.as_str());
            let builder = builder.serve_at("/org/freedesktop/login1", logind);
            let builder = builder.serve_at("/org/freedesktop/NetworkManager", network);
            let builder = builder.name("org.freedesktop.login1");
            builder.name("org.freedesktop.NetworkManager").build().await.unwrap()
        });
        Self { bus, runtime, connection, given }
    }

    /// The `n`th inhibitor, from 1, once it was asked for.
    fn inhibitor(&self, n: usize) -> std::io::PipeReader {
        eventually("sleep is held up", SOON, || {
            let given = self.given.lock().unwrap();
            let (said, reader) = given.get(n - 1)?;
            assert_eq!(said, "sleep postrider delay");
            Some(reader.try_clone().unwrap())
        })
    }

    fn sleeps(&self, start: bool) {
        self.runtime.block_on(async {
            let server = self.connection.object_server();
            let logind = server.interface::<_, Logind>("/org/freedesktop/login1").await.unwrap();
            logind.signal_emitter().prepare_for_sleep(start).await.unwrap();
        });
    }

    /// Changes the network, and tells so.
    pub(crate) fn network(&self, change: impl Fn(&mut NetworkManager)) {
        self.runtime.block_on(async {
            let server = self.connection.object_server();
            let network: InterfaceRef<NetworkManager> =
                server.interface("/org/freedesktop/NetworkManager").await.unwrap();
            let before = *network.get().await;
            change(&mut *network.get_mut().await);
            let (now, emitter) = (*network.get().await, network.signal_emitter());
            if now.state != before.state {
                now.state_changed(emitter).await.unwrap();
                emitter.state_told(now.state).await.unwrap();
            }
            if now.connectivity != before.connectivity {
                now.connectivity_changed(emitter).await.unwrap();
            }
            if now.metered != before.metered {
                now.metered_changed(emitter).await.unwrap();
            }
        });
    }
}

/// The state of an account stays what it is while the daemon does other things.
pub(crate) fn stays(daemon: &Daemon<'_>, account: &str, state: &str) {
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert_eq!(daemon.account(account)["state"], state);
    }
}

fn world(server: &MailServer) -> World {
    let world = World::with_bus();
    world.configure(&format!("{}{}", world.account("work"), scripted::imap_table(server, "work")));
    world
}

#[test]
fn before_sleep_it_hangs_up_and_lets_go_and_after_it_mail_is_there() {
    let server = scripted::server();
    let (world, system) = (world(&server), System::start());
    let daemon = world.daemon_with(&[("DBUS_SYSTEM_BUS_ADDRESS", &system.bus.address)]);
    daemon.reaches("work", "idle");
    let mut held = system.inhibitor(1);
    server.clear_commands();
    system.sleeps(true);
    // The end of the pipe: sleep is not held up any longer.
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(held.read_to_end(&mut Vec::new())));
    ended.recv_timeout(Duration::from_secs(5)).expect("sleep is held up").unwrap();
    let said: Vec<String> = server.commands().into_iter().map(|said| said.line).collect();
    assert!(said.iter().any(|line| line.contains("LOGOUT")), "{said:?}");
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    system.sleeps(false);
    eventually("mail is there after sleep", Duration::from_secs(10), || {
        (count(&world.mailbox("INBOX")) == 1).then_some(())
    });
    daemon.reaches("work", "idle");
    drop(system.inhibitor(2));
    // What a person paused stays so.
    world.ok(&["pause"]);
    daemon.reaches("work", "paused");
    system.sleeps(true);
    system.sleeps(false);
    drop(system.inhibitor(3));
    assert_eq!(daemon.status()["state"], "paused");
    assert!(daemon.stop().success());
}

#[test]
fn a_captive_portal_is_waited_for_and_a_network_that_comes_is_used_at_once() {
    let server = scripted::server();
    let (world, system) = (world(&server), System::start());
    let daemon = world.daemon_with(&[("DBUS_SYSTEM_BUS_ADDRESS", &system.bus.address)]);
    daemon.reaches("work", "idle");
    system.network(|network| network.connectivity = 2);
    let account = daemon.reaches("work", "offline");
    let text = account["error"]["text"].as_str().unwrap();
    assert!(text.contains("browser"), "{text}");
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    system.network(|network| network.connectivity = 4);
    let account = daemon.reaches("work", "idle");
    assert!(account["error"].is_null(), "{account}");
    eventually("mail is there", SOON, || (count(&world.mailbox("INBOX")) == 1).then_some(()));

    let dials_again = |what: &str, change: &dyn Fn(&mut NetworkManager)| {
        server.clear_commands();
        system.network(change);
        eventually(what, SOON, || {
            let said = server.commands();
            let login = |name: &str| name == "LOGIN" || name == "AUTHENTICATE";
            said.iter().any(|said| login(&said.name)).then_some(())
        });
        daemon.reaches("work", "idle");
    };
    system.network(|network| network.state = 20);
    dials_again("a network that comes is used", &|network| network.state = 70);
    dials_again("a metered one is used with care", &|network| network.metered = 1);
    assert!(daemon.said().contains("is_metered=true"));
    server.mailbox("INBOX").append(&mail::numbered(2), &[], None);
    eventually("INBOX is watched", SOON, || (count(&world.mailbox("INBOX")) == 2).then_some(()));
    assert!(daemon.stop().success());
}

#[test]
fn a_pause_of_a_persons_outlasts_a_portal_and_a_network_that_changes() {
    let server = scripted::server();
    let (world, system) = (World::with_bus(), System::start());
    let accounts = ["work", "home"]
        .map(|name| format!("{}{}", world.account(name), scripted::imap_table(&server, name)));
    let smtp = scripted::smtp_table(&server, "work");
    world.configure(&format!("{}{smtp}{}", accounts[0], accounts[1]));
    let daemon = world.daemon_with(&[("DBUS_SYSTEM_BUS_ADDRESS", &system.bus.address)]);
    for account in ["work", "home"] {
        daemon.reaches(account, "idle");
    }
    system.network(|network| network.connectivity = 2);
    for account in ["work", "home"] {
        daemon.reaches(account, "offline");
    }
    // A person pauses one of them, by the bus.
    let session = world.bus.as_ref().unwrap();
    session.call(&crate::fixture::bus::account("home"), "Account", &["Pause", "t", "0"]);
    let home = daemon.reaches("home", "paused");
    assert!(home["error"].is_null(), "it waits for a person, not for the portal: {home}");
    system.network(|network| network.connectivity = 4);
    daemon.reaches("work", "idle");
    stays(&daemon, "home", "paused");
    // Nor does a loop that is started anew forget it.
    system.network(|network| network.metered = 1);
    eventually("it is known", SOON, || (daemon.status()["metered"] == true).then_some(()));
    daemon.reaches("work", "idle");
    stays(&daemon, "home", "paused");
    session.call(&crate::fixture::bus::account("home"), "Account", &["Resume"]);
    daemon.reaches("home", "idle");

    // All of it, and what is sent.
    system.network(|network| network.connectivity = 2);
    daemon.reaches("work", "offline");
    world.ok(&["pause"]);
    daemon.reaches("work", "paused");
    system.network(|network| network.connectivity = 4);
    world.drop_letter("m", &Letter::new("work@example.org", "a@x.org", "paused").text());
    stays(&daemon, "work", "paused");
    assert_eq!(daemon.status()["state"], "paused");
    assert!(server.sent().is_empty(), "it was sent in a pause");
    // Resumed behind a portal it rests with the others, and goes on with them.
    system.network(|network| network.connectivity = 2);
    eventually("the portal is seen", SOON, || {
        (daemon.said().matches("wants a login in a browser").count() == 3).then_some(())
    });
    world.ok(&["resume"]);
    let work = daemon.reaches("work", "offline");
    assert!(work["error"]["text"].as_str().unwrap().contains("browser"), "{work}");
    assert!(server.sent().is_empty(), "it was sent through a portal");
    system.network(|network| network.connectivity = 4);
    daemon.reaches("work", "idle");
    eventually("it is sent", SOON, || (server.sent().len() == 1).then_some(()));
    assert!(daemon.stop().success());
}
