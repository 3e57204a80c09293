//! The commands: each reads its arguments, asks the daemon over the private socket or works alone,
//! and prints. Beside floor 5.
//!
//! Text goes to stdout, trouble to stderr; exit codes are those of sysexits.

mod bs;
mod check;
mod client;
mod complaint;
mod completions;
mod explain;
mod fetch;
mod held;
mod import;
#[cfg(target_os = "linux")]
mod journal;
mod log;
mod login;
mod mailboxes;
mod man;
mod mua;
mod outbox;
mod pause;
mod print;
mod progress;
mod providers;
mod queue;
mod reload;
mod resume;
mod run;
pub mod send;
pub mod sendmail;
mod service;
mod setup;
mod status;
mod submit;
mod sync;
mod token;
mod toml;
mod verify;
mod view;

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio::sync::{oneshot, watch};

use self::complaint::Complaint;
use crate::daemon::document::JobResult;
use crate::model::account::Settings;
use crate::model::event::Target;
use crate::model::failure::Failure;
use crate::model::status::Status;

/// Work that the commands hand to the wiring.
pub type Work<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

/// Somebody who wants to see the status of a pass while it runs.
pub type Onlooker = oneshot::Sender<watch::Receiver<Arc<Status>>>;

/// What the commands need of the wiring beside what they do themselves.
pub struct Entry {
    /// The daemon, until it is told to stop.
    pub run: fn(Settings) -> Work<()>,
    /// One complete pass in this process, or a dry run of it; somebody may look on.
    pub sync_once: fn(Settings, Vec<Target>, bool, Option<Onlooker>) -> Work<JobResult>,
}

/// Keeps IMAP and POP3 mail in a local Maildir and relays an outbox through SMTP.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, disable_help_subcommand = true)]
struct Args {
    /// The configuration file [default: $XDG_CONFIG_HOME/postrider/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run,
    /// Sync now: through the daemon, or alone when none runs
    Sync(sync::Args),
    /// Show the whole state on one screen
    Status(status::Args),
    /// Bring messages that a limit left on the server
    Fetch(fetch::Args),
    /// List the mailboxes with their numbers
    Mailboxes(mailboxes::Args),
    /// Test configuration, secrets, logins and permissions; changes nothing
    Check(check::Args),
    /// What check does, and a look at this machine: limits, bus, disk, other syncers, service
    Doctor(check::Args),
    /// Compare both sides and the ledger; changes nothing
    Verify(verify::Args),
    /// Stop syncing and sending for a while
    Pause(pause::Args),
    /// Go on after a pause
    Resume,
    /// Look at deletions that are held back, and decide about them
    Held(held::Args),
    /// Make the daemon read its configuration again
    Reload,
    /// Look at and steer the queue of outgoing mail
    Outbox(outbox::Args),
    /// Find the servers of an address, test the login, write the configuration
    Setup(Box<setup::Args>),
    /// Sign in to an account with OAuth 2.0
    Login(login::Args),
    /// The service of systemd or launchd that runs the daemon
    Service(service::Args),
    /// Print the configuration of another program as TOML
    Import(import::Args),
    /// Print what a mail reader has to be told
    Mua(mua::Args),
    /// List the providers whose servers need not be configured
    Providers(providers::Args),
    /// Explain an error code at length
    Explain(explain::Args),
    /// Access tokens for other programs
    Token(token::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Say what may follow on a command line; the scripts of `completions` ask it
    #[command(hide = true)]
    Complete(completions::CompleteArgs),
    /// Print a manual page, as roff
    Man(man::Args),
    /// Queue one message and print its id
    Send(submit::SendArgs),
    /// Do what sendmail does with these arguments
    #[command(disable_help_flag = true)]
    Sendmail(submit::SendmailArgs),
}

/// Runs the program.
pub fn main(args: impl IntoIterator<Item = OsString>, entry: &Entry) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let args = match Args::try_parse_from(as_command(args)) {
        Ok(args) => args,
        Err(asked) => {
            // Help and version are asked for, the rest is a usage error (EX_USAGE).
            let code = if asked.use_stderr() { 64 } else { 0 };
            return asked.print().map_or_else(|_| ExitCode::from(74), |()| ExitCode::from(code));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return Complaint::plain(74, &format!("start the runtime: {err}")).show(),
    };
    let done = runtime.block_on(Box::pin(dispatch(args, entry)));
    // A command that reads a secret may still be stuck; nobody waits for it any more.
    runtime.shutdown_background();
    match done {
        Ok(code) => ExitCode::from(code),
        Err(complaint) => complaint.show(),
    }
}

async fn dispatch(args: Args, entry: &Entry) -> Result<u8, Complaint> {
    let config = args.config.as_deref();
    match args.command {
        Command::Run => run::run(config, entry).await,
        Command::Sync(args) => Box::pin(sync::run(config, &args, entry)).await,
        Command::Status(args) => status::run(config, &args).await,
        Command::Fetch(args) => Box::pin(fetch::run(config, &args, entry)).await,
        Command::Mailboxes(args) => mailboxes::run(config, &args).await,
        Command::Check(args) => Box::pin(check::run(config, &args, check::Scope::Accounts)).await,
        Command::Doctor(args) => Box::pin(check::run(config, &args, check::Scope::Machine)).await,
        Command::Verify(args) => Box::pin(verify::run(config, &args)).await,
        Command::Pause(args) => pause::run(config, &args).await,
        Command::Held(args) => Box::pin(held::run(config, &args)).await,
        Command::Resume => resume::run(config).await,
        Command::Reload => reload::run(config).await,
        Command::Outbox(args) => outbox::run(config, &args).await,
        Command::Setup(args) => Box::pin(setup::run(config, &args)).await,
        Command::Login(args) => Box::pin(login::run(config, &args)).await,
        Command::Service(args) => service::run(config, &args),
        Command::Import(args) => import::run(&args),
        Command::Mua(args) => mua::run(config, &args),
        Command::Providers(args) => providers::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Token(args) => token::run(config, &args).await,
        Command::Completions(args) => completions::run(&args),
        Command::Complete(args) => completions::candidates(&args),
        Command::Man(args) => man::run(&args),
        Command::Send(args) => submit::send(config, &args),
        Command::Sendmail(args) => submit::sendmail(config, &args).await,
    }
}

/// Called as `sendmail`, `postrider-sendmail` or `mailq`, the program is that command.
fn as_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let name = args.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    let inserted: &[&str] = match name {
        Some("sendmail" | "postrider-sendmail") => &["sendmail", "--"],
        Some("mailq") => &["sendmail", "--", "-bp"],
        Some(_) | None => &[],
    };
    if inserted.is_empty() {
        // What follows is sendmail's, a first "--" too, behind which there are only recipients.
        let sendmail =
            command_at(&args).filter(|at| args.get(*at).is_some_and(|a| a == "sendmail"));
        if let Some(at) = sendmail {
            let ours = config_at(&args, at + 1);
            args.insert((at + 1 + ours).min(args.len()), "--".into());
        }
        return args;
    }
    args.splice(args.len().min(1)..args.len().min(1), inserted.iter().map(OsString::from));
    args
}

