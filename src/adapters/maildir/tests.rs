use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::model::ids::Uid;
use crate::model::view::Evidence;
use crate::ports::local::Staging as _;

fn store() -> (tempfile::TempDir, MaildirStore) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("mail");
    let store = MaildirStore::new(root, Layout::Fs, ':', Duration::from_secs(60));
    store.open_root(None).unwrap();
    store.create(&MailboxName::inbox()).unwrap();
    (dir, store)
}

fn deliver(store: &MaildirStore, n: u32, body: &[u8], letters: &str) -> Landing {
    let mailbox = MailboxName::inbox();
    let mut staged = store.stage(&mailbox).unwrap();
    staged.write_all(body).unwrap();
    let (base, print) = staged.finish(Some(1_000_000_000)).unwrap();
    let flags = Flags::from_letters(letters);
    let sub = if letters.contains('S') { Sub::Cur } else { Sub::New };
    let landing =
        Landing { uid: Uid::new(n).unwrap(), base, sub, flags, print: Some(print), date: None };
    store.barrier(&mailbox, std::slice::from_ref(&landing)).unwrap();
    landing
}

fn seen(store: &MaildirStore, base: &Base) -> Seen {
    let scan = store.scan(&MailboxName::inbox()).unwrap();
    (base.clone(), scan.messages.get(base).unwrap())
}

#[test]
fn delivered_mail_is_private_dated_and_readable_by_another_program() {
    let (_dir, store) = store();
    let inbox = MailboxName::inbox();
    let a = deliver(&store, 1, b"Subject: a\n\nhello\n", "");
    let b = deliver(&store, 2, b"Subject: b\n\nhello\n", "FS");
    store.promote(&inbox, &[a.clone(), b.clone()]).unwrap();
    let scan = store.scan(&inbox).unwrap();
    assert_eq!(scan.messages.len(), 2);
    assert_eq!(scan.messages.get(&b.base).unwrap().flags.letters(), "FS");
    let path = store.file(&inbox, &seen(&store, &a.base));
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let mtime = meta.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(mtime.as_secs(), 1_000_000_000);
    let reader = maildir::Maildir::from(store.path(&inbox));
    assert_eq!((reader.count_new(), reader.count_cur()), (1, 1));
}

#[test]
fn a_directory_that_cannot_be_listed_is_an_error_and_never_empty() {
    let (_dir, store) = store();
    let inbox = MailboxName::inbox();
    fs::remove_dir(store.path(&inbox).join("cur")).unwrap();
    let failure = store.scan(&inbox).unwrap_err();
    assert_eq!(failure.kind, Kind::StoreMissing);
    assert!(failure.to_string().contains("cur"), "{failure}");
}

