//! Delivery in batches: staged in `tmp/`, one durability barrier, then renames and one directory
//! sync. Floor 3.
//!
//! Measured on ext4, xfs and btrfs: only content **and** directory synced before the ledger learns
//! of it survives a power cut.

use std::fs::{File, FileTimes, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags};

use super::attest::Trail;
use super::name::{self, Naming};
use super::print::Print;
use super::{classify, scan, sub_name};
use crate::model::failure::Failure;
use crate::model::ids::Base;
use crate::model::view::{Fingerprint, Sub};
use crate::ports::local::{Landing, Settled, Staging};

/// A file being written in `tmp/`; removed when dropped before [`Staging::finish`].
#[derive(Debug)]
pub struct StagedFile {
    file: BufWriter<File>,
    path: PathBuf,
    base: String,
    print: Print,
    is_kept: bool,
}

impl StagedFile {
    /// Opens a new file; the name is unique, and O_EXCL makes sure of it.
    pub(super) fn create(tmp: &Path, host: &str) -> Result<Self, Failure> {
        let base = name::unique(host);
        let path = tmp.join(&base);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| classify("create file", &path, &e))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self { file, path, base, print: Print::default(), is_kept: false })
    }
}

impl Write for StagedFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.print.take(buf.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // Best effort: the sweep finds what is left.
        if !self.is_kept {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

impl Staging for StagedFile {
    fn finish(mut self, date: Option<i64>) -> Result<(Base, Fingerprint), Failure> {
        let done = self.file.flush().and_then(|()| set_mtime(self.file.get_ref(), date));
        done.map_err(|e| classify("write message", &self.path, &e))?;
        self.is_kept = true;
        let print = std::mem::take(&mut self.print).finish();
        Ok((Base(std::mem::take(&mut self.base)), print))
    }

    fn digest(&self) -> [u8; 32] {
        self.print.digest()
    }

    fn discard(self) {}
}

fn set_mtime(file: &File, date: Option<i64>) -> io::Result<()> {
    let Some(seconds) = date.and_then(|d| u64::try_from(d).ok()) else { return Ok(()) };
    let Some(time) = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) else { return Ok(()) };
    file.set_times(FileTimes::new().set_modified(time))
}

/// Makes the content of staged files durable: one `syncfs` for a large batch, `fsync` for a few.
pub(super) fn barrier(tmp: &Path, staged: &[Landing]) -> Result<(), Failure> {
    if staged.is_empty() {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    if staged.len() > FSYNC_EACH_MAX {
        let dir = File::open(tmp).map_err(|e| classify("open directory", tmp, &e))?;
        return rustix::fs::syncfs(&dir).map_err(|e| classify("sync file system", tmp, &e.into()));
    }
    for landing in staged {
        let path = tmp.join(&landing.base.0);
        let sync = File::open(&path).and_then(|f| f.sync_all());
        sync.map_err(|e| classify("sync file", &path, &e))?;
    }
    Ok(())
}

/// Makes staged files visible and that durable.
pub(super) fn promote(
    dir: &Path,
    staged: &[Landing],
    naming: &Naming,
    trail: &mut Trail,
) -> Result<(), Failure> {
    for landing in staged {
        let from = dir.join("tmp").join(&landing.base.0);
        let to = target(dir, landing, naming);
        rename_new(&from, &to).map_err(|e| classify("move message into place", &to, &e))?;
        trail.went(&from, &to);
    }
    for sub in [Sub::New, Sub::Cur] {
        if staged.iter().any(|l| l.sub == sub) {
            sync_dir(&dir.join(sub_name(sub)))?;
        }
    }
    Ok(())
}

fn target(dir: &Path, landing: &Landing, naming: &Naming) -> PathBuf {
    let info = match landing.sub {
        Sub::New if landing.flags.is_empty() => String::new(),
        Sub::New | Sub::Cur => naming.info_with("", &landing.flags),
    };
    dir.join(sub_name(landing.sub)).join(format!("{}{info}", landing.base))
}

/// Renames without ever replacing a file, where the file system can promise that.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(from, to),
        other => other.map_err(io::Error::from),
    }
}

/// Syncs a directory, so that names in it survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> Result<(), Failure> {
    #[cfg(test)]
    SYNCED.with_borrow_mut(|synced| synced.push((dir.to_path_buf(), names_in(dir))));
    let sync = File::open(dir).and_then(|d| d.sync_all());
    sync.map_err(|e| classify("sync directory", dir, &e))
}

/// Finds files that were about to become visible; those still in `tmp/` become it now.
pub(super) fn settle(
    dir: &Path,
    staged: &[Landing],
    naming: &Naming,
) -> Result<Vec<Settled>, Failure> {
    let mut visible = std::collections::BTreeSet::new();
    for sub in [Sub::New, Sub::Cur] {
        list_bases(&dir.join(sub_name(sub)), naming, &mut visible)?;
    }
    let mut settled = Vec::new();
    for landing in staged {
        let in_tmp = dir.join("tmp").join(&landing.base.0);
        if visible.contains(&landing.base) {
            settled.push(Settled::Visible);
        } else if in_tmp.exists() {
            promote(dir, std::slice::from_ref(landing), naming, &mut Trail::default())?;
            settled.push(Settled::Visible);
        } else {
            settled.push(Settled::Nowhere);
        }
    }
    // The process may have died between the renames and the sync of the directories.
    if settled.contains(&Settled::Visible) {
        for sub in [Sub::New, Sub::Cur] {
            sync_dir(&dir.join(sub_name(sub)))?;
        }
    }
    Ok(settled)
}

fn list_bases(
    dir: &Path,
    naming: &Naming,
    into: &mut std::collections::BTreeSet<Base>,
) -> Result<(), Failure> {
    scan::list(dir, naming, |base, _| {
        into.insert(Base(base.to_owned()));
    })
}

#[cfg(test)]
fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
thread_local! {
    /// The directories that this thread synced, and what was in them: all that a power cut leaves.
    pub(super) static SYNCED: std::cell::RefCell<Vec<(PathBuf, Vec<String>)>> =
        const { std::cell::RefCell::new(Vec::new()) };
}

/// From this many files on, one `syncfs` is cheaper than an `fsync` each.
#[cfg(target_os = "linux")]
const FSYNC_EACH_MAX: usize = 8;
const BUFFER_BYTES: usize = 32 * 1024;

/// Writes a file durably: the old or the new content is there, never half of it.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content).and_then(|()| file.sync_all())?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
