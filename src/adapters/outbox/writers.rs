//! Whether a file dropped flat is complete: no process has it open for writing. Floor 3.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::files::open_message;

/// Says whether a dropped file is complete.
///
/// Linux knows (a lease, fcntl(2)), whoever the writer is. On macOS, and on file systems without
/// leases such as NFS, where the writer may be on another machine, the file must have been quiet for a while.
pub(super) fn is_complete(path: &Path) -> bool {
    let open = open_message(path).and_then(|file| postrider_lease::is_open_for_writing(&file));
    open.map_or_else(|_| is_quiet(path), |open| !open)
}

fn is_quiet(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    let age = modified.ok().and_then(|then| SystemTime::now().duration_since(then).ok());
    age.is_some_and(|age| age >= QUIET)
}

const QUIET: Duration = Duration::from_secs(5);
