//! The programs that people send with, as Debian has them, with `postrider` as their sendmail.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postrider_mailserver::{MailServer, SentMessage};

use crate::fixture::process::tied;
use crate::fixture::world::BINARY;
use crate::fixture::{Letter, SOON, World, eventually, scripted};

struct Desk {
    server: MailServer,
    world: World,
    sendmail: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let server = scripted::server();
        let world = World::with_bus();
        // s-nail gives root the home of the passwd file.
        world.configure(&format!(
            "[outbox]\ndir = \"{}\"\n{}{}sent_copy = \"none\"\n",
            world.outbox().display(),
            world.account("work"),
            scripted::smtp_table(&server, "work")
        ));
        let sendmail = world.path("postrider-sendmail");
        symlink(BINARY, &sendmail).unwrap();
        Self { server, world, sendmail }
    }

    /// Runs a program in the world's home; it must end well.
    fn run(&self, program: &str, args: &[&str], input: &str) {
        let done = self.try_run(Path::new(program), args, input);
        assert!(done.0 == 0, "{program} {args:?}: {done:?}");
    }

    fn try_run(&self, program: &Path, args: &[&str], input: &str) -> (i32, String) {
        let feed = self.world.path("feed");
        std::fs::write(&feed, input).unwrap();
        let mut command = tied(Path::new("timeout"));
        command.args(["-s", "KILL", "60"]).arg(program).args(args);
        self.world.surround(&mut command);
        command.env("EMAIL", "work@example.org").env("TERM", "dumb").env("LC_ALL", "C.UTF-8");
        command.current_dir(self.world.path("home")).stdin(std::fs::File::open(feed).unwrap());
        let done = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.code().unwrap_or(137), String::from_utf8_lossy(&said).into_owned())
    }

    fn sendmail(&self, args: &[&str], input: &str) -> (i32, String) {
        self.try_run(&self.sendmail, args, input)
    }

    /// The messages with this subject, when there is one.
    fn arrives(&self, subject: &str) -> SentMessage {
        let needle = format!("Subject: {subject}\r\n").into_bytes();
        let found = || {
            let all = self.server.sent().into_iter();
            all.filter(|m| memchr::memmem::find(&m.bytes, &needle).is_some()).collect::<Vec<_>>()
        };
        eventually(&format!("{subject:?} arrives"), SOON, || (!found().is_empty()).then_some(()));
        let mut found = found();
        assert_eq!(found.len(), 1, "{subject:?} arrived more than once");
        found.remove(0)
    }
}

fn text(message: &SentMessage) -> String {
    String::from_utf8_lossy(&message.bytes).into_owned()
}

#[test]
fn git_send_email_sends_a_series() {
    let desk = Desk::new();
    let daemon = desk.world.daemon();
    let git = ["-c", "user.name=Me", "-c", "user.email=work@example.org"];
    desk.run("git", &["init", "-q", "."], "");
    for n in ["one", "two", "three"] {
        std::fs::write(desk.world.path("home").join(n), format!("{n}\n.\n..\n")).unwrap();
        desk.run("git", &["add", n], "");
        desk.run("git", &[&git[..], &["commit", "-q", "-m", n]].concat(), "");
    }
    let server = format!("--smtp-server={}", desk.sendmail.display());
    let send = ["send-email", "--confirm=never", "--to=a@x.org", "--cc=b@x.org", &server, "-2"];
    desk.run("git", &[&git[..], &send].concat(), "");
    let first = desk.arrives("[PATCH 1/2] two");
    assert_eq!(first.sender, "work@example.org");
    for to in ["a@x.org", "b@x.org"] {
        assert!(first.recipients.iter().any(|one| one == to), "{first:?}");
    }
    assert!(text(&first).contains("\r\n+two\r\n+.\r\n+..\r\n"), "{}", text(&first));
    daemon.stop();
}

