//! Lists a Maildir completely, or fails. Floor 3.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::name::Naming;
use super::{classify, sub_name};
use crate::model::failure::Failure;
use crate::model::flags::{Flag, Flags};
use crate::model::ids::Base;
use crate::model::listing::ListingBuilder;
use crate::model::view::{Stamp, Sub};
use crate::ports::local::{Scan, Tally};

/// The mtimes of `new/` and `cur/`.
pub(super) fn stamp(dir: &Path) -> Result<Stamp, Failure> {
    let of = |sub: Sub| {
        let path = dir.join(sub_name(sub));
        let meta = path.symlink_metadata().map_err(|e| classify("look at directory", &path, &e))?;
        Ok(meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()))
    };
    Ok(Stamp { new_ns: of(Sub::New)?, cur_ns: of(Sub::Cur)? })
}

/// Counts what is in `new/` and `cur/`, and keeps no name.
pub(super) fn tally(dir: &Path, naming: &Naming) -> Result<Tally, Failure> {
    let before = settled_stamp(dir)?;
    let mut tally = Tally::default();
    for sub in [Sub::New, Sub::Cur] {
        list(&dir.join(sub_name(sub)), naming, |_, info| {
            tally.total += 1;
            tally.unread += usize::from(!naming.flags_of(info).has(Flag::Seen));
        })?;
    }
    let is_still = stamp(dir)? == before && is_older_than_a_tick(before) && !before.is_coarse();
    tally.still = is_still.then_some(before);
    Ok(tally)
}

/// Lists `new/` and `cur/`. A file that another program renames meanwhile can be missed
/// (measured: up to 91 % of scans on tmpfs), so a missing name is a question, never an answer.
pub(super) fn scan(dir: &Path, naming: &Naming) -> Result<Scan, Failure> {
    let before = settled_stamp(dir)?;
    let keywords = naming.keywords.all();
    let mut scan = Scan { stamp: before, keywords, ..Scan::default() };
    let mut builder = ListingBuilder::default();
    for sub in [Sub::New, Sub::Cur] {
        list(&dir.join(sub_name(sub)), naming, |base, info| {
            builder.add(base, info, sub, &naming.flags_of(info));
        })?;
    }
    // A rename in progress shows a file twice.
    let (messages, is_unique) = builder.finish();
    scan.messages = messages;
    scan.steady = is_unique && stamp(dir)? == before && is_older_than_a_tick(before);
    Ok(scan)
}

/// The state of the directories, if it stands still and will show the next change.
pub(super) fn still_stamp(dir: &Path) -> Result<Option<Stamp>, Failure> {
    let now = settled_stamp(dir)?;
    Ok(Some(now).filter(|now| is_older_than_a_tick(*now) && !now.is_coarse()))
}

/// The state of the directories, once it will show the next change.
fn settled_stamp(dir: &Path) -> Result<Stamp, Failure> {
    let now = stamp(dir)?;
    if is_older_than_a_tick(now) {
        return Ok(now);
    }
    // We may have written ourselves just now: one tick makes this scan one to build on.
    std::thread::sleep(TICK);
    stamp(dir)
}

/// Looks for files where they should be, and lists the directories if one is not there.
pub(super) fn find(dir: &Path, naming: &Naming, files: &[(Base, Flags)]) -> Result<Scan, Failure> {
    let mut scan = Scan { stamp: stamp(dir)?, keywords: naming.keywords.all(), ..Scan::default() };
    let mut builder = ListingBuilder::default();
    let mut astray: BTreeSet<&str> = BTreeSet::new();
    for (base, flags) in files {
        let info = naming.info_with("", flags);
        let places = [(Sub::Cur, info.as_str()), (Sub::New, ""), (Sub::New, info.as_str())];
        let found = places.into_iter().find(|(sub, info)| {
            let path = dir.join(sub_name(*sub)).join(format!("{base}{info}"));
            path.symlink_metadata().is_ok_and(|m| m.is_file())
        });
        match found {
            Some((sub, info)) => builder.add(&base.0, info, sub, &naming.flags_of(info)),
            None => {
                astray.insert(&base.0);
            }
        }
    }
    if !astray.is_empty() {
        for sub in [Sub::New, Sub::Cur] {
            list(&dir.join(sub_name(sub)), naming, |base, info| {
                if astray.contains(base) {
                    builder.add(base, info, sub, &naming.flags_of(info));
                }
            })?;
        }
    }
    scan.messages = builder.finish().0;
    Ok(scan)
}

/// Calls `each` with base and info of every message file of a directory.
pub(super) fn list(
    dir: &Path,
    naming: &Naming,
    mut each: impl FnMut(&str, &str),
) -> Result<(), Failure> {
    let fail = |e: std::io::Error| classify("list directory", dir, &e);
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str() else {
            tracing::debug!(dir = %dir.display(), "a file name that is not UTF-8 is left alone");
            continue;
        };
        if file_name.starts_with('.') || !entry.file_type().map_err(fail)?.is_file() {
            continue;
        }
        let (base, info) = naming.split(file_name);
        if !base.is_empty() {
            each(base, info);
        }
    }
    Ok(())
}

/// File times move in ticks of up to 10 ms: a directory that changed within the last tick can
/// change again without showing it.
fn is_older_than_a_tick(stamp: Stamp) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    now_ns.saturating_sub(stamp.new_ns.max(stamp.cur_ns)) > TICK_NS
}

const TICK_NS: i64 = 10_000_000;
const TICK: Duration = Duration::from_millis(11);
