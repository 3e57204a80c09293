//! Keywords as Dovecot keeps them: letters a–z in the file name, named by the mailbox's
//! `dovecot-keywords` file. Floor 3.
//!
//! A keyword that finds no free letter is not expressed here; the ledger keeps it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{classify, deliver};
use crate::model::failure::Failure;

/// Which letter stands for which keyword (lower case).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keywords {
    names: Vec<Option<String>>,
}

impl Keywords {
    /// Reads the file of a mailbox; none means no keywords.
    pub(super) fn load(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(classify("read the keywords", &path, &e)),
        }
    }

    /// Lines of `number name`; the rest is passed over.
    fn parse(text: &str) -> Self {
        let mut this = Self::default();
        for line in text.lines() {
            let Some((number, name)) = line.split_once(' ') else { continue };
            let Some(at) = number.parse().ok().filter(|n| *n < LETTERS) else { continue };
            this.put(at, name.trim());
        }
        this
    }

    fn put(&mut self, at: usize, name: &str) {
        if self.names.len() <= at {
            self.names.resize(at + 1, None);
        }
        if let Some(slot) = self.names.get_mut(at) {
            *slot = Some(name.to_ascii_lowercase()).filter(|n| !n.is_empty());
        }
    }

    /// The keyword of a letter.
    pub(super) fn name(&self, letter: char) -> Option<&str> {
        let at = (letter as usize).checked_sub('a' as usize)?;
        self.names.get(at)?.as_deref()
    }

    /// The letter of a keyword.
    pub(super) fn letter(&self, name: &str) -> Option<char> {
        let at = self.names.iter().position(|n| n.as_deref() == Some(name))?;
        u8::try_from(at).ok().map(|at| char::from(b'a' + at))
    }

    /// All keywords that have a letter.
    pub(super) fn all(&self) -> BTreeSet<String> {
        self.names.iter().flatten().cloned().collect()
    }

    /// Gives letters to keywords that have none, as far as there are any, and makes that durable
    /// before a file name uses them.
    pub(super) fn ensure<'a>(
        &mut self,
        dir: &Path,
        names: impl Iterator<Item = &'a String>,
    ) -> Result<(), Failure> {
        let mut is_changed = false;
        for name in names {
            let is_plain = !name.is_empty() && !name.contains(char::is_whitespace);
            if self.letter(name).is_some() || !is_plain {
                continue;
            }
            let free = self.names.iter().position(Option::is_none).unwrap_or(self.names.len());
            if free < LETTERS {
                self.put(free, name);
                is_changed = true;
            }
        }
        if is_changed { self.save(dir) } else { Ok(()) }
    }

    fn save(&self, dir: &Path) -> Result<(), Failure> {
        let mut text = String::new();
        for (at, name) in self.names.iter().enumerate() {
            if let Some(name) = name {
                text.push_str(&format!("{at} {name}\n"));
            }
        }
        let (new, path) = (dir.join(format!("{FILE}.postrider")), dir.join(FILE));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|e| classify("write the keywords", &path, &e))?;
        deliver::sync_dir(dir)
    }
}

const FILE: &str = "dovecot-keywords";
const LETTERS: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_given_once_and_survive() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "0 NonJunk\n2 work\njunk\n99 far\n").unwrap();
        let mut keywords = Keywords::load(dir.path()).unwrap();
        assert_eq!(keywords.letter("nonjunk"), Some('a'));
        assert_eq!(keywords.name('c'), Some("work"));
        assert_eq!(keywords.name('b'), None);
        let names: Vec<String> = ["work", "todo", "later"].map(str::to_owned).to_vec();
        keywords.ensure(dir.path(), names.iter()).unwrap();
        assert_eq!((keywords.letter("todo"), keywords.letter("later")), (Some('b'), Some('d')));
        assert_eq!(Keywords::load(dir.path()).unwrap(), keywords);
    }

    #[test]
    fn the_27th_has_no_letter_and_takes_none_away() {
        let dir = tempfile::tempdir().unwrap();
        let mut keywords = Keywords::default();
        let names: Vec<String> = (0..30).map(|n| format!("k{n}")).collect();
        keywords.ensure(dir.path(), names.iter()).unwrap();
        assert_eq!(keywords.letter("k25"), Some('z'));
        assert_eq!(keywords.letter("k26"), None);
        assert_eq!(keywords.all().len(), 26);
    }
}
