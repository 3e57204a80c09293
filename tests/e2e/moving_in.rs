//! Maildirs that other programs made are taken over as they are.

use std::process::Command;
use std::time::Duration;

use crate::fixture::World;
use crate::fixture::dovecot::Dovecot;
use crate::fixture::imap::Imap;
use crate::fixture::mail;
use crate::fixture::maildir::{Entry, count, entries};
use crate::fixture::process::{eventually, program};

/// A mailbox with 36 messages, and one with 10.
fn fill(dovecot: &Dovecot, user: &str) -> Imap {
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
    imap
}

/// How many bodies the other program fetched, once its session is logged.
fn all_fetched(dovecot: &Dovecot) -> u32 {
    let all = || Some(dovecot.bodies()).filter(|fetched| *fetched >= 46);
    eventually("all bodies were fetched", Duration::from_secs(20), all)
}

/// Nothing travels and nothing is doubled; and from now on the messages follow each other, each its own.
fn assert_taken_over(world: &World, (dovecot, user): (&Dovecot, &str), fetched: u32) {
    let inbox = world.mailbox("INBOX");
    let before = dovecot.sessions();
    let report = world.sync();
    for what in ["downloaded", "uploaded", "deleted_local", "deleted_remote", "failed"] {
        assert_eq!(crate::transfer::total(&report, what), 0, "{what} in {report}");
    }
    crate::transfer::assert_all_zero(&world.sync());
    let are_logged = || (dovecot.sessions() >= before + 2).then_some(());
    eventually("both sessions are logged", Duration::from_secs(20), are_logged);
    assert_eq!(dovecot.bodies(), fetched, "no body travelled again");
    assert_eq!((count(&inbox), count(&world.mailbox("Archive"))), (36, 10));
    let mut imap = dovecot.client(user);
    assert_eq!((imap.count("INBOX"), imap.count("Archive")), (36, 10));
    // From now on they follow each other, each its own.
    for n in [1, 4] {
        let text = format!("hello {n}");
        let is_it = |entry: &&Entry| std::fs::read_to_string(&entry.path).unwrap().contains(&text);
        entries(&inbox).iter().find(is_it).unwrap().set_flags("RS");
        world.sync();
        let answered = imap.messages("INBOX").into_iter().filter(|m| m.has("\\Answered"));
        let answered: Vec<String> = answered.map(|m| String::from_utf8(m.bytes).unwrap()).collect();
        assert!(answered.iter().any(|message| message.contains(&text)), "{answered:?}");
    }
}

#[test]
fn a_maildir_of_mbsync_is_taken_over_without_a_body_or_a_double() {
    take_over_from_mbsync("moving-in", "SyncState *\n");
    // Its own default: a directory for all of them.
    take_over_from_mbsync("moving-in-too", "");
}

fn take_over_from_mbsync(user: &str, state: &str) {
    let dovecot = Dovecot::start();
    let world = World::new();
    fill(&dovecot, user);
    let maildir = world.maildir();
    std::fs::create_dir_all(&maildir).unwrap();
    let maildir = maildir.display();
    let rc = world.path("mbsyncrc");
    let text = format!(
        "IMAPAccount work\nHost localhost\nPort {}\nUser {user}\nPassCmd \"cat {}\"\nSSLType IMAPS\n\
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
    let inbox = world.mailbox("INBOX");
    let by_mbsync = entries(&inbox);
    assert_eq!((by_mbsync.len(), count(&world.mailbox("Archive"))), (36, 10));
    let is_its_name = |entry: &Entry| entry.path.to_str().unwrap().contains(",U=");
    assert!(by_mbsync.iter().all(is_its_name), "{by_mbsync:?}");
    let fetched = all_fetched(&dovecot);

    let toml = world.ok(&["import", rc.to_str().unwrap()]).stdout;
    world.configure(&toml);
    assert_taken_over(&world, (&dovecot, user), fetched);
}

#[test]
fn a_maildir_of_offlineimap_is_taken_over_without_a_body_or_a_double() {
    let (dovecot, world, user) = (Dovecot::start(), World::new(), "from-offlineimap");
    fill(&dovecot, user);
    let maildir = world.maildir();
    std::fs::create_dir_all(&maildir).unwrap();
    let rc = world.path("offlineimaprc");
    let text = format!(
        "[general]\naccounts = work\nui = quiet\n\n[Account work]\nlocalrepository = near\n\
         remoterepository = far\n\n[Repository near]\ntype = Maildir\nlocalfolders = {}\n\n\
         [Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {}\nremoteuser = {user}\n\
         remotepassfile = {}\nssl = yes\nsslcacertfile = {}\n",
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
    let by_offlineimap = entries(&world.mailbox("INBOX"));
    assert_eq!((by_offlineimap.len(), count(&world.mailbox("Archive"))), (36, 10), "{ran:?}");
    let is_its_name = |entry: &Entry| entry.path.to_str().unwrap().contains(",FMD5=");
    assert!(by_offlineimap.iter().all(is_its_name), "{by_offlineimap:?}");
    let fetched = all_fetched(&dovecot);
    let toml = world.ok(&["import", rc.to_str().unwrap()]).stdout;
    world.configure(&toml);
    assert_taken_over(&world, (&dovecot, user), fetched);
}
