//! Scenarios 75 to 94: local races and the file system.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use postrider::model::account::Layout;
use postrider::model::failure::Failure;

use crate::case::{Scene, case};
use crate::common::fate::Fate;
use crate::common::sides::Side::{Here, There};
use crate::common::sides::mail;

fn three(s: &Scene) {
    (1..=3).for_each(|n| s.put(There, "INBOX", n, "S"));
}

const THREE: [(u32, &str); 3] = [(1, "S"), (2, "S"), (3, "S")];

#[test]
fn s075_a_file_that_was_renamed_under_us_is_found_again() {
    case()
        .given(|s| s.put(There, "INBOX", 1, ""))
        .when_meeting(
            |s| s.flag(There, "INBOX", 1, "F"),
            |s| {
                let from = s.file("INBOX", 1);
                let name = from.file_name().unwrap().to_str().unwrap();
                let base = name.split(':').next().unwrap();
                let to = s.path("INBOX/cur").join(format!("{base}:2,S"));
                Fate::interrupted("set_flags", move || std::fs::rename(from, to).unwrap())
            },
        )
        .then(|s| assert_eq!(s.flags(Here, "INBOX", 1), Some("FS".to_owned())))
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &[(1, "FS")]))
        .run();
}

#[test]
fn s076_a_file_that_is_deleted_before_its_upload_is_not_uploaded() {
    case()
        .when_meeting(
            |s| (1..=2).for_each(|n| s.put(Here, "INBOX", n, "S")),
            |s| {
                let file = s.file("INBOX", 1);
                Fate::interrupted("open", move || std::fs::remove_file(file).unwrap())
            },
        )
        .then(|s| {
            assert_eq!((s.inbox().uploaded, s.inbox().failed), (1, 0));
            s.assert_both("INBOX", &[(2, "S")]);
        })
        .run();
}

#[test]
fn s077_a_file_that_one_scan_misses_is_not_deleted() {
    case()
        .given(three)
        // A rename in progress: the first scan misses it, and the later ones see it.
        .when_meeting(
            |s| s.flag(Here, "INBOX", 2, "FS"),
            |s| {
                let (file, hidden) = (s.file("INBOX", 1), s.path("INBOX/tmp/hidden"));
                let n_scans = AtomicU32::new(0);
                Fate::meeting("scan", move || {
                    match n_scans.fetch_add(1, Ordering::SeqCst) {
                        0 => std::fs::rename(&file, &hidden).unwrap(),
                        1 => std::fs::rename(&hidden, &file).unwrap(),
                        _ => {}
                    }
                    Ok(())
                })
            },
        )
        .then(|s| {
            s.assert_both("INBOX", &[(1, "S"), (2, "FS"), (3, "S")]);
            assert_eq!(s.mutating().len(), 1, "the flag, and no removal");
        })
        .run();
}

#[test]
fn s078_a_change_within_the_tick_of_a_scan_is_seen_later_and_nothing_sleeps() {
    case()
        .given(three)
        .when(|s| {
            let begin = Instant::now();
            let scan = postrider::ports::local::Local::scan(
                &s.store(),
                &postrider::model::ids::MailboxName::inbox(),
            );
            drop(scan.unwrap());
            assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
        })
        .when_meeting(
            |s| s.put(There, "INBOX", 4, "S"),
            |s| {
                let from = s.file("INBOX", 1);
                let to = from.to_str().unwrap().replace(":2,S", ":2,FS");
                Fate::interrupted("promote", move || std::fs::rename(from, to).unwrap())
            },
        )
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &[(1, "FS"), (2, "S"), (3, "S"), (4, "S")]))
        .run();
}

/// A name that we give to files in `tmp/`, so many hours ago.
fn ours(hours: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    format!("{}.M1P2R0123456789abcdef.host", now - hours * 3600)
}

#[test]
fn s081_files_in_tmp_are_left_alone_and_only_old_ones_of_ours_are_removed() {
    case()
        .when(|s| {
            s.note("old", ours(37));
            s.note("young", ours(35));
            for name in [s.noted("old"), s.noted("young"), "being.written".into()] {
                std::fs::write(s.path("INBOX/tmp").join(name), mail(1)).unwrap();
            }
        })
        .then(|s| {
            assert_eq!(s.mutating(), []);
            let is_there = |name: &str| s.path("INBOX/tmp").join(name).exists();
            assert!(!is_there(&s.noted("old")));
            assert!(is_there(&s.noted("young")) && is_there("being.written"));
        })
        .when(|s| {
            let written = s.path("INBOX/tmp/being.written");
            std::fs::rename(written, s.path("INBOX/cur/being.written:2,S")).unwrap();
        })
        .then(|s| s.assert_both("INBOX", &[(1, "S")]))
        .run();
}

