//! The outbox directory behind [`Spool`]: `new/`, `cur/`, `failed/`, `tmp/`, and files dropped flat.
//! Floor 3.
//!
//! Files change their directory by rename only, and each change is durable (file, then directory)
//! before it is reported. Nothing here decides what becomes of a message.

mod files;
mod park;
mod take;
mod writers;

pub mod sent;
pub mod watch;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::OutboxId;
use crate::ports::outbox::{Dropped, Kept, Odd, Scan, Spool};

use files::{Info, Nature, names, open_message, sync_dir};

/// The outbox directory.
#[derive(Debug, Clone)]
pub struct OutboxDir {
    root: PathBuf,
}

impl OutboxDir {
    /// Opens the outbox and makes what is missing of it, each directory with mode 0700.
    ///
    /// # Errors
    ///
    /// When it cannot be made, is not ours, or others may write to it.
    pub fn open(root: &Path) -> Result<Self, Failure> {
        let spool = Self { root: root.to_owned() };
        for dir in ["", "tmp", "new", "cur", "failed"] {
            let path = if dir.is_empty() { root.to_owned() } else { root.join(dir) };
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|err| io_failure("make the outbox", &path, &err).cure(IN_THE_WAY))?;
            check_private(&path)?;
        }
        Ok(spool)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Puts a complete message into `new/` under a name of the caller's, durably.
    ///
    /// `ready` is called when the bytes are safe in `tmp/` and before the file appears in `new/`: the
    /// moment to record what belongs to it. An error of it drops the message.
    ///
    /// # Errors
    ///
    /// When reading or writing fails; nothing appears in `new/` then.
    pub fn drop_message(
        &self,
        id: &OutboxId,
        content: &mut dyn Read,
        ready: &mut dyn FnMut() -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let (tmp, new) = (self.root.join("tmp").join(&id.0), self.root.join("new").join(&id.0));
        let written = self.write_tmp(&tmp, content).and_then(|size| {
            ready()?;
            fs::rename(&tmp, &new)
                .and_then(|()| sync_dir(&self.root.join("new")))
                .map_err(|err| io_failure("put the message into the outbox", &new, &err))?;
            Ok(size)
        });
        if written.is_err() {
            // What is left in tmp/ was never promised to anyone.
            let _gone = fs::remove_file(&tmp);
        }
        written
    }

    fn write_tmp(&self, tmp: &Path, content: &mut dyn Read) -> Result<u64, Failure> {
        let failed = |err: io::Error| io_failure("write the message", tmp, &err);
        let mut file = files::create(tmp).map_err(failed)?;
        let size = io::copy(content, &mut file).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(size)
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The files of a directory whose names are mail, as (name, path).
    fn mail(&self, dir: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
        names(dir).map_err(|err| io_failure("list the outbox", dir, &err))
    }

    fn dropped(&self, name: &str, path: PathBuf) -> Dropped {
        let info = Info::of(name);
        Dropped {
            path,
            name: info.base.to_owned(),
            draft: info.draft,
            trashed: info.trashed,
            is_flat: false,
            is_used: info.is_used,
        }
    }

    /// Sorts what lies in a directory: files that may be mail are returned, the rest is noted in `scan`.
    fn sorted(&self, dir: &Path, scan: &mut Scan) -> Result<Vec<Dropped>, Failure> {
        let is_flat = dir == self.root;
        let mut found = Vec::new();
        for (name, path) in self.mail(dir)? {
            match files::nature(&path) {
                Nature::Mail(age) => {
                    let mut dropped = self.dropped(&name, path);
                    dropped.is_flat = is_flat;
                    dropped.is_used |= age > OLD;
                    found.push(dropped);
                }
                Nature::Linked => scan.unfinished = true,
                Nature::Odd(why) => scan.odd.push(Odd { path, why: why.to_owned() }),
                // Beside new/ and cur/ it is somebody's, and no business of ours.
                Nature::Directory if is_flat => {}
                Nature::Directory => {
                    let why = "a directory is no message: drop its files one by one".to_owned();
                    scan.odd.push(Odd { path, why });
                }
                Nature::Gone => {}
            }
        }
        Ok(found)
    }

    fn kept_file(&self, name: &str, path: PathBuf) -> Option<(OutboxId, Kept)> {
        let meta = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let info = Info::of(name);
        let (draft, trashed, size) = (info.draft, info.trashed, meta.len());
        let stamp = files::stamp(&meta);
        Some((OutboxId(info.base.to_owned()), Kept { path, draft, trashed, size, stamp }))
    }
}

impl Spool for OutboxDir {
    fn scan(&self) -> Result<Scan, Failure> {
        let mut scan = Scan::default();
        let new = self.dir("new");
        for dir in [&self.root, &new] {
            check_private(dir)?;
        }
        scan.ready = self.sorted(&new, &mut scan)?;
        let flat = self.sorted(&self.root, &mut scan)?;
        for dropped in flat {
            if writers::is_complete(&dropped.path) {
                scan.ready.push(dropped);
            } else {
                scan.unfinished = true;
            }
        }
        Ok(scan)
    }

