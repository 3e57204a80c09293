//! Directories on file systems that take `Foo` and `foo` for one name (exFAT, APFS). Floor 3.
//!
//! The mailbox that comes second gets a directory with its letters written as `%XX`. The directory
//! itself is the mapping: it says which mailbox it is of, and nothing else has to be kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::root::{MARKER, PRIVATE_DIR};
use crate::rules::mailboxes::spellings;

/// How the directories of one Maildir are spelled.
#[derive(Debug, Clone, Default)]
pub(super) struct Spelling {
    folds: Arc<OnceLock<bool>>,
    known: Arc<Mutex<BTreeMap<PathBuf, PathBuf>>>,
}

impl Spelling {
    /// Whether names that differ in case only are one name here. A Maildir without our marker is
    /// asked again.
    pub(super) fn folds(&self, root: &Path) -> bool {
        if let Some(folds) = self.folds.get() {
            return *folds;
        }
        // Not by inode: FUSE has one for each spelling.
        let marker = |dir: &str| std::fs::read(root.join(dir).join(MARKER));
        let Ok(marked) = marker(PRIVATE_DIR) else { return false };
        let folds = marker(&PRIVATE_DIR.to_uppercase()).is_ok_and(|other| other == marked);
        *self.folds.get_or_init(|| folds)
    }

    /// The directory with these components below the root.
    pub(super) fn path(&self, root: &Path, components: &[String]) -> PathBuf {
        let plain: PathBuf = root.iter().chain(components.iter().map(AsRef::as_ref)).collect();
        if !self.folds(root) {
            return plain;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = known.get(&plain).filter(|path| path.is_dir()) {
            return path.clone();
        }
        let mut path = root.to_path_buf();
        for component in components {
            path.push(spelled(&path, component));
        }
        if path.is_dir() {
            known.insert(plain, path.clone());
        } else {
            known.remove(&plain);
        }
        path
    }

    /// Directories were renamed or removed.
    pub(super) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The spelling that this directory has for a component, else the first one that is free.
fn spelled(dir: &Path, component: &str) -> String {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    let spellings = spellings(component);
    if let Some(there) = spellings.iter().find(|s| names.contains(s)) {
        return there.clone();
    }
    let taken: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let free = spellings.iter().find(|s| !taken.contains(&s.to_lowercase()));
    free.cloned().unwrap_or_else(|| component.to_owned())
}
