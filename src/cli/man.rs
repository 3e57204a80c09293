//! `postrider man`: the manual, made from what the program knows of itself: its arguments, the example
//! configuration, the descriptions of its D-Bus interfaces. Beside floor 5.

mod bus;
mod keys;

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use roff::{Inline, Roff, bold, italic, roman};

use super::complaint::Complaint;
use super::print;
use crate::model::happening::Happening;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A command, or postrider.toml, postrider-sendmail, postrider-dbus; the program as a whole without it
    page: Option<String>,
    /// Write all pages into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    all: Option<PathBuf>,
}

/// A page: its file name, as `postrider.1`, and its text.
type Page = (String, String);

pub(super) fn run(args: &Args) -> Result<u8, Complaint> {
    if let Some(dir) = &args.all {
        return write_all(dir);
    }
    let name = match args.page.as_deref() {
        None => "postrider".to_owned(),
        Some(name) if name.starts_with("postrider") => name.to_owned(),
        Some(name) => format!("postrider-{name}"),
    };
    let unknown = || Complaint::plain(64, &format!("there is no page {name:?}"));
    let of_name = |(file, _): &Page| file.rsplit_once('.').is_some_and(|(stem, _)| stem == name);
    let (_, text) = pages()?.into_iter().find(of_name).ok_or_else(unknown)?;
    print::out(text.trim_end())?;
    Ok(0)
}

fn write_all(dir: &Path) -> Result<u8, Complaint> {
    let failed = |err: std::io::Error| {
        Complaint::plain(73, &format!("write the manual to {}: {err}", dir.display()))
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    for (file, text) in pages()? {
        std::fs::write(dir.join(file), text).map_err(failed)?;
    }
    Ok(0)
}

/// All pages.
fn pages() -> Result<Vec<Page>, Complaint> {
    let mut program = super::Args::command();
    program.build();
    let end = SEE_ALSO.replace("@JOURNAL@", &journal());
    let mut pages = vec![("postrider.1".to_owned(), of_command(program.clone())? + &end)];
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("postrider-{}", command.get_name());
        // It takes what sendmail takes, which the arguments do not know.
        if command.get_name() != "sendmail" {
            let command = command.clone().name(name.clone()).display_name(name.clone());
            pages.push((format!("{name}.1"), of_command(command)?));
        }
    }
    pages.push((
        "postrider-sendmail.1".to_owned(),
        SENDMAIL.replace("@VERSION@", VERSION).replace("@DATE@", DATE),
    ));
    pages.push(("postrider.toml.5".to_owned(), keys::page()));
    pages.push(("postrider-dbus.7".to_owned(), bus::page()));
    Ok(pages)
}

fn of_command(command: clap::Command) -> Result<String, Complaint> {
    let (mut text, synopsis) = (Vec::new(), synopsis(&command));
    let page = clap_mangen::Man::new(command).manual("postrider").source(SOURCE).date(DATE);
    let made = page.render(&mut text);
    made.map_err(|err| Complaint::plain(74, &format!("make the page: {err}")))?;
    let text = String::from_utf8_lossy(&text);
    // The library's own says of an option that it has a value, and not which.
    let parted = text.split_once(SYNOPSIS).and_then(|(head, rest)| {
        let (_, rest) = rest.split_once(".SH ")?;
        Some(format!("{head}{SYNOPSIS}{synopsis}.SH {rest}"))
    });
    parted.ok_or_else(|| Complaint::plain(74, "make the page: it has no synopsis"))
}

/// How a command is called: its options with what they take, its arguments, its commands.
fn synopsis(command: &clap::Command) -> String {
    let mut line = vec![bold(command.get_bin_name().unwrap_or_else(|| command.get_name()))];
    let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    for arg in shown().filter(|arg| !arg.is_positional()) {
        let names = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        let names: Vec<String> = short.into_iter().chain(names).collect();
        line.extend([roman(" ["), bold(names.join("|"))]);
        if arg.get_action().takes_values() {
            line.extend([roman(" "), italic(values(arg))]);
        }
        line.push(roman("]"));
    }
    for arg in shown().filter(|arg| arg.is_positional()) {
        let is_many = arg.get_num_args().is_some_and(|n| n.max_values() > 1)
            || matches!(arg.get_action(), clap::ArgAction::Append);
        let many = if is_many { "..." } else { "" };
        let (open, close) = if arg.is_required_set() { (" ", "") } else { (" [", "]") };
        line.extend([roman(open), italic(values(arg)), roman(format!("{close}{many}"))]);
    }
    if command.has_subcommands() {
        let must = command.is_subcommand_required_set();
        let (open, close) = if must { (" ", "") } else { (" [", "]") };
        line.extend([roman(open), italic("COMMAND"), roman(close)]);
    }
    let mut page = Roff::new();
    page.text(line);
    page.to_roff()
}

