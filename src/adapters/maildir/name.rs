//! File names of a Maildir: unique ones for new files, and what foreign ones mean. Floor 3.

use std::time::{SystemTime, UNIX_EPOCH};

use super::keywords::Keywords;
use crate::model::flags::Flags;

/// A new unique base name: `<sec>.M<usec>P<pid>R<random>.<host>`, under 160 bytes.
pub(super) fn unique(host: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let random = fastrand::u64(..);
    let pid = std::process::id();
    format!("{}.M{}P{pid}R{random:016x}.{host}", now.as_secs(), now.subsec_micros())
}

/// When a file in `tmp/` was made, in seconds since the epoch, if [`unique`] named it. Its mtime is
/// the date of the message, which says nothing about that.
pub(super) fn made_at(name: &str) -> Option<u64> {
    let (seconds, rest) = name.split_once('.')?;
    let (m, rest) = rest.split('.').next()?.strip_prefix('M')?.split_once('P')?;
    let (pid, random) = rest.split_once('R')?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let is_random = random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit());
    if digits(m) && digits(pid) && is_random { seconds.parse().ok() } else { None }
}

/// Makes a host name safe inside a file name, as Maildir asks: `/` and `:` as octal.
pub(super) fn escape_host(host: &str) -> String {
    let host: String = host.chars().filter(|c| !c.is_control()).take(64).collect();
    let host = host.replace('/', "\\057").replace(':', "\\072").replace([';', '!'], "-");
    if host.is_empty() { "localhost".to_owned() } else { host }
}

/// How a mailbox writes flags into file names.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    /// Between base and info.
    pub(super) separator: char,
    /// The letters of keywords.
    pub(super) keywords: Keywords,
}

impl Naming {
    /// Splits a file name into base and info (separator included).
    pub(super) fn split<'a>(&self, name: &'a str) -> (&'a str, &'a str) {
        match name.find(self.separator) {
            Some(at) => name.split_at(at),
            None => (name, ""),
        }
    }

    /// The flags of an info part; anything but `2,` has none.
    pub(super) fn flags_of(&self, info: &str) -> Flags {
        let Some(letters) = letters(info) else { return Flags::none() };
        let mut flags = Flags::from_letters(letters);
        let named = letters.chars().filter_map(|c| self.keywords.name(c));
        flags.keywords.extend(named.map(str::to_owned));
        flags
    }

    /// The info part for new flags; letters that are not ours are kept, all in ASCII order.
    pub(super) fn info_with(&self, info: &str, flags: &Flags) -> String {
        let is_ours = |c: char| "DFPRST".contains(c) || self.keywords.name(c).is_some();
        let kept = letters(info).unwrap_or("").chars().filter(|c| !is_ours(*c));
        let mut all: Vec<char> = kept.collect();
        all.extend(flags.letters().chars());
        all.extend(flags.keywords.iter().filter_map(|name| self.keywords.letter(name)));
        all.sort_unstable();
        all.dedup();
        let letters: String = all.into_iter().collect();
        format!("{}2,{letters}", self.separator)
    }
}

fn letters(info: &str) -> Option<&str> {
    let mut chars = info.chars();
    chars.next()?;
    chars.as_str().strip_prefix("2,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_short_and_recognised() {
        let (a, b) = (unique("host"), unique("host"));
        assert_ne!(a, b);
        assert!(made_at(&a) > Some(1_700_000_000), "{a}");
        assert_eq!(made_at("1700000000.M1P2.host"), None);
        assert_eq!(made_at("x"), None);
        assert!(unique(&escape_host(&"h".repeat(300))).len() < 160);
        assert_eq!(escape_host("a/b:c"), "a\\057b\\072c");
    }

    fn naming(separator: char) -> Naming {
        Naming { separator, keywords: Keywords::default() }
    }

    #[test]
    fn foreign_letters_are_kept_in_order() {
        let colon = naming(':');
        assert_eq!(colon.split("1.a.h:2,FS"), ("1.a.h", ":2,FS"));
        assert_eq!(colon.split("1.a.h"), ("1.a.h", ""));
        assert_eq!(colon.flags_of(":2,FSa").to_string(), "FS");
        assert_eq!(colon.flags_of(":1,x").letters(), "");
        assert_eq!(colon.info_with(":2,SaZ", &Flags::from_letters("F")), ":2,FZa");
        assert_eq!(naming(';').info_with("", &Flags::from_letters("S")), ";2,S");
    }

    #[test]
    fn keywords_are_letters_of_the_mailbox() {
        let dir = tempfile::tempdir().unwrap();
        let mut named = naming(':');
        named.keywords.ensure(dir.path(), ["todo".to_owned()].iter()).unwrap();
        assert_eq!(named.flags_of(":2,Sab").to_string(), "S+todo");
        let flags = Flags::from_parts(0, ["todo".to_owned(), "unknown".to_owned()]);
        assert_eq!(named.info_with(":2,Sb", &flags), ":2,ab");
        assert_eq!(named.info_with(":2,Sab", &Flags::none()), ":2,b");
    }
}
