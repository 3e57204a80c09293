//! Questions on the terminal. Beside floor 5.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::cli::complaint::Complaint;

/// Asks a question and reads a line.
pub(super) fn question(text: &str) -> Result<String, Complaint> {
    if !io::stdin().is_terminal() {
        let what = "there is nobody to ask\n  to mend it:  --yes, and what it says is missing";
        return Err(Complaint::plain(64, what));
    }
    let failed = |err: io::Error| Complaint::plain(74, &format!("ask on the terminal: {err}"));
    let mut stderr = io::stderr().lock();
    write!(stderr, "{text} ").and_then(|()| stderr.flush()).map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}

/// Asks a question that is answered with yes or no; no answer is yes.
pub(super) fn agrees(text: &str) -> Result<bool, Complaint> {
    let answer = question(&format!("{text} [Y/n]"))?;
    Ok(answer.is_empty() || answer.to_lowercase().starts_with('y'))
}
