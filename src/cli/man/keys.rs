//! postrider.toml(5), made from the example configuration: its comments are the documentation of the
//! keys, and its tests say that it is complete and valid. Beside floor 5.

use roff::{Roff, bold, italic, roman};

use super::{begun, see_also};

/// A key of the example.
#[derive(Debug, PartialEq, Eq)]
struct Key<'a> {
    name: &'a str,
    about: String,
    value: Value<'a>,
    /// What stands behind the value in a comment.
    more: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Default(&'a str),
    Example(&'a str),
    Needed(&'a str),
}

/// A table of the example.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table<'a> {
    name: String,
    about: String,
    keys: Vec<Key<'a>>,
}

pub(super) fn page() -> String {
    let mut page = begun("postrider.toml", "5", "the configuration of postrider");
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(DESCRIPTION)]);
    let tables = tables(EXAMPLE);
    for table in &tables {
        page.control("SH", [format!("[{}]", table.name).as_str()]);
        if !table.about.is_empty() {
            page.text([roman(table.about.as_str())]);
        }
        for key in &table.keys {
            describe(&mut page, key, &tables);
        }
    }
    see_also(&mut page, &[("postrider", "1"), ("postrider-setup", "1"), ("postrider-check", "1")]);
    page.render()
}

fn describe(page: &mut Roff, key: &Key<'_>, tables: &[Table<'_>]) {
    page.control("TP", []);
    page.text([bold(key.name), roman(format!(" ({})", kind(key)))]);
    // What is said once holds wherever the key stands.
    let said = || {
        let mut same = tables.iter().flat_map(|table| &table.keys).filter(|k| k.name == key.name);
        same.find(|k| !k.about.is_empty()).map(|k| k.about.clone())
    };
    let about = if key.about.is_empty() { said().unwrap_or_default() } else { key.about.clone() };
    let mut was_set = false;
    for line in about.lines() {
        // What is indented there is a list of forms.
        let is_set = line.starts_with(' ');
        if is_set || was_set {
            page.control("br", []);
        }
        was_set = is_set;
        page.text([roman(line.trim())]);
    }
    let (word, value) = match key.value {
        Value::Default(value) => ("Default: ", value),
        Value::Example(value) => ("Example: ", value),
        Value::Needed(value) => ("Needed. Example: ", value),
    };
    if !about.is_empty() {
        page.control("br", []);
    }
    let mut text = vec![roman(word), italic(value)];
    if let Some(more) = key.more {
        text.extend([roman("; example: "), italic(more)]);
    }
    page.text(text);
}

/// What kind of value a key takes.
fn kind(key: &Key<'_>) -> &'static str {
    let value = match key.value {
        Value::Default(value) | Value::Example(value) | Value::Needed(value) => value,
    };
    match (value, key.more) {
        ("\"none\"", Some(example)) => match kind_of(example) {
            "size" => "size or \"none\"",
            "duration" => "duration or \"none\"",
            _ => "integer or \"none\"",
        },
        (value, _) => kind_of(value),
    }
}

fn kind_of(value: &str) -> &'static str {
    let text = value.trim_matches('"');
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_number = unit.len() < text.len();
    match value.chars().next() {
        Some('[') => "list of strings",
        Some('{') => "table",
        Some('"') if is_number && matches!(unit, "s" | "m" | "h" | "d") => "duration",
        Some('"') if is_number && matches!(unit, "KiB" | "MiB" | "GiB") => "size",
        Some('"') if text.starts_with(['/', '~']) => "path",
        Some('"') => "string",
        _ if matches!(value, "true" | "false") => "boolean",
        _ => "integer",
    }
}

/// Takes the example apart. A table that comes again adds the keys that are new.
fn tables(example: &str) -> Vec<Table<'_>> {
    let mut tables: Vec<Table<'_>> = Vec::new();
    let mut about = String::new();
    let mut at = None;
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let name = general(name);
            at = tables.iter().position(|table| table.name == name).or_else(|| {
                let about = std::mem::take(&mut about);
                tables.push(Table { name, about, keys: Vec::new() });
                Some(tables.len() - 1)
            });
            about.clear();
        } else if let Some((name, value, more)) = assignment(line) {
            let about = std::mem::take(&mut about);
            let table = at.and_then(|at| tables.get_mut(at));
            if let Some(table) = table.filter(|t| t.keys.iter().all(|key| key.name != name)) {
                table.keys.push(Key { name, about, value, more });
            }
        } else if let Some(text) = line.strip_prefix('#') {
            about.push_str(text.strip_prefix(' ').unwrap_or(text));
            about.push('\n');
        } else {
            about.clear();
        }
    }
    tables
}

/// The name of a table with what a user chooses in it replaced: `account.NAME.imap`.
fn general(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if let (Some("account" | "smtp"), Some(chosen)) = (parts.first().copied(), parts.get_mut(1)) {
        *chosen = "NAME";
    }
    parts.join(".")
}

/// `#key = default`, `# key = example` and `key = needed`, with the comment behind.
fn assignment(line: &str) -> Option<(&str, Value<'_>, Option<&str>)> {
    let bare = line.strip_prefix("# ").or_else(|| line.strip_prefix('#')).unwrap_or(line);
    let (name, value) = bare.split_once(" = ")?;
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return None;
    }
    let (value, more) = match value.rsplit_once(" # ") {
        Some((value, more)) => (value.trim_end(), Some(more)),
        None => (value, None),
    };
    let value = match (line.starts_with("# "), line.starts_with('#')) {
        (true, _) => Value::Example(value),
        (_, true) => Value::Default(value),
        _ => Value::Needed(value),
    };
    Some((name, value, more))
}

const EXAMPLE: &str = include_str!("../../../config/config.example.toml");
const DESCRIPTION: &str = "The file is $XDG_CONFIG_HOME/postrider/config.toml (~/.config/postrider/config.toml), or what \
     --config or POSTRIDER_CONFIG names. It is TOML. A mistake in it is refused with its place before anything is \
     touched; an unknown key is a mistake. Durations are \"30s\", \"5m\", \"2h\", \"7d\", sizes \"64KiB\", \"10MiB\", \
     \"1GiB\". In paths, ~ and $VAR are expanded. NAME is chosen by you. SIGHUP, or postrider reload, takes a changed file over.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_words_its_kind_and_its_default() {
        let example = "[account.work.sync]\n# What stays.\n#max_size = \"none\"   # \"25MiB\"\n# mode = 3\nname = \"x\"\n";
        let tables = tables(example);
        assert_eq!(tables[0].name, "account.NAME.sync");
        let keys = &tables[0].keys;
        assert_eq!((keys[0].about.as_str(), kind(&keys[0])), ("What stays.\n", "size or \"none\""));
        assert_eq!(keys[0].value, Value::Default("\"none\""));
        assert_eq!((keys[1].value, kind(&keys[1])), (Value::Example("3"), "integer"));
        assert_eq!(keys[2].value, Value::Needed("\"x\""));
    }

    #[test]
    fn every_key_of_the_example_is_on_the_page() {
        let page = page();
        for table in tables(EXAMPLE) {
            assert!(!table.keys.is_empty(), "{}", table.name);
            for key in table.keys {
                assert!(
                    page.contains(&format!("\\fB{}\\fR ({})", key.name, kind(&key))),
                    "{}",
                    key.name
                );
            }
        }
    }
}
