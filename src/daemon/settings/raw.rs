//! Tables and values of the parsed TOML, each with its place in the file. Floor 5.
//!
//! Reading goes on after a problem, so that one look shows everything that is wrong: every reader
//! notes what it finds and answers `None`. A key that was never asked for is unknown, so the list
//! of valid keys cannot drift from the code that reads them. (serde stops at the first error and
//! loses the place inside untagged values, hence not derived structs.)

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};

use super::error::Raised;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Raised>>, RefCell<BTreeSet<String>>);

impl Problems {
    /// Every key that was asked for, whether it was there or not.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.1.borrow().clone()
    }

    /// All of them.
    pub(super) fn into_vec(self) -> Vec<Raised> {
        self.0.into_inner()
    }
}

/// A place that can be complained about.
#[derive(Debug, Clone)]
pub(super) struct Spot<'a> {
    problems: &'a Problems,
    at: usize,
    key: String,
}

impl<'a> Spot<'a> {
    /// Notes a problem.
    pub(super) fn problem(&self, what: impl Into<String>) {
        self.suggest(what, None);
    }

    /// Notes a problem with the nearest valid word.
    pub(super) fn suggest(&self, what: impl Into<String>, nearest: Option<&str>) {
        self.problems.0.borrow_mut().push(Raised {
            at: self.at,
            key: self.key.clone(),
            what: what.into(),
            nearest: nearest.map(str::to_owned),
        });
    }

    /// The key's whole name.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The same place, for the key `name` below.
    pub(super) fn below(&self, name: &str) -> Self {
        Spot { problems: self.problems, at: self.at, key: join(&self.key, name) }
    }
}

/// A table, and which of its keys were asked for.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) spot: Spot<'a>,
    entries: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    /// The whole document.
    pub(super) fn root(problems: &'a Problems, entries: &'a DeTable<'a>) -> Self {
        let spot = Spot { problems, at: 0, key: String::new() };
        Self { spot, entries, asked: RefCell::default() }
    }

    /// A table without a key, for what only the provider's preset says.
    pub(super) fn empty(spot: Spot<'a>) -> Self {
        static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);
        Self { spot, entries: &EMPTY, asked: RefCell::default() }
    }

    /// The value of a key, if it is there.
    pub(super) fn take(&self, name: &'static str) -> Option<Value<'a>> {
        self.asked.borrow_mut().push(name);
        self.spot.problems.1.borrow_mut().insert(join(&self.spot.key, name));
        self.named().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The value of a key that must be there.
    pub(super) fn need(&self, name: &'static str) -> Option<Value<'a>> {
        let value = self.take(name);
        if value.is_none() {
            self.spot.below(name).problem("is missing");
        }
        value
    }

    /// All keys and values: for tables whose keys are names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        self.entries.iter().map(|(key, value)| {
            let at = |at: usize| Spot { at, ..self.spot.below(key.get_ref()) };
            let value = Value {
                name_spot: at(key.span().start),
                spot: at(value.span().start),
                value: value.get_ref(),
            };
            (key.get_ref().as_ref(), value)
        })
    }

    /// Notes every key that was not asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, value) in self.named().filter(|(key, _)| !asked.contains(key)) {
            value.name_spot.suggest("unknown key", nearest(key, asked.iter().copied()));
        }
    }
}

/// A value with the places of its key and of itself.
#[derive(Debug)]
pub(super) struct Value<'a> {
    pub(super) name_spot: Spot<'a>,
    pub(super) spot: Spot<'a>,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// A string.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.typed("a string", self.as_text())
    }

    /// A string, or nothing without a complaint.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// A boolean.
    pub(super) fn boolean(&self) -> Option<bool> {
        self.typed("true or false", self.value.as_bool())
    }

    /// An integer in a range.
    pub(super) fn integer(&self, min: u32, max: u32) -> Option<u32> {
        let integer = self.typed("an integer", self.value.as_integer())?;
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|n| (min..=max).contains(n));
        if number.is_none() {
            self.spot.problem(format!("must be from {min} to {max}"));
        }
        number
    }

    /// An array.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        let array = self.typed("an array", self.value.as_array())?;
        let item = |value: &'a toml::Spanned<DeValue<'a>>| {
            let spot = Spot { at: value.span().start, ..self.spot.clone() };
            Value { name_spot: spot.clone(), spot, value: value.get_ref() }
        };
        Some(array.iter().map(item).collect())
    }

    /// An array of strings; those that are none are noted and left out.
    pub(super) fn texts(&self) -> Option<Vec<(&'a str, Self)>> {
        let items = self.list()?.into_iter();
        Some(items.filter_map(|item| item.text().map(|text| (text, item))).collect())
    }

    /// A table; missing keys are reported where its name stands.
    pub(super) fn table(&self) -> Option<Table<'a>> {
        self.table_like("a table")
    }

    /// A table, named `wanted` when it is something else.
    pub(super) fn table_like(&self, wanted: &str) -> Option<Table<'a>> {
        let entries = self.typed(wanted, self.value.as_table())?;
        Some(Table { spot: self.name_spot.clone(), entries, asked: RefCell::default() })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, options: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let chosen = options.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if chosen.is_none() {
            let words: Vec<&str> = options.iter().map(|(word, _)| *word).collect();
            let what = format!("{} is not one of {}", quoted(text), words.join(", "));
            self.spot.suggest(what, nearest(text, words));
        }
        chosen
    }

    /// A string that `parse` understands; what it answers otherwise is the problem.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(what) => {
                self.spot.problem(what);
                None
            }
        }
    }

    fn wrong_type(&self, wanted: &str) {
        let found = match self.value.type_str() {
            found @ ("integer" | "array") => format!("an {found}"),
            found => format!("a {found}"),
        };
        self.spot.problem(format!("expected {wanted}, found {found}"));
    }

    fn typed<T>(&self, wanted: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.wrong_type(wanted);
        }
        value
    }
}

/// The word of `valid` that `wrong` is most likely a misspelling of.
pub fn nearest<'w>(wrong: &str, valid: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let wrong = wrong.to_lowercase();
    let slips_max = (wrong.chars().count() / 3).max(1);
    valid
        .into_iter()
        .map(|word| (strsim::osa_distance(&wrong, word), word))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, word)| word)
}

/// A piece of the file in quotes, safe to print.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

fn join(path: &str, name: &str) -> String {
    let name = name.escape_debug();
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}