#[test]
fn s082_files_that_are_no_mail_are_left_alone() {
    const OTHERS: [&str; 5] = [
        "INBOX/.uidvalidity",
        "INBOX/dovecot.index",
        "INBOX/dovecot-uidlist",
        ".notmuch/xapian",
        "INBOX/cur/.hidden",
    ];
    case()
        .when(|s| {
            std::fs::create_dir(s.path(".notmuch")).unwrap();
            OTHERS.iter().for_each(|name| std::fs::write(s.path(name), "not mail\n").unwrap());
            s.drop_file("INBOX", "cur", "1.2.host,U=7:2,S", mail(1).as_bytes());
        })
        .then(|s| {
            assert_eq!(s.inbox().uploaded, 1);
            for name in OTHERS {
                assert_eq!(std::fs::read_to_string(s.path(name)).unwrap(), "not mail\n");
            }
            assert!(s.path("INBOX/cur/1.2.host,U=7:2,S").exists());
            assert_eq!(s.server.mailboxes(), ["INBOX"]);
            assert_eq!(s.count(There, "INBOX"), 1);
        })
        .run();
}

fn with_work(s: &Scene) {
    s.make(There, "Work");
    s.make(There, "Trash");
    three(s);
}

#[test]
fn s084_a_copy_into_another_mailbox_is_a_copy_there() {
    case()
        .given(with_work)
        .when(|s| {
            let from = s.file("INBOX", 1);
            let to = s.path("Work/cur").join(from.file_name().unwrap());
            std::fs::copy(from, to).unwrap();
        })
        .then(|s| {
            s.assert_no_transfer();
            s.assert_both("INBOX", &THREE);
            s.assert_both("Work", &[(1, "S")]);
        })
        .run();
}

#[test]
fn s085_a_move_here_is_one_move_there() {
    case()
        .given(with_work)
        .given(|s| s.flag(There, "INBOX", 1, "FS"))
        .when(|s| s.shift(Here, 1, "INBOX", "Work"))
        .then(|s| {
            s.assert_no_transfer();
            let done = s.outcome.of("Work");
            assert_eq!((done.moved_remote, done.uploaded), (1, 0));
            s.assert_both("Work", &[(1, "FS")]);
            assert_eq!(s.count(There, "Trash"), 0);
            let verbs = s.mutating().into_iter().filter(|c| !c.name.ends_with("STORE"));
            let verbs: Vec<String> = verbs.map(|c| c.name).collect();
            let has_move = s.server.commands().iter().any(|c| c.name == "UID MOVE");
            assert!(!has_move || verbs == ["UID MOVE"], "{verbs:?}");
        })
        .run();
}

#[test]
fn s086_a_move_with_a_flag_change_carries_the_flag() {
    case()
        .given(with_work)
        .when(|s| {
            s.shift(Here, 1, "INBOX", "Work");
            s.flag(Here, "Work", 1, "FS");
        })
        .then(|s| {
            s.assert_no_transfer();
            s.assert_both("Work", &[(1, "FS")]);
            assert_eq!(s.count(There, "Trash"), 0);
        })
        .run();
}

#[test]
fn s087_a_move_here_and_a_delete_there_never_make_two_copies() {
    case()
        .given(with_work)
        .when(|s| {
            s.shift(Here, 1, "INBOX", "Work");
            s.remove(There, "INBOX", 1);
        })
        .then(|s| {
            s.assert_both("INBOX", &[(2, "S"), (3, "S")]);
            let all = ["INBOX", "Work", "Trash"];
            for side in [Here, There] {
                let n: usize = all.iter().filter(|m| s.flags(side, m, 1).is_some()).count();
                assert!(n <= 1, "{side:?}: {n} copies");
            }
            assert_eq!(s.content(Here, "Work"), s.content(There, "Work"));
        })
        .run();
}

#[test]
fn s088_a_move_there_is_a_rename_here() {
    case()
        .given(with_work)
        .when(|s| {
            s.note("inode", inode(&s.file("INBOX", 1)));
            s.shift(There, 1, "INBOX", "Work");
        })
        .then(|s| {
            s.assert_no_transfer();
            assert_eq!(s.outcome.of("Work").moved_local, 1);
            assert_eq!(s.noted("inode"), inode(&s.file("Work", 1)).to_string());
            s.assert_both("INBOX", &[(2, "S"), (3, "S")]);
            s.assert_both("Work", &[(1, "S")]);
            assert_eq!(s.quarantined(), Vec::<String>::new());
        })
        .run();
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).unwrap().ino()
}

#[test]
fn s089_a_move_into_a_mailbox_that_is_not_synced_leads_to_the_quarantine() {
    case()
        .account(|a| a.sync.mailboxes = vec!["*".into(), "!Work".into()])
        .given(with_work)
        .when(|s| s.shift(There, 1, "INBOX", "Work"))
        .then(|s| {
            s.assert_both("INBOX", &[(2, "S"), (3, "S")]);
            assert_eq!(s.quarantined(), [mail(1)]);
            assert_eq!(s.count(There, "Work"), 1);
            assert!(!s.path("Work").exists());
            assert_eq!(s.mutating(), []);
        })
        .run();
}

