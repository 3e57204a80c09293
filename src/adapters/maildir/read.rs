//! Reads messages: for upload, and for the evidence by which sides are paired. Floor 3.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::name::Naming;
use super::{classify, flags, sub_name};
use crate::model::failure::{Failure, Scope};
use crate::model::ids::Base;
use crate::model::view::Evidence;
use crate::ports::local::Seen;
use crate::ports::remote::Upload;
use crate::rules::header::message_id;

/// Opens a message for upload; `None` if it is gone.
pub(super) fn open(dir: &Path, seen: &Seen, naming: &Naming) -> Result<Option<Upload>, Failure> {
    let Some((mut file, flags)) = open_file(dir, seen, naming)? else { return Ok(None) };
    let path = dir.join(&seen.0.0);
    let fail = |e: io::Error| classify("read message", &path, &e).scoped(Scope::Message);
    let meta = file.metadata().map_err(fail)?;
    let (wire_bytes, head, _) = measure(&mut file).map_err(fail)?;
    file.rewind().map_err(fail)?;
    let (disk_bytes, date) = (meta.len(), meta.mtime());
    let message_id = message_id(&head);
    Ok(Some(Upload { file, disk_bytes, wire_bytes, flags, date, message_id }))
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

/// Wire size, header and digest of a file, in one pass over it.
fn measure(file: &mut File) -> io::Result<(u64, Vec<u8>, [u8; 32])> {
    let mut buffer = vec![0_u8; READ_BYTES];
    let (mut wire, mut last, mut hash) = (0_u64, 0_u8, Sha256::new());
    let mut head = Vec::new();
    loop {
        let n = file.read(&mut buffer)?;
        let chunk = buffer.get(..n).unwrap_or_default();
        let Some(end) = chunk.last() else { break };
        wire += wire_bytes(chunk, last);
        last = *end;
        hash.update(chunk);
        if head.len() < HEADER_BYTES_MAX {
            head.extend_from_slice(chunk);
        }
    }
    Ok((wire, head, hash.finalize().into()))
}

/// The size of a piece when each lone LF becomes CRLF; `last` is the byte before the piece.
fn wire_bytes(chunk: &[u8], last: u8) -> u64 {
    let mut extra = 0_u64;
    for at in memchr::memchr_iter(b'\n', chunk) {
        let before = at.checked_sub(1).and_then(|i| chunk.get(i)).copied().unwrap_or(last);
        extra += u64::from(before != b'\r');
    }
    chunk.len() as u64 + extra
}

/// Message-ID and wire size of messages; files that are gone are left out.
pub(super) fn evidence(
    dir: &Path,
    seen: &[Seen],
    naming: &Naming,
) -> Result<Vec<(Base, Evidence)>, Failure> {
    let mut found = Vec::new();
    for one in seen {
        let Some((mut file, _)) = open_file(dir, one, naming)? else { continue };
        let measured = measure(&mut file);
        let (size, head, _) = measured.map_err(|e| classify("read message", dir, &e))?;
        found.push((one.0.clone(), Evidence { message_id: message_id(&head), size }));
    }
    Ok(found)
}

/// SHA-256 of messages; files that are gone are left out.
pub(super) fn digests(
    dir: &Path,
    seen: &[Seen],
    naming: &Naming,
) -> Result<Vec<(Base, [u8; 32])>, Failure> {
    let mut found = Vec::new();
    for one in seen {
        let Some((mut file, _)) = open_file(dir, one, naming)? else { continue };
        let measured = measure(&mut file);
        let (_, _, digest) = measured.map_err(|e| classify("read message", dir, &e))?;
        found.push((one.0.clone(), digest));
    }
    Ok(found)
}

const READ_BYTES: usize = 64 * 1024;
const HEADER_BYTES_MAX: usize = 256 * 1024;
const RACE_ROUNDS_MAX: u32 = 10;
/// `O_NOFOLLOW | O_NONBLOCK`: neither a symlink nor a FIFO can trap us.
const NOFOLLOW_NONBLOCK: i32 =
    (rustix::fs::OFlags::NOFOLLOW.bits() | rustix::fs::OFlags::NONBLOCK.bits()) as i32;
