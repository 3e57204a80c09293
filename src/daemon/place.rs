//! Where the outbox is: whoever runs notes it, and whoever only spools goes there. Floor 5.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::adapters::private_file;
use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// The directory that a running daemon of this state directory looks into; none where it is not noted.
pub(super) fn noted(state_dir: &Path) -> Option<PathBuf> {
    private_file::read(&state_dir.join(NOTE)).ok().flatten().map(PathBuf::from)
}

/// Keeps where the outbox is. Where it was somewhere else before and mail still waits there, that is an error: its rows
/// would be forgotten, and nobody would send it.
pub(super) fn keep(dir: &Path, state_dir: &Path) -> Result<(), Failure> {
    let note = state_dir.join(NOTE);
    let failed = |err: std::io::Error| Failure::local_io("note where the outbox is", &err);
    let before = private_file::read(&note).map_err(failed)?;
    let here = dir.as_os_str().as_bytes();
    if before.as_deref().map(str::as_bytes) == Some(here) {
        return Ok(());
    }
    if let Some(before) = before.map(PathBuf::from)
        && let n = ["new", "cur"].map(|name| n_files(&before.join(name))).iter().sum::<usize>()
        && n > 0
    {
        let (old, new) = (before.display(), dir.display());
        return Err(Failure::new(Scope::Daemon, Remedy::Never, Kind::Config, "use another outbox")
            .at(new.to_string())
            .detail(format!("{n} files wait in the one before, {old}"))
            .cure(format!(
                "move what is in its new/ and cur/ to {new}, or set dir = \"{old}\" in [outbox]"
            )));
    }
    private_file::make_dirs(&note).map_err(failed)?;
    private_file::write(&note, &note.with_extension("new"), here).map_err(failed)
}

fn n_files(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

const NOTE: &str = "outbox-directory";
