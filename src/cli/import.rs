//! `postrider import FILE...`: the configuration of another program as TOML. Beside floor 5.
//!
//! Prints and changes nothing. What could not be carried over stands in comments. The Maildir is
//! named where it is: the first sync pairs what is there with the server and transfers no body.

mod draft;
mod getmail;
mod ini;
mod mbsync;
mod msmtp;
mod offlineimap;

use std::path::PathBuf;

use self::draft::Draft;
use super::complaint::Complaint;
use super::print;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An mbsyncrc, offlineimaprc, msmtprc, mpoprc or getmailrc; of two, one may receive and one send
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<u8, Complaint> {
    let mut all = Draft::default();
    for file in &args.files {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|err| Complaint::plain(74, &format!("read {shown}: {err}")))?;
        let Some(draft) = convert(&text) else {
            let what = "is no mbsyncrc, offlineimaprc, msmtprc, mpoprc or getmailrc that could be understood";
            return Err(Complaint::plain(65, &format!("{shown} {what}")));
        };
        all.join(draft);
    }
    print::out(all.to_toml().trim_end())?;
    Ok(0)
}

/// What the file says, whichever program it is of.
fn convert(text: &str) -> Option<Draft> {
    let has = |words: &[&str]| {
        text.lines().map(|line| line.trim().to_ascii_lowercase()).any(|line| {
            words.iter().any(|word| {
                line.strip_prefix(word).is_some_and(|rest| {
                    word.ends_with([']', ' ']) || rest.starts_with(char::is_whitespace)
                })
            })
        })
    };
    let draft = if has(&["[retriever]"]) {
        getmail::read(text)
    } else if has(&["[general]", "[account ", "[repository "]) {
        offlineimap::read(text)
    } else if has(&["imapaccount", "imapstore", "maildirstore", "channel"]) {
        mbsync::read(text)
    } else if has(&["account", "defaults", "host"]) {
        msmtp::read(text)
    } else {
        return None;
    };
    (!draft.accounts.is_empty()).then_some(draft)
}

#[cfg(test)]
mod tests;