    fn claim(&self, batch: &[(Dropped, OutboxId)]) -> Vec<Result<Kept, Failure>> {
        let mut claimed: Vec<Result<Kept, Failure>> =
            batch.iter().map(|(dropped, id)| self.take(dropped, id)).collect();
        let mut dirs: Vec<PathBuf> = vec![self.dir("cur")];
        for (dropped, _) in batch {
            let parent = dropped.path.parent().map(Path::to_owned);
            dirs.extend(parent.filter(|parent| !dirs.contains(parent)));
        }
        let synced = dirs.iter().try_for_each(|dir| {
            sync_dir(dir).map_err(|err| io_failure("claim the messages", dir, &err))
        });
        if let Err(failure) = synced {
            for ((dropped, _), result) in batch.iter().zip(&mut claimed) {
                // Back to where it was; if even that fails, the next start finds its row.
                if let Ok(kept) = result
                    && fs::rename(&kept.path, &dropped.path).is_ok()
                {
                    *result = Err(failure.clone());
                }
            }
        }
        claimed
    }

    fn set_aside(&self, path: &Path, id: &OutboxId, reason: &str) -> Result<(), Failure> {
        self.put_aside(path, id, reason).map_err(|err| io_failure("set aside", path, &err))
    }

    fn ends_early(&self, kept: &Kept, boundary: &str) -> Result<bool, Failure> {
        open_message(&kept.path)
            .and_then(|mut file| files::lacks_end(&mut file, boundary))
            .map_err(|err| io_failure("read the message", &kept.path, &err))
    }

    fn find(&self, id: &OutboxId) -> Result<Option<Kept>, Failure> {
        let cur = self.dir("cur");
        let plain = format!("{id}:2,");
        if let Some((_, kept)) = self.kept_file(&plain, cur.join(&plain)) {
            return Ok(Some(kept));
        }
        let all = self.mail(&cur)?;
        let mut mine = all.into_iter().filter(|(name, _)| Info::of(name).base == id.0);
        Ok(mine.find_map(|(name, path)| self.kept_file(&name, path)).map(|(_, kept)| kept))
    }

    fn replaced(&self, id: &OutboxId) -> Result<Option<Odd>, Failure> {
        for (name, path) in self.mail(&self.dir("cur"))? {
            if Info::of(&name).base == id.0 {
                let why = match files::nature(&path) {
                    Nature::Odd(why) => why.to_owned(),
                    Nature::Directory => "a directory is no message".to_owned(),
                    Nature::Mail(_) | Nature::Linked | Nature::Gone => continue,
                };
                return Ok(Some(Odd { path, why }));
            }
        }
        Ok(None)
    }

    fn kept(&self) -> Result<BTreeMap<OutboxId, Kept>, Failure> {
        let mut kept = BTreeMap::new();
        for (name, path) in self.mail(&self.dir("cur"))? {
            kept.extend(self.kept_file(&name, path));
        }
        Ok(kept)
    }

    fn head(&self, kept: &Kept, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut head = Vec::new();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        open_message(&kept.path).and_then(|file| file.take(limit).read_to_end(&mut head)).map_err(
            |err| io_failure("read the message", &kept.path, &err).scoped(Scope::Message),
        )?;
        Ok(head)
    }

    fn insert(&self, kept: &Kept, at: u64, bytes: &[u8]) -> Result<Kept, Failure> {
        let failed = |err: io::Error| io_failure("complete the message", &kept.path, &err);
        let name = kept.path.file_name().unwrap_or_default();
        let tmp = self.dir("tmp").join(name);
        let mut from = open_message(&kept.path).map_err(failed)?;
        let _leftover = fs::remove_file(&tmp);
        let mut to = files::create(&tmp).map_err(failed)?;
        let copy = |from: &mut File, to: &mut File| -> io::Result<()> {
            io::copy(&mut Read::by_ref(from).take(at), to)?;
            to.write_all(bytes)?;
            from.seek(SeekFrom::Start(at))?;
            io::copy(from, to)?;
            to.sync_all()
        };
        let size = kept.size.saturating_add(u64::try_from(bytes.len()).unwrap_or_default());
        let stamp = copy(&mut from, &mut to)
            .and_then(|()| to.metadata())
            .and_then(|meta| fs::rename(&tmp, &kept.path).map(|()| files::stamp(&meta)))
            .and_then(|stamp| sync_dir(&self.dir("cur")).map(|()| stamp))
            .map_err(failed)?;
        Ok(Kept { size, stamp, ..kept.clone() })
    }

