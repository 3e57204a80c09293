//! Files copies of sent messages into local Sent Maildirs, from where the sync uploads them. Floor 3.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::files::{create, names, open_message, sync_dir};
use super::watch::SentWatch;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::AccountName;
use crate::ports::outbox::{Copy, SentFiler, Sighting};

/// Where an account's copies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMaildir {
    /// The Maildir: the directory that holds `new/`, `cur/` and `tmp/`.
    pub path: PathBuf,
    /// Between base name and flags.
    pub info_separator: char,
}

/// The Sent Maildirs of all accounts. Cheap to clone: the clones share them.
#[derive(Debug, Clone, Default)]
pub struct SentMaildirs {
    places: Arc<Mutex<BTreeMap<AccountName, SentMaildir>>>,
    /// The recent messages of each Maildir, so that none is opened twice.
    recent: Arc<Mutex<BTreeMap<PathBuf, Recent>>>,
}

/// By file name: the Message-ID field, and when the file was written.
type Recent = BTreeMap<String, (String, SystemTime)>;

impl SentMaildirs {
    /// Sets where an account's copies go; the sync engine knows once it has seen the mailboxes.
    /// Answers whether that is new.
    pub fn set(&self, account: AccountName, place: SentMaildir) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.get(&account) == Some(&place) {
            return false;
        }
        places.insert(account, place);
        true
    }

    fn known(&self, account: &AccountName) -> Result<SentMaildir, Failure> {
        self.place(account).ok_or_else(|| {
            failure("find the Sent mailbox")
                .detail(format_args!("account {account} has not shown one yet"))
                .cure("it is asked again; set roles = { sent = … } if it does not end")
        })
    }

    fn place(&self, account: &AccountName) -> Option<SentMaildir> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).get(account).cloned()
    }
}

impl SentMaildirs {
    /// Who put which of these messages there: the server may have, and so may the mail program.
    fn look(&self, maildir: &Path, ids: &[String]) -> io::Result<Vec<Sighting>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = std::mem::take(recent.entry(maildir.to_owned()).or_default());
        let now = read_recent(maildir, known)?;
        let sighting = |id: &String| {
            let mut found = now.iter().filter(|(_, (field, _))| field.contains(id.as_str()));
            match found.next() {
                Some((name, _)) if is_of_sync(name) => Sighting::Server,
                Some(_) => Sighting::Local,
                None => Sighting::None,
            }
        };
        let seen = ids.iter().map(sighting).collect();
        recent.insert(maildir.to_owned(), now);
        Ok(seen)
    }

    fn deliver(&self, place: &SentMaildir, copy: &Copy) -> io::Result<()> {
        for dir in ["tmp", "new", "cur"] {
            DirBuilder::new().recursive(true).mode(0o700).create(place.path.join(dir))?;
        }
        let seen = self.look(&place.path, std::slice::from_ref(&copy.message_id))?;
        if seen.first() != Some(&Sighting::None) {
            return Ok(());
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = format!("{}.R{:08x}.postrider", since.as_micros(), fastrand::u32(..));
        let tmp = place.path.join("tmp").join(&name);
        let written = write(copy, &tmp).and_then(|()| {
            let cur = place.path.join("cur");
            fs::rename(&tmp, cur.join(format!("{name}{}2,S", place.info_separator)))?;
            sync_dir(&cur)
        });
        if written.is_err() {
            let _gone = fs::remove_file(&tmp);
        }
        written
    }
}

/// The recent messages of a Maildir; only those that are not known yet are opened.
fn read_recent(maildir: &Path, mut known: Recent) -> io::Result<Recent> {
    let mut now = Recent::new();
    for dir in ["cur", "new"] {
        let found = match names(&maildir.join(dir)) {
            Ok(found) => found,
            // Not made yet.
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => return Err(err),
        };
        for (name, path) in found {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let Some(written) = meta.modified().ok().filter(|_| meta.is_file()) else { continue };
            // A name may come back with another message in it.
            let same = known.remove(&name).filter(|(_, then)| *then == written);
            let one = same.or_else(|| is_recent(written).then(|| (read_id(&path), written)));
            now.extend(one.filter(|(_, written)| is_recent(*written)).map(|one| (name, one)));
        }
    }
    Ok(now)
}

