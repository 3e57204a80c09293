//! Wakes the relay when something changes in the outbox. Floor 3.
//!
//! A hint only: the relay scans. Where events do not come (network file systems, no watches left), the
//! relay's own clock finds everything a little later.

use std::path::Path;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// Watches an outbox until it is dropped.
pub struct OutboxWatch {
    _watcher: RecommendedWatcher,
}

impl OutboxWatch {
    /// Begins to watch; each change wakes `wake`.
    ///
    /// # Errors
    ///
    /// When the system has no watches left, or cannot watch this directory; poll then.
    pub fn begin(root: &Path, wake: Arc<Notify>) -> Result<Self, Failure> {
        let failed = |err: notify::Error| {
            Failure::new(Scope::Daemon, Remedy::Later, Kind::LocalIo, "watch the outbox")
                .at(root.display().to_string())
                .detail(err)
                .cure("raise fs.inotify.max_user_watches; the outbox is polled until then")
        };
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| !is_change(event.kind)) {
                    return;
                }
                wake.notify_one();
            })
            .map_err(failed)?;
        for dir in [root.to_owned(), root.join("new"), root.join("cur")] {
            watcher.watch(&dir, RecursiveMode::NonRecursive).map_err(failed)?;
        }
        Ok(Self { _watcher: watcher })
    }
}

/// Watches a Sent Maildir until it is dropped.
pub(super) struct SentWatch {
    _watcher: RecommendedWatcher,
}

impl SentWatch {
    /// Begins to watch; none when it cannot be watched.
    pub(super) fn begin(maildir: &Path, wake: Arc<Notify>) -> Option<Self> {
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| is_change(event.kind)) {
                    wake.notify_one();
                }
            })
            .ok()?;
        for dir in ["new", "cur"] {
            watcher.watch(&maildir.join(dir), RecursiveMode::NonRecursive).ok()?;
        }
        Some(Self { _watcher: watcher })
    }
}

/// Reading is no change; our own scans would wake us for ever.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
