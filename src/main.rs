//! The program: hands its arguments and the wiring to the commands.

use std::process::ExitCode;

use postrider::cli::{self, Entry};
use postrider::daemon::run;

fn main() -> ExitCode {
    let entry = Entry {
        run: |settings| Box::pin(run::run(settings)),
        sync_once: |settings, targets, dry_run| {
            Box::pin(run::sync_once(settings, targets, dry_run))
        },
    };
    cli::main(std::env::args_os(), &entry)
}
