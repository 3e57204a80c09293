//! What the journal of systemd gets: fields, and ids of what people look for.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use postrider_mailserver::{Action, Config, MailServer, Rule};

use crate::fixture::daemon::Daemon;
use crate::fixture::{Letter, PASSWORD, SOON, World, eventually, mail, scripted};

/// A journal that listens where systemd's would: at its place in the mount namespace of the daemon.
struct Journal {
    heard: Receiver<Entry>,
    entries: Vec<Entry>,
}

type Entry = BTreeMap<String, String>;

/// $1 is the directory with the socket; then comes the program. Its stderr is what the journal is said to read.
const SETUP: &str = r#"
awk '$5 ~ "/pr-" { print $5 }' /proc/self/mountinfo | xargs -r umount -l
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal
mount --bind "$1" /run/systemd/journal
shift
JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)
export JOURNAL_STREAM
exec "$@"
"#;

impl Journal {
    fn at(dir: &Path) -> Self {
        std::fs::create_dir(dir).unwrap();
        let socket = UnixDatagram::bind(dir.join("socket")).unwrap();
        let (tell, heard) = channel();
        // A socket holds few datagrams, and whoever writes more waits.
        std::thread::spawn(move || {
            let mut bytes = vec![0; 256 * 1024];
            while let Ok(n) = socket.recv(&mut bytes) {
                // An empty one only asks whether anybody listens.
                if n > 0 && tell.send(entry(&bytes[..n])).is_err() {
                    return;
                }
            }
        });
        Self { heard, entries: Vec::new() }
    }

    fn listen(&mut self) {
        self.entries.extend(self.heard.try_iter());
    }

    /// Waits for an entry with these fields.
    fn has(&mut self, wanted: &[(&str, &str)]) -> Entry {
        eventually(&format!("the journal has {wanted:?}"), SOON, || {
            self.listen();
            let fits = |entry: &&Entry| {
                wanted.iter().all(|(name, value)| entry.get(*name).is_some_and(|v| v == value))
            };
            self.entries.iter().find(fits).cloned()
        })
    }
}

/// Reads an entry (systemd's native journal protocol).
fn entry(mut bytes: &[u8]) -> Entry {
    let mut entry = Entry::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 1..];
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let (size, rest) = bytes.split_at(8);
                let size = u64::from_le_bytes(size.try_into().unwrap()) as usize;
                bytes = &rest[size + 1..];
                (line, String::from_utf8_lossy(&rest[..size]).into_owned())
            }
        };
        assert!(entry.insert(name.clone(), value).is_none(), "{name} twice");
    }
    entry
}

/// The id that the manual gives for an event.
fn id(world: &World, event: &str) -> String {
    let page = world.ok(&["man"]).stdout.replace("\\-", "-");
    let mut lines = page.lines().skip_while(|line| *line != format!("\\fB{event}\\fR"));
    let line = lines.nth(1).unwrap_or_else(|| panic!("the manual lacks {event}: {page}"));
    let id = line.split_whitespace().last().unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
    id
}

/// A daemon whose journal this is, of the account `work` at the server.
fn daemon<'a>(world: &'a World, server: &MailServer) -> (Journal, Daemon<'a>) {
    world.configure(&format!(
        "{}{}{}",
        world.account("work"),
        scripted::imap_table(server, "work"),
        scripted::smtp_table(server, "work")
    ));
    let dir = world.path("journal");
    let journal = Journal::at(&dir);
    let place = dir.display().to_string();
    let starter =
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", SETUP, "setup", &place];
    (journal, world.daemon_under(&starter, &[]))
}

/// Asserts that nothing is in it that must not be.
fn is_discreet(journal: &mut Journal) {
    journal.listen();
    assert!(!journal.entries.is_empty());
    for entry in &journal.entries {
        let all = format!("{entry:?}");
        assert!(!all.contains(PASSWORD) && !all.contains("Marked-Subject"), "{all}");
        assert!(entry.keys().all(|name| is_known(name)), "{all}");
    }
}

#[test]
fn the_journal_gets_fields_and_the_ids_that_the_manual_names_for_what_becomes_of_messages() {
    let server = scripted::server();
    let world = World::with_bus();
    let (mut journal, daemon) = daemon(&world, &server);
    daemon.reaches("work", "idle");
    let (sent, failed) = (id(&world, "message-sent"), id(&world, "message-failed"));
    let letter = |to: &str| Letter::new("work@example.org", to, "Marked-Subject");
    world.drop_letter("a", &letter("a@x.org").field("Message-ID", "<one@example.org>").text());
    let entry = journal.has(&[("MESSAGE_ID", &sent), ("POSTRIDER_ACCOUNT", "work")]);
    assert_eq!(entry["POSTRIDER_MESSAGE_ID"], "<one@example.org>");
    assert_eq!(entry["POSTRIDER_PHASE"], "accepted");
    assert!(entry["POSTRIDER_REPLY"].starts_with("250 "), "{entry:?}");
    let queued = journal.has(&[
        ("MESSAGE_ID", &id(&world, "message-queued")),
        ("POSTRIDER_QUEUE_ID", &entry["POSTRIDER_QUEUE_ID"]),
    ]);
    assert_eq!(queued["POSTRIDER_PHASE"], "queued");
    server.script(Rule::smtp("RCPT").then(Action::refuse("550 5.1.1 nobody")));
    world.drop_letter("b", &letter("b@x.org").text());
    let entry = journal.has(&[("MESSAGE_ID", &failed)]);
    assert_eq!((&*entry["POSTRIDER_CODE"], &*entry["PRIORITY"]), ("Protocol", "4"));
    assert!(daemon.stop().success());
    is_discreet(&mut journal);
}

