//! Names and files of the outbox. Floor 3.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// A file name taken apart.
pub(super) struct Info<'a> {
    pub(super) base: &'a str,
    pub(super) draft: bool,
    pub(super) trashed: bool,
}

impl<'a> Info<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        let (base, flags) = name.split_once(":2,").unwrap_or((name, ""));
        Self { base, draft: flags.contains('D'), trashed: flags.contains('T') }
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

/// Lists a directory's mail by name; a name that is not UTF-8 is not ours to touch.
pub(super) fn names(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && is_mail(&name)
        {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a path is a regular file of this user. Links are not followed.
pub(super) fn is_ours(path: &Path) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.uid() == uid)
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

/// Makes a new file of mode 0600.
pub(super) fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the names of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

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
