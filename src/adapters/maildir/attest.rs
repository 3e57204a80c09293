//! Tells whether anybody else changed a mailbox while this program did. Floor 3.
//!
//! The times of a directory say that something changed, and not who did it. The kernel says more: it has
//! queued an event for a rename before the rename returns (inotify(7)), so that what is in the queue after
//! our own renames is exactly them, or somebody else was there, too. A mailbox of 200,000 messages need
//! then not be listed because one message came.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::scan;
use crate::model::failure::Failure;
use crate::model::view::Stamp;

/// The renames of one step, from where and to where.
#[derive(Debug, Default)]
pub(super) struct Trail(Vec<(PathBuf, PathBuf)>);

impl Trail {
    /// Notes a rename that was done.
    pub(super) fn went(&mut self, from: &Path, to: &Path) {
        self.0.push((from.to_path_buf(), to.to_path_buf()));
    }
}

/// The mailboxes that are watched, by their directories.
#[derive(Debug, Clone, Default)]
pub(super) struct Attests(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: BTreeMap<PathBuf, (u64, watch::Watch)>,
}

impl Attests {
    /// Begins to watch a mailbox whose directories are in this state; false if they are not, or if this
    /// system or file system does not tell everything.
    pub(super) fn begin(&self, dir: &Path, since: Stamp) -> bool {
        let watch = watch::Watch::on(dir);
        // What changes from now on is seen, so that the state counts that is read after it.
        let Some(watch) = watch.filter(|_| scan::stamp(dir).is_ok_and(|now| now == since)) else {
            return false;
        };
        let mut inner = self.lock();
        if inner.open.len() >= OPEN_MAX {
            let oldest = inner.open.iter().min_by_key(|(_, (n, _))| *n).map(|(dir, _)| dir.clone());
            oldest.and_then(|dir| inner.open.remove(&dir));
        }
        inner.next = inner.next.saturating_add(1);
        let n = inner.next;
        inner.open.insert(dir.to_path_buf(), (n, watch));
        true
    }

    /// Tells of renames that this program did. A mailbox where others did anything is watched no longer.
    pub(super) fn did(&self, trail: &Trail) {
        self.lock().open.retain(|dir, (_, watch)| watch.saw_just(dir, trail));
    }

    /// Ends the watch: the state of the directories, if nobody else changed them, and it will show the
    /// next change.
    pub(super) fn end(&self, dir: &Path) -> Result<Option<Stamp>, Failure> {
        let Some((_, mut watch)) = self.lock().open.remove(dir) else { return Ok(None) };
        let still = scan::still_stamp(dir)?;
        let is_ours = watch.saw_just(dir, &Trail::default());
        Ok(still.filter(|_| is_ours))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mailboxes that are watched at one time: a user has 128 instances of inotify by default.
const OPEN_MAX: usize = 16;

#[cfg(target_os = "linux")]
mod watch {
    use std::collections::BTreeMap;
    use std::ffi::{OsStr, OsString};
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
    use rustix::io::Errno;

    use super::Trail;

    /// The events of both directories of a mailbox.
    #[derive(Debug)]
    pub(super) struct Watch {
        queue: OwnedFd,
        /// The numbers of `new/` and `cur/`.
        subs: [i32; 2],
    }

    /// A name that went (false) or came (true), and in which directory.
    type Step = (usize, bool, OsString);

    impl Watch {
        pub(super) fn on(dir: &Path) -> Option<Self> {
            let f_type = rustix::fs::statfs(dir).ok()?.f_type;
            if !u64::try_from(f_type).is_ok_and(|t| TELLS_ALL.contains(&t)) {
                return None;
            }
            let queue = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            let what = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR
                | WatchFlags::DONT_FOLLOW;
            let [new, cur] = SUBS.map(|sub| add_watch(&queue, dir.join(sub), what).ok());
            Some(Self { queue, subs: [new?, cur?] })
        }

        /// Whether what happened since it was last asked is this and nothing else.
        pub(super) fn saw_just(&mut self, dir: &Path, trail: &Trail) -> bool {
            let Some(mut steps) = self.steps() else { return false };
            for (from, to) in &trail.0 {
                for (path, came) in [(from, false), (to, true)] {
                    let Some(step) = step(dir, path, came) else { continue };
                    match steps.get_mut(&step) {
                        Some(n) if *n > 0 => *n -= 1,
                        Some(_) | None => return false,
                    }
                }
            }
            steps.values().all(|n| *n == 0)
        }

        /// How often each name came or went; nothing if anything else happened.
        fn steps(&self) -> Option<BTreeMap<Step, u32>> {
            let mut buffer = [MaybeUninit::uninit(); QUEUE_BYTES];
            let mut reader = Reader::new(&self.queue, &mut buffer);
            let mut steps = BTreeMap::new();
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(Errno::AGAIN) => return Some(steps),
                    Err(Errno::INTR) => continue,
                    Err(_) => return None,
                };
                let came = match event.events() {
                    what if what == ReadFlags::MOVED_TO => true,
                    what if what == ReadFlags::MOVED_FROM => false,
                    _ => return None,
                };
                let sub = self.subs.iter().position(|wd| *wd == event.wd())?;
                let name = OsStr::from_bytes(event.file_name()?.to_bytes()).to_os_string();
                let n: &mut u32 = steps.entry((sub, came, name)).or_default();
                *n = n.saturating_add(1);
            }
        }
    }

    fn step(dir: &Path, path: &Path, came: bool) -> Option<Step> {
        let below = path.strip_prefix(dir).ok()?;
        let sub = SUBS.iter().position(|sub| below.parent() == Some(Path::new(sub)))?;
        Some((sub, came, below.file_name()?.to_os_string()))
    }

    const SUBS: [&str; 2] = ["new", "cur"];
    const QUEUE_BYTES: usize = 16 * 1024;
    /// File systems that no other machine changes, by their numbers in statfs(2): ext4, XFS, Btrfs, tmpfs,
    /// F2FS, ZFS, bcachefs, overlayfs.
    const TELLS_ALL: [u64; 8] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x0102_1994,
        0xF2F5_2010,
        0x2FC1_2FC1,
        0xCA45_1A4E,
        0x794C_7630,
    ];
}

#[cfg(not(target_os = "linux"))]
mod watch {
    use std::path::Path;

    use super::Trail;

    /// This system does not tell who changed a directory.
    #[derive(Debug)]
    pub(super) struct Watch;

    impl Watch {
        pub(super) fn on(_dir: &Path) -> Option<Self> {
            None
        }

        pub(super) fn saw_just(&mut self, _dir: &Path, _trail: &Trail) -> bool {
            false
        }
    }
}
