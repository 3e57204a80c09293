//! The account's root: its marker, its mailboxes, the quarantine and the sweep. Floor 3.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{MaildirStore, classify, deliver, mounts, name};
use crate::model::account::Layout;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::MailboxName;
use crate::rules::mailboxes::{name_of, name_of_spelled};

/// Reads the marker; makes one where none is expected.
pub(super) fn open(root: &Path, expected: Option<&str>) -> Result<String, Failure> {
    let path = root.join(PRIVATE_DIR).join(MARKER);
    let mut id = String::new();
    match File::open(&path).and_then(|f| f.take(200).read_to_string(&mut id)) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound && expected.is_none() => {
            return mark(root, &path);
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(missing(root)),
        Err(e) => return Err(classify("read the Maildir's marker", &path, &e)),
    }
    let id = id.trim().to_owned();
    if expected.is_some_and(|e| e != id) {
        return Err(missing(root));
    }
    Ok(id)
}

fn missing(root: &Path) -> Failure {
    Failure::new(Scope::Account, Remedy::Later, Kind::StoreMissing, "open the Maildir")
        .at(root.display().to_string())
        .detail("the directory is not the one that was synced before: its marker is missing")
        .cure(
            "mount or restore it; to start over on purpose, remove the account's ledger from the \
             state directory: both sides are then paired again and nothing is deleted",
        )
}

fn mark(root: &Path, path: &Path) -> Result<String, Failure> {
    let fail = |e: io::Error| classify("mark the Maildir", root, &e);
    make_dir(root)?;
    make_dir(&root.join(PRIVATE_DIR))?;
    let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    file.write_all(id.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    deliver::sync_dir(&root.join(PRIVATE_DIR))?;
    deliver::sync_dir(root)?;
    Ok(id)
}

/// The epoch of the Maildir; one that nobody wrote, or that cannot be understood, is 0.
pub(super) fn epoch(root: &Path) -> Result<u64, Failure> {
    let path = root.join(PRIVATE_DIR).join(EPOCH);
    let mut text = String::new();
    match File::open(&path).and_then(|f| f.take(40).read_to_string(&mut text)) {
        Ok(_) => Ok(text.trim().parse().unwrap_or(0)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(classify("read the Maildir's epoch", &path, &e)),
    }
}

/// Writes the epoch: the old or the new one, never half of it.
pub(super) fn set_epoch(root: &Path, epoch: u64) -> Result<(), Failure> {
    let path = root.join(PRIVATE_DIR).join(EPOCH);
    deliver::replace(&path, epoch.to_string().as_bytes())
        .map_err(|e| classify("write the Maildir's epoch", &path, &e))
}

/// Creates a directory and its parents, all of mode 0700.
fn make_dir(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| classify("create directory", path, &e))
}

/// Makes a directory with its parents, each of them durable: a file that was moved into a directory
/// that a power cut takes away is lost.
pub(super) fn make_durable_dir(dir: &Path) -> Result<(), Failure> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|d| !d.is_dir()).collect();
    make_dir(dir)?;
    for made in missing {
        if let Some(parent) = made.parent() {
            deliver::sync_dir(parent)?;
        }
    }
    Ok(())
}

/// Creates a Maildir and syncs the way to it, in a root that is there: one that is missing is not made anew.
pub(super) fn create(root: &Path, dir: &Path) -> Result<(), Failure> {
    if !root.join(PRIVATE_DIR).join(MARKER).is_file() {
        return Err(missing(root));
    }
    make_dir(dir)?;
    // What has `cur` is taken for a Maildir: it comes last, so that whatever is taken for one is whole.
    for sub in ["tmp", "new"] {
        make_dir(&dir.join(sub))?;
    }
    let made = maildir::Maildir::from(dir.to_path_buf()).create_dirs();
    made.map_err(|e| classify("create Maildir", dir, &e))?;
    for sub in ["tmp", "new", "cur"] {
        let path = dir.join(sub);
        let private = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
        private.map_err(|e| classify("create Maildir", &path, &e))?;
    }
    let mut at = Some(dir);
    while let Some(path) = at.filter(|p| p.starts_with(root)) {
        deliver::sync_dir(path)?;
        at = path.parent();
    }
    Ok(())
}

/// Renames a Maildir with what lies below it.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    if !from.is_dir() && to.is_dir() {
        return Ok(());
    }
    let fail = |e: io::Error| classify("rename directory", from, &e);
    if let Some(parent) = to.parent() {
        make_durable_dir(parent)?;
    }
    // An empty Maildir in the way, as a mail reader may have made it, goes; anything else stays.
    remove(to)?;
    fs::rename(from, to).map_err(fail)?;
    for parent in [from.parent(), to.parent()].into_iter().flatten() {
        deliver::sync_dir(parent)?;
    }
    Ok(())
}