#[test]
fn the_journal_gets_each_change_of_an_account_once() {
    let server = scripted::server();
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    let world = World::with_bus();
    let (mut journal, daemon) = daemon(&world, &server);
    let (ready, first) = (id(&world, "ready"), id(&world, "first-sync"));
    let entry = journal.has(&[("MESSAGE_ID", &ready), ("MESSAGE", "ready")]);
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "postrider");
    assert_eq!(entry["POSTRIDER_PID"], daemon.pid().to_string());
    let entry = journal.has(&[("MESSAGE_ID", &first), ("POSTRIDER_ACCOUNT", "work")]);
    assert_eq!((&*entry["POSTRIDER_TOTAL"], &*entry["PRIORITY"]), ("1", "5"));
    journal.has(&[("POSTRIDER_MAILBOX", "INBOX"), ("POSTRIDER_DOWNLOADED", "1")]);
    daemon.reaches("work", "idle");

    let (state, trouble) = (id(&world, "account-state"), id(&world, "trouble"));
    for command in ["AUTHENTICATE", "LOGIN"] {
        server.script(Rule::imap(command).then(Action::refuse("NO [AUTHENTICATIONFAILED] who?")));
    }
    server.disconnect_all();
    let entry = journal.has(&[("MESSAGE_ID", &trouble), ("POSTRIDER_CODE", "AuthFailed")]);
    assert!(entry["MESSAGE"].contains("who?"), "{entry:?}");
    let entry = journal.has(&[("MESSAGE_ID", &state), ("POSTRIDER_STATE", "needs-login")]);
    assert_eq!(entry["POSTRIDER_ACCOUNT"], "work");
    server.clear_script();
    world.ok(&["resume"]);
    journal.has(&[("MESSAGE_ID", &id(&world, "trouble-over")), ("POSTRIDER_CODE", "AuthFailed")]);
    daemon.reaches("work", "idle");
    let is_it =
        |e: &&Entry| e.get("MESSAGE_ID") == Some(&trouble) && e["POSTRIDER_CODE"] == "AuthFailed";
    let told = journal.entries.iter().filter(is_it).count();
    assert_eq!(told, 1, "a trouble is told once, however often it is tried again");
    assert!(daemon.stop().success());
    is_discreet(&mut journal);
}

#[test]
fn an_offline_night_is_two_lines_and_its_end_two_more() {
    for is_pop in [false, true] {
        let server = scripted::server();
        let (imap_port, pop3_port) = (server.imap_addr().port(), server.pop3_addr().port());
        let world = World::with_bus();
        let (protocol, port) = if is_pop { ("pop3", pop3_port) } else { ("imap", imap_port) };
        world.configure(&format!(
            "{}[account.work.{protocol}]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nuser = \"user\"\n",
            world.account("work")
        ));
        let daemon = world.daemon_with(&[("POSTRIDER_LOG", "info")]);
        daemon.reaches("work", "idle");
        let begin = daemon.said().lines().count();
        let since = || {
            let said = daemon.said();
            said.lines().skip(begin).map(str::to_owned).collect::<Vec<String>>()
        };
        drop(server);
        // Each is a try that fails.
        for _ in 0..6 {
            assert_eq!(world.run(&["sync"]).code, 69);
        }
        let (trouble, state) = ("event=\"trouble\"", "event=\"account-state\"");
        let night = since();
        let count =
            |lines: &[String], text: &str| lines.iter().filter(|l| l.contains(text)).count();
        assert_eq!((count(&night, trouble), count(&night, state)), (1, 1), "{night:#?}");
        assert_eq!(night.len(), 2, "{night:#?}");
        assert!(night.iter().any(|line| line.contains(" WARN ")), "{night:#?}");
        let config = Config { imap_port, pop3_port, ..scripted::config() };
        let server = MailServer::start(config).unwrap();
        world.ok(&["sync"]);
        daemon.reaches("work", "idle");
        let morning = eventually("it is told that it is over", SOON, || {
            let all = since();
            (count(&all, "trouble-over") > 0 && count(&all, state) > 1).then_some(all)
        });
        assert_eq!(count(&morning, "is over"), 1, "{morning:#?}");
        assert_eq!((count(&morning, trouble), count(&morning, state)), (1, 2), "{morning:#?}");
        drop(server);
        assert!(daemon.stop().success());
    }
}

/// A field that systemd knows, or one of ours.
fn is_known(name: &str) -> bool {
    name.starts_with("POSTRIDER_")
        || name.starts_with("SPAN_")
        || [
            "MESSAGE",
            "MESSAGE_ID",
            "PRIORITY",
            "TARGET",
            "CODE_FILE",
            "CODE_LINE",
            "SYSLOG_IDENTIFIER",
        ]
        .contains(&name)
}
