//! Whether a file dropped flat is complete: no process has it open for writing. Floor 3.
//!
//! A lease would answer this in one call, but neither std nor rustix nor nix wraps it, and unsafe code
//! is forbidden here. Linux lists the open files
//! of our own processes in `/proc`; elsewhere, size and time must have been quiet for a while.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Says for each path whether it is complete.
pub(super) fn complete<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<bool> {
    let paths: Vec<&Path> = paths.collect();
    if paths.is_empty() {
        return Vec::new();
    }
    match open_for_writing() {
        Some(open) => paths.iter().map(|path| open.is_closed(path)).collect(),
        None => paths.iter().map(|path| is_quiet(path)).collect(),
    }
}

fn is_quiet(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    let age = modified.ok().and_then(|then| SystemTime::now().duration_since(then).ok());
    age.is_some_and(|age| age >= QUIET)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// What the processes of this user have open for writing.
#[derive(Debug, Default)]
struct OpenFiles {
    known: std::collections::BTreeSet<(u64, u64)>,
    /// Whether a process of ours did not let itself be looked into: those outside of a user namespace
    /// do not, and the service has one of its own.
    has_secrets: bool,
}

impl OpenFiles {
    fn is_closed(&self, path: &Path) -> bool {
        let is_known = identity(path).is_none_or(|id| self.known.contains(&id));
        !is_known && (!self.has_secrets || is_quiet(path))
    }
}

/// The files that any process of this user has open for writing; none where that cannot be known.
#[cfg(target_os = "linux")]
fn open_for_writing() -> Option<OpenFiles> {
    use std::os::unix::fs::MetadataExt;
    let mut open = OpenFiles::default();
    let own = rustix::process::geteuid().as_raw();
    let is_nested = is_in_a_user_namespace();
    // Without our own entry this is no proc file system.
    fs::metadata("/proc/self/fd").ok()?;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let numeric = process.file_name().to_str().is_some_and(|n| n.parse::<u32>().is_ok());
        // Other users' processes cannot be looked into, and cannot write into a private directory.
        if !numeric || process.metadata().map_or(true, |meta| meta.uid() != own) {
            continue;
        }
        let refused = |err: &std::io::Error| err.kind() == std::io::ErrorKind::PermissionDenied;
        let files = match fs::read_dir(process.path().join("fd")) {
            Ok(files) => files,
            Err(err) => {
                open.has_secrets |= is_nested && refused(&err);
                continue;
            }
        };
        for file in files.flatten() {
            let info = process.path().join("fdinfo").join(file.file_name());
            match fs::metadata(file.path()) {
                Ok(meta)
                    if meta.is_file() && fs::read_to_string(info).is_ok_and(|t| is_write(&t)) =>
                {
                    open.known.insert((meta.dev(), meta.ino()));
                }
                Ok(_) => {}
                Err(err) => open.has_secrets |= is_nested && refused(&err),
            }
        }
    }
    Some(open)
}

/// Whether there are processes of this user that count as foreign (user_namespaces(7)).
#[cfg(target_os = "linux")]
fn is_in_a_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().ne(["0", "0", "4294967295"]))
}

#[cfg(not(target_os = "linux"))]
fn open_for_writing() -> Option<OpenFiles> {
    None
}

/// Reads the access mode out of a `fdinfo` file.
#[cfg(target_os = "linux")]
fn is_write(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|text| u64::from_str_radix(text.trim(), 8).ok());
    // O_WRONLY is 1 and O_RDWR is 2 on every Linux; a descriptor that cannot be read may be a writer.
    flags.is_none_or(|flags| flags & 3 != 0)
}

const QUIET: Duration = Duration::from_secs(5);
