//! Takes messages out of a mailbox: into another one, or into the quarantine. Floor 3.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::attest::Trail;
use super::name::Naming;
use super::root::{PRIVATE_DIR, QUARANTINE, make_durable_dir};
use super::{MaildirStore, classify, deliver, sub_name};
use crate::model::account::Layout;
use crate::model::failure::Failure;
use crate::model::ids::{Base, MailboxName};
use crate::model::view::Sub;
use crate::ports::local::{Local, Seen};
use crate::rules::mailboxes::directory;

/// Moves files out of the Maildir into today's quarantine.
pub(super) fn quarantine(
    store: &MaildirStore,
    mailbox: &MailboxName,
    seen: &[Seen],
) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut to = store.root.join(PRIVATE_DIR).join(QUARANTINE);
    to.push(now.to_string());
    to.extend(directory(mailbox, Layout::Fs));
    make_durable_dir(&to)?;
    let mut trail = Trail::default();
    let mut left: Vec<Seen> = seen.to_vec();
    for _ in 0..RACE_ROUNDS_MAX {
        let mut missed = Vec::new();
        for one in left {
            let (base, at) = &one;
            let target = to.join(format!("{base}{}", at.info));
            if !move_out(&store.file(mailbox, &one), &target, &mut trail)? {
                missed.push(one);
            }
        }
        if missed.is_empty() {
            break;
        }
        // The mail reader renamed them meanwhile, or they are gone.
        let bases = missed.iter().map(|(base, _)| base);
        let naming = store.naming(mailbox)?;
        left = super::flags::find(&store.path(mailbox), bases, &naming)?.into_iter().collect();
        if left.is_empty() {
            break;
        }
    }
    deliver::sync_dir(&to)?;
    for sub in [Sub::New, Sub::Cur] {
        deliver::sync_dir(&store.path(mailbox).join(sub_name(sub)))?;
    }
    store.attests.did(&trail);
    Ok(())
}

/// Renames files into another mailbox; answers those that were there to be moved.
pub(super) fn relocate(
    store: &MaildirStore,
    (from, to): (&MailboxName, &MailboxName),
    seen: &[Seen],
    naming: &Naming,
) -> Result<Vec<Base>, Failure> {
    let (mut moved, mut trail) = (Vec::new(), Trail::default());
    for one in seen {
        let (base, at) = one;
        let info = match at.info.as_str() {
            "" if at.flags.is_empty() => String::new(),
            _ => naming.info_with("", &at.flags),
        };
        let target = store.sub(to, at.sub).join(format!("{base}{info}"));
        if move_out(&store.file(from, one), &target, &mut trail)? {
            moved.push(base.clone());
        }
    }
    for mailbox in [to, from] {
        for sub in [Sub::New, Sub::Cur] {
            deliver::sync_dir(&store.sub(mailbox, sub))?;
        }
    }
    store.attests.did(&trail);
    Ok(moved)
}

fn move_out(from: &Path, to: &Path, trail: &mut Trail) -> Result<bool, Failure> {
    match fs::rename(from, to) {
        Ok(()) => {
            trail.went(from, to);
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && !from.exists() => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => carry_over(from, to),
        Err(e) => Err(classify("move message", from, &e)),
    }
}

/// Moves a file to another file system: its copy is durable before it goes.
fn carry_over(from: &Path, to: &Path) -> Result<bool, Failure> {
    let (Some(dir), Some(name)) = (to.parent(), to.file_name()) else { return Ok(false) };
    let tmp = dir.with_file_name("tmp");
    let part = if tmp.is_dir() { tmp.join(name) } else { dir.join(name) };
    let copy = || -> io::Result<()> {
        let mut source = File::open(from)?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        io::copy(&mut source, &mut file)?;
        file.set_modified(source.metadata()?.modified()?)?;
        file.sync_all()?;
        fs::rename(&part, to)
    };
    copy().map_err(|e| classify("copy message to another file system", from, &e))?;
    deliver::sync_dir(dir)?;
    fs::remove_file(from).map_err(|e| classify("remove moved message", from, &e))?;
    Ok(true)
}

const RACE_ROUNDS_MAX: u32 = 10;
