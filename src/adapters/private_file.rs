//! Small files that are for the owner alone, written whole or not at all. Floor 3, shared by the adapters.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Reads a file; none if there is none.
///
/// # Errors
/// Others may read it, or the system says no.
pub fn read(file: &Path) -> io::Result<Option<String>> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    let mode = opened.metadata()?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let what = format!("others may read it (mode {mode:03o}): run chmod 600 on it");
        return Err(io::Error::other(what));
    }
    let mut text = String::with_capacity(FILE_BYTES_MAX);
    opened.take(FILE_BYTES_MAX as u64).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes a file: whole and durable under its name, or not at all. `draft` is where it stands until then,
/// a file of the same directory that nobody else uses meanwhile.
///
/// # Errors
/// The system says no.
pub fn write(file: &Path, draft: &Path, bytes: &[u8]) -> io::Result<()> {
    make_dirs(file)?;
    match std::fs::remove_file(draft) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    let mut new = options.write(true).create_new(true).mode(0o600).open(draft)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    std::fs::rename(draft, file)?;
    file.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// Makes the directory of a file, for the owner alone.
///
/// # Errors
/// The system says no.
pub fn make_dirs(file: &Path) -> io::Result<()> {
    let make = |dir| DirBuilder::new().recursive(true).mode(0o700).create(dir);
    file.parent().map_or(Ok(()), make)
}

const FILE_BYTES_MAX: usize = 256 * 1024;