#[test]
fn a_maildir_that_could_not_be_made_whole_is_none_and_is_made_whole_later() {
    let (_dir, store) = store();
    let archive = MailboxName::parse("Archive");
    let dir = store.path(&archive);
    for sub in ["tmp", "new", "cur"] {
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(sub), "in the way").unwrap();
        store.create(&archive).unwrap_err();
        assert!(!store.mailboxes().unwrap().contains(&archive), "without {sub}");
        fs::remove_file(dir.join(sub)).unwrap();
        store.create(&archive).unwrap();
        assert!(store.mailboxes().unwrap().contains(&archive));
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_tmp_that_a_backup_left_out_is_made_and_another_directory_is_not() {
    let (_dir, store) = store();
    let inbox = MailboxName::inbox();
    fs::remove_dir(store.path(&inbox).join("tmp")).unwrap();
    let landing = deliver(&store, 1, b"x", "S");
    store.promote(&inbox, std::slice::from_ref(&landing)).unwrap();
    assert_eq!(store.scan(&inbox).unwrap().messages.len(), 1);
    fs::remove_dir_all(store.path(&inbox)).unwrap();
    store.stage(&inbox).unwrap_err();
    assert!(!store.path(&inbox).exists());
}

#[test]
fn a_rename_by_the_mail_reader_is_followed_and_both_changes_survive() {
    let (_dir, store) = store();
    let inbox = MailboxName::inbox();
    let a = deliver(&store, 1, b"x", "");
    store.promote(&inbox, std::slice::from_ref(&a)).unwrap();
    let stale = seen(&store, &a.base);
    let dir = store.path(&inbox);
    fs::rename(dir.join("new").join(&a.base.0), dir.join("cur").join(format!("{}:2,Sx", a.base)))
        .unwrap();
    let delta = FlagDelta { add: Flags::from_letters("F"), remove: Flags::none() };
    let done = store.set_flags(&inbox, &[(stale, delta)]).unwrap();
    assert_eq!(done, [(a.base.clone(), Flags::from_letters("FS"))]);
    assert!(dir.join("cur").join(format!("{}:2,FSx", a.base)).exists());
}

#[test]
fn what_died_between_landing_and_rename_is_settled() {
    let (_dir, store) = store();
    let inbox = MailboxName::inbox();
    let visible = deliver(&store, 1, b"1", "S");
    store.promote(&inbox, std::slice::from_ref(&visible)).unwrap();
    let in_tmp = deliver(&store, 2, b"2", "");
    let mut nowhere = in_tmp.clone();
    nowhere.base = Base("lost".to_owned());
    let settled = store.settle(&inbox, &[visible, in_tmp.clone(), nowhere]).unwrap();
    assert_eq!(settled, [Settled::Visible, Settled::Visible, Settled::Nowhere]);
    assert!(store.path(&inbox).join("new").join(&in_tmp.base.0).exists());
}

/// Whether a power cut leaves the file where it is now.
fn is_durable(store: &MaildirStore, landing: &Landing) -> bool {
    let dir = store.sub(&MailboxName::inbox(), landing.sub);
    let is_it = |name: &String| name.starts_with(&landing.base.0);
    deliver::SYNCED
        .with_borrow(|synced| synced.iter().any(|(d, names)| *d == dir && names.iter().any(is_it)))
}

#[test]
fn what_becomes_visible_survives_a_power_cut() {
    let (_dir, store) = store();
    let landings = [deliver(&store, 1, b"1", ""), deliver(&store, 2, b"2", "S")];
    store.promote(&MailboxName::inbox(), &landings).unwrap();
    assert!(landings.iter().all(|landing| is_durable(&store, landing)));
}

#[test]
fn what_a_dead_process_made_visible_survives_a_power_cut_once_it_is_settled() {
    let (_dir, store) = store();
    let inbox = MailboxName::inbox();
    let landing = deliver(&store, 1, b"1", "");
    let dir = store.path(&inbox);
    fs::rename(dir.join("tmp").join(&landing.base.0), dir.join("new").join(&landing.base.0))
        .unwrap();
    store.settle(&inbox, std::slice::from_ref(&landing)).unwrap();
    assert!(is_durable(&store, &landing));
}

#[test]
fn quarantined_mail_leaves_the_maildir_and_is_kept() {
    let (_dir, store) = store();
    let inbox = MailboxName::inbox();
    let a = deliver(&store, 1, b"precious", "S");
    store.promote(&inbox, std::slice::from_ref(&a)).unwrap();
    store.quarantine(&inbox, &[seen(&store, &a.base)]).unwrap();
    assert!(store.scan(&inbox).unwrap().messages.is_empty());
    let mut kept = Vec::new();
    collect(&store.root().join(".postrider/quarantine"), &mut kept);
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(&kept[0]).unwrap(), b"precious");
    store.sweep().unwrap();
    assert!(kept[0].exists(), "it is kept for as long as the configuration says");
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else {
            into.push(path);
        }
    }
}

#[test]
fn another_directory_under_the_same_path_is_noticed() {
    let (_dir, store) = store();
    let id = store.open_root(None).unwrap();
    assert_eq!(store.open_root(Some(&id)).unwrap(), id);
    fs::remove_dir_all(store.root()).unwrap();
    fs::create_dir(store.root()).unwrap();
    assert_eq!(store.open_root(Some(&id)).unwrap_err().kind, Kind::StoreMissing);
}

