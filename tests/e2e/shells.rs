//! Completions in the real shells: what a Tab offers.

use std::process::Stdio;

use crate::fixture::process::{program, tied};
use crate::fixture::world::BINARY;
use crate::fixture::{SOON, World, eventually, mail, scripted};

/// A world whose `work` has a mailbox with a space in its name, and `postrider` on the PATH.
fn world() -> World {
    let server = scripted::server();
    let world = World::new();
    let smtp = |name: &str| scripted::smtp_table(&server, name);
    let work = format!("{}{}", world.account("work"), scripted::imap_table(&server, "work"));
    let home = format!("{}{}", world.account("home"), smtp("home"));
    world.configure(&format!("{work}{}{home}", smtp("work")));
    server.create_mailbox("Sent Items");
    server.mailbox("INBOX").append(&mail::numbered(1), &[], None);
    world.sync();
    std::fs::create_dir(world.path("bin")).unwrap();
    std::os::unix::fs::symlink(BINARY, world.path("bin/postrider")).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.ok(&["completions", shell]).stdout;
        std::fs::write(world.path(&format!("completion.{shell}")), script).unwrap();
    }
    world
}

/// Runs a script in a shell of the world, in which `$SCRIPT` is the completion.
fn shell(world: &World, shell: &str, args: &[&str], script: &str) -> String {
    let mut command = tied(&program(shell, shell));
    world.surround(&mut command);
    let path = format!("{}:{}", world.path("bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("SCRIPT", world.path(&format!("completion.{shell}")));
    command.env("TERM", "dumb").env("LC_ALL", "C.UTF-8").args(args).args(["-c", script]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && done.stderr.is_empty(), "{script}\n{said}\n{done:?}");
    said
}

#[test]
fn the_scripts_are_sound() {
    let world = world();
    for (name, args) in [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])] {
        let script = world.path(&format!("completion.{name}"));
        let mut command = tied(&program(name, name));
        let done = command.args(args).arg(&script).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    }
}

#[test]
fn bash_completes_commands_accounts_mailboxes_and_messages() {
    let world = world();
    let offers = |line: &str, word: &str| {
        let script = format!(
            ". \"$SCRIPT\"; COMP_WORDS=({line} {word}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _postrider; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        shell(&world, "bash", &["--norc"], &script).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offers("postrider", "mail"), ["mailboxes"]);
    assert_eq!(offers("postrider mailboxes", "''"), ["home", "work"]);
    assert_eq!(offers("postrider sync", "work/S"), [r"work/Sent", r"work/Sent\ Items"]);
    // As bash hands it on while it is being typed.
    assert_eq!(offers("postrider sync home", r"'work/Sent\ I'"), [r"work/Sent\ Items"]);
    assert_eq!(offers("postrider completions", "z"), ["zsh"]);
    let letter = "From: work@example.org\nTo: a@example.org\nX-Postrider-Hold: yes\n\nx\n";
    let id = world.run_with(&["send"], letter).stdout;
    let daemon = world.daemon();
    eventually("it is taken in", SOON, || {
        world.ok(&["outbox", "list"]).stdout.contains("held").then_some(())
    });
    assert_eq!(offers("postrider outbox show", "''"), [id.trim()]);
    daemon.stop();
}

#[test]
fn zsh_completes_them_with_words_about_them() {
    let world = world();
    let offers = |words: &str| {
        // What _describe is given is what the menu shows.
        let script = format!(
            "compdef() {{ }}; _describe() {{ print -rl -- \"${{(@P)3}}\" }}; . \"$SCRIPT\"; \
             words=({words}); CURRENT=${{#words}}; _postrider"
        );
        shell(&world, "zsh", &["-f"], &script).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offers("postrider mail"), ["mailboxes:List the mailboxes with their numbers"]);
    assert_eq!(offers("postrider check ''"), ["home:home@example.org", "work:work@example.org"]);
    assert_eq!(offers("postrider held list 'work/Sent\\ I'"), ["work/Sent Items:"]);
}

#[test]
fn fish_completes_them_with_words_about_them() {
    let world = world();
    let offers = |line: &str| {
        let script = format!("source $SCRIPT; complete --do-complete \"{line}\"");
        shell(&world, "fish", &["--no-config"], &script)
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(offers("postrider mail"), ["mailboxes\tList the mailboxes with their numbers"]);
    let accounts = ["home\thome@example.org", "work\twork@example.org"];
    assert_eq!(offers("postrider verify "), accounts);
    // fish quotes by itself what it puts on the line.
    assert_eq!(offers("postrider sync work/Sent"), ["work/Sent", "work/Sent Items"]);
}
