//! The files of a Maildir in one block of memory. Floor 0.
//!
//! 200,000 names of 60 bytes take 18 MiB here, in allocations that go back to the system.

use crate::model::flags::Flags;
use crate::model::ids::Base;
use crate::model::pool::{FlagPool, Packed};
use crate::model::view::{LocalMessage, Sub};

/// Message files by base name.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Base names and infos, one after the other.
    text: String,
    /// Sorted by hash and name once [`ListingBuilder::finish`] made it.
    entries: Vec<Entry>,
    /// Where the entries of each share of the hashes begin, and the end of the last: finding a file
    /// costs two or three cache misses, where a binary search costs twelve.
    starts: Vec<u32>,
    pool: FlagPool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    start: u32,
    base_len: u16,
    info_len: u16,
    flags: Packed,
    sub: Sub,
}

/// Collects files in any order.
#[derive(Debug, Default)]
pub struct ListingBuilder {
    listing: Listing,
}

impl ListingBuilder {
    /// Adds a file. Names longer than 64 KiB do not exist, nor do 4 GiB of them in one directory:
    /// such a file is left out.
    pub fn add(&mut self, base: &str, info: &str, sub: Sub, flags: &Flags) {
        let Listing { text, entries, pool, .. } = &mut self.listing;
        let start = u32::try_from(text.len());
        let lengths = (u16::try_from(base.len()), u16::try_from(info.len()));
        let (Ok(start), (Ok(base_len), Ok(info_len))) = (start, lengths) else { return };
        text.push_str(base);
        text.push_str(info);
        let flags = pool.pack(flags);
        entries.push(Entry { hash: hash(base), start, base_len, info_len, flags, sub });
    }

    /// The listing, and whether each base name was seen once. Of those seen twice the later sight
    /// counts: a rename in progress shows a file under both names.
    pub fn finish(self) -> (Listing, bool) {
        let Listing { text, mut entries, pool, .. } = self.listing;
        entries.sort_unstable_by(|a, b| {
            let name = |e: &Entry| base_of(&text, e);
            (a.hash, name(a), b.start).cmp(&(b.hash, name(b), a.start))
        });
        let n = entries.len();
        entries.dedup_by(|b, a| a.hash == b.hash && base_of(&text, a) == base_of(&text, b));
        let is_unique = n == entries.len();
        let starts = starts_of(&entries);
        (Listing { text, entries, starts, pool }, is_unique)
    }
}

fn base_of<'a>(text: &'a str, entry: &Entry) -> &'a str {
    let start = entry.start as usize;
    text.get(start..start.saturating_add(usize::from(entry.base_len))).unwrap_or("")
}

/// Which of `n` equal shares of all hashes this one is in.
fn share(hash: u64, n: usize) -> usize {
    usize::try_from(u128::from(hash).saturating_mul(n as u128) >> 64).unwrap_or(0)
}

fn starts_of(entries: &[Entry]) -> Vec<u32> {
    let n = entries.len().max(1);
    let mut starts = Vec::with_capacity(n.saturating_add(1));
    for (at, entry) in entries.iter().enumerate() {
        let share = share(entry.hash, n);
        while starts.len() <= share {
            starts.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }
    while starts.len() <= n {
        starts.push(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    }
    starts
}

/// FNV-1a with a final mix: fixed, so that equal listings are equal; names that collide are compared.
fn hash(name: &str) -> u64 {
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3);
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325, step);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash ^ (hash >> 29)
}

impl Listing {
    fn find(&self, base: &str) -> Option<usize> {
        let hash = hash(base);
        let share = share(hash, self.starts.len().saturating_sub(1));
        let first = *self.starts.get(share)? as usize;
        let end = *self.starts.get(share.saturating_add(1))? as usize;
        let near = self.entries.get(first..end)?;
        let is_it = |e: &Entry| e.hash == hash && base_of(&self.text, e) == base;
        near.iter().position(is_it).map(|at| first.saturating_add(at))
    }

    fn message(&self, entry: &Entry) -> LocalMessage {
        let start = (entry.start as usize).saturating_add(usize::from(entry.base_len));
        let info = self.text.get(start..start.saturating_add(usize::from(entry.info_len)));
        LocalMessage {
            sub: entry.sub,
            flags: self.pool.unpack(entry.flags),
            info: info.unwrap_or("").to_owned(),
        }
    }

    /// A file.
    pub fn get(&self, base: &Base) -> Option<LocalMessage> {
        self.find(&base.0).and_then(|at| self.entries.get(at)).map(|e| self.message(e))
    }

