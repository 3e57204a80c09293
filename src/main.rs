//! The program: hands its arguments to the commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    postrider::cli::main(std::env::args_os())
}
