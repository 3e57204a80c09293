//! The one way to stdout and stderr. Beside floor 5.

use std::io::{self, IsTerminal, Write};

use super::complaint::Complaint;

/// Writes a text and a line end to stdout. A reader that went away is no trouble.
pub(super) fn out(text: &str) -> Result<(), Complaint> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(err) => Err(Complaint::plain(74, &format!("write to stdout: {err}"))),
    }
}

/// Writes a text and a line end to stderr.
pub(super) fn trouble(text: &str) {
    // There is nowhere else to complain.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Whether a person looks at stdout.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stdout takes colours.
pub(super) fn has_colours() -> bool {
    io::stdout().is_terminal() && is_allowed()
}

/// Whether stderr takes colours.
pub(super) fn has_colours_on_stderr() -> bool {
    io::stderr().is_terminal() && is_allowed()
}

/// See <https://no-color.org>.
fn is_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Lines of cells as columns two spaces apart; the last column is as wide as it likes.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