#[test]
fn neomutt_and_mutt_send_with_bcc_and_envelope() {
    let desk = Desk::new();
    let daemon = desk.world.daemon();
    for program in ["neomutt", "mutt"] {
        let rc = desk.world.path("rc");
        let settings = format!(
            "set sendmail=\"{} -oem -oi\"\nset use_envelope_from=yes\nset envelope_from_address=\"work@example.org\"\n\
             set dsn_notify=\"failure,delay\"\nset dsn_return=hdrs\nset from=\"work@example.org\"\n\
             set record=\"\"\nset copy=no\n",
            desk.sendmail.display()
        );
        std::fs::write(&rc, settings).unwrap();
        let rc = rc.display().to_string();
        let args = ["-n", "-F", &rc, "-s", program, "-b", "hidden@x.org", "a@x.org"];
        desk.run(program, &args, "Line\n.\n.dot\nEnd\n");
        let message = desk.arrives(program);
        assert_eq!((message.sender.as_str(), message.recipients.len()), ("work@example.org", 2));
        assert!(message.mail_parameters.contains("RET=HDRS"), "{}", message.mail_parameters);
        assert!(text(&message).contains("Line\r\n.\r\n.dot\r\nEnd\r\n"), "{}", text(&message));
        assert!(!text(&message).contains("hidden"), "{}", text(&message));
    }
    daemon.stop();
}

#[test]
fn mailx_sends() {
    let desk = Desk::new();
    let daemon = desk.world.daemon();
    let mta = format!("mta=file://{}", desk.sendmail.display());
    let args = [
        "-n",
        "-S",
        "sendwait",
        "-S",
        &mta,
        "-S",
        "from=work@example.org",
        "-s",
        "mailx",
        "a@x.org",
    ];
    desk.run("s-nail", &args, "Hello\n");
    let message = desk.arrives("mailx");
    assert_eq!(message.recipients, ["a@x.org"]);
    daemon.stop();
}

