//! Mailboxes on file systems of their own: one that is not mounted is missing, not empty. Floor 3.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::root::PRIVATE_DIR;
use super::{MaildirStore, classify, deliver};
use crate::model::failure::Failure;
use crate::model::ids::MailboxName;
use crate::ports::local::Local;

/// Takes out mailboxes that had a file system of their own and are now an empty directory of the
/// root's. Writes nothing, since an audit and a dry run look, too.
pub(super) fn present(
    store: &MaildirStore,
    mut found: Vec<MailboxName>,
) -> Result<Vec<MailboxName>, Failure> {
    let known = read(&list(store))?;
    if !known.is_empty() {
        found.retain(|mailbox| {
            let is_unmounted = known.contains(&mailbox.0)
                && !is_mounted(store, mailbox)
                && is_empty(&store.path(mailbox));
            !is_unmounted
        });
    }
    Ok(found)
}

/// Remembers which of the mailboxes that are there have a file system of their own.
pub(super) fn remember(store: &MaildirStore, present: &[MailboxName]) -> Result<(), Failure> {
    let list = list(store);
    let known = read(&list)?;
    let mut mounted = known.clone();
    for mailbox in present {
        if is_mounted(store, mailbox) {
            mounted.insert(mailbox.0.clone());
        } else {
            mounted.remove(&mailbox.0);
        }
    }
    if mounted == known {
        return Ok(());
    }
    let lines: String = mounted.iter().map(|name| format!("{name}\n")).collect();
    deliver::replace(&list, lines.as_bytes())
        .map_err(|e| classify("write the list of mounted mailboxes", &list, &e))
}

fn list(store: &MaildirStore) -> PathBuf {
    store.root.join(PRIVATE_DIR).join(MOUNTS)
}

/// Whether a mailbox is on another file system than the root.
fn is_mounted(store: &MaildirStore, mailbox: &MailboxName) -> bool {
    let device = |path: &Path| path.metadata().map(|m| m.dev()).ok();
    device(&store.path(mailbox).join("cur")) != device(&store.root)
}

fn is_empty(mailbox: &Path) -> bool {
    let is_empty = |sub| fs::read_dir(mailbox.join(sub)).is_ok_and(|mut d| d.next().is_none());
    is_empty("cur") && is_empty("new")
}

fn read(list: &Path) -> Result<BTreeSet<String>, Failure> {
    match fs::read_to_string(list) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(e) => Err(classify("read the list of mounted mailboxes", list, &e)),
    }
}

/// One mailbox a line. Nobody but this file reads it.
const MOUNTS: &str = "mounts";