/// Removes a Maildir that holds no message and no other one; false if it does, or is not there.
pub(super) fn remove(dir: &Path) -> Result<bool, Failure> {
    let fail = |e: io::Error| classify("remove directory", dir, &e);
    if !dir.join("cur").is_dir() {
        return Ok(false);
    }
    let is_other = |entry: &fs::DirEntry| {
        !matches!(entry.file_name().to_str(), Some("cur" | "new" | "tmp" | "dovecot-keywords"))
    };
    for entry in fs::read_dir(dir).map_err(fail)? {
        if is_other(&entry.map_err(fail)?) {
            return Ok(false);
        }
    }
    // A directory goes only if it is empty: nothing can be lost between the look and this.
    for sub in ["tmp", "new", "cur"] {
        match fs::remove_dir(dir.join(sub)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
                // What went already is made again: the mailbox stays as it was.
                for sub in ["tmp", "new", "cur"] {
                    make_dir(&dir.join(sub))?;
                }
                return Ok(false);
            }
            Err(e) => return Err(fail(e)),
        }
    }
    drop(fs::remove_file(dir.join("dovecot-keywords")));
    fs::remove_dir(dir).map_err(fail)?;
    if let Some(parent) = dir.parent() {
        deliver::sync_dir(parent)?;
    }
    Ok(true)
}

/// The mailboxes that exist: every directory with a `cur/`.
pub(super) fn mailboxes(store: &MaildirStore) -> Result<Vec<MailboxName>, Failure> {
    let mut found = Vec::new();
    let mut path = Vec::new();
    walk(store, &store.root, &mut path, &mut found)?;
    found.sort();
    mounts::present(store, found)
}

fn walk(
    store: &MaildirStore,
    dir: &Path,
    path: &mut Vec<String>,
    found: &mut Vec<MailboxName>,
) -> Result<(), Failure> {
    let layout = store.layout;
    let fail = |e: io::Error| classify("list directory", dir, &e);
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    if dir.join("cur").is_dir() {
        let folds = store.spelling.folds(&store.root);
        found.extend(if folds { name_of_spelled(&parts, layout) } else { name_of(&parts, layout) });
    }
    if path.len() >= DEPTH_MAX || (layout == Layout::MaildirPlusPlus && !path.is_empty()) {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_maildir_part = matches!(name.as_str(), "cur" | "new" | "tmp");
        let is_hidden = name.starts_with('.');
        let fits = match layout {
            Layout::Fs => !is_hidden && !is_maildir_part,
            Layout::MaildirPlusPlus => is_hidden && name != PRIVATE_DIR,
        };
        if fits && entry.file_type().map_err(fail)?.is_dir() {
            path.push(name);
            walk(store, &entry.path(), path, found)?;
            path.pop();
        }
    }
    Ok(())
}

/// Drops what is older than allowed: quarantined mail, and files of ours in `tmp/` after 36 h. Takes note
/// of mailboxes on file systems of their own.
pub(super) fn sweep(store: &MaildirStore) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let quarantine = store.root.join(PRIVATE_DIR).join(QUARANTINE);
    if let Ok(entries) = fs::read_dir(&quarantine) {
        for entry in entries.flatten() {
            let at = entry.file_name().to_str().and_then(|n| n.parse().ok());
            let is_old =
                at.is_some_and(|s: u64| Duration::from_secs(s) + store.quarantine_for < now);
            if is_old {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|e| classify("empty quarantine", &path, &e))?;
            }
        }
    }
    let present = mailboxes(store)?;
    for mailbox in &present {
        sweep_tmp(&store.tmp(mailbox), now);
    }
    mounts::remember(store, &present)
}

/// Best effort: what cannot be removed today is tried again at the next start.
fn sweep_tmp(tmp: &Path, now: Duration) {
    let Ok(entries) = fs::read_dir(tmp) else { return };
    for entry in entries.flatten().take(SWEEP_FILES_MAX) {
        let made_at = entry.file_name().to_str().and_then(name::made_at);
        if made_at.is_some_and(|at| Duration::from_secs(at) + TMP_AGE_MAX < now) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// The one directory of ours inside the Maildir's root.
pub(super) const PRIVATE_DIR: &str = ".postrider";
pub(super) const MARKER: &str = "root";
const EPOCH: &str = "epoch";
pub(super) const QUARANTINE: &str = "quarantine";
const DEPTH_MAX: usize = 32;
const SWEEP_FILES_MAX: usize = 10_000;
const TMP_AGE_MAX: Duration = Duration::from_secs(36 * 3600);
