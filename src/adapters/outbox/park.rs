//! Into `failed/`, with a reason beside it. Floor 3.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use super::files::{create, open_message, rename_new, sync_dir};
use super::{OutboxDir, io_failure};
use crate::model::failure::Failure;
use crate::model::ids::OutboxId;

impl OutboxDir {
    /// Removes a file of `failed/`, if it is there.
    pub(super) fn remove_parked(&self, name: &str) -> Result<(), Failure> {
        let path = self.dir("failed").join(name);
        match fs::remove_file(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                Err(io_failure("remove the message", &path, &err).cure("remove it by hand"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Moves something to `failed/` with a reason beside it, durably.
    pub(super) fn put_aside(&self, path: &Path, id: &OutboxId, reason: &str) -> io::Result<()> {
        let dir = self.dir("failed");
        self.write_reason(id, reason)?;
        rename_new(path, &dir.join(&id.0))?;
        sync_dir(&dir)?;
        path.parent().map_or(Ok(()), sync_dir)
    }

    /// Copies a message to `failed/` with a reason beside it, durably; the same copy may be there already.
    pub(super) fn copy_aside(&self, path: &Path, id: &OutboxId, reason: &str) -> io::Result<()> {
        let (dir, tmp) = (self.dir("failed"), self.dir("tmp").join(&id.0));
        self.write_reason(id, reason)?;
        let mut from = open_message(path)?;
        let _leftover = fs::remove_file(&tmp);
        let mut to = create(&tmp)?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()?;
        fs::rename(&tmp, dir.join(&id.0))?;
        sync_dir(&dir)
    }

    /// The reason first: a message without one would look like a mystery after a crash.
    fn write_reason(&self, id: &OutboxId, reason: &str) -> io::Result<()> {
        let tmp = self.dir("tmp").join(&id.0);
        let _leftover = fs::remove_file(&tmp);
        let mut file = create(&tmp)?;
        file.write_all(reason.as_bytes())?;
        file.sync_all()?;
        fs::rename(&tmp, self.dir("failed").join(format!("{id}.reason")))
    }
}
