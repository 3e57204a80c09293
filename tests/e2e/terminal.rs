//! What a person sees on a terminal, and what a pipe gets: colours, progress, a status that is watched.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use postrider_mailserver::{Action, Rule};
use serde_json::Value;

use crate::fixture::process::{Running, program, tied};
use crate::fixture::world::BINARY;
use crate::fixture::{SOON, World, eventually, mail, maildir, scripted};

/// What a command shows on a terminal.
fn on_terminal(world: &World, args: &str, environment: &[(&str, &str)]) -> String {
    let mut script = Command::new(program("script", "bsdutils"));
    world.surround(&mut script);
    script.envs(environment.iter().copied());
    let done = script.args(["-qec", &format!("{BINARY} {args}"), "/dev/null"]).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A command that goes on, and the file with what it says.
fn watching(world: &World, name: &str, args: &[&str]) -> (Running, impl Fn() -> String) {
    let file = world.path(name);
    let mut command = tied(Path::new(BINARY));
    world.surround(&mut command);
    command.args(args).stdin(Stdio::null()).stdout(std::fs::File::create(&file).unwrap());
    (Running::start("postrider status --watch", command), move || {
        std::fs::read_to_string(&file).unwrap()
    })
}

#[test]
fn colours_are_for_terminals_and_not_for_whoever_wants_none() {
    let world = World::new();
    world.configure(&format!("{}imap = {{ host = \"127.0.0.1\" }}\n", world.account("work")));
    let shown = on_terminal(&world, "status", &[]);
    assert!(shown.contains("\u{1b}[33m○\u{1b}[0m postrider"), "{shown:?}");
    for environment in [[("NO_COLOR", "1")], [("NO_COLOR", "yes")]] {
        let shown = on_terminal(&world, "status", &environment);
        assert!(shown.contains("○ postrider") && !shown.contains('\u{1b}'), "{shown:?}");
    }
    assert!(on_terminal(&world, "status", &[("NO_COLOR", "")]).contains('\u{1b}'));
    assert!(!world.ok(&["status"]).stdout.contains('\u{1b}'));
}

#[test]
fn a_long_sync_shows_rate_and_time_left() {
    let server = scripted::server();
    for n in 0..1000 {
        server.mailbox("INBOX").append(&mail::numbered(n), &["\\Seen"], None);
    }
    let world = World::new();
    world.configure(&format!("{}{}", world.account("work"), scripted::imap_table(&server, "work")));
    let slow = Rule::imap("UID FETCH").containing("BODY");
    server.script(slow.then(Action::Delay(Duration::from_secs(1))));
    let shown = on_terminal(&world, "sync", &[]);
    let line = shown.split('\r').rev().find(|line| line.contains("/s  ")).expect(&shown);
    assert!(line.contains("work/INBOX  ") && line.contains("/1000  ["), "{line:?}");
    assert!(line.contains(" MB/s  ") && line.contains(" left"), "{line:?}");
    assert_eq!(maildir::count(&world.mailbox("INBOX")), 1000);
}

#[test]
fn a_watched_status_goes_on_with_each_change_and_through_the_end_of_the_service() {
    let server = scripted::server();
    let world = World::with_bus();
    world.configure(&format!("{}{}", world.account("work"), scripted::imap_table(&server, "work")));
    let daemon = world.daemon();
    daemon.reaches("work", "idle");
    let (_text, text) = watching(&world, "text", &["status", "--watch"]);
    let (_lines, lines) = watching(&world, "lines", &["status", "--watch", "--json"]);
    let (_bar, bar) = watching(&world, "bar", &["status", "--watch", "--format", "waybar"]);
    let shows = |what: &str, said: &dyn Fn() -> String, words: &str| {
        eventually(what, SOON, || said().contains(words).then_some(()));
    };
    shows("it is idle", &text, "0 unread");
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    shows("the new message shows", &text, "1 unread");
    shows("in the bar as well", &bar, "\"text\":\"1\"");
    world.ok(&["pause"]);
    shows("it is paused", &text, "○ paused");
    shows("the document has it too", &lines, "\"state\":\"paused\"");
    assert!(daemon.stop().success());
    shows("it ended", &text, "no service is running");
    shows("in the bar as well", &bar, "\"class\":\"stopped\"");
    shows("and in the document", &lines, "\"state\":\"stopped\"");
    assert!(!text().contains('\u{1b}'), "no screen is cleared in a file");
    for line in lines().lines() {
        let document: Value = serde_json::from_str(line).expect(line);
        assert!(document["state"].is_string(), "{line}");
    }
}
