//! Questions on the terminal. Beside floor 5.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::cli::complaint::Complaint;
use crate::cli::print;

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

/// Asks for what is not to be seen; none if nothing is typed.
pub(super) fn hidden(text: &str) -> Result<Option<SecretString>, Complaint> {
    let stdin = io::stdin();
    let Ok(shown) = tcgetattr(&stdin) else { return question(text).map(|_| None) };
    let mut blind = shown.clone();
    blind.local_modes.remove(LocalModes::ECHO);
    // What was typed ahead stays.
    let set = |modes: &Termios| tcsetattr(&stdin, OptionalActions::Drain, modes);
    let failed = |err| Complaint::plain(74, &format!("ask on the terminal: {err}"));
    set(&blind).map_err(failed)?;
    let answer = question(text).map(Zeroizing::new);
    let restored = set(&shown);
    print::trouble("");
    restored.map_err(failed)?;
    let answer = answer?;
    Ok((!answer.is_empty()).then(|| SecretString::from(answer.as_str())))
}

/// Asks a question that is answered with yes or no; no answer is yes.
pub(super) fn agrees(text: &str) -> Result<bool, Complaint> {
    let answer = question(&format!("{text} [Y/n]"))?;
    Ok(answer.is_empty() || answer.to_lowercase().starts_with('y'))
}
