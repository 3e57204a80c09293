//! Maildirs that other programs made are taken over as they are: small ones with all that is difficult, and
//! such of twenty thousand messages. (offlineimap takes minutes for so many.)

use std::process::Command;
use std::time::Duration;

use crate::fixture::World;
use crate::fixture::dovecot::Dovecot;
use crate::fixture::mail;
use crate::fixture::maildir::{Entry, count, entries};
use crate::fixture::process::{eventually, program};

/// What is on the server.
struct Mail {
    dovecot: Dovecot,
    user: &'static str,
    n_inbox: usize,
    n_archive: usize,
}

impl Mail {
    /// A mailbox with 36 messages, and one with 10.
    fn little(user: &'static str) -> Self {
        let dovecot = Dovecot::start();
        let mut imap = dovecot.client(user);
        imap.create("Archive");
        for n in 0..40 {
            let mailbox = if n % 4 == 0 { "Archive" } else { "INBOX" };
            let flags = if n % 3 == 0 { "\\Seen \\Flagged" } else { "" };
            imap.append(mailbox, flags, 1_500_000_000, &mail::numbered(n));
        }
        // What nothing but the word of the other program tells apart: all of one size, some of one Message-ID.
        for n in 0..6 {
            let id = if n < 3 { "Message-ID: <same@example.org>\r\n" } else { "" };
            let text = format!("{id}From: a@example.org\r\nSubject: {n}\r\n\r\nhello {n}\r\n");
            imap.append("INBOX", "", 1_500_000_000, text.as_bytes());
        }
        Self { dovecot, user, n_inbox: 36, n_archive: 10 }
    }

    /// Twenty thousand.
    fn much(user: &'static str) -> Self {
        let mail = Self { dovecot: Dovecot::start(), user, n_inbox: 15_000, n_archive: 5_000 };
        let mut imap = mail.dovecot.client(user);
        imap.create("Archive");
        for n in 0..mail.n_inbox + mail.n_archive {
            let mailbox = if n < mail.n_inbox { "INBOX" } else { "Archive" };
            let flags = if n % 3 == 0 { "\\Seen \\Flagged" } else { "" };
            imap.append(mailbox, flags, 1_500_000_000, &mail::numbered(n));
        }
        assert_eq!(mail.counted(), (mail.n_inbox, mail.n_archive));
        mail
    }

    fn counted(&self) -> (usize, usize) {
        let mut imap = self.dovecot.client(self.user);
        (imap.count("INBOX"), imap.count("Archive"))
    }

    /// How many bodies the other program fetched, once its session is logged.
    fn all_fetched(&self) -> u32 {
        let n_all = u32::try_from(self.n_inbox + self.n_archive).unwrap();
        let all = || Some(self.dovecot.bodies()).filter(|fetched| *fetched >= n_all);
        eventually("all bodies were fetched", Duration::from_secs(20), all)
    }

    /// Nothing travels and nothing is doubled.
    fn assert_taken_over(&self, world: &World, fetched: u32) {
        let before = self.dovecot.sessions();
        let report = world.sync();
        for what in ["downloaded", "uploaded", "deleted_local", "deleted_remote", "failed"] {
            assert_eq!(crate::transfer::total(&report, what), 0, "{what} in {report}");
        }
        crate::transfer::assert_all_zero(&world.sync());
        let are_logged = || (self.dovecot.sessions() >= before + 2).then_some(());
        eventually("both sessions are logged", Duration::from_secs(20), are_logged);
        assert_eq!(self.dovecot.bodies(), fetched, "no body travelled again");
        self.assert_here(world);
        assert_eq!(self.counted(), (self.n_inbox, self.n_archive));
    }

    /// Both mailboxes are complete here.
    fn assert_here(&self, world: &World) {
        let here = (count(&world.mailbox("INBOX")), count(&world.mailbox("Archive")));
        assert_eq!(here, (self.n_inbox, self.n_archive));
    }

    /// From now on messages follow each other, each its own.
    fn assert_followed(&self, world: &World, texts: &[&str]) {
        let mut imap = self.dovecot.client(self.user);
        for text in texts {
            let is_it =
                |entry: &&Entry| std::fs::read_to_string(&entry.path).unwrap().contains(text);
            entries(&world.mailbox("INBOX")).iter().find(is_it).unwrap().set_flags("RS");
            world.sync();
            let answered = imap.messages("INBOX").into_iter().filter(|m| m.has("\\Answered"));
            let answered: Vec<String> =
                answered.map(|m| String::from_utf8(m.bytes).unwrap()).collect();
            assert!(answered.iter().any(|message| message.contains(text)), "{answered:?}");
        }
    }
}

