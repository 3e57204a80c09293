//! Reads messages: for upload, and for the evidence by which sides are paired. Floor 3.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::name::Naming;
use super::print::Print;
use super::{classify, flags, scan, sub_name};
use crate::model::failure::{Failure, Scope};
use crate::model::ids::Base;
use crate::model::view::{Fingerprint, LocalMessage, Sub};
use crate::ports::local::Seen;
use crate::ports::remote::Upload;

/// Opens a message for upload; `None` if it is gone.
pub(super) fn open(dir: &Path, seen: &Seen, naming: &Naming) -> Result<Option<Upload>, Failure> {
    let Some((mut file, flags)) = open_file(dir, seen, naming)? else { return Ok(None) };
    let path = dir.join(&seen.0.0);
    let fail = |e: io::Error| classify("read message", &path, &e).scoped(Scope::Message);
    let meta = file.metadata().map_err(fail)?;
    let print = measure(&mut file).map_err(fail)?;
    file.rewind().map_err(fail)?;
    let (disk_bytes, date) = (meta.len(), meta.mtime());
    Ok(Some(Upload { file, disk_bytes, print, flags, date }))
}

fn open_file(
    dir: &Path,
    (base, seen): &Seen,
    naming: &Naming,
) -> Result<Option<(File, crate::model::flags::Flags)>, Failure> {
    let mut at = seen.clone();
    for _ in 0..RACE_ROUNDS_MAX {
        let path = dir.join(sub_name(at.sub)).join(format!("{base}{}", at.info));
        let open = OpenOptions::new().read(true).custom_flags(NOFOLLOW_NONBLOCK).open(&path);
        match open {
            Ok(file) => return Ok(Some((file, at.flags))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(classify("open message", &path, &e).scoped(Scope::Message)),
        }
        match flags::find(dir, std::iter::once(base), naming)?.remove(base) {
            Some(now) => at = now,
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// The fingerprint of a file, in one pass over it.
fn measure(file: &mut File) -> io::Result<Fingerprint> {
    let mut buffer = vec![0_u8; READ_BYTES];
    let mut print = Print::default();
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(print.finish());
        }
        print.take(buffer.get(..n).unwrap_or_default());
    }
}

/// The fingerprints of messages; files that are gone are left out.
pub(super) fn fingerprints(
    dir: &Path,
    seen: &[Seen],
    naming: &Naming,
) -> Result<Vec<(Base, Fingerprint)>, Failure> {
    let mut found = Vec::new();
    for one in seen {
        let Some((mut file, _)) = open_file(dir, one, naming)? else { continue };
        let print = measure(&mut file).map_err(|e| classify("read message", dir, &e))?;
        found.push((one.0.clone(), print));
    }
    Ok(found)
}

/// All messages with their mtimes; files that vanish meanwhile are left out.
pub(super) fn dates(dir: &Path, naming: &Naming) -> Result<Vec<(Seen, i64)>, Failure> {
    let mut found = Vec::new();
    for sub in [Sub::New, Sub::Cur] {
        let here = dir.join(sub_name(sub));
        scan::list(&here, naming, |base, info| {
            let path = here.join(format!("{base}{info}"));
            if let Ok(meta) = path.symlink_metadata() {
                let message =
                    LocalMessage { sub, flags: naming.flags_of(info), info: info.to_owned() };
                found.push(((Base(base.to_owned()), message), meta.mtime()));
            }
        })?;
    }
    Ok(found)
}

const READ_BYTES: usize = 64 * 1024;
const RACE_ROUNDS_MAX: u32 = 10;
/// `O_NOFOLLOW | O_NONBLOCK`: neither a symlink nor a FIFO can trap us.
const NOFOLLOW_NONBLOCK: i32 =
    (rustix::fs::OFlags::NOFOLLOW.bits() | rustix::fs::OFlags::NONBLOCK.bits()) as i32;
