//! Both sides of an account as equals: what a person does there, and what can be seen there.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::World;

/// Where something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// In the Maildir.
    Here,
    /// On the server.
    There,
}

use Side::{Here, There};

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Here, There];

    pub(crate) fn other(self) -> Self {
        match self {
            Here => There,
            There => Here,
        }
    }
}

/// Body and flags of every message of a mailbox, as a multiset.
pub(crate) type Content = Vec<(String, String)>;

/// When messages of tests arrived.
pub(crate) const DATE: i64 = 1_000_000_000;

/// Message `n` as it is on disk.
pub(crate) fn mail(n: u32) -> String {
    format!("Message-ID: <{n}@x>\nSubject: {n}\n\nhello {n}\nend\n")
}

/// A message as it is on the wire.
pub(crate) fn wire(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// The IMAP names of Maildir letters.
pub(crate) fn imap_names(letters: &str) -> Vec<&'static str> {
    let known = LETTERS.iter().filter(|(letter, _)| letters.contains(*letter));
    known.map(|(_, name)| *name).collect()
}

const LETTERS: [(char, &str); 6] = [
    ('D', "\\Draft"),
    ('F', "\\Flagged"),
    ('P', "$Forwarded"),
    ('R', "\\Answered"),
    ('S', "\\Seen"),
    ('T', "\\Deleted"),
];

impl World {
    /// A new message with these flags.
    pub(crate) fn put(&self, side: Side, mailbox: &str, n: u32, letters: &str) {
        self.put_text(side, mailbox, &mail(n), letters);
    }

    /// A new message with this text; line ends are LF.
    pub(crate) fn put_text(&self, side: Side, mailbox: &str, text: &str, letters: &str) {
        if side == There {
            let names = imap_names(letters);
            self.server.mailbox(mailbox).append(&wire(text), &names, Some(DATE));
            return;
        }
        let base = format!("{}.{:016x}.mua", DATE, fastrand::u64(..));
        let name = if letters.is_empty() { base } else { format!("{base}:2,{letters}") };
        let sub = if letters.is_empty() { "new" } else { "cur" };
        self.drop_file(mailbox, sub, &name, text.as_bytes());
    }

    /// A file that another program delivers.
    pub(crate) fn drop_file(&self, mailbox: &str, sub: &str, name: &str, bytes: &[u8]) {
        let tmp = self.path(mailbox).join("tmp").join(name);
        std::fs::write(&tmp, bytes).unwrap();
        let date = UNIX_EPOCH + Duration::from_secs(DATE.unsigned_abs());
        File::open(&tmp).unwrap().set_times(FileTimes::new().set_modified(date)).unwrap();
        std::fs::rename(tmp, self.path(mailbox).join(sub).join(name)).unwrap();
    }

