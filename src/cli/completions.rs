//! `postrider completions`: scripts that ask the program itself what may follow, so that they know
//! the accounts, mailboxes and queued messages of the moment. Beside floor 5.
//!
//! The scripts are ours, since those of the library do not quote names that hold spaces.

use std::ffi::OsString;

use clap::{CommandFactory, ValueEnum};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};

use super::complaint::Complaint;
use super::{explain, print};
use crate::daemon::{paths, queued, settings, stopped};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, clap::Args)]
pub(super) struct CompleteArgs {
    /// Which of the words is being typed, from 0
    index: usize,
    /// The words of the command line, the program first
    #[arg(last = true)]
    words: Vec<OsString>,
}

/// Prints the script of a shell.
pub(super) fn run(args: &Args) -> Result<u8, Complaint> {
    print::out(match args.shell {
        Shell::Bash => BASH.trim_end(),
        Shell::Zsh => ZSH.trim_end(),
        Shell::Fish => FISH.trim_end(),
    })?;
    Ok(0)
}

/// Prints what may stand at a place of a command line, one a line, with a tab and help after it.
pub(super) fn candidates(args: &CompleteArgs) -> Result<u8, Complaint> {
    let mut words = args.words.clone();
    words.resize(words.len().max(args.index + 1), OsString::new());
    let here = std::env::current_dir().ok();
    let found = complete(&mut super::Args::command(), words, args.index, here.as_deref());
    // Whoever types wants no error here: nothing fits.
    let mut found = found.unwrap_or_default();
    // Options come where one is begun, or where nothing else fits.
    let is_option = |one: &CompletionCandidate| one.get_value().to_string_lossy().starts_with('-');
    if !found.iter().all(is_option) {
        found.retain(|one| !is_option(one));
    }
    let lines: Vec<String> = found.iter().map(line).collect();
    print::out(&lines.join("\n"))?;
    Ok(0)
}

fn line(candidate: &CompletionCandidate) -> String {
    let plain = |text: String| text.replace(char::is_control, " ");
    let value = plain(candidate.get_value().to_string_lossy().into_owned());
    let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
    format!("{value}\t{}", plain(help.lines().next().unwrap_or_default().to_owned()))
}

/// For arguments that name an account.
pub(super) fn accounts() -> ArgValueCandidates {
    ArgValueCandidates::new(account_names)
}

/// For arguments that name a mailbox.
pub(super) fn mailboxes() -> ArgValueCandidates {
    ArgValueCandidates::new(mailbox_names)
}

/// For arguments that name an account or a mailbox.
pub(super) fn targets() -> ArgValueCandidates {
    ArgValueCandidates::new(|| account_names().into_iter().chain(mailbox_names()).collect())
}

/// For arguments that name a message of the outbox.
pub(super) fn messages() -> ArgValueCandidates {
    ArgValueCandidates::new(message_ids)
}

/// For arguments that name an error.
pub(super) fn codes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        explain::codes().map(|(code, means)| with_help(code, means)).collect()
    })
}

fn account_names() -> Vec<CompletionCandidate> {
    let Ok(settings) = settings::load(&settings::locate(None)) else { return Vec::new() };
    let accounts = settings.accounts.values();
    accounts.map(|account| with_help(account.name.as_str(), &account.address)).collect()
}

/// The mailboxes that were synced before.
fn mailbox_names() -> Vec<CompletionCandidate> {
    let Ok(settings) = settings::load(&settings::locate(None)) else { return Vec::new() };
    let found = stopped::mailboxes(&settings, &paths::state_dir()).unwrap_or_default();
    let name = |(account, mailbox)| CompletionCandidate::new(format!("{account}/{mailbox}"));
    found.into_iter().map(name).collect()
}

fn message_ids() -> Vec<CompletionCandidate> {
    let items = queued::items(&paths::state_dir()).unwrap_or_default();
    items.iter().map(|item| with_help(&item.id.0, item.phase.as_str())).collect()
}

fn with_help(value: &str, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(help.to_owned().into()))
}

const BASH: &str = include_str!("completions/postrider.bash");
const ZSH: &str = include_str!("completions/postrider.zsh");
const FISH: &str = include_str!("completions/postrider.fish");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_one_line_whatever_a_mailbox_is_called() {
        let odd = CompletionCandidate::new("a/b\n\tc").help(Some("x\ny".into()));
        assert_eq!(line(&odd), "a/b  c\tx");
    }
}