/// Where the word of the command is.
fn command_at(args: &[OsString]) -> Option<usize> {
    let mut at = 1;
    loop {
        let arg = args.get(at)?;
        match config_at(args, at) {
            0 if arg.to_string_lossy().starts_with('-') => at += 1,
            0 => return Some(at),
            n => at += n,
        }
    }
}

/// How many arguments name the configuration here.
fn config_at(args: &[OsString], at: usize) -> usize {
    match args.get(at).map(|arg| arg.to_string_lossy()) {
        Some(arg) if arg == "--config" => 2,
        Some(arg) if arg.starts_with("--config=") => 1,
        Some(_) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound_and_the_program_knows_its_names() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        let check = |args: &[&str], wanted: &[&str]| {
            let args = args.iter().map(OsString::from).collect();
            assert_eq!(as_command(args), wanted);
        };
        check(&["/usr/sbin/sendmail", "-t"], &["/usr/sbin/sendmail", "sendmail", "--", "-t"]);
        check(&["mailq"], &["mailq", "sendmail", "--", "-bp"]);
        check(&["p", "--config", "sendmail", "run"], &["p", "--config", "sendmail", "run"]);
        check(&["p", "sendmail", "--config", "c"], &["p", "sendmail", "--config", "c", "--"]);
        check(&["p", "sendmail", "--config=c", "-t"], &["p", "sendmail", "--config=c", "--", "-t"]);
        check(&["p", "sendmail", "--config"], &["p", "sendmail", "--config", "--"]);
        check(&["postrider", "run"], &["postrider", "run"]);
        check(&[], &[]);
    }

    #[test]
    fn sendmail_gets_its_arguments_as_they_are() {
        let args = ["x/sendmail", "-oi", "-f", "a@b", "-t", "--", "--config", "c@d", "--help"];
        let args = args.iter().map(OsString::from).collect();
        let parsed = Args::try_parse_from(as_command(args)).unwrap();
        assert_eq!(parsed.config, None);
        let Command::Sendmail(args) = parsed.command else { panic!("{parsed:?}") };
        assert_eq!(args.args, ["-oi", "-f", "a@b", "-t", "--", "--config", "c@d", "--help"]);
        for args in
            [&["x/sendmail", "--", "-t"][..], &["p", "--config", "c", "sendmail", "--", "-t"]]
        {
            let args = args.iter().map(OsString::from).collect();
            let parsed = Args::try_parse_from(as_command(args)).unwrap();
            let Command::Sendmail(args) = parsed.command else { panic!("{parsed:?}") };
            assert_eq!(args.args, ["--", "-t"], "what begins with -- is a recipient");
        }
    }
}