/// What an argument takes, in the words of its help.
fn values(arg: &clap::Arg) -> String {
    match arg.get_value_names() {
        Some(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        None => arg.get_id().as_str().to_uppercase(),
    }
}

/// What is in the journal, by the ids of what happens.
fn journal() -> String {
    let mut page = Roff::new();
    for one in Happening::ALL {
        entry(&mut page, vec![bold(one.as_str())], &format!("{}: {}", one.means(), one.id()));
    }
    page.to_roff()
}

/// A page that is written here, from its title to its first section.
fn begun(title: &str, section: &str, what: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", [title, section, DATE, SOURCE, "postrider"]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{} - {what}", title.to_lowercase()))]);
    page
}

/// A paragraph with a word in bold above an indented text.
fn entry(page: &mut Roff, head: Vec<Inline>, body: &str) {
    page.control("TP", []);
    page.text(head);
    page.text([roman(body)]);
}

fn see_also(page: &mut Roff, pages: &[(&str, &str)]) {
    page.control("SH", ["SEE ALSO"]);
    for (n, (name, section)) in pages.iter().enumerate() {
        let comma = if n + 1 < pages.len() { "," } else { "" };
        page.text([bold(*name), roman(format!("({section}){comma}"))]);
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// When the pages were last gone over.
const DATE: &str = "2026-11-28";
const SOURCE: &str = concat!("postrider ", env!("CARGO_PKG_VERSION"));
const SYNOPSIS: &str = ".SH SYNOPSIS\n";
const SENDMAIL: &str = include_str!("man/postrider-sendmail.1");
const SEE_ALSO: &str = ".SH FILES
.TP
.I $XDG_CONFIG_HOME/postrider/config.toml
The configuration; see
.BR postrider.toml (5).
.TP
.I $XDG_STATE_HOME/postrider/
What was synced, and what waits to be sent.
.TP
.I $XDG_RUNTIME_DIR/postrider/bus
The private socket.
.SH EXIT STATUS
0 all done, 64 usage, 65 bad data, 67 no such user or account, 69 server unreachable, 73 cannot create,
74 local input or output, 75 temporary, 76 protocol, 77 login refused or no permission, 78 configuration.
.SH JOURNAL
Started by systemd, the service writes to the journal, with the fields POSTRIDER_ACCOUNT, POSTRIDER_MAILBOX,
POSTRIDER_QUEUE_ID, POSTRIDER_MESSAGE_ID, POSTRIDER_PHASE, POSTRIDER_CODE (see
.BR postrider-explain (1)),
POSTRIDER_STATE and others.
Subjects, texts and secrets are never in it.
What happens has a MESSAGE_ID that stays the same, to be found with
.B journalctl --user MESSAGE_ID=
or to be acted on:
@JOURNAL@.SH SEE ALSO
.BR postrider.toml (5),
.BR postrider-sendmail (1),
.BR postrider-dbus (7)
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_pages_have_names_of_their_own() {
        let pages = pages().unwrap();
        let mut files: Vec<&str> = pages.iter().map(|(file, _)| file.as_str()).collect();
        for file in ["postrider.1", "postrider-sync.1", "postrider-sendmail.1", "postrider.toml.5"]
        {
            assert!(files.contains(&file), "{file}");
        }
        assert!(!files.contains(&"postrider-complete.1"));
        files.sort_unstable();
        let n_files = files.len();
        files.dedup();
        assert_eq!(files.len(), n_files);
    }

    #[test]
    fn the_synopsis_says_what_options_take() {
        let pages = pages().unwrap();
        let line = |page: &str| {
            let (_, text) = pages.iter().find(|(file, _)| file == page).unwrap();
            let text = text
                .replace("\\-", "-")
                .replace("\\fB", "")
                .replace("\\fI", "")
                .replace("\\fR", "");
            let lines: Vec<&str> =
                text.lines().skip_while(|line| *line != ".SH SYNOPSIS").skip(1).collect();
            lines.into_iter().take_while(|line| !line.starts_with(".SH")).collect::<String>()
        };
        assert_eq!(
            line("postrider-sync.1"),
            "postrider sync [--dry-run] [--json] [--config FILE] [-h|--help] [ACCOUNT[/MAILBOX]]..."
        );
        assert_eq!(
            line("postrider.1"),
            "postrider [--config FILE] [-h|--help] [-V|--version] COMMAND"
        );
    }

    #[test]
    fn the_page_of_sendmail_has_the_options_that_it_knows() {
        for option in ["t", "i", "f", "F", "a", "b", "q", "N", "R", "V", "o", "B", "v"] {
            let line = format!("\\-{option}");
            assert!(SENDMAIL.contains(&line), "-{option}");
        }
    }
}