#[test]
fn wire_size_counts_each_line_end_once() {
    let (_dir, store) = store();
    let inbox = MailboxName::inbox();
    let a = deliver(&store, 1, b"Message-ID: <1@x>\n\r\na\nb\r\n\n", "S");
    store.promote(&inbox, std::slice::from_ref(&a)).unwrap();
    let one = seen(&store, &a.base);
    let upload = store.open(&inbox, &one).unwrap().unwrap();
    assert_eq!((upload.disk_bytes, upload.print.evidence.size), (26, 29));
    let prints = store.fingerprints(&inbox, std::slice::from_ref(&one)).unwrap();
    let want = Evidence { message_id: "<1@x>".to_owned(), size: 29 };
    assert_eq!(prints[0].1.evidence, want);
    assert_eq!(prints, [(a.base.clone(), a.print.clone().unwrap())]);
}

#[test]
fn only_maildirs_are_mailboxes_and_hidden_ones_are_left_alone() {
    let (_dir, store) = store();
    for name in ["Archive/2024", "Entwürfe & Co", "a.b"] {
        store.create(&MailboxName(name.to_owned())).unwrap();
    }
    fs::create_dir_all(store.root().join(".notmuch/cur")).unwrap();
    fs::create_dir_all(store.root().join("plain")).unwrap();
    let names: Vec<String> = store.mailboxes().unwrap().into_iter().map(|m| m.0).collect();
    assert_eq!(names, ["Archive/2024", "Entwürfe & Co", "INBOX", "a.b"]);
}

/// A directory on another file system than this one: in memory or on a disk.
fn elsewhere(than: &Path) -> tempfile::TempDir {
    let device = than.metadata().unwrap().dev();
    let other = ["/dev/shm", "/var/tmp", "/tmp"]
        .into_iter()
        .find(|dir| Path::new(dir).metadata().is_ok_and(|m| m.dev() != device))
        .expect("two file systems that can be written");
    tempfile::tempdir_in(other).unwrap()
}

#[test]
fn a_mailbox_whose_file_system_is_not_mounted_is_missing_and_not_empty() {
    let (_dir, store) = store();
    let archive = MailboxName("Archive".to_owned());
    let (path, other) = (store.path(&archive), elsewhere(store.root()));
    store.create(&archive).unwrap();
    // What is in it is on another file system, as below a mount point.
    let mount = || {
        for sub in ["cur", "new"] {
            fs::remove_dir(path.join(sub)).unwrap();
            fs::create_dir_all(other.path().join(sub)).unwrap();
            std::os::unix::fs::symlink(other.path().join(sub), path.join(sub)).unwrap();
        }
    };
    let unmount = || {
        for sub in ["cur", "new"] {
            fs::remove_file(path.join(sub)).unwrap();
            fs::create_dir(path.join(sub)).unwrap();
        }
    };
    mount();
    store.sweep().unwrap();
    assert!(store.mailboxes().unwrap().contains(&archive));
    unmount();
    store.sweep().unwrap();
    assert!(!store.mailboxes().unwrap().contains(&archive), "it looks empty, and is not there");
    mount();
    assert!(store.mailboxes().unwrap().contains(&archive));
    // Brought over on purpose, with its mail.
    unmount();
    fs::write(path.join("cur/1.a.b:2,S"), "x").unwrap();
    assert!(store.mailboxes().unwrap().contains(&archive));
    store.sweep().unwrap();
    fs::remove_file(path.join("cur/1.a.b:2,S")).unwrap();
    assert!(store.mailboxes().unwrap().contains(&archive), "emptied by its owner");
}

#[test]
fn a_message_moves_to_a_mailbox_on_another_file_system_with_its_date() {
    let (_dir, store) = store();
    let inbox = MailboxName::inbox();
    let archive = MailboxName("Archive".to_owned());
    let other = elsewhere(store.root());
    std::os::unix::fs::symlink(other.path(), store.path(&archive)).unwrap();
    store.create(&archive).unwrap();
    let landing = deliver(&store, 1, b"Subject: a\n\nhello\n", "FS");
    store.promote(&inbox, std::slice::from_ref(&landing)).unwrap();
    let moved = store.relocate(&inbox, &archive, &[seen(&store, &landing.base)]).unwrap();
    assert_eq!(moved, std::slice::from_ref(&landing.base));
    assert!(store.scan(&inbox).unwrap().messages.is_empty());
    let there = other.path().join("cur").join(format!("{}:2,FS", landing.base));
    assert_eq!(fs::read(&there).unwrap(), b"Subject: a\n\nhello\n");
    let meta = fs::metadata(&there).unwrap();
    assert_eq!((meta.mtime(), meta.mode() & 0o777), (1_000_000_000, 0o600));
    assert_eq!(fs::read_dir(other.path().join("tmp")).unwrap().count(), 0);
    let seen = store.scan(&archive).unwrap().messages.get(&landing.base).unwrap();
    store.quarantine(&archive, &[(landing.base, seen)]).unwrap();
    assert!(!there.exists());
}