    fn unflag(&self, id: &OutboxId, kept: &Kept) -> Result<Kept, Failure> {
        let cur = self.dir("cur");
        let path = cur.join(format!("{id}:2,"));
        fs::rename(&kept.path, &path)
            .and_then(|()| sync_dir(&cur))
            .map_err(|err| io_failure("release the message", &kept.path, &err))?;
        Ok(Kept { path, draft: false, trashed: false, ..kept.clone() })
    }

    fn park(&self, id: &OutboxId, kept: &Kept, reason: &str) -> Result<(), Failure> {
        self.put_aside(&kept.path, id, reason)
            .map_err(|err| io_failure("park the message", &kept.path, &err))
    }

    fn park_copy(&self, id: &OutboxId, kept: &Kept, reason: &str) -> Result<(), Failure> {
        self.copy_aside(&kept.path, id, reason)
            .map_err(|err| io_failure("park a copy of the message", &kept.path, &err))
    }

    fn find_anywhere(&self, id: &OutboxId) -> Result<Option<Kept>, Failure> {
        let parked = self.dir("failed").join(&id.0);
        if let Some(kept) = self.find(id)? {
            return Ok(Some(kept));
        }
        let found = self.kept_file(&id.0, parked).map(|(_, kept)| kept);
        // Taken up again between the two looks.
        found.map_or_else(|| self.find(id), |kept| Ok(Some(kept)))
    }

    fn unpark(&self, id: &OutboxId) -> Result<Option<Kept>, Failure> {
        let (dir, cur) = (self.dir("failed"), self.dir("cur"));
        let failed = |err: io::Error| io_failure("take the message up again", &dir, &err);
        let path = cur.join(format!("{id}:2,"));
        let why = match files::nature(&dir.join(&id.0)) {
            Nature::Odd(why) => Some(why),
            Nature::Directory => Some("a directory is no message: drop its files one by one"),
            Nature::Mail(_) | Nature::Linked | Nature::Gone => None,
        };
        if let Some(why) = why {
            return Err(failed(io::Error::other(why)).scoped(Scope::Message));
        }
        match fs::rename(dir.join(&id.0), &path) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(failed(err)),
        }
        let _gone = fs::remove_file(dir.join(format!("{id}.reason")));
        sync_dir(&cur).and_then(|()| sync_dir(&dir)).map_err(failed)?;
        let meta = fs::symlink_metadata(&path).map_err(failed)?;
        let (size, stamp) = (meta.len(), files::stamp(&meta));
        Ok(Some(Kept { path, draft: false, trashed: false, size, stamp }))
    }

    fn discard(&self, id: &OutboxId) -> Result<(), Failure> {
        self.remove_parked(&id.0)?;
        self.discard_reason(id)
    }

    fn discard_reason(&self, id: &OutboxId) -> Result<(), Failure> {
        self.remove_parked(&format!("{id}.reason"))?;
        let dir = self.dir("failed");
        sync_dir(&dir).map_err(|err| io_failure("remove the message", &dir, &err))
    }

    fn parked(&self) -> Result<Vec<OutboxId>, Failure> {
        let all = self.mail(&self.dir("failed"))?;
        let mail = all.into_iter().filter(|(name, _)| !name.ends_with(".reason"));
        Ok(mail.map(|(name, _)| OutboxId(name)).collect())
    }

    fn remove(&self, kept: &[Kept]) -> Result<(), Failure> {
        let mut dirs: Vec<&Path> = Vec::new();
        for one in kept {
            match fs::remove_file(&one.path) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    return Err(io_failure("remove the message", &one.path, &err));
                }
                _ => dirs.extend(one.path.parent().filter(|dir| !dirs.contains(dir))),
            }
        }
        dirs.into_iter().try_for_each(|dir| {
            sync_dir(dir).map_err(|err| io_failure("remove the messages", dir, &err))
        })
    }
}

/// A directory that others may write to would let them send mail in our name.
fn check_private(path: &Path) -> Result<(), Failure> {
    let meta = fs::metadata(path).map_err(|err| io_failure("look at the outbox", path, &err))?;
    let bad = if meta.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if meta.mode() & 0o022 != 0 {
        "others may write to it"
    } else {
        return Ok(());
    };
    let failure = io_failure("trust the outbox", path, &io::Error::other(bad));
    Err(failure.cure(format!("run chmod 700 {}", path.display())))
}

fn io_failure(what: &str, path: &Path, err: &io::Error) -> Failure {
    Failure::new(Scope::Daemon, Remedy::Later, Kind::LocalIo, what)
        .at(path.display().to_string())
        .detail(err)
}

const IN_THE_WAY: &str = "see what is in its way and whose the directory above it is, or set dir of \
                          [outbox] to another place";
/// A file that was last written so long ago was not written to be sent now.
const OLD: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests;
