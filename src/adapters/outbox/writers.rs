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
        Some(open) => {
            paths.iter().map(|path| identity(path).is_some_and(|id| !open.contains(&id))).collect()
        }
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

/// The files that any process of this user has open for writing; none where that cannot be known.
#[cfg(target_os = "linux")]
fn open_for_writing() -> Option<std::collections::BTreeSet<(u64, u64)>> {
    use std::os::unix::fs::MetadataExt;
    let mut open = std::collections::BTreeSet::new();
    // Without our own entry this is no proc file system.
    fs::metadata("/proc/self/fd").ok()?;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let numeric = process.file_name().to_str().is_some_and(|n| n.parse::<u32>().is_ok());
        // Other users' processes cannot be looked into, and cannot write into a private directory.
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        if !numeric {
            continue;
        }
        for file in files.flatten() {
            let info = process.path().join("fdinfo").join(file.file_name());
            let Ok(meta) = fs::metadata(file.path()) else { continue };
            if meta.is_file() && fs::read_to_string(info).is_ok_and(|text| is_write(&text)) {
                open.insert((meta.dev(), meta.ino()));
            }
        }
    }
    Some(open)
}

#[cfg(not(target_os = "linux"))]
fn open_for_writing() -> Option<std::collections::BTreeSet<(u64, u64)>> {
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
