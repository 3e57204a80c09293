//! Tidy test: which module may import which (`ARCHITECTURE.md`, floors), what the two pure floors
//! must not name, and how long a file may be. Comments, strings and trailing test modules are not
//! looked at.

#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test may stop at what it reads")]

use std::fs;
use std::path::{Path, PathBuf};

/// What a module may import beside itself; `x/y` is the module `y` in `x`. The longest matching
/// first column counts.
const ARROWS: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("rules", &["model"]),
    ("ports", &["model"]),
    ("adapters", &ADAPTERS_IMPORT),
    ("adapters/net", &["model", "rules/automatic", "adapters/private_file"]),
    ("engine", &["rules", "ports", "model"]),
    ("daemon", &["engine", "adapters", "rules", "ports", "model"]),
    (
        "daemon/bus",
        &[
            "model",
            "ports",
            "engine/board",
            "engine/jobs",
            "engine/relay",
            "daemon/document",
            "daemon/paths",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "daemon/settings",
            "daemon/proxy",
            "daemon/paths",
            "daemon/run",
            "daemon/check",
            "daemon/discover",
            "daemon/doctor",
            "daemon/document",
            "daemon/held",
            "daemon/login",
            "daemon/skipped",
            "daemon/verify",
            "daemon/errand",
            "daemon/spool",
            "daemon/queued",
            "daemon/stopped",
        ],
    ),
];

/// Of the rules an adapter may know how names and headers are spelt, never what is decided.
const ADAPTERS_IMPORT: [&str; 14] = [
    "ports",
    "model",
    "rules/header",
    "rules/mailboxes",
    "rules/names",
    "adapters/net",
    "adapters/sasl",
    "adapters/secrets",
    "adapters/process",
    "adapters/private_file",
    "adapters/keyring",
    "adapters/dns",
    "adapters/http",
    "adapters/oauth",
];

/// Floors 0 and 1 are total functions of their arguments: no I/O, no clock, no random order.
const PURE: [&str; 2] = ["model", "rules"];

const NOT_ON_PURE_FLOORS: [&str; 7] =
    ["tokio", "std::fs", "std::net", "SystemTime::now", "Instant::now", "HashMap", "tracing"];

const FILE_LINES_MAX: usize = 400;

#[test]
fn modules_import_only_from_floors_below() {
    let mut wrong = Vec::new();
    for file in sources() {
        for path in paths_after("crate::", &file.code).into_iter().chain(file.paths_after_super()) {
            if !file.may_import(&path) {
                wrong.push(format!("{}: imports {path}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows go down only:\n{}", wrong.join("\n"));
}

#[test]
fn the_pure_floors_name_no_io_clock_or_unordered_map() {
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| PURE.contains(&file.top())) {
        let of_std = paths_after("std::", &file.code);
        let of_std = of_std.iter().map(|path| format!("std::{}", path.replace('/', "::")));
        let code = format!("{}\n{}", file.code, of_std.collect::<Vec<_>>().join("\n"));
        for word in NOT_ON_PURE_FLOORS.iter().filter(|word| names(&code, word)) {
            wrong.push(format!("{}: names {word}", file.name));
        }
    }
    assert!(wrong.is_empty(), "floors 0 and 1 are pure:\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short_enough_to_read() {
    let long = sources().into_iter().filter(|file| file.n_lines > FILE_LINES_MAX);
    let long: Vec<String> = long.map(|f| format!("{}: {} lines", f.name, f.n_lines)).collect();
    assert!(long.is_empty(), "at most {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn the_reader_of_this_test_sees_what_it_must() {
    let code = code_of(
        "use crate::model::{ids::Uid, flags::{self, Flag}};\n// crate::engine\nlet a = \
         \"crate::daemon\"; /* crate::cli */ let c = '\"'; let b = crate::rules::plan(r#\"\"#);\n\
         use crate::{ports, adapters::net};\nlet l: &'a str = mycrate::x;\n\
         #[cfg(test)]\nmod tests {\n use crate::engine;\n}\n",
    );
    let paths = paths_after("crate::", &code);
    let wanted = [
        "model/ids/Uid",
        "model/flags/self",
        "model/flags/Flag",
        "rules/plan",
        "ports",
        "adapters/net",
    ];
    assert_eq!(paths, wanted);
    let file = |module: &str| Source { module: module.to_owned(), ..Source::default() };
    assert!(file("adapters/imap/fetch").may_import("adapters/net/dial"));
    assert!(file("adapters/imap/fetch").may_import("adapters/imap"));
    assert!(!file("adapters/imap/fetch").may_import("adapters/maildir"));
    assert!(!file("adapters/imap/fetch").may_import("rules/plan"));
    assert!(!file("engine/account").may_import("adapters/net"));
    assert!(!file("cli/status").may_import("daemon/bus"));
    assert!(file("cli/status").may_import("daemon/proxy"));
    assert!(!file("daemon/bus/manager").may_import("engine/account"));
    assert!(file("daemon/bus/manager").may_import("engine/jobs"));
    let code = "use super::super::maildir::scan;".to_owned();
    let climbing = Source { module: "adapters/imap/fetch".to_owned(), code, ..Source::default() };
    assert_eq!(climbing.paths_after_super(), ["adapters/maildir/scan"]);
    assert!(names("let x: HashMap<u8, u8>", "HashMap") && !names("MyHashMap", "HashMap"));
}

/// A file of `src/`, as far as this test looks at it.
#[derive(Default)]
struct Source {
    name: String,
    /// Its module path, joined by `/`.
    module: String,
    code: String,
    n_lines: usize,
}

impl Source {
    fn top(&self) -> &str {
        self.module.split('/').next().unwrap_or_default()
    }

    fn may_import(&self, path: &str) -> bool {
        let rows = ARROWS.iter().filter(|(module, _)| is_in(&self.module, module));
        // The crate's root and the binary stand above all floors.
        let Some((module, allowed)) = rows.max_by_key(|(module, _)| module.len()) else {
            return true;
        };
        // An adapter is a unit of its own: its siblings are foreign to it.
        let unit = match (*module, self.module.splitn(3, '/').collect::<Vec<_>>().as_slice()) {
            ("adapters", [top, adapter, ..]) => format!("{top}/{adapter}"),
            (module, _) => module.to_owned(),
        };
        is_in(path, &unit) || allowed.iter().any(|allowed| is_in(path, allowed))
    }

    /// `super::super::x` and longer, resolved; a single `super` cannot leave a unit unseen, since
    /// `mod.rs` of the folder above only declares modules.
    fn paths_after_super(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (levels, chain) in [(3, "super::super::super::"), (2, "super::super::")] {
            let mut parents: Vec<&str> = self.module.split('/').collect();
            parents.truncate(parents.len().saturating_sub(levels));
            for path in paths_after(chain, &self.code) {
                if path != "super" && !path.starts_with("super/") {
                    let parts = parents.iter().copied().chain([path.as_str()]);
                    found.push(parts.collect::<Vec<_>>().join("/"));
                }
            }
        }
        found
    }
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 10, "no sources below {}", root.display());
    files.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let module = name.trim_end_matches(".rs").trim_end_matches("/mod").to_owned();
        let n_lines = without_tests(&text).lines().count();
        Source { n_lines, code: code_of(&text), module, name }
    };
    files.iter().map(read).collect()
}

/// All `.rs` files but test modules with a file of their own.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") && !is_tests(&path) {
            files.push(path);
        }
    }
}

