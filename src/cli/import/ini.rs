//! Sections of `key = value` lines, as offlineimap and getmail have them. Beside floor 5.

use super::draft::Asked;

/// A section and its keys, in lower case.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    keys: Vec<(String, String)>,
    asked: Asked,
}

impl Section {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.asked.note(key);
        let found = self.keys.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A note for each key that nobody asked for, besides those that mean nothing here.
    pub(super) fn left(&self, besides: &[&str]) -> Vec<String> {
        besides.iter().for_each(|key| self.asked.note(key));
        self.asked.left(self.keys.iter().map(|(key, value)| (key, value)))
    }

    /// Whether a key says yes.
    pub(super) fn is_on(&self, key: &str) -> Option<bool> {
        let value = self.get(key)?.to_ascii_lowercase();
        Some(matches!(value.as_str(), "yes" | "true" | "on" | "1"))
    }
}

/// All sections. A line that begins with a blank belongs to the one before it.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let is_own = !line.starts_with(char::is_whitespace);
        if is_own
            && let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        {
            sections.push(Section {
                name: name.trim().to_owned(),
                keys: Vec::new(),
                asked: Asked::default(),
            });
            continue;
        }
        let Some(section) = sections.last_mut() else { continue };
        if !is_own && let Some((_, value)) = section.keys.last_mut() {
            value.push(' ');
            value.push_str(trimmed);
        } else if let Some((key, value)) = trimmed.split_once(['=', ':']) {
            section.keys.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sections
}