    /// Makes a mailbox.
    pub(crate) fn make(&self, side: Side, mailbox: &str) {
        if side == There {
            self.server.create_mailbox(mailbox);
            return;
        }
        for sub in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(self.path(mailbox).join(sub)).unwrap();
        }
    }

    /// Sets the flags of message `n` to exactly these, as a mail reader does.
    pub(crate) fn flag(&self, side: Side, mailbox: &str, n: u32, letters: &str) {
        if side == There {
            let uid = self.uid(mailbox, n);
            assert!(self.server.mailbox(mailbox).set_flags(uid, &imap_names(letters)));
            return;
        }
        let file = self.file(mailbox, n);
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let base = name.split(':').next().unwrap();
        let to = self.path(mailbox).join("cur").join(format!("{base}:2,{letters}"));
        std::fs::rename(file, to).unwrap();
    }

    /// Message `n` is gone.
    pub(crate) fn remove(&self, side: Side, mailbox: &str, n: u32) {
        match side {
            Here => std::fs::remove_file(self.file(mailbox, n)).unwrap(),
            There => assert!(self.server.mailbox(mailbox).expunge(self.uid(mailbox, n))),
        }
    }

    /// Message `n` moves to another mailbox, as a mail reader or another client does it.
    pub(crate) fn shift(&self, side: Side, n: u32, from: &str, to: &str) {
        if side == Here {
            let file = self.file(from, n);
            let target = self.path(to).join("cur").join(file.file_name().unwrap());
            std::fs::rename(file, target).unwrap();
            return;
        }
        let message = self.server.mailbox(from).message(self.uid(from, n)).unwrap();
        let flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
        let date = Some(message.internal_date);
        self.server.mailbox(to).append(&message.bytes, &flags, date);
        self.remove(There, from, n);
    }

    /// The UID of message `n`.
    pub(crate) fn uid(&self, mailbox: &str, n: u32) -> u32 {
        let wanted = format!("<{n}@x>");
        let messages = self.server.mailbox(mailbox).messages();
        let found = messages.iter().find(|m| String::from_utf8_lossy(&m.bytes).contains(&wanted));
        found.map(|m| m.uid).unwrap_or_else(|| panic!("message {n} is not in {mailbox} there"))
    }

    /// The file of message `n`.
    pub(crate) fn file(&self, mailbox: &str, n: u32) -> PathBuf {
        let wanted = format!("<{n}@x>");
        let files = self.files(mailbox);
        let found = files.iter().find(|(_, b)| String::from_utf8_lossy(b).contains(&wanted));
        let name = found.map(|(name, _)| name);
        let name = name.unwrap_or_else(|| panic!("message {n} is not in {mailbox} here"));
        self.path(mailbox).join(name)
    }

    /// What a mailbox holds; nothing if it does not exist. Flags as Maildir letters in their order.
    pub(crate) fn content(&self, side: Side, mailbox: &str) -> Content {
        let mut found: Content = match side {
            There => self.server.mailbox(mailbox).messages().iter().map(told).collect(),
            Here if !self.path(mailbox).join("cur").exists() => Vec::new(),
            Here => self.files(mailbox).into_iter().map(shown).collect(),
        };
        found.sort();
        found
    }

    /// How many messages a mailbox holds.
    pub(crate) fn count(&self, side: Side, mailbox: &str) -> usize {
        self.content(side, mailbox).len()
    }

    /// The flags of message `n`; `None` if it is not there.
    pub(crate) fn flags(&self, side: Side, mailbox: &str, n: u32) -> Option<String> {
        let wanted = format!("<{n}@x>");
        let found = self.content(side, mailbox).into_iter().find(|(b, _)| b.contains(&wanted));
        found.map(|(_, flags)| flags)
    }

    /// Both sides hold these messages, with these flags, and no others.
    pub(crate) fn assert_both(&self, mailbox: &str, wanted: &[(u32, &str)]) {
        let mut wanted: Content = wanted.iter().map(|(n, f)| (mail(*n), (*f).to_owned())).collect();
        wanted.sort();
        for side in Side::BOTH {
            assert_eq!(self.content(side, mailbox), wanted, "{mailbox} {side:?}");
        }
    }

    /// The messages in the quarantine.
    pub(crate) fn quarantined(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut dirs = vec![self.account.maildir.join(".postrider/quarantine")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => dirs.push(entry.path()),
                    false => found.push(std::fs::read_to_string(entry.path()).unwrap()),
                }
            }
        }
        found.sort();
        found
    }

    /// Everything that can be seen of both sides: file names, bytes, UIDs, flags.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        let mut dirs = vec![self.account.maildir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let bytes = if path.is_dir() {
                    dirs.push(path.clone());
                    Vec::new()
                } else {
                    std::fs::read(&path).unwrap()
                };
                // The number of the newest pass is neither mail nor what a user sees.
                if !path.ends_with(".postrider/epoch") {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    seen.insert(path.display().to_string(), text);
                }
            }
        }
        for mailbox in self.server.mailboxes() {
            for m in self.server.mailbox(&mailbox).messages() {
                let text = String::from_utf8_lossy(&m.bytes).into_owned();
                seen.insert(format!("{mailbox};{}", m.uid), format!("{:?} {text}", m.flags));
            }
            seen.insert(mailbox, String::new());
        }
        seen
    }

    /// When a file was last written, in seconds.
    pub(crate) fn mtime(&self, path: &PathBuf) -> i64 {
        let modified = std::fs::metadata(path).unwrap().modified().unwrap();
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_secs()).unwrap()
    }
}

fn told(message: &postrider_mailserver::Message) -> (String, String) {
    let body = String::from_utf8_lossy(&message.bytes).replace("\r\n", "\n");
    let known = LETTERS.iter().filter(|(_, name)| message.flags.contains(*name));
    (body, known.map(|(letter, _)| *letter).collect())
}

fn shown((name, bytes): (String, Vec<u8>)) -> (String, String) {
    let info = name.split_once(":2,").map_or("", |(_, info)| info);
    let letters = info.chars().filter(char::is_ascii_uppercase).collect();
    (String::from_utf8_lossy(&bytes).into_owned(), letters)
}
