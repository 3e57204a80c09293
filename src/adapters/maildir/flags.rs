//! Flags are part of the file name: a change is a rename, and the mail reader may be faster.
//! Floor 3.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::attest::Trail;
use super::name::Naming;
use super::{classify, deliver, scan, sub_name};
use crate::model::failure::Failure;
use crate::model::flags::{Flag, FlagDelta, Flags};
use crate::model::ids::Base;
use crate::model::view::{LocalMessage, Sub};
use crate::ports::local::Seen;

/// Applies changes; files that are gone are left out of the answer.
pub(super) fn set(
    dir: &Path,
    changes: &[(Seen, FlagDelta)],
    naming: &Naming,
    trail: &mut Trail,
) -> Result<Vec<(Base, Flags)>, Failure> {
    let mut done = Vec::new();
    let mut again: Vec<&(Seen, FlagDelta)> = Vec::new();
    for change in changes {
        let ((base, seen), delta) = change;
        match rename(dir, base, seen, delta, naming, trail)? {
            Some(flags) => done.push((base.clone(), flags)),
            None => again.push(change),
        }
    }
    for _ in 0..RACE_ROUNDS_MAX {
        if again.is_empty() {
            break;
        }
        let names = find(dir, again.iter().map(|((base, _), _)| base), naming)?;
        let mut lost = Vec::new();
        for change in again {
            let ((base, _), delta) = change;
            let Some(seen) = names.get(base) else { continue };
            match rename(dir, base, seen, delta, naming, trail)? {
                Some(flags) => done.push((base.clone(), flags)),
                None => lost.push(change),
            }
        }
        again = lost;
    }
    // Renames begin and end in either directory; a lost one would come back as a change of flags.
    deliver::sync_dir(&dir.join("cur"))?;
    if changes.iter().any(|((_, seen), _)| seen.sub == Sub::New) {
        deliver::sync_dir(&dir.join("new"))?;
    }
    Ok(done)
}

/// One rename; `None` if the file is not where it was seen.
fn rename(
    dir: &Path,
    base: &Base,
    seen: &LocalMessage,
    delta: &FlagDelta,
    naming: &Naming,
    trail: &mut Trail,
) -> Result<Option<Flags>, Failure> {
    let flags = seen.flags.apply(delta);
    let to_sub = if flags.has(Flag::Seen) { Sub::Cur } else { seen.sub };
    let from = path(dir, seen.sub, base, &seen.info);
    let to = path(dir, to_sub, base, &naming.info_with(&seen.info, &flags));
    if from == to {
        return Ok(from.exists().then_some(flags));
    }
    match std::fs::rename(&from, &to) {
        Ok(()) => {
            trail.went(&from, &to);
            Ok(Some(flags))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(classify("change flags of message", &from, &e)),
    }
}

fn path(dir: &Path, sub: Sub, base: &Base, info: &str) -> PathBuf {
    dir.join(sub_name(sub)).join(format!("{base}{info}"))
}

/// Finds files by base name, wherever they are now.
pub(super) fn find<'a>(
    dir: &Path,
    wanted: impl Iterator<Item = &'a Base>,
    naming: &Naming,
) -> Result<BTreeMap<Base, LocalMessage>, Failure> {
    let wanted: std::collections::BTreeSet<&str> = wanted.map(|b| b.0.as_str()).collect();
    let mut found = BTreeMap::new();
    for sub in [Sub::New, Sub::Cur] {
        scan::list(&dir.join(sub_name(sub)), naming, |base, info| {
            if wanted.contains(base) {
                let flags = naming.flags_of(info);
                let message = LocalMessage { sub, flags, info: info.to_owned() };
                found.insert(Base(base.to_owned()), message);
            }
        })?;
    }
    Ok(found)
}

const RACE_ROUNDS_MAX: u32 = 10;
