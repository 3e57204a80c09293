//! No two things that postrider writes to may be the same directory, or one inside the other: a
//! sync would take the files of one for mail of the other. Floor 5.

use std::path::{Path, PathBuf};

use super::raw::Spot;

/// A directory that postrider writes to.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// What it is, for the message.
    pub(super) what: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Where the file names it.
    pub(super) spot: Spot<'a>,
}

/// Notes each pair that overlaps, at the later one.
pub(super) fn refuse_overlaps(places: &[Place<'_>]) {
    let real: Vec<PathBuf> = places.iter().map(|place| resolved(&place.path)).collect();
    for (n, (later, later_real)) in places.iter().zip(&real).enumerate() {
        for (earlier, earlier_real) in places.iter().zip(&real).take(n) {
            let relation = if later_real == earlier_real {
                "is also"
            } else if later_real.starts_with(earlier_real) {
                "is inside"
            } else if earlier_real.starts_with(later_real) {
                "contains"
            } else {
                continue;
            };
            let (path, what) = (later.path.display(), &earlier.what);
            later.spot.problem(format!("{path} {relation} {what} ({})", earlier.path.display()));
        }
    }
}

/// The path with the symbolic links of its existing part resolved, as far as that can be seen.
fn resolved(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        if let Ok(real) = existing.canonicalize() {
            let rest = path.strip_prefix(existing).unwrap_or_else(|_| Path::new(""));
            return real.join(rest);
        }
    }
    path.to_owned()
}
