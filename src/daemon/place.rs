//! Where the outbox is: whoever runs notes it, and whoever only spools goes there. Floor 5.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::adapters::private_file;
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// The directory that a running daemon of this state directory looks into; none where it is not noted.
///
/// # Errors
/// The note cannot be read.
pub(super) fn noted(state_dir: &Path) -> Result<Option<PathBuf>, Failure> {
    let note = private_file::read(&state_dir.join(NOTE)).map_err(|err| failed(&err))?;
    Ok(note.map(PathBuf::from))
}

/// Keeps where the outbox is. Where it was somewhere else before and mail still waits there, that is an error: its rows
/// would be forgotten, and nobody would send it.
///
/// # Errors
/// Mail waits in the other place; or that, or the note, cannot be read or written.
pub(super) fn keep(dir: &Path, state_dir: &Path) -> Result<(), Failure> {
    let before = noted(state_dir)?;
    if before.as_deref() == Some(dir) {
        return Ok(());
    }
    if let Some(before) = before {
        let n = n_files(&before.join("new"))? + n_files(&before.join("cur"))?;
        if n > 0 {
            return Err(left_behind(n, &before, dir));
        }
    }
    let note = state_dir.join(NOTE);
    private_file::write(&note, &note.with_extension("new"), dir.as_os_str().as_bytes())
        .map_err(|err| failed(&err))
}

fn left_behind(n: usize, old: &Path, new: &Path) -> Failure {
    let (old, new) = (old.display(), new.display());
    Failure::new(Scope::Daemon, Remedy::Never, Kind::Config, "use another outbox")
        .at(new.to_string())
        .detail(format!("mail waits in the one before, {old} (files: {n})"))
        .cure(format!(
            "move what is in its new/ and cur/ to {new}, or set dir = \"{old}\" in [outbox]"
        ))
}

/// How many files lie in a directory; none in one that is not there.
fn n_files(dir: &Path) -> Result<usize, Failure> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(entries.count()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(err) => Err(Failure::local_io("look into the outbox as it was", &err)
            .scoped(Scope::Daemon)
            .at(dir.display().to_string())),
    }
}

fn failed(err: &io::Error) -> Failure {
    Failure::local_io("note where the outbox is", err).scoped(Scope::Daemon)
}

const NOTE: &str = "outbox-directory";
