//! Where mail lies: file systems that forbid or confuse its names, and who else works there. Floor 5.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{inside, ok, unit, warn};
use crate::daemon::check::Finding;
use crate::daemon::paths;
use crate::model::account::Account;

/// What there is to say of the file system of a Maildir.
pub(super) fn file_system(account: &Account) -> Option<Finding> {
    let root = account.maildir.ancestors().find(|dir| dir.exists())?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let kind = kind_of(root, &mounts)?;
    let what = format!("file system of {}: {kind}", account.maildir.display());
    let finding = if forbids_colons(&kind) && account.info_separator == ':' {
        let advice = format!(
            "it may forbid the colon in file names, and then no message can be marked as read: set \
             info_separator = \";\" for account {}",
            account.name
        );
        warn(what, advice)
    } else if is_remote(&kind) {
        let advice = "changes that other machines make there are seen with each poll only, and only one \
                      machine may run postrider on it";
        warn(what, advice)
    } else {
        ok(what)
    };
    Some(Finding { account: Some(account.name.clone()), ..finding })
}

/// The type of the file system that a path is on, by proc_pid_mountinfo(5): of the last mount whose place is
/// the longest above it.
fn kind_of(path: &Path, mounts: &str) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let place = place.split(' ').nth(4)?.replace("\\040", " ");
        Some((PathBuf::from(place), kind.split(' ').next()?.to_owned()))
    };
    let above = mounts.lines().filter_map(mount).filter(|(place, _)| path.starts_with(place));
    above.max_by_key(|(place, _)| place.as_os_str().len()).map(|(_, kind)| kind)
}

fn forbids_colons(kind: &str) -> bool {
    ["vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3"].contains(&kind)
        || kind.starts_with("fuse.exfat")
        || kind.starts_with("fuse.ntfs")
}

fn is_remote(kind: &str) -> bool {
    kind.starts_with("nfs") || ["cifs", "smb3", "9p", "fuse.sshfs"].contains(&kind)
}

/// What others can read that only its owner should.
pub(super) fn privacy(account: &Account) -> Option<Finding> {
    let meta = account.maildir.metadata().ok()?;
    if meta.permissions().mode() & 0o077 == 0 || meta.uid() != paths::own_uid() {
        return None;
    }
    let place = account.maildir.display();
    let what = format!("Maildir {place}: others may look into it");
    let finding = warn(what, format!("chmod 700 {place}"));
    Some(Finding { account: Some(account.name.clone()), ..finding })
}

/// Other programs that a timer of the user's starts.
pub(super) async fn timers() -> Vec<Finding> {
    let advice =
        "two syncers on one Maildir undo each other's work: take it out, unless it works elsewhere";
    let wants = unit::own_dir().map(|dir| dir.join("timers.target.wants"));
    let entries = wants.and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten();
    let timers = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        SYNCERS.iter().any(|syncer| name.starts_with(syncer)).then_some(name)
    });
    let mut findings: Vec<Finding> = timers
        .map(|name| warn(format!("another syncer: the timer {name} is enabled"), advice))
        .collect();
    let table = inside::output("crontab", &["-l"]).await.unwrap_or_default();
    for line in String::from_utf8_lossy(&table).lines().filter(|line| !line.starts_with('#')) {
        let words = line.split(|c: char| c.is_whitespace() || c == '/' || c == ';');
        if let Some(syncer) = words.into_iter().find(|word| SYNCERS.contains(word)) {
            findings.push(warn(format!("another syncer: crontab starts {syncer}"), advice));
        }
    }
    findings
}

/// Queued mail with lines that servers may refuse (RFC 5321 §4.5.3.1.6).
pub(super) fn long_lines(outbox: &Path) -> Vec<Finding> {
    let dirs = ["cur", "new"].map(|dir| outbox.join(dir));
    let files = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let long = files.take(FILES_MAX).filter_map(|file| {
        let longest = longest_line(&file.path())?;
        (longest > LINE_BYTES_MAX).then(|| (file.file_name(), longest))
    });
    long.map(|(name, longest)| {
        warn(
            format!("queued mail: {} has a line of {longest} bytes", name.display()),
            "servers may refuse more than 998: let the mail program encode it as quoted-printable",
        )
    })
    .collect()
}

fn longest_line(file: &Path) -> Option<usize> {
    let is_file = file.symlink_metadata().ok()?.is_file();
    let mut reader = BufReader::new(fs::File::open(file).ok().filter(|_| is_file)?).take(READ_MAX);
    let (mut longest, mut now) = (0, 0);
    loop {
        let part = reader.fill_buf().ok()?;
        if part.is_empty() {
            return Some(longest.max(now));
        }
        let n = part.len();
        for (i, piece) in part.split(|byte| *byte == b'\n').enumerate() {
            if i > 0 {
                longest = longest.max(now);
                now = 0;
            }
            now += piece.len();
        }
        reader.consume(n);
    }
}

/// The names of programs that sync mail.
pub(super) const SYNCERS: [&str; 5] = ["mbsync", "offlineimap", "offlineimap3", "fdm", "imapsync"];
const LINE_BYTES_MAX: usize = 998;
const FILES_MAX: usize = 1000;
const READ_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let mounts = format!(
            "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / {} rw shared:1 - exfat /dev/b rw\n",
            root.display()
        );
        assert_eq!(kind_of(&root, &mounts).as_deref(), Some("exfat"));
        assert_eq!(kind_of(Path::new("/"), &mounts).as_deref(), Some("ext4"));
        assert!(forbids_colons("fuseblk") && !forbids_colons("btrfs") && is_remote("nfs4"));
    }

    #[test]
    fn a_long_line_is_measured_across_what_is_read_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("m");
        fs::write(&file, format!("Subject: x\n\n{}\nshort\n", "y".repeat(20_000))).unwrap();
        assert_eq!(longest_line(&file), Some(20_000));
        fs::write(&file, "no end").unwrap();
        assert_eq!(longest_line(&file), Some(6));
    }
}