fn disk(step: &'static str, kind: ErrorKind) -> Arc<Fate> {
    Fate::meeting(step, move || Err(Failure::local_io("use the disk", &Error::from(kind))))
}

fn assert_local_io(s: &Scene) {
    assert_eq!(s.outcome.report.error.clone().unwrap().code, "LocalIo");
    assert_eq!(s.mutating(), []);
}

#[test]
fn s090_a_full_disk_lets_nothing_appear_and_is_retried() {
    let fates: [fn(&Scene) -> Arc<Fate>; 3] = [
        |_| disk("stage", ErrorKind::StorageFull),
        |_| disk("finish", ErrorKind::StorageFull),
        |_| disk("barrier", ErrorKind::StorageFull),
    ];
    for fate in fates {
        case()
            .when_failing_with(three, fate)
            .then(|s| {
                assert_local_io(s);
                assert_eq!(s.count(Here, "INBOX"), 0);
            })
            .when(|_| {})
            .then(|s| s.assert_both("INBOX", &THREE))
            .run();
    }
}

#[test]
fn s091_a_disk_that_cannot_be_read_or_written_deletes_nothing() {
    case()
        .given(three)
        // A directory that did not change is not read at all.
        .when_failing_with(
            |s| [There, Here].iter().for_each(|side| s.flag(*side, "INBOX", 1, "FS")),
            |_| disk("scan", ErrorKind::Other),
        )
        .then(assert_local_io)
        .when_failing_with(
            |s| s.flag(There, "INBOX", 2, "FS"),
            |_| disk("set_flags", ErrorKind::ReadOnlyFilesystem),
        )
        .then(assert_local_io)
        .when_failing_with(
            |s| s.remove(There, "INBOX", 3),
            |_| disk("quarantine", ErrorKind::ReadOnlyFilesystem),
        )
        .then(assert_local_io)
        .when(|_| {})
        .then(|s| s.assert_both("INBOX", &[(1, "FS"), (2, "FS")]))
        .run();
}

/// Names that a directory cannot have, or must not.
const NAMES: [&str; 10] =
    ["..", ".", ".hidden", "~home", "Ärger 😀", "a&b", "a%2Eb", "cur", "x\u{1}y", "v1.2"];

fn all_names(s: &Scene) {
    for (n, name) in (1..).zip(NAMES) {
        s.put(There, name, n, "S");
    }
}

fn assert_all_below(s: &Scene) {
    let mut wanted: Vec<&str> = NAMES.to_vec();
    wanted.push("INBOX");
    wanted.sort_unstable();
    let mut there = s.server.mailboxes();
    there.sort();
    assert_eq!(there, wanted, "no mailbox was made by us");
    let beside = std::fs::read_dir(s.dir.path()).unwrap().flatten();
    let beside = beside.filter(|e| e.path().is_dir()).count();
    assert_eq!(beside, 1, "nothing beside the Maildir");
    let synced = &s.outcome.report.mailboxes;
    for name in NAMES {
        let found = synced.iter().filter(|(n, _)| n.as_str().replace("%25", "%") == name);
        assert_eq!(found.count(), 1, "{name}: {synced:?}");
    }
    assert_eq!(synced.values().map(|c| c.downloaded).sum::<u32>(), 10);
}

#[test]
fn s093_strange_names_stay_below_the_root_and_lead_back() {
    case().when(all_names).then(assert_all_below).run();
}

#[test]
fn s094_dots_in_names_collide_with_no_hierarchy() {
    case()
        .account(|a| a.layout = Layout::MaildirPlusPlus)
        .when(|s| {
            s.put(There, "v1.2", 1, "S");
            s.put(There, "v1/2", 2, "S");
        })
        .then(|s| {
            let of = |dir: &str| std::fs::read_dir(s.path(dir).join("cur")).unwrap().count();
            assert_eq!((of(".v1%2E2"), of(".v1.2")), (1, 1));
        })
        .run();
    case()
        .account(|a| a.layout = Layout::MaildirPlusPlus)
        .config(|config| config.delimiter = Some('.'))
        .when(|s| s.put(There, "v1.2", 1, "S"))
        .then(|s| {
            assert_eq!(std::fs::read_dir(s.path(".v1.2/cur")).unwrap().count(), 1);
            assert_eq!(s.server.mailboxes(), ["INBOX", "v1.2"]);
        })
        .run();
    case()
        .account(|a| a.layout = Layout::MaildirPlusPlus)
        .when(all_names)
        .then(assert_all_below)
        .run();
}
