//! Mailboxes on file systems of their own: one that is not mounted is missing, not empty. Floor 3.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::root::PRIVATE_DIR;
use super::{MaildirStore, classify, deliver};
use crate::model::failure::Failure;
use crate::model::ids::MailboxName;
use crate::ports::local::Local;

/// Takes out mailboxes that had a file system of their own and are now an empty directory of the
/// root's; remembers those that have one.
pub(super) fn present(
    store: &MaildirStore,
    found: Vec<MailboxName>,
) -> Result<Vec<MailboxName>, Failure> {
    let device = |path: &Path| path.metadata().map(|m| m.dev()).ok();
    let root = device(&store.root);
    let list = store.root.join(PRIVATE_DIR).join(MOUNTS);
    let known = read(&list)?;
    let mut mounted = known.clone();
    let mut here = Vec::new();
    for mailbox in found {
        let path = store.path(&mailbox);
        if device(&path.join("cur")) != root {
            mounted.insert(mailbox.0.clone());
        } else if known.contains(&mailbox.0) {
            if is_empty(&path) {
                continue;
            }
            mounted.remove(&mailbox.0);
        }
        here.push(mailbox);
    }
    if mounted != known {
        let lines: String = mounted.iter().map(|name| format!("{name}\n")).collect();
        deliver::replace(&list, lines.as_bytes())
            .map_err(|e| classify("write the list of mounted mailboxes", &list, &e))?;
    }
    Ok(here)
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
