//! Questions on the terminal. Beside floor 5.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::cli::complaint::Complaint;
use crate::cli::print;

/// Asks a question and reads a line.
pub(super) fn question(text: &str) -> Result<String, Complaint> {
    show(text)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}

fn show(text: &str) -> Result<(), Complaint> {
    if !io::stdin().is_terminal() {
        let what = "there is nobody to ask\n  to mend it:  --yes, and what it says is missing";
        return Err(Complaint::plain(64, what));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{text} ").and_then(|()| stderr.flush()).map_err(failed)
}

fn failed(err: impl Into<io::Error>) -> Complaint {
    Complaint::plain(74, &format!("ask on the terminal: {}", err.into()))
}

/// Asks for what is not to be seen; none if nothing is typed.
pub(super) fn hidden(text: &str) -> Result<Option<SecretString>, Complaint> {
    let stdin = io::stdin();
    let Ok(shown) = tcgetattr(&stdin) else { return question(text).map(|_| None) };
    let mut blind = shown.clone();
    blind.local_modes.remove(LocalModes::ECHO);
    // What was typed ahead stays.
    let set = |modes: &Termios| tcsetattr(&stdin, OptionalActions::Drain, modes);
    set(&blind).map_err(failed)?;
    let answer = show(text).and_then(|()| line_of(&stdin));
    let restored = set(&shown);
    print::trouble("");
    restored.map_err(failed)?;
    let answer = answer?;
    let answer = std::str::from_utf8(&answer).map_err(|err| failed(io::Error::other(err)))?.trim();
    Ok((!answer.is_empty()).then(|| SecretString::from(answer)))
}

/// What is typed next, past the buffer of the standard input, which nobody wipes. A terminal gives one line
/// at a time, so that nothing stands in there.
fn line_of(stdin: &io::Stdin) -> Result<Zeroizing<Vec<u8>>, Complaint> {
    let mut line = Zeroizing::new(vec![0; LINE_BYTES_MAX]);
    let n = rustix::io::retry_on_intr(|| rustix::io::read(stdin, &mut **line)).map_err(failed)?;
    line.truncate(n);
    Ok(line)
}

/// As long as a terminal lets a line be.
const LINE_BYTES_MAX: usize = 4096;

/// Asks a question that is answered with yes or no; no answer is yes.
pub(super) fn agrees(text: &str) -> Result<bool, Complaint> {
    let answer = question(&format!("{text} [Y/n]"))?;
    Ok(answer.is_empty() || answer.to_lowercase().starts_with('y'))
}
