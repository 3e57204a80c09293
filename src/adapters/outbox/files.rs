//! Names and files of the outbox. Floor 3.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::ports::outbox::Stamp;

/// A file name taken apart.
pub(super) struct Info<'a> {
    pub(super) base: &'a str,
    pub(super) draft: bool,
    pub(super) trashed: bool,
    /// Whether a mailbox gave it its flags: read, replied, forwarded, flagged.
    pub(super) is_used: bool,
}

impl<'a> Info<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        let (base, flags) = name.split_once(":2,").unwrap_or((name, ""));
        Self {
            base,
            draft: flags.contains('D'),
            trashed: flags.contains('T'),
            is_used: flags.contains(['S', 'R', 'P', 'F']),
        }
    }
}

/// Whether a name may be mail: not hidden, no backup, nothing that a program is still writing.
pub(super) fn is_mail(name: &str) -> bool {
    let base = Info::of(name).base;
    !base.starts_with(['.', '#'])
        && ![base, name].iter().any(|part| part.ends_with('~'))
        && !["tmp", "part", "swp"].iter().any(|end| {
            base.rsplit_once('.').is_some_and(|(_, extension)| extension.eq_ignore_ascii_case(end))
        })
}

/// Lists a directory's mail by name. What is no UTF-8 in a name is replaced there; the path is exact.
pub(super) fn names(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_mail(&name) {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// What a dropped thing is.
pub(super) enum Nature {
    /// A regular file of this user; with its age, as far as the clock can tell.
    Mail(Duration),
    /// It has another name, under which somebody may still write.
    Linked,
    /// Anything else: why it is no message.
    Odd(&'static str),
    /// A directory.
    Directory,
    /// Gone meanwhile.
    Gone,
}

/// Looks at a dropped thing. Links are not followed, and nothing is opened.
pub(super) fn nature(path: &Path) -> Nature {
    let Ok(meta) = fs::symlink_metadata(path) else { return Nature::Gone };
    let kind = meta.file_type();
    if kind.is_dir() {
        return Nature::Directory;
    }
    if kind.is_symlink() {
        return Nature::Odd("a symbolic link is not followed: drop the file itself");
    }
    if kind.is_fifo() {
        return Nature::Odd("a pipe has no end: drop a regular file");
    }
    if !kind.is_file() {
        return Nature::Odd("a device or socket is no message: drop a regular file");
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Nature::Odd("the file belongs to another user: drop one of your own");
    }
    let since = |secs: i64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_secs(u64::try_from(secs).unwrap_or_default()))
    };
    // The last change of its links, not of its text.
    if meta.nlink() > 1 && since(meta.ctime()) < LINK_PATIENCE {
        return Nature::Linked;
    }
    Nature::Mail(since(meta.mtime()))
}

/// What tells a file from what it was.
pub(super) fn stamp(meta: &fs::Metadata) -> Stamp {
    (meta.ino(), meta.mtime(), meta.mtime_nsec())
}

/// Opens a regular file of this user; no link, no FIFO, no device.
pub(super) fn open_message(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("not a regular file of this user"));
    }
    Ok(file)
}

/// Renames without ever replacing a file, where the file system can promise that.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_ok() => {
            Err(io::ErrorKind::AlreadyExists.into())
        }
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to),
        other => other.map_err(io::Error::from),
    }
}

/// Makes a new file of mode 0600.
pub(super) fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the names of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether the line `--boundary--` is missing in a file, which is read once, in flat memory.
pub(super) fn lacks_end(file: &mut File, boundary: &str) -> io::Result<bool> {
    let needle = format!("--{boundary}--").into_bytes();
    let finder = memchr::memmem::Finder::new(&needle);
    // What begins the file stands at the beginning of a line as well.
    let mut window = vec![b'\n'];
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let n = file.read(&mut chunk)?;
        if n == 0 {
            return Ok(true);
        }
        window.extend_from_slice(chunk.get(..n).unwrap_or_default());
        let mut hits = finder.find_iter(&window);
        if hits.any(|at| {
            let before = at.checked_sub(1).and_then(|at| window.get(at));
            matches!(before, Some(b'\n' | b'\r'))
        }) {
            return Ok(false);
        }
        let done = window.len().saturating_sub(needle.len());
        window.drain(..done);
    }
}

/// How long a second name of a file may be its writer's.
const LINK_PATIENCE: Duration = Duration::from_secs(10);
const CHUNK_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_unfinished_files_are_not_mail() {
        for mail in ["a", "1.2.host", "x:2,", "x:2,D", "letter.eml"] {
            assert!(is_mail(mail), "{mail}");
        }
        for other in [".a", "#a#", "a~", "a.tmp", "a.part", ".a.swp", "a.swp", "a.TMP", "a.tmp:2,"]
        {
            assert!(!is_mail(other), "{other}");
        }
    }
}
