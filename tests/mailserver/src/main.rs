//! The demo server: `postrider-mailserver --demo [--imap-port N] [--smtp-port N]`.

#![allow(clippy::print_stdout)]

use std::io::Write;
use std::process::ExitCode;

use postrider_mailserver::{MailServer, demo};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: postrider-mailserver --demo [--imap-port N] [--smtp-port N]";

/// Returns the ports.
fn parse(mut arguments: impl Iterator<Item = String>) -> Option<(u16, u16)> {
    let (mut demo, mut imap_port, mut smtp_port) = (false, 0, 0);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--demo" => demo = true,
            "--imap-port" => imap_port = arguments.next()?.parse().ok()?,
            "--smtp-port" => smtp_port = arguments.next()?.parse().ok()?,
            _ => return None,
        }
    }
    demo.then_some((imap_port, smtp_port))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some((imap_port, smtp_port)) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    match run(imap_port, smtp_port).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("start the demo server: {error}");
            ExitCode::from(74)
        }
    }
}

async fn run(imap_port: u16, smtp_port: u16) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = MailServer::start(demo::config(imap_port, smtp_port))?;
    demo::fill(&server);
    let ports = serde_json::json!({
        "imap_port": server.imap_addr().port(),
        "smtp_port": server.smtp_addr().port(),
        "user": demo::USER,
        "password": demo::PASSWORD,
    });
    print(&[ports.to_string()])?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        };
        let Some(line) = line else { break };
        match demo::steer(&server, &line) {
            demo::Outcome::Lines(lines) => print(&lines)?,
            demo::Outcome::Quit => break,
        }
    }
    drop(server);
    // The runtime would wait for the thread that reads standard input.
    std::process::exit(0);
}

fn print(lines: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}