#[test]
fn emacs_sends_in_batch_mode() {
    let desk = Desk::new();
    let daemon = desk.world.daemon();
    let code = format!(
        "(progn (setq user-mail-address \"work@example.org\" sendmail-program \"{}\"
                     mail-specify-envelope-from t message-send-mail-function 'message-send-mail-with-sendmail)
           (require 'message)
           (message-mail \"a@x.org\" \"emacs\" '((\"Bcc\" . \"hidden@x.org\")))
           (message-goto-body) (insert \"Hello\\n.\\nEnd\\n\")
           (message-send))",
        desk.sendmail.display()
    );
    desk.run("emacs", &["-Q", "--batch", "--eval", &code], "");
    let message = desk.arrives("emacs");
    assert_eq!(message.sender, "work@example.org");
    assert_eq!(message.recipients.len(), 2, "{message:?}");
    assert!(text(&message).contains("Hello\r\n.\r\nEnd\r\n"), "{}", text(&message));
    assert!(!text(&message).contains("hidden"), "{}", text(&message));
    daemon.stop();
}

#[test]
fn cron_is_told_why_root_gets_no_mail_and_a_whole_address_is_served() {
    let desk = Desk::new();
    let daemon = desk.world.daemon();
    let report = |subject: &str| {
        format!("From: work@example.org (Cron Daemon)\nTo: a@x.org\nSubject: {subject}\n\nout\n")
    };
    let of_root = "From: root (Cron Daemon)\nTo: root\nSubject: Cron\n\nout\n";
    for args in [
        &["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root"][..],
        &["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"][..],
    ] {
        let (code, said) = desk.sendmail(args, of_root);
        assert_eq!(code, 67, "{said}");
        assert!(said.contains("local name") && said.contains("root"), "{said}");
    }
    let debian = ["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "a@x.org"];
    assert_eq!(desk.sendmail(&debian, &report("debian cron")), (0, String::new()));
    assert_eq!(desk.arrives("debian cron").recipients, ["a@x.org"]);
    let cronie = ["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "work@example.org"];
    assert_eq!(desk.sendmail(&cronie, &report("cronie")), (0, String::new()));
    assert_eq!(desk.arrives("cronie").sender, "work@example.org");
    daemon.stop();
}

#[test]
fn smtp_on_stdin_queues_each_message_once_and_never_half_of_one() {
    let desk = Desk::new();
    let letter = |subject: &str| {
        let text = Letter::new("work@example.org", "a@x.org", subject).text();
        text.replace('\n', "\r\n") + ".. dots\r\n"
    };
    let whole = |subject: &str| {
        format!(
            "MAIL FROM:<work@example.org> RET=HDRS ENVID=e1\r\nRCPT TO:<a@x.org> NOTIFY=FAILURE\r\n\
             RCPT TO:<root>\r\nDATA\r\n{}.\r\n",
            letter(subject)
        )
    };
    let dialogue = format!(
        "EHLO me\r\n{}{}NONSENSE\r\nMAIL FROM:<x@stranger.org>\r\nRCPT TO:<a@x.org>\r\nDATA\r\n\
         From: x@stranger.org\r\n\r\nx\r\n.\r\nMAIL FROM:<work@example.org>\r\nRCPT TO:<a@x.org>\r\n\
         DATA\r\n{}",
        whole("bs 1"),
        whole("bs 2"),
        letter("cut off")
    );
    let (_, said) = desk.sendmail(&["-bs"], &dialogue);
    let codes: Vec<&str> = said.lines().filter_map(|line| line.get(..3)).collect();
    let message = ["250", "250", "550", "354", "250"];
    assert_eq!(&codes[..8], &["220"; 1].iter().chain(&["250"; 7]).copied().collect::<Vec<_>>()[..]);
    assert_eq!(&codes[8..13], &message);
    assert_eq!(&codes[13..18], &message);
    assert_eq!(&codes[18..23], &["500", "250", "250", "354", "550"], "{said}");
    assert_eq!(desk.world.outbox_files("new").len(), 2, "{said}");
    let daemon = desk.world.daemon();
    for subject in ["bs 1", "bs 2"] {
        let message = desk.arrives(subject);
        assert!(message.mail_parameters.contains("RET=HDRS ENVID=e1"), "{message:?}");
        assert!(text(&message).ends_with("\r\n. dots\r\n"), "{}", text(&message));
    }
    daemon.stop();
}

#[test]
fn an_edited_message_goes_out_as_it_was_edited() {
    let desk = Desk::new();
    let daemon = desk.world.daemon();
    let letter =
        Letter::new("work@example.org", "wrong@x.org", "edit").field("X-Postrider-Hold", "yes");
    desk.world.drop_letter("m", &letter.text());
    let listed = eventually("it is held", SOON, || {
        let listed = desk.world.ok(&["outbox", "--json"]).json();
        (listed[0]["phase"] == "held").then_some(listed)
    });
    let id = listed[0]["id"].as_str().unwrap();
    let editor = desk.world.path("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/wrong@/right@/; s/Hello/Changed/' \"$1\"\n")
        .unwrap();
    std::fs::set_permissions(&editor, PermissionsExt::from_mode(0o755)).unwrap();
    let edit = |editor: &Path| {
        let mut command = Command::new(BINARY);
        desk.world.surround(&mut command);
        command.env("VISUAL", editor).args(["outbox", "edit", id]).output().unwrap()
    };
    let failed = edit(Path::new("false"));
    assert_eq!(failed.status.code(), Some(74), "{failed:?}");
    assert!(edit(&editor).status.success());
    assert!(desk.server.sent().is_empty(), "it is still held");
    desk.world.ok(&["outbox", "release", id]);
    let message = desk.arrives("edit");
    assert_eq!(message.recipients, ["right@x.org"]);
    assert!(text(&message).contains("Changed"), "{}", text(&message));
    daemon.stop();
}
