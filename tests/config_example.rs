//! The example configuration is what it says: valid as it stands, its `#key` lines are the
//! defaults, its `# key` lines are valid.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it reads")]

use std::path::Path;

use postrider::daemon::settings;
use postrider::model::account::Settings;

fn load_with(change: impl Fn(&str) -> String) -> Settings {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/config.example.toml");
    let text = std::fs::read_to_string(example).unwrap();
    let text: Vec<String> = text.lines().map(change).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text.join("\n")).unwrap();
    match settings::load(&file) {
        Ok(settings) => Settings { path: "config.toml".into(), ..settings },
        Err(err) => panic!("{err}"),
    }
}

/// The line without `mark`, if what follows is `key = value`.
fn uncommented(line: &str, mark: &str) -> String {
    let assignment = line.strip_prefix(mark).filter(|rest| {
        let key = rest.split(" = ").next().unwrap_or_default();
        key != *rest && key.bytes().all(|b| b.is_ascii_lowercase() || b"_256".contains(&b))
    });
    assignment.unwrap_or(line).to_owned()
}

#[test]
fn lines_that_show_the_default_change_nothing() {
    let as_it_stands = load_with(str::to_owned);
    assert_eq!(as_it_stands.accounts.len(), 2);
    assert_eq!(as_it_stands, load_with(|line| uncommented(line, "#")));
}

#[test]
fn lines_that_show_an_example_are_valid() {
    let with_examples = load_with(|line| uncommented(line, "# "));
    assert_ne!(with_examples, load_with(str::to_owned));
    let work = with_examples.accounts.values().find(|a| a.name.as_str() == "work").unwrap();
    assert!(work.roles.len() == 2 && work.imap.as_ref().unwrap().endpoint.client_cert.is_some());
}
