//! Watches Maildirs for changes. Hints only: a lost event costs time, never mail. Floor 3.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::MaildirStore;
use crate::model::event::Hint;
use crate::model::ids::MailboxName;
use crate::model::status::Watch;
use crate::ports::hints::HintBox;
use crate::ports::local::{Local as _, LocalWatcher};

/// Watches `new/` and `cur/` of mailboxes, and the root for mailboxes that appear.
struct MaildirWatcher {
    watcher: Option<RecommendedWatcher>,
    store: MaildirStore,
    dirs: Arc<Mutex<BTreeMap<PathBuf, MailboxName>>>,
    is_root_watched: bool,
    has_failed: bool,
}

/// Begins to watch the root. Where the system cannot watch, the state says so.
pub(super) fn start(store: &MaildirStore, hints: Arc<HintBox>) -> Box<dyn LocalWatcher> {
    let dirs: Arc<Mutex<BTreeMap<PathBuf, MailboxName>>> = Arc::default();
    let (known, root) = (Arc::clone(&dirs), store.root().to_path_buf());
    let made = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
        Ok(event) => forward(&event, (&known, &root), &hints),
        Err(_) => hints.put(Hint::Everything),
    });
    let mut this = MaildirWatcher {
        watcher: made.ok(),
        store: store.clone(),
        dirs,
        is_root_watched: false,
        has_failed: false,
    };
    this.watch_root();
    Box::new(this)
}

impl MaildirWatcher {
    /// Before the first pass there may be no root yet: then it is tried again with each mailbox.
    fn watch_root(&mut self) {
        if let Some(watcher) = self.watcher.as_mut().filter(|_| !self.is_root_watched) {
            let watched = watcher.watch(self.store.root(), RecursiveMode::NonRecursive);
            self.is_root_watched = watched.is_ok();
        }
    }
}

impl LocalWatcher for MaildirWatcher {
    fn add(&mut self, mailbox: &MailboxName) {
        self.watch_root();
        let Some(watcher) = &mut self.watcher else { return };
        let dir = self.store.path(mailbox);
        for sub in ["new", "cur"] {
            let path = dir.join(sub);
            let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
            if dirs.insert(path.clone(), mailbox.clone()).is_some() {
                continue;
            }
            drop(dirs);
            if let Err(err) = watcher.watch(&path, RecursiveMode::NonRecursive) {
                self.has_failed = true;
                let is_limit = matches!(err.kind, ErrorKind::MaxFilesWatch);
                tracing::warn!(
                    %mailbox, is_limit, %err,
                    "cannot watch a mailbox; it is looked at from time to time instead \
                     (sysctl fs.inotify.max_user_watches raises the limit)"
                );
            }
        }
    }

    fn state(&self) -> Watch {
        if self.is_root_watched && !self.has_failed { Watch::Inotify } else { Watch::Poll }
    }
}

/// Runs on the watcher's own thread: marks and rings, nothing more.
fn forward(
    event: &Event,
    (dirs, root): (&Mutex<BTreeMap<PathBuf, MailboxName>>, &Path),
    hints: &HintBox,
) {
    if event.need_rescan() {
        hints.put(Hint::Everything);
        return;
    }
    // Our own scans open and read the directories; only what writers do counts.
    let is_reading = matches!(
        event.kind,
        EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)
    );
    if is_reading {
        return;
    }
    let dirs = dirs.lock().unwrap_or_else(PoisonError::into_inner);
    for path in &event.paths {
        let known = |p: &Path| dirs.get(p).cloned();
        match path.parent().and_then(known).or_else(|| known(path)) {
            Some(mailbox) => hints.put(Hint::Local(mailbox)),
            // A root that is moved away is missing from then on.
            None if event.kind.is_create() || event.kind.is_remove() || path == root => {
                hints.put(Hint::Everything);
            }
            None => {}
        }
    }
}
