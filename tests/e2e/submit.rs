//! `postrider send` and `sendmail`, with a daemon and without.

use std::path::Path;
use std::process::Stdio;

use crate::fixture::process::tied;
use crate::fixture::shared::Servers;
use crate::fixture::world::BINARY;
use crate::fixture::{Letter, SOON, World, eventually, shared};

fn world_of(servers: &Servers) -> World {
    let world = World::with_bus();
    world.configure(&format!(
        "{}{}user = \"submit\"\nsent_copy = \"none\"\n",
        world.account("work"),
        servers.postfix.smtp_table("work")
    ));
    world
}

fn arrives(servers: &Servers, subject: &str, n: usize) -> Vec<String> {
    let copies = eventually(&format!("{subject} arrives"), SOON, || {
        let copies = servers.postfix.accepted(&format!("Subject: {subject}\n"));
        (copies.len() >= n).then_some(copies)
    });
    assert_eq!(copies.len(), n, "{copies:?}");
    copies.into_iter().map(|copy| copy.recipient).collect()
}

#[test]
fn send_and_sendmail_queue_and_the_daemon_sends() {
    let servers = shared::servers();
    let world = world_of(&servers);
    let daemon = world.daemon();
    let letter = |subject: &str| {
        Letter::new("work@example.org", "a@example.net", subject)
            .field("Bcc", "b@example.net")
            .text()
    };
    let sent = world.run_with(&["send"], &letter("submit stdin"));
    assert_eq!((sent.code, sent.stdout.trim().lines().count()), (0, 1), "{sent:?}");
    assert!(!sent.stdout.trim().is_empty(), "the id is printed");
    assert_eq!(arrives(&servers, "submit stdin", 2), ["a@example.net", "b@example.net"]);

    let file = world.path("letter.eml");
    std::fs::write(&file, letter("submit file")).unwrap();
    world.ok(&["send", file.to_str().unwrap()]);
    arrives(&servers, "submit file", 2);

    // As Postfix has it: a message without From gets one.
    let bare = "To: a@example.net\nSubject: submit bare\n\nb\n";
    let sent = world.run_with(&["sendmail", "-t", "-F", "Night Shift"], bare);
    assert_eq!(sent.code, 0, "{sent:?}");
    arrives(&servers, "submit bare", 1);
    let copy = servers.postfix.accepted("Subject: submit bare\n").remove(0);
    assert_eq!(copy.sender, "work@example.org");
    assert!(copy.message.contains("From: \"Night Shift\" <work@example.org>\n"), "{copy:?}");

    let sent = world.run_with(&["sendmail", "-t", "-i"], &letter("submit t"));
    assert_eq!((sent.code, sent.stdout.as_str()), (0, ""), "{sent:?}");
    arrives(&servers, "submit t", 2);

    // As git send-email calls it: the envelope from the arguments, the header left alone.
    let args = ["sendmail", "-i", "-f", "work@example.org", "x@example.net", "y@example.net"];
    let sent = world.run_with(&args, &letter("submit git"));
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(arrives(&servers, "submit git", 2), ["x@example.net", "y@example.net"]);

    let stranger = Letter::new("stranger@elsewhere.example", "a@example.net", "submit stranger");
    let refused = world.run_with(&["sendmail", "-t"], &stranger.text());
    assert_eq!(refused.code, 67, "{refused:?}");
    assert!(refused.stderr.contains("stranger@elsewhere.example"), "{refused:?}");
    assert_eq!(world.run_with(&["send"], "no header\n").code, 65);
    daemon.stop();
}

#[test]
fn called_by_the_name_of_sendmail_it_is_sendmail() {
    let servers = shared::servers();
    let world = world_of(&servers);
    let daemon = world.daemon();
    let link = world.path("sendmail");
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    let letter = world.path("letter.eml");
    let text = Letter::new("work@example.org", "z@example.net", "submit name").text();
    std::fs::write(&letter, text).unwrap();
    let mut command = tied(Path::new(&link));
    world.surround(&mut command);
    command.args(["-oi", "z@example.net"]).stdin(std::fs::File::open(&letter).unwrap());
    let done = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    arrives(&servers, "submit name", 1);
    daemon.stop();
}

#[test]
fn without_a_daemon_it_is_spooled_durably_and_says_so() {
    let servers = shared::servers();
    let world = world_of(&servers);
    let letter = Letter::new("work@example.org", "a@example.net", "submit later").text();
    let sent = world.run_with(&["sendmail", "-i", "only@example.net"], &letter);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert!(sent.stderr.contains("not running"), "{sent:?}");
    assert_eq!(world.outbox_files("new").len(), 1);
    assert!(servers.postfix.accepted("submit later").is_empty());
    let daemon = world.daemon();
    // The envelope of the arguments was kept, not made anew from the header.
    assert_eq!(arrives(&servers, "submit later", 1), ["only@example.net"]);
    eventually("the outbox is empty", SOON, || world.outbox_files("cur").is_empty().then_some(()));
    daemon.stop();
}