/// A mailbox whose changes are attested, with one message.
fn attested() -> (tempfile::TempDir, MaildirStore, Landing) {
    let (dir, store) = store();
    let inbox = MailboxName::inbox();
    let first = deliver(&store, 1, b"Subject: a\n\nhello\n", "S");
    store.promote(&inbox, std::slice::from_ref(&first)).unwrap();
    let still = store.scan(&inbox).unwrap().still().unwrap();
    assert!(store.attest(&inbox, still));
    (dir, store, first)
}

#[cfg(target_os = "linux")]
#[test]
fn what_only_we_changed_is_known_without_a_look() {
    let (_dir, store, first) = attested();
    let inbox = MailboxName::inbox();
    let more: Vec<Landing> =
        (2..30).map(|n| deliver(&store, n, b"Subject: b\n\nhi\n", "")).collect();
    store.promote(&inbox, &more).unwrap();
    let file = store.find(&inbox, &[(first.base.clone(), first.flags.clone())]).unwrap();
    let at = (first.base.clone(), file.messages.get(&first.base).unwrap());
    let delta = FlagDelta { add: Flags::from_letters("F"), ..FlagDelta::default() };
    assert_eq!(store.set_flags(&inbox, &[(at, delta)]).unwrap().len(), 1);
    store.quarantine(&inbox, &[seen(&store, &more[0].base)]).unwrap();
    let now = store.attested(&inbox).unwrap();
    assert_eq!(now, store.scan(&inbox).unwrap().still());
    assert!(now.is_some());
    assert_eq!(store.attested(&inbox).unwrap(), None, "it is asked for once");
}

#[cfg(target_os = "linux")]
type Other<'a> = &'a dyn Fn(&Path, &Landing);

#[cfg(target_os = "linux")]
#[test]
fn what_others_change_meanwhile_has_to_be_looked_for() {
    let inbox = MailboxName::inbox();
    let name = |landing: &Landing| format!("{}{}", landing.base, ":2,S");
    let others: [Other<'_>; 5] = [
        &|dir, _| fs::write(dir.join("new/of.another"), "x").unwrap(),
        &|dir, first| fs::remove_file(dir.join("cur").join(name(first))).unwrap(),
        &|dir, first| {
            let from = dir.join("cur").join(name(first));
            fs::rename(&from, dir.join("cur").join(name(first).replace(":2,S", ":2,FS"))).unwrap();
        },
        &|dir, first| {
            let from = dir.join("cur").join(name(first));
            fs::rename(&from, dir.with_file_name("away")).unwrap();
            fs::rename(dir.with_file_name("away"), from).unwrap();
        },
        // More than the kernel keeps.
        &|dir, _| {
            for n in 0..20_000 {
                let path = dir.join("new").join(n.to_string());
                fs::write(&path, "").unwrap();
                fs::remove_file(&path).unwrap();
            }
        },
    ];
    for (n, other) in others.iter().enumerate() {
        let (_dir, store, first) = attested();
        let more = deliver(&store, 2, b"Subject: b\n\nhi\n", "");
        other(&store.path(&inbox), &first);
        store.promote(&inbox, std::slice::from_ref(&more)).unwrap();
        assert_eq!(store.attested(&inbox).unwrap(), None, "{n}");
    }
    let (_dir, store, _first) = attested();
    let more = deliver(&store, 2, b"Subject: b\n\nhi\n", "");
    store.promote(&inbox, std::slice::from_ref(&more)).unwrap();
    fs::remove_file(store.path(&inbox).join("new").join(&more.base.0)).unwrap();
    assert_eq!(store.attested(&inbox).unwrap(), None, "what came was taken away again");
    let before = store.scan(&inbox).unwrap().still().unwrap();
    fs::write(store.path(&inbox).join("new/late"), "x").unwrap();
    assert!(!store.attest(&inbox, before), "it is not as it was any more");
}
