//! Mail readers as Debian has them, each with what `postrider mua` prints for it, on a Maildir that was
//! synced: they see the messages, and send by postrider.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use postrider_mailserver::MailServer;

use crate::fixture::process::{Running, eventually, program, tied};
use crate::fixture::{SOON, World, mail, scripted};

/// Three messages in INBOX of the account `work`, one of them read, and one in Archive.
struct Desk {
    world: World,
    server: MailServer,
}

impl Desk {
    fn new() -> Self {
        let server = scripted::server();
        let world = World::with_bus();
        let smtp = scripted::smtp_table(&server, "work");
        let imap = scripted::imap_table(&server, "work");
        world.configure(&format!("{}{imap}{smtp}sent_copy = \"none\"\n", world.account("work")));
        server.create_mailbox("Archive");
        for n in 0..3 {
            let flags: &[&str] = if n == 0 { &["\\Seen"] } else { &[] };
            server.mailbox("INBOX").append(&mail::numbered(n), flags, None);
        }
        server.mailbox("Archive").append(&mail::numbered(9), &["\\Seen"], None);
        world.sync();
        Self { world, server }
    }

    /// Writes what is printed for a program into a file of the home.
    fn snippet(&self, reader: &str, file: &str) -> PathBuf {
        let path = self.world.path("home").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, self.world.ok(&["mua", reader]).stdout).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        path
    }

    /// Runs a program to its end, and returns what it said.
    fn run(&self, name: &str, package: &str, args: &[&str]) -> String {
        let mut command = tied(Path::new("timeout"));
        command.args(["-s", "KILL", "60"]).arg(program(name, package)).args(args);
        self.world.surround(&mut command);
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").current_dir(self.world.path("home"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(done.status.success(), "{name} {args:?}: {:?}\n{said}", done.status);
        said
    }

    /// Runs a program of the whole screen in a terminal that `script` plays, until it shows a text.
    fn shows(&self, command: &str, text: &str) {
        let typescript = self.world.path("typescript");
        let mut script = tied(&program("script", "bsdutils"));
        self.world.surround(&mut script);
        script
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .env("COLUMNS", "120")
            .env("LINES", "40");
        script.current_dir(self.world.path("home"));
        let sized = format!("stty columns 120 rows 40; exec {command}");
        script.args(["-q", "-f", "-c", &sized]).arg(&typescript);
        let file = std::fs::File::create(self.world.path("screen")).unwrap();
        script.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        let program = Running::start(command, script);
        eventually(&format!("{command} shows {text:?}"), SOON, || {
            let shown = std::fs::read_to_string(&typescript).ok().or_else(|| {
                std::fs::read(&typescript).ok().map(|b| String::from_utf8_lossy(&b).into_owned())
            });
            plain(&shown.unwrap_or_default()).contains(text).then_some(())
        });
        drop(program);
    }

    fn arrives(&self, subject: &str) {
        let needle = format!("Subject: {subject}\r\n");
        eventually(&format!("{subject} arrives"), SOON, || {
            let sent = self.server.sent();
            sent.iter().any(|m| String::from_utf8_lossy(&m.bytes).contains(&needle)).then_some(())
        });
    }
}

/// The text of a terminal without its control sequences.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            out.push(c);
        } else if rest.next() == Some('[') {
            // A sequence ends with a letter (ECMA-48).
            for c in rest.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        }
    }
    out
}

#[test]
fn mutt_and_neomutt_open_the_inbox_and_send() {
    let desk = Desk::new();
    let daemon = desk.world.daemon();
    for (reader, package) in [("mutt", "mutt"), ("neomutt", "neomutt")] {
        let config = desk.snippet(reader, &format!("{reader}rc"));
        let config = config.to_str().unwrap();
        let spool = desk.run(reader, package, &["-F", config, "-Q", "spoolfile"]);
        assert!(spool.contains("INBOX"), "{spool}");
        desk.shows(&format!("{reader} -F {config}"), "number 2");
        let body = desk.world.path("body");
        std::fs::write(&body, "x\n").unwrap();
        let subject = format!("from {reader}");
        let sent =
            format!("{reader} -F {config} -s '{subject}' a@example.org < {}", body.display());
        desk.run("sh", "dash", &["-c", &sent]);
        desk.arrives(&subject);
    }
    daemon.stop();
}

#[test]
fn notmuch_finds_the_messages_and_their_flags() {
    let desk = Desk::new();
    desk.snippet("notmuch", ".notmuch-config");
    let said = desk.run("notmuch", "notmuch", &["new"]);
    assert!(said.contains("Added 4 new messages"), "{said}");
    assert_eq!(desk.run("notmuch", "notmuch", &["count", "folder:work/INBOX"]).trim(), "3");
    let unread = ["count", "folder:work/INBOX", "and", "tag:unread"];
    assert_eq!(desk.run("notmuch", "notmuch", &unread).trim(), "2");
}

#[test]
fn aerc_reads_its_configuration_and_opens_the_inbox() {
    let desk = Desk::new();
    desk.snippet("aerc", ".config/aerc/accounts.conf");
    let command = format!("env XDG_CONFIG_HOME={}/.config aerc", desk.world.path("home").display());
    desk.shows(&command, "number 2");
}

#[test]
fn mu4e_and_gnus_understand_what_they_are_given() {
    let desk = Desk::new();
    let emacs = |script: &str| {
        let args = ["--batch", "--quick", "--eval", script];
        desk.run("emacs", "emacs-nox", &args)
    };
    let root = desk.world.path("home/Mail");
    desk.run("mu", "maildir-utils", &["init", &format!("--maildir={}", root.display())]);
    desk.run("mu", "maildir-utils", &["index"]);
    let found = desk.run("mu", "maildir-utils", &["find", "maildir:/work/INBOX", "--fields", "s"]);
    assert_eq!(found.lines().count(), 3, "{found}");
    let mu4e = desk.snippet("mu4e", "mu4e.el");
    let said = emacs(&format!(
        "(progn (add-to-list 'load-path (car (file-expand-wildcards \
         \"/usr/share/emacs/site-lisp/elpa-src/mu4e-*\"))) (require 'mu4e) \
         (load \"{}\") (mu4e-context-switch t \"work\") \
         (princ (list user-mail-address mu4e-sent-folder mu4e-trash-folder)))",
        mu4e.display()
    ));
    assert!(said.contains("(work@example.org /work/Sent /work/Trash)"), "{said}");
    let gnus = desk.snippet("gnus", "gnus.el");
    let said = emacs(&format!(
        "(progn (setq gnus-init-file nil gnus-home-directory \"{0}\" gnus-use-dribble-file nil \
         gnus-startup-file \"{0}/newsrc\") (require 'gnus) (load \"{1}\") (gnus) \
         (gnus-subscribe-group \"nnmaildir+work:INBOX\") \
         (gnus-activate-group \"nnmaildir+work:INBOX\" 'scan) \
         (gnus-group-select-group t) \
         (princ (with-current-buffer gnus-summary-buffer (buffer-string))))",
        desk.world.path("home").display(),
        gnus.display()
    ));
    for n in 0..3 {
        assert!(said.contains(&format!("number {n}")), "{said}");
    }
}
