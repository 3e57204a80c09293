use super::*;
use crate::model::ids::AccountName;
use crate::ports::outbox::{Copy, SentFiler};
use std::os::unix::fs::{PermissionsExt, symlink};

fn spool() -> (tempfile::TempDir, OutboxDir) {
    let dir = tempfile::tempdir().unwrap();
    let spool = OutboxDir::open(&dir.path().join("Outbox")).unwrap();
    (dir, spool)
}

fn id(text: &str) -> OutboxId {
    OutboxId(text.to_owned())
}

fn ready(spool: &OutboxDir) -> Vec<String> {
    spool.scan().unwrap().ready.into_iter().map(|found| found.name).collect()
}

#[test]
fn only_complete_regular_files_with_a_mail_name_are_found() {
    let (_dir, spool) = spool();
    let root = spool.root();
    for name in ["new/a", "new/b:2,D", "new/.c", "flat.eml", "x~", "y.tmp"] {
        fs::write(root.join(name), "x").unwrap();
    }
    symlink("/etc/passwd", root.join("new/link")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    assert_eq!(ready(&spool), ["a", "b", "flat.eml"]);
    assert!(spool.scan().unwrap().ready[1].draft);
}

#[cfg(target_os = "linux")]
#[test]
fn a_flat_file_is_complete_when_its_writer_closes_it() {
    let (_dir, spool) = spool();
    let mut file = File::create(spool.root().join("flat")).unwrap();
    file.write_all(b"Subject: half").unwrap();
    let scan = spool.scan().unwrap();
    assert_eq!((scan.ready.len(), scan.unfinished), (0, true));
    drop(file);
    assert_eq!(ready(&spool), ["flat"]);
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let (_dir, spool) = spool();
    fs::set_permissions(spool.root().join("new"), fs::Permissions::from_mode(0o722)).unwrap();
    assert!(spool.scan().unwrap_err().to_string().contains("others may write"));
}

#[test]
fn a_message_goes_from_new_to_cur_to_failed_and_back() {
    let (_dir, spool) = spool();
    let content = b"From: a@b\n\nx".to_vec();
    let size = spool.drop_message(&id("m"), &mut content.as_slice(), &mut || Ok(())).unwrap();
    assert_eq!(size, 12);
    let found = spool.scan().unwrap().ready.remove(0);
    let kept = spool.claim(&[(found, id("m1"))]).remove(0).unwrap();
    assert!(kept.path.ends_with("cur/m1:2,"));
    let kept = spool.insert(&kept, 0, b"Date: now\n").unwrap();
    assert_eq!(spool.head(&kept, 14).unwrap(), b"Date: now\nFrom");
    assert_eq!(spool.kept().unwrap().get(&id("m1")), Some(&kept));
    spool.park(&id("m1"), &kept, "because").unwrap();
    assert_eq!(fs::read_to_string(spool.root().join("failed/m1.reason")).unwrap(), "because");
    assert_eq!(spool.parked().unwrap(), [id("m1")]);
    let kept = spool.unpark(&id("m1")).unwrap().unwrap();
    assert_eq!(kept.size, 22);
    spool.remove(std::slice::from_ref(&kept)).unwrap();
    spool.remove(&[kept]).unwrap();
    assert_eq!(spool.unpark(&id("m1")).unwrap(), None);
}

#[test]
fn a_reason_goes_without_its_message_and_a_message_never_does() {
    let (_dir, spool) = spool();
    let size = spool.drop_message(&id("m"), &mut &b"From: a@b\n\nx"[..], &mut || Ok(())).unwrap();
    let found = spool.scan().unwrap().ready.remove(0);
    let kept = spool.claim(&[(found, id("m1"))]).remove(0).unwrap();
    spool.park(&id("m1"), &kept, "because").unwrap();
    spool.discard_reason(&id("m1")).unwrap();
    assert!(!spool.root().join("failed/m1.reason").exists());
    let message = spool.root().join("failed/m1");
    assert_eq!(fs::metadata(&message).unwrap().len(), size, "nobody asked for that");
    spool.discard(&id("m1")).unwrap();
    assert!(!message.exists());
}

#[test]
fn a_message_that_cannot_be_recorded_does_not_appear() {
    let (_dir, spool) = spool();
    let refuse = || Err(Failure::new(Scope::Daemon, Remedy::Later, Kind::LocalIo, "record"));
    spool.drop_message(&id("m"), &mut &b"x"[..], &mut { refuse }).unwrap_err();
    assert!(ready(&spool).is_empty());
    assert_eq!(fs::read_dir(spool.root().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_copy_is_filed_once_seen_and_without_what_stays_here() {
    let (dir, _spool) = spool();
    let path = dir.path().join("m");
    fs::write(&path, "Subject: x\r\nX-Y: z\r\nMessage-ID: <i@d>\r\n\r\nbody\r\n").unwrap();
    let account = AccountName("work".to_owned());
    let copy = Copy {
        account: account.clone(),
        path,
        skip: std::iter::once(12..20).collect(),
        message_id: "<i@d>".to_owned(),
    };
    let filer = sent::SentMaildirs::default();
    assert!(filer.file(&copy).await.is_err());
    let maildir = dir.path().join("Sent");
    filer.set(account, sent::SentMaildir { path: maildir.clone(), info_separator: ':' });
    for _ in 0..2 {
        filer.file(&copy).await.unwrap();
    }
    let files: Vec<PathBuf> =
        fs::read_dir(maildir.join("cur")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].to_str().unwrap().ends_with(":2,S"));
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), "Subject: x\nMessage-ID: <i@d>\n\nbody\n");
}
