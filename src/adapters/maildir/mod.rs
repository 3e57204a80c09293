//! The Maildir of an account: scans that fail hard, batched durable delivery, flags by rename.
//! Floor 3.
//!
//! Deliberately absent: any knowledge of UIDs, any parsing of mail beyond the Message-ID, any file
//! of ours outside `.postrider/` and the Maildirs themselves.

mod attest;
mod deliver;
mod elsewhere;
mod flags;
mod keywords;
mod leave;
mod letters;
mod mounts;
mod name;
mod print;
mod read;
mod root;
mod scan;
mod spelling;
mod watch;

use attest::{Attests, Trail};
use keywords::Keywords;
use name::Naming;
use spelling::Spelling;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::account::Layout;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::flags::{FlagDelta, Flags};
use crate::model::ids::{Base, MailboxName, Uid, UidValidity};
use crate::model::view::{Fingerprint, Stamp, Sub};
use crate::ports::hints::HintBox;
use crate::ports::local::{Landing, Local, LocalWatcher, Scan, Seen, Settled, Tally};
use crate::ports::remote::Upload;
use crate::rules::mailboxes::directory;
use std::sync::Arc;
use std::time::Duration;

pub use deliver::StagedFile;

/// The Maildir of an account.
#[derive(Debug, Clone)]
pub struct MaildirStore {
    root: PathBuf,
    layout: Layout,
    separator: char,
    quarantine_for: Duration,
    host: String,
    spelling: Spelling,
    mbsync_states: Vec<PathBuf>,
    attests: Attests,
}

impl MaildirStore {
    /// A store below `root`. Nothing is touched yet.
    pub fn new(root: PathBuf, layout: Layout, separator: char, quarantine_for: Duration) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host = name::escape_host(&host);
        Self {
            root,
            layout,
            separator,
            quarantine_for,
            host,
            spelling: Spelling::default(),
            mbsync_states: Vec::new(),
            attests: Attests::default(),
        }
    }

    /// Has hints looked for in these directories, in which mbsync keeps its state.
    #[must_use]
    pub fn with_mbsync_states(mut self, dirs: Vec<PathBuf>) -> Self {
        self.mbsync_states = dirs;
        self
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn sub(&self, mailbox: &MailboxName, sub: Sub) -> PathBuf {
        self.path(mailbox).join(sub_name(sub))
    }

    fn tmp(&self, mailbox: &MailboxName) -> PathBuf {
        self.path(mailbox).join("tmp")
    }

    /// How this mailbox writes flags; read anew, since mail readers may add keywords.
    fn naming(&self, mailbox: &MailboxName) -> Result<Naming, Failure> {
        let keywords = Keywords::load(&self.path(mailbox))?;
        Ok(Naming { separator: self.separator, keywords })
    }

    /// [`MaildirStore::naming`] after these keywords were given letters.
    fn naming_for<'a>(
        &self,
        mailbox: &MailboxName,
        flags: impl Iterator<Item = &'a Flags>,
    ) -> Result<Naming, Failure> {
        let mut naming = self.naming(mailbox)?;
        let names = flags.flat_map(|f| f.keywords.iter());
        naming.keywords.ensure(&self.path(mailbox), names)?;
        Ok(naming)
    }

    fn file(&self, mailbox: &MailboxName, (base, seen): &Seen) -> PathBuf {
        self.sub(mailbox, seen.sub).join(format!("{base}{}", seen.info))
    }
}

fn sub_name(sub: Sub) -> &'static str {
    match sub {
        Sub::New => "new",
        Sub::Cur => "cur",
    }
}

/// Turns an I/O error into a failure: the one place where that is decided for this adapter.
fn classify(what: &str, path: &Path, err: &io::Error) -> Failure {
    let failure = Failure::local_io(what, err).at(path.display().to_string());
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&err.kind());
    if is(&[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded]) {
        failure.cure("free some space on this file system; the transfer goes on by itself")
    } else if is(&[io::ErrorKind::PermissionDenied]) {
        failure.cure(format!("give yourself access: chmod u+rwX {:?}", path.display().to_string()))
    } else if is(&[io::ErrorKind::ReadOnlyFilesystem]) {
        failure.cure("mount the file system writable")
    } else if is(&[io::ErrorKind::NotFound, io::ErrorKind::NotADirectory]) {
        let mut failure = failure.scoped(Scope::Mailbox);
        failure.kind = Kind::StoreMissing;
        failure.remedy = Remedy::Later;
        failure.cure("bring the directory back; nothing is deleted on the server meanwhile")
    } else {
        failure
    }
}

impl Local for MaildirStore {
    type Staging = StagedFile;

    fn open_root(&self, expected: Option<&str>) -> Result<String, Failure> {
        root::open(&self.root, expected)
    }

    fn epoch(&self) -> Result<u64, Failure> {
        root::epoch(&self.root)
    }

    fn set_epoch(&self, epoch: u64) -> Result<(), Failure> {
        root::set_epoch(&self.root, epoch)
    }

    fn watch(&self, hints: Arc<HintBox>) -> Box<dyn LocalWatcher> {
        watch::start(self, hints)
    }