fn is_recent(written: SystemTime) -> bool {
    written.elapsed().unwrap_or_default() < RECENT
}

impl SentFiler for SentMaildirs {
    async fn sightings(
        &self,
        account: &AccountName,
        message_ids: &[String],
        wait: Duration,
    ) -> Result<Vec<Sighting>, Failure> {
        let place = self.known(account)?;
        let wake = Arc::new(Notify::new());
        // Before the first look, so that nothing comes unseen between the two.
        let watching = SentWatch::begin(&place.path, Arc::clone(&wake));
        let until = Instant::now() + wait;
        loop {
            let (this, path, ids) = (self.clone(), place.path.clone(), message_ids.to_vec());
            let looked = spawn_blocking(move || this.look(&path, &ids)).await;
            let seen = match looked {
                Ok(seen) => seen.map_err(|err| failure("look into Sent").detail(err))?,
                Err(err) => return Err(failure("look into Sent").detail(err)),
            };
            if !seen.contains(&Sighting::None) || Instant::now() >= until {
                return Ok(seen);
            }
            // Where nothing can be watched, one look at the end has to do.
            match &watching {
                Some(_) => drop(timeout_at(until, wake.notified()).await),
                None => sleep_until(until).await,
            }
        }
    }

    async fn file(&self, copy: &Copy) -> Result<(), Failure> {
        let place = self.known(&copy.account)?;
        let (this, copy, path) = (self.clone(), copy.clone(), place.path.clone());
        match spawn_blocking(move || this.deliver(&place, &copy)).await {
            Ok(done) => done.map_err(|err| {
                failure("file the copy of the sent message")
                    .at(path.display().to_string())
                    .detail(err)
                    .cure(
                        "mend that; postrider outbox cancel gives the copy up, the message is sent",
                    )
            }),
            Err(err) => Err(failure("file the sent message").detail(err)),
        }
    }
}

/// Copies without the ranges that stay here, with LF line ends as in every Maildir of ours.
fn write(copy: &Copy, tmp: &Path) -> io::Result<()> {
    let mut from = open_message(&copy.path)?;
    let mut to = create(tmp)?;
    let mut at = 0;
    for range in &copy.skip {
        pass(&mut from, range.start.saturating_sub(at), &mut to)?;
        pass(&mut from, range.end - range.start, &mut io::sink())?;
        at = range.end;
    }
    pass(&mut from, u64::MAX, &mut to)?;
    to.sync_all()
}

fn pass(from: &mut File, n: u64, to: &mut dyn Write) -> io::Result<()> {
    let mut from = BufReader::new(from.take(n));
    let mut held_cr = false;
    loop {
        let chunk = from.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        let n = chunk.len();
        let mut out = Vec::with_capacity(n + 1);
        for byte in chunk {
            if std::mem::take(&mut held_cr) && *byte != b'\n' {
                out.push(b'\r');
            }
            if *byte == b'\r' {
                held_cr = true;
            } else {
                out.push(*byte);
            }
        }
        to.write_all(&out)?;
        from.consume(n);
    }
    if held_cr { to.write_all(b"\r") } else { Ok(()) }
}

/// Whether the sync of this process named the file, so that it came from the server.
fn is_of_sync(name: &str) -> bool {
    let mark = format!("P{}R", std::process::id());
    name.split('.').nth(1).is_some_and(|part| part.starts_with('M') && part.contains(&mark))
}

/// The value of the Message-ID field, with whatever stands around the id.
fn read_id(path: &Path) -> String {
    let mut head = Vec::new();
    let read = open_message(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&head);
    let (mut value, mut in_id) = (String::new(), false);
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if !line.starts_with([' ', '\t']) {
            in_id = line.get(..11).is_some_and(|name| name.eq_ignore_ascii_case("message-id:"));
        }
        if in_id {
            value.push_str(line);
        }
    }
    value
}

fn failure(what: &str) -> Failure {
    Failure::new(Scope::Message, Remedy::Later, Kind::LocalIo, what)
}

const RECENT: Duration = Duration::from_secs(3600);
const HEAD_BYTES: u64 = 256 * 1024;