/// What only the word of the other program tells apart, twice.
const ALIKE: [&str; 2] = ["hello 1", "hello 4"];

#[test]
fn a_maildir_of_mbsync_is_taken_over_without_a_body_or_a_double() {
    take_over_from_mbsync(&Mail::little("moving-in"), "SyncState *\n", &ALIKE);
    // Its own default: a directory for all of them.
    take_over_from_mbsync(&Mail::little("moving-in-too"), "", &ALIKE);
}

#[test]
fn twenty_thousand_messages_of_mbsync_are_taken_over_without_a_body_or_a_double() {
    let mail = Mail::much("moving-much");
    take_over_from_mbsync(&mail, "SyncState *\n", &["This is number 4711."]);
}

#[test]
fn a_maildir_of_offlineimap_is_taken_over_without_a_body_or_a_double() {
    take_over_from_offlineimap(&Mail::little("from-offlineimap"), &ALIKE);
}

#[test]
fn twenty_thousand_messages_of_offlineimap_are_taken_over_without_a_body_or_a_double() {
    let mail = Mail::much("moving-much-too");
    take_over_from_offlineimap(&mail, &["This is number 4711."]);
}

fn take_over_from_mbsync(mail: &Mail, state: &str, followed: &[&str]) {
    let (world, dovecot, user) = (World::new(), &mail.dovecot, mail.user);
    let maildir = world.maildir();
    std::fs::create_dir_all(&maildir).unwrap();
    let maildir = maildir.display();
    let rc = world.path("mbsyncrc");
    let text = format!(
        "FSync no\n\nIMAPAccount work\nHost localhost\nPort {}\nUser {user}\nPassCmd \"cat {}\"\nSSLType IMAPS\n\
         CertificateFile {}\n\nIMAPStore work-far\nAccount work\n\nMaildirStore work-near\n\
         Path {maildir}/\nInbox {maildir}/INBOX\nSubFolders Verbatim\n\nChannel work\nFar :work-far:\n\
         Near :work-near:\nPatterns *\nCreate Both\nExpunge Both\n{state}",
        dovecot.tls_port,
        world.path("secret/password").display(),
        dovecot.certs.ca.display()
    );
    std::fs::write(&rc, text).unwrap();
    let mut mbsync = Command::new(program("mbsync", "isync"));
    world.surround(&mut mbsync);
    assert!(mbsync.arg("-c").arg(&rc).arg("-a").status().unwrap().success());
    mail.assert_here(&world);
    let is_its_name = |entry: &Entry| entry.path.to_str().unwrap().contains(",U=");
    assert!(entries(&world.mailbox("INBOX")).iter().all(is_its_name));
    let fetched = mail.all_fetched();

    let toml = world.ok(&["import", rc.to_str().unwrap()]).stdout;
    world.configure(&toml);
    mail.assert_taken_over(&world, fetched);
    mail.assert_followed(&world, followed);
}

fn take_over_from_offlineimap(mail: &Mail, followed: &[&str]) {
    let (world, dovecot, user) = (World::new(), &mail.dovecot, mail.user);
    let maildir = world.maildir();
    std::fs::create_dir_all(&maildir).unwrap();
    let rc = world.path("offlineimaprc");
    // It commits after each message: on a disk that is most of its time, and none of what is shown here.
    let notes = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let text = format!(
        "[general]\naccounts = work\nui = quiet\nfsync = false\nmetadata = {}\n\n[Account work]\nlocalrepository = near\n\
         remoterepository = far\n\n[Repository near]\ntype = Maildir\nlocalfolders = {}\n\n\
         [Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {}\nremoteuser = {user}\n\
         remotepassfile = {}\nssl = yes\nsslcacertfile = {}\n",
        notes.path().display(),
        maildir.display(),
        dovecot.tls_port,
        world.path("secret/password").display(),
        dovecot.certs.ca.display()
    );
    std::fs::write(&rc, text).unwrap();
    let mut offlineimap = Command::new(program("offlineimap", "offlineimap3"));
    world.surround(&mut offlineimap);
    let ran = offlineimap.arg("-o").arg("-c").arg(&rc).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    mail.assert_here(&world);
    let is_its_name = |entry: &Entry| entry.path.to_str().unwrap().contains(",FMD5=");
    assert!(entries(&world.mailbox("INBOX")).iter().all(is_its_name));
    let fetched = mail.all_fetched();
    let toml = world.ok(&["import", rc.to_str().unwrap()]).stdout;
    world.configure(&toml);
    mail.assert_taken_over(&world, fetched);
    mail.assert_followed(&world, followed);
}
