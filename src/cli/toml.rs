//! Pieces of TOML that commands print or write. Beside floor 5.

/// A basic string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A key, bare where that is possible.
pub(super) fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// The words of a command line, or a shell's arguments where only a shell can tell what they are.
pub(super) fn words(command: &str) -> Vec<&str> {
    let is_plain = command.chars().all(|c| c.is_alphanumeric() || " -_./@:=+,".contains(c));
    if is_plain { command.split_whitespace().collect() } else { vec!["sh", "-c", command] }
}

/// A command line as an argument vector.
pub(super) fn argv(command: &str) -> String {
    let words: Vec<String> = words(command).into_iter().map(quoted).collect();
    format!("[{}]", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_means_what_was_meant() {
        assert_eq!(key("work-1"), "work-1");
        assert_eq!(key("a.b"), "\"a.b\"");
        assert_eq!(key(""), "\"\"");
        assert_eq!(argv("pass show work"), r#"["pass", "show", "work"]"#);
        let read = |text: &str| {
            let table: toml::Table = format!("x = {}", argv(text)).parse().unwrap();
            table["x"]
                .as_array()
                .unwrap()
                .iter()
                .map(|v| v.as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(read("gpg -d ~/x \"a b\""), ["sh", "-c", "gpg -d ~/x \"a b\""]);
    }
}
