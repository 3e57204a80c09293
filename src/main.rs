//! The program: hands its arguments to the commands, and them the daemon.

use std::process::ExitCode;

use postrider::cli::{self, Entry};
use postrider::daemon::{once, run};

fn main() -> ExitCode {
    let entry = Entry {
        run: |settings| Box::pin(run::run(settings)),
        sync_once: |settings, targets, dry, onlooker| {
            Box::pin(once::sync_once(settings, targets, dry, onlooker))
        },
    };
    cli::main(std::env::args_os(), &entry)
}
