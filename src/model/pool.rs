//! Flags of many messages in a few bytes each: a set of keywords is stored once. Floor 0.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::flags::Flags;

/// Flags in short: the six as bits, and the number of a set of keywords (0 for none).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packed {
    bits: u8,
    keywords: u32,
}

/// The sets of keywords that packed flags refer to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlagPool {
    sets: Vec<BTreeSet<String>>,
    numbers: BTreeMap<BTreeSet<String>, u32>,
}

impl FlagPool {
    /// Packs flags.
    pub fn pack(&mut self, flags: &Flags) -> Packed {
        let bits = flags.bits();
        if flags.keywords.is_empty() {
            return Packed { bits, keywords: 0 };
        }
        if let Some(number) = self.numbers.get(&flags.keywords) {
            return Packed { bits, keywords: *number };
        }
        self.sets.push(flags.keywords.clone());
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.numbers.insert(flags.keywords.clone(), number);
        Packed { bits, keywords: number }
    }

    /// The flags again.
    pub fn unpack(&self, packed: Packed) -> Flags {
        let at = (packed.keywords as usize).checked_sub(1);
        let keywords = at.and_then(|at| self.sets.get(at));
        Flags::from_parts(packed.bits, keywords.into_iter().flatten().cloned())
    }
}
