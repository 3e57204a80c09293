//! Tidy test: each of the 125 scenarios has exactly one test, or says why it has none yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const SCENARIOS: u32 = 125;

#[test]
fn every_scenario_has_one_test_or_an_open_line_with_its_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut written = tests_below(&root.join("tests"));
    written.extend(tests_below(&root.join("src")));
    let mut wrong = Vec::new();
    let mut told: BTreeMap<u32, &str> = BTreeMap::new();
    let readme = fs::read_to_string(root.join("tests/scenarios/README.md")).unwrap();
    for line in readme.lines().filter(|l| l.starts_with("| ") && l.as_bytes()[2].is_ascii_digit()) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let n: u32 = cells[1].parse().unwrap();
        if told.insert(n, line).is_some() {
            wrong.push(format!("{n}: told twice"));
        }
        let (test, file) = (cells[2].trim_matches('`'), cells[3].trim_matches('`'));
        let here = written.get(&n).map_or(&[][..], Vec::as_slice);
        match test.strip_prefix("open: ") {
            Some(reason) if reason.len() < 10 => wrong.push(format!("{n}: open without a reason")),
            Some(_) if !here.is_empty() => wrong.push(format!("{n}: open, and {here:?}")),
            Some(_) => {}
            None if here != [(test.to_owned(), root.join(file))] => {
                wrong.push(format!("{n}: the table says {test} in {file}, found {here:?}"));
            }
            None => {}
        }
    }
    let missing = (1..=SCENARIOS).filter(|n| !told.contains_key(n));
    wrong.extend(missing.map(|n| format!("{n}: not in the table")));
    wrong.extend(written.keys().filter(|n| !told.contains_key(n)).map(|n| format!("{n}: unknown")));
    assert!(wrong.is_empty(), "tests/scenarios/README.md:\n{}", wrong.join("\n"));
}

/// Name and file of each test whose name is `s` and three digits, by number.
fn tests_below(dir: &Path) -> BTreeMap<u32, Vec<(String, PathBuf)>> {
    let mut found: BTreeMap<u32, Vec<(String, PathBuf)>> = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                for (n, name) in names_in(&fs::read_to_string(&path).unwrap()) {
                    found.entry(n).or_default().push((name, path.clone()));
                }
            }
        }
    }
    found
}

fn names_in(text: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let Some(name) = line.strip_prefix("fn s").and_then(|rest| rest.split('(').next()) else {
            continue;
        };
        let number = name.split('_').next().unwrap_or_default();
        if let (3, Ok(n)) = (number.len(), number.parse()) {
            found.push((n, format!("s{name}")));
        }
    }
    found
}