fn is_tests(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem == "tests" || stem.ends_with("_tests")
}

fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

/// The text without its tests, comments and the content of strings.
fn code_of(text: &str) -> String {
    let mut out = String::new();
    let mut rest = without_tests(text);
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            'r' if raw_string(rest).is_some() => raw_string(rest).unwrap(),
            '"' => string(rest),
            '\'' if rest.starts_with("'\\") => 2 + rest[3..].find('\'').map_or(0, |at| at + 2),
            '\'' if rest.chars().nth(2) == Some('\'') => {
                rest.char_indices().nth(3).map_or(3, |c| c.0)
            }
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        out.push(' ');
        rest = &rest[skipped.min(rest.len())..];
    }
    out
}

/// The length of the string literal that `text` begins with.
fn string(text: &str) -> usize {
    let mut escaped = true; // the opening quote
    for (at, c) in text.char_indices() {
        if c == '"' && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// The length of the raw string literal that `text` begins with, if it does.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].find(|c| c != '#')?;
    let body = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map(|at| 2 + hashes + at + end.len())
}

/// The paths that follow `root`, groups in braces taken apart: `a::{b, c::d}` is `a/b`, `a/c/d`.
fn paths_after(root: &str, code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(root) {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        if !is_word(before) && before != ':' {
            tree(&code[at + root.len()..], "", &mut paths);
        }
    }
    paths
}

/// Reads one path or group; answers what follows it.
fn tree<'c>(code: &'c str, prefix: &str, paths: &mut Vec<String>) -> &'c str {
    let mut rest = code.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        rest = group.trim_start();
        while !rest.is_empty() && !rest.starts_with('}') {
            let after = tree(rest, prefix, paths).trim_start();
            // An alias or anything unexpected: go on at the next comma or brace.
            rest = &after[after.find([',', '}']).unwrap_or(after.len())..];
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        return rest.strip_prefix('}').unwrap_or(rest);
    }
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    let path = if prefix.is_empty() { word.to_owned() } else { format!("{prefix}/{word}") };
    match after.strip_prefix("::") {
        Some(below) if below.trim_start().starts_with(|c| is_word(c) || c == '{') => {
            tree(below, &path, paths)
        }
        Some(_) | None => {
            paths.push(path);
            after
        }
    }
}

/// Whether `code` contains `word` as a whole word.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
