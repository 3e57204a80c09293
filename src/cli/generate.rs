//! `postrider completions` and `postrider man`: made from the arguments, so that they are true.
//! Beside floor 5.

use clap::CommandFactory;
use clap_complete::Shell;

use super::complaint::Complaint;
use super::print;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionArgs {
    /// The shell: bash, zsh or fish
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The command; the program as a whole without it
    command: Option<String>,
}

pub(super) fn completions(args: &CompletionArgs) -> Result<u8, Complaint> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::Args::command(), "postrider", &mut text);
    print::out(String::from_utf8_lossy(&text).trim_end())?;
    Ok(0)
}

pub(super) fn man(args: &ManArgs) -> Result<u8, Complaint> {
    let mut program = super::Args::command();
    program.build();
    let command = match args.command.as_deref() {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            let unknown = || Complaint::plain(64, &format!("there is no command {name:?}"));
            let name = format!("postrider-{name}");
            found.ok_or_else(unknown)?.name(name.clone()).display_name(name)
        }
    };
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command).manual("postrider");
    let made = page.render(&mut text);
    made.map_err(|err| Complaint::plain(74, &format!("make the page: {err}")))?;
    print::out(String::from_utf8_lossy(&text).trim_end())?;
    Ok(0)
}
