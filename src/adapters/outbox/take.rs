//! Takes one dropped file into `cur/`. Floor 3.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::files::{self, open_message, rename_new};
use super::{OutboxDir, io_failure};
use crate::model::failure::{Failure, Scope};
use crate::model::ids::OutboxId;
use crate::ports::outbox::{Dropped, Kept};

impl OutboxDir {
    /// Makes the claim of one file, all but the names of the directories.
    pub(super) fn take(&self, dropped: &Dropped, id: &OutboxId) -> Result<Kept, Failure> {
        let flags = match (dropped.draft, dropped.trashed) {
            (true, true) => "DT",
            (true, false) => "D",
            (false, true) => "T",
            (false, false) => "",
        };
        let path = self.dir("cur").join(format!("{id}:2,{flags}"));
        let failed = |err: io::Error| io_failure("claim the message", &dropped.path, &err);
        // Who dropped it may not have synced it, and a claim promises that it stays.
        let file = open_message(&dropped.path).map_err(|err| {
            let unreadable = err.kind() == io::ErrorKind::PermissionDenied;
            let scope = if unreadable { Scope::Message } else { Scope::Daemon };
            failed(err).scoped(scope)
        })?;
        file.sync_all().map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.nlink() > 1 {
            // Whoever has the other name goes on writing into a file that is not ours.
            self.copy_claim(file, &dropped.path, &path).map_err(failed)?;
        } else {
            rename_new(&dropped.path, &path).map_err(failed)?;
            // A private copy is nobody else's business, whatever the umask of its maker was.
            if meta.mode() & 0o777 != 0o600 {
                file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
            }
        }
        let (draft, trashed) = (dropped.draft, dropped.trashed);
        let now = fs::symlink_metadata(&path).map_err(failed)?;
        Ok(Kept { path, draft, trashed, size: now.len(), stamp: files::stamp(&now) })
    }

    /// Claims a file that has another name as well: a copy of it, in one step.
    fn copy_claim(&self, mut from: File, dropped: &Path, to: &Path) -> io::Result<()> {
        let tmp = self.dir("tmp").join(to.file_name().unwrap_or_default());
        let _leftover = fs::remove_file(&tmp);
        let mut copy = files::create(&tmp)?;
        io::copy(&mut from, &mut copy)?;
        copy.sync_all()?;
        rename_new(&tmp, to)?;
        fs::remove_file(dropped)
    }
}