    /// Whether there is a file of this name.
    pub fn contains(&self, base: &Base) -> bool {
        self.find(&base.0).is_some()
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The flags of all files, in no particular order.
    pub fn flags(&self) -> impl Iterator<Item = Flags> + '_ {
        self.entries.iter().map(|e| self.pool.unpack(e.flags))
    }

    /// A sieve to find out which files nobody knows.
    pub fn sieve(&self) -> Sieve<'_> {
        Sieve { listing: self, is_known: vec![false; self.entries.len()] }
    }
}

/// Equal if the same files are there with the same flags.
impl PartialEq for Listing {
    fn eq(&self, other: &Self) -> bool {
        let all = |l: &Self| -> Vec<(String, LocalMessage)> {
            l.entries.iter().map(|e| (base_of(&l.text, e).to_owned(), l.message(e))).collect()
        };
        self.len() == other.len() && all(self) == all(other)
    }
}

impl Eq for Listing {}

/// How a file was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// With the flags that were agreed.
    AsAgreed,
    /// With others.
    Other,
    /// Not at all.
    Missing,
}

/// Files, some of which were asked for.
#[derive(Debug)]
pub struct Sieve<'a> {
    listing: &'a Listing,
    is_known: Vec<bool>,
}

impl Sieve<'_> {
    /// Takes a file out of the unknown ones, and returns it.
    pub fn take(&mut self, base: &Base) -> Option<LocalMessage> {
        let at = self.listing.find(&base.0)?;
        if let Some(is_known) = self.is_known.get_mut(at) {
            *is_known = true;
        }
        self.listing.entries.get(at).map(|e| self.listing.message(e))
    }

    /// Takes a file out of the unknown ones, and tells whether it has these flags.
    pub fn look(&mut self, base: &Base, flags: &Flags) -> Sight {
        let Some(at) = self.listing.find(&base.0) else { return Sight::Missing };
        let Some(entry) = self.listing.entries.get(at) else { return Sight::Missing };
        if let Some(is_known) = self.is_known.get_mut(at) {
            *is_known = true;
        }
        if self.listing.pool.unpack(entry.flags) == *flags { Sight::AsAgreed } else { Sight::Other }
    }

    /// The files that nobody asked for, by name.
    pub fn rest(self) -> Vec<(Base, LocalMessage)> {
        let entries = self.listing.entries.iter().zip(&self.is_known);
        let unknown = entries.filter(|(_, is_known)| !**is_known);
        let mut rest: Vec<_> = unknown
            .map(|(e, _)| {
                (Base(base_of(&self.listing.text, e).to_owned()), self.listing.message(e))
            })
            .collect();
        rest.sort_by(|(a, _), (b, _)| a.cmp(b));
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_many_is_found_and_no_other() {
        let mut builder = ListingBuilder::default();
        for n in 0..5000 {
            builder.add(&format!("17{n}.M{n}P1R1.host"), "", Sub::New, &Flags::none());
        }
        let (listing, is_unique) = builder.finish();
        assert!(is_unique);
        let name = |n: u32| Base(format!("17{n}.M{n}P1R1.host"));
        assert!((0..5000).all(|n| listing.contains(&name(n))));
        assert!((5000..9000).all(|n| !listing.contains(&name(n))));
        assert!(!Listing::default().contains(&name(1)));
    }

    #[test]
    fn files_are_found_and_the_later_sight_of_one_counts() {
        let mut builder = ListingBuilder::default();
        builder.add("b", ":2,S", Sub::Cur, &Flags::from_letters("S"));
        builder.add("a", "", Sub::New, &Flags::none());
        builder.add("b", ":2,FS", Sub::Cur, &Flags::from_letters("FS"));
        let (listing, is_unique) = builder.finish();
        assert!(!is_unique);
        assert_eq!(listing.len(), 2);
        let base = |s: &str| Base(s.to_owned());
        let b = listing.get(&base("b")).unwrap();
        assert_eq!((b.info.as_str(), b.flags.to_string().as_str()), (":2,FS", "FS"));
        assert!(listing.get(&base("c")).is_none() && !listing.contains(&base("ab")));
        let mut sieve = listing.sieve();
        assert_eq!(sieve.look(&base("b"), &Flags::from_letters("FS")), Sight::AsAgreed);
        assert_eq!(sieve.look(&base("b"), &Flags::none()), Sight::Other);
        assert_eq!(sieve.look(&base("c"), &Flags::none()), Sight::Missing);
        let rest = sieve.rest();
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].0.clone(), rest[0].1.sub), (base("a"), Sub::New));
    }
}