    fn known_elsewhere(
        &self,
        mailbox: &MailboxName,
        validity: UidValidity,
        bases: &[Base],
    ) -> Vec<(Base, Uid)> {
        elsewhere::uids(&self.path(mailbox), &self.mbsync_states, validity, bases)
    }

    fn mailboxes(&self) -> Result<Vec<MailboxName>, Failure> {
        root::mailboxes(self)
    }

    fn create(&self, mailbox: &MailboxName) -> Result<(), Failure> {
        root::create(&self.root, &self.path(mailbox))
    }

    fn rename(&self, from: &MailboxName, to: &MailboxName) -> Result<(), Failure> {
        let renamed = root::rename(&self.path(from), &self.path(to));
        self.spelling.forget();
        renamed
    }

    fn remove(&self, mailbox: &MailboxName) -> Result<bool, Failure> {
        let removed = root::remove(&self.path(mailbox));
        self.spelling.forget();
        removed
    }

    fn path(&self, mailbox: &MailboxName) -> PathBuf {
        self.spelling.path(&self.root, &directory(mailbox, self.layout))
    }

    fn stamp(&self, mailbox: &MailboxName) -> Result<Stamp, Failure> {
        scan::stamp(&self.path(mailbox))
    }

    fn scan(&self, mailbox: &MailboxName) -> Result<Scan, Failure> {
        scan::scan(&self.path(mailbox), &self.naming(mailbox)?)
    }

    fn tally(&self, mailbox: &MailboxName) -> Result<Tally, Failure> {
        scan::tally(&self.path(mailbox), &self.naming(mailbox)?)
    }

    fn attest(&self, mailbox: &MailboxName, since: Stamp) -> bool {
        self.attests.begin(&self.path(mailbox), since)
    }

    fn attested(&self, mailbox: &MailboxName) -> Result<Option<Stamp>, Failure> {
        self.attests.end(&self.path(mailbox))
    }

    fn find(&self, mailbox: &MailboxName, files: &[(Base, Flags)]) -> Result<Scan, Failure> {
        scan::find(&self.path(mailbox), &self.naming(mailbox)?, files)
    }

    fn stage(&self, mailbox: &MailboxName) -> Result<StagedFile, Failure> {
        let tmp = self.tmp(mailbox);
        StagedFile::create(&tmp, &self.host).or_else(|failure| {
            // A backup may have left it out, being empty.
            if tmp.exists() || !self.sub(mailbox, Sub::Cur).is_dir() {
                return Err(failure);
            }
            root::make_durable_dir(&tmp)?;
            StagedFile::create(&tmp, &self.host)
        })
    }

    fn barrier(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<(), Failure> {
        deliver::barrier(&self.tmp(mailbox), staged)
    }

    fn promote(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<(), Failure> {
        let naming = self.naming_for(mailbox, staged.iter().map(|l| &l.flags))?;
        let mut trail = Trail::default();
        deliver::promote(&self.path(mailbox), staged, &naming, &mut trail)?;
        self.attests.did(&trail);
        Ok(())
    }

    fn settle(&self, mailbox: &MailboxName, staged: &[Landing]) -> Result<Vec<Settled>, Failure> {
        let naming = self.naming_for(mailbox, staged.iter().map(|l| &l.flags))?;
        deliver::settle(&self.path(mailbox), staged, &naming)
    }

    fn set_flags(
        &self,
        mailbox: &MailboxName,
        changes: &[(Seen, FlagDelta)],
    ) -> Result<Vec<(Base, Flags)>, Failure> {
        let naming = self.naming_for(mailbox, changes.iter().map(|(_, delta)| &delta.add))?;
        let mut trail = Trail::default();
        let done = flags::set(&self.path(mailbox), changes, &naming, &mut trail)?;
        self.attests.did(&trail);
        Ok(done)
    }

    fn quarantine(&self, mailbox: &MailboxName, seen: &[Seen]) -> Result<(), Failure> {
        leave::quarantine(self, mailbox, seen)
    }

    fn sweep(&self) -> Result<(), Failure> {
        root::sweep(self)
    }

    fn open(&self, mailbox: &MailboxName, seen: &Seen) -> Result<Option<Upload>, Failure> {
        read::open(&self.path(mailbox), seen, &self.naming(mailbox)?)
    }

    fn dates(&self, mailbox: &MailboxName) -> Result<Vec<(Seen, i64)>, Failure> {
        read::dates(&self.path(mailbox), &self.naming(mailbox)?)
    }

    fn fingerprints(
        &self,
        mailbox: &MailboxName,
        seen: &[Seen],
    ) -> Result<Vec<(Base, Fingerprint)>, Failure> {
        read::fingerprints(&self.path(mailbox), seen, &self.naming(mailbox)?)
    }

    fn relocate(
        &self,
        from: &MailboxName,
        to: &MailboxName,
        seen: &[Seen],
    ) -> Result<Vec<Base>, Failure> {
        let naming = self.naming_for(to, seen.iter().map(|(_, m)| &m.flags))?;
        leave::relocate(self, (from, to), seen, &naming)
    }

    fn translate(
        &self,
        from: &MailboxName,
        to: &MailboxName,
        files: &[(Seen, Flags)],
    ) -> Result<Vec<Base>, Failure> {
        letters::translate(self, (from, to), files)
    }
}

#[cfg(test)]
mod tests;
