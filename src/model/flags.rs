//! Message flags, in the terms of Maildir and of IMAP. Floor 0.

use std::collections::BTreeSet;
use std::fmt;

/// The six flags that Maildir and IMAP share, as bits, and the keywords beside them.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Flags {
    bits: u8,
    /// Keywords other than `$Forwarded`, compared without case (stored lower-cased).
    pub keywords: BTreeSet<String>,
}

/// One of the flags that have a Maildir letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// `D`, `\Draft`.
    Draft,
    /// `F`, `\Flagged`.
    Flagged,
    /// `P`, `$Forwarded`.
    Passed,
    /// `R`, `\Answered`.
    Replied,
    /// `S`, `\Seen`.
    Seen,
    /// `T`, `\Deleted`.
    Trashed,
}

impl Flag {
    /// All flags in the order of their letters.
    pub const ALL: [Self; 6] =
        [Self::Draft, Self::Flagged, Self::Passed, Self::Replied, Self::Seen, Self::Trashed];

    fn bit(self) -> u8 {
        match self {
            Self::Draft => 1,
            Self::Flagged => 2,
            Self::Passed => 4,
            Self::Replied => 8,
            Self::Seen => 16,
            Self::Trashed => 32,
        }
    }

    /// The Maildir letter.
    pub fn letter(self) -> char {
        match self {
            Self::Draft => 'D',
            Self::Flagged => 'F',
            Self::Passed => 'P',
            Self::Replied => 'R',
            Self::Seen => 'S',
            Self::Trashed => 'T',
        }
    }

    /// The IMAP name.
    pub fn imap(self) -> &'static str {
        match self {
            Self::Draft => "\\Draft",
            Self::Flagged => "\\Flagged",
            Self::Passed => "$Forwarded",
            Self::Replied => "\\Answered",
            Self::Seen => "\\Seen",
            Self::Trashed => "\\Deleted",
        }
    }
}

/// What to add and what to take away: a change, never a state, so that two changes cannot fight.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct FlagDelta {
    /// Flags to set.
    pub add: Flags,
    /// Flags to clear.
    pub remove: Flags,
}

/// Which flags a mailbox keeps (PERMANENTFLAGS, RFC 9051 §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permanent {
    /// Whether new keywords can be made (`\*`).
    pub any_keyword: bool,
    /// Those that are kept.
    pub flags: Flags,
}

impl Permanent {
    /// Everything is kept: what a server means that does not say.
    pub fn all() -> Self {
        Self { any_keyword: true, flags: Flags::from_parts(63, []) }
    }

    /// Nothing is kept: a mailbox that is read-only.
    pub fn none() -> Self {
        Self { any_keyword: false, flags: Flags::none() }
    }

    /// The part of some flags that is kept.
    pub fn keeps(&self, flags: &Flags) -> Flags {
        let keywords = flags.keywords.iter();
        let kept = keywords.filter(|k| self.any_keyword || self.flags.keywords.contains(*k));
        // `$Forwarded` is a letter in file names, and a keyword like any other on the server.
        let letters =
            if self.any_keyword { self.flags.bits | Flag::Passed.bit() } else { self.flags.bits };
        Flags::from_parts(flags.bits & letters, kept.cloned())
    }
}

impl Flags {
    /// No flags.
    pub fn none() -> Self {
        Self::default()
    }

    /// From the stored bit set (see [`Flags::bits`]) and keywords.
    pub fn from_parts(bits: u8, keywords: impl IntoIterator<Item = String>) -> Self {
        Self { bits: bits & 63, keywords: keywords.into_iter().collect() }
    }

    /// The six flags as a bit set: D 1, F 2, P 4, R 8, S 16, T 32.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// From Maildir letters; letters that are not known are left out.
    pub fn from_letters(letters: &str) -> Self {
        let mut flags = Self::none();
        for flag in Flag::ALL {
            if letters.contains(flag.letter()) {
                flags.insert(flag);
            }
        }
        flags
    }

    /// The Maildir letters in ASCII order.
    pub fn letters(&self) -> String {
        Flag::ALL.into_iter().filter(|f| self.has(*f)).map(Flag::letter).collect()
    }

    /// From IMAP flag names; case does not matter, `\Recent` and unknown system flags are left out.
    pub fn from_imap<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut flags = Self::none();
        for name in names {
            flags.insert_imap(name);
        }
        flags
    }

    fn insert_imap(&mut self, name: &str) {
        if let Some(flag) = Flag::ALL.into_iter().find(|f| f.imap().eq_ignore_ascii_case(name)) {
            self.insert(flag);
        } else if !name.starts_with('\\') {
            self.keywords.insert(name.to_ascii_lowercase());
        }
    }

    /// The IMAP names, as for STORE and APPEND.
    pub fn imap_names(&self) -> Vec<&str> {
        let known = Flag::ALL.into_iter().filter(|f| self.has(*f)).map(|f| -> &str { f.imap() });
        known.chain(self.keywords.iter().map(String::as_str)).collect()
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: Flag) -> bool {
        self.bits & flag.bit() != 0
    }

    /// Sets a flag.
    pub fn insert(&mut self, flag: Flag) {
        self.bits |= flag.bit();
    }

    /// Clears a flag.
    pub fn clear(&mut self, flag: Flag) {
        self.bits &= !flag.bit();
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.bits == 0 && self.keywords.is_empty()
    }

    /// What leads from `base` to `self`.
    pub fn delta_from(&self, base: &Self) -> FlagDelta {
        FlagDelta { add: self.minus(base), remove: base.minus(self) }
    }

    /// The flags of `self` that `other` lacks.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self {
            bits: self.bits & !other.bits,
            keywords: self.keywords.difference(&other.keywords).cloned().collect(),
        }
    }

    /// The flags of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            bits: self.bits | other.bits,
            keywords: self.keywords.union(&other.keywords).cloned().collect(),
        }
    }

    /// `self` after a change.
    #[must_use]
    pub fn apply(&self, delta: &FlagDelta) -> Self {
        self.minus(&delta.remove).union(&delta.add)
    }

    /// Three-way merge, bit by bit: what changed against `base` on either side survives.
    ///
    /// Two sides can only change one bit in the same direction, so this never conflicts.
    #[must_use]
    pub fn merge(base: &Self, remote: &Self, local: &Self) -> Self {
        base.apply(&remote.delta_from(base)).apply(&local.delta_from(base))
    }
}

impl FlagDelta {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.letters())?;
        for keyword in &self.keywords {
            write!(f, "+{keyword}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sides_change_survives_the_merge() {
        let cases = [
            ("", "F", "", "F"),
            ("", "F", "F", "F"),
            ("", "S", "F", "FS"),
            ("S", "FS", "", "F"),
            ("T", "T", "", ""),
            ("FS", "S", "F", ""),
        ];
        for (base, remote, local, want) in cases {
            let merged = Flags::merge(
                &Flags::from_letters(base),
                &Flags::from_letters(remote),
                &Flags::from_letters(local),
            );
            assert_eq!(merged.letters(), want, "base {base} remote {remote} local {local}");
        }
    }

    #[test]
    fn imap_names_are_read_without_case_and_recent_is_left_out() {
        let flags = Flags::from_imap(["\\seen", "\\Recent", "NonJunk", "$FORWARDED", "\\Weird"]);
        assert_eq!(flags.to_string(), "PS+nonjunk");
        assert_eq!(flags.imap_names(), ["$Forwarded", "\\Seen", "nonjunk"]);
    }
}
