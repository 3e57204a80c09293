//! `postrider login`: signs in with OAuth 2.0, in a browser or with a device code. Beside floor 5.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::sync::mpsc;

use super::check::as_text;
use super::client::Daemon;
use super::complaint::Complaint;
use super::{log, print};
use crate::daemon::check::check;
use crate::daemon::login::{Browser, Device, sign_ins};
use crate::daemon::settings::{self, nearest};
use crate::model::account::{Account, Settings};
use crate::model::ids::AccountName;
use crate::model::oauth::OAuth;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The account
    account: String,
    /// Get a code that is typed on another device, where the provider has them (Microsoft)
    #[arg(long, conflicts_with = "paste")]
    device: bool,
    /// Open no browser here: take the address that one was sent back to from the terminal
    #[arg(long)]
    paste: bool,
}

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let settings = settings::load(&settings::locate(config))?;
    let name = AccountName(args.account.clone());
    let Some(account) = settings.accounts.get(&name) else {
        let names = settings.accounts.keys().map(AccountName::as_str);
        return Err(Complaint::no_account(&args.account, nearest(&args.account, names)));
    };
    log::start("error");
    sign_in(account, args.device, args.paste).await?;
    wake(config, &name).await;
    show_logins(&settings, &name).await
}

/// Signs in to all that the account's servers want.
pub(super) async fn sign_in(account: &Account, device: bool, paste: bool) -> Result<(), Complaint> {
    for oauth in sign_ins(account)? {
        if device {
            by_device(&oauth, account).await?;
        } else {
            in_browser(&oauth, account, paste).await?;
        }
        print::out(&format!("signed in to {}", oauth.issuer.name))?;
    }
    Ok(())
}

/// A browser on this machine, or one elsewhere whose last address is pasted; whichever comes first.
async fn in_browser(oauth: &OAuth, account: &Account, paste: bool) -> Result<(), Complaint> {
    let browser = Browser::begin(oauth, account.name.as_str()).await?;
    print::out(&format!("To sign in to {}, open:\n\n  {}\n", oauth.issuer.name, browser.url()))?;
    let is_here = !paste && has_desktop() && open(browser.url());
    let mut lines = None;
    if !is_here {
        let port = browser.port();
        print::out(&format!(
            "Then paste the address that the browser ends at (it begins with \
             http://{}:{port}/; that it shows an error does not matter).\n\
             Or make that address lead here first:  ssh -L {port}:127.0.0.1:{port} THIS-HOST",
            oauth.issuer.redirect_host
        ))?;
        lines = Some(typed());
    }
    let code = loop {
        let line = async {
            match &mut lines {
                Some(lines) => lines.recv().await,
                None => None,
            }
        };
        tokio::select! {
            code = browser.answer() => break code?,
            Some(line) = line => match browser.pasted(&line) {
                Ok(code) => break code,
                Err(failure) => print::trouble(&Complaint::from(failure).text),
            },
        }
    };
    Ok(browser.finish(code).await?)
}

async fn by_device(oauth: &OAuth, account: &Account) -> Result<(), Complaint> {
    let device = Device::begin(oauth, account.name.as_str()).await?;
    print::out(&format!(
        "To sign in to {}, open on any device:\n\n  {}\n\nand type:  {}\n\n(good for {} minutes)",
        oauth.issuer.name,
        device.url(),
        device.code(),
        device.lasts().as_secs().div_ceil(60)
    ))?;
    Ok(device.finish().await?)
}

/// The lines that are typed. The thread that reads them ends with the program.
fn typed() -> mpsc::Receiver<String> {
    let (lines, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if !line.trim().is_empty() && lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Whether somebody sits in front of a desktop that shows a browser.
fn has_desktop() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("SSH_CONNECTION") || is_set("SSH_TTY") {
        return false;
    }
    cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

/// Opens an address in the person's browser; false if nothing does that here.
fn open(url: &str) -> bool {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}

/// A daemon that waits for the sign-in goes on at once.
async fn wake(config: Option<&Path>, name: &AccountName) {
    // Whether one runs, and with this configuration, is not what the person asked.
    let Ok(Some(daemon)) = Daemon::find(config).await else { return };
    drop(daemon.manager.sync(&[name.as_str()], HashMap::new()).await);
    if let Ok(outbox) = daemon.outbox().await {
        drop(outbox.flush(&[]).await);
    }
}

/// Which of the servers take the token.
async fn show_logins(settings: &Settings, name: &AccountName) -> Result<u8, Complaint> {
    let findings = Box::pin(check(settings, Some(name))).await;
    let own: Vec<_> = findings.into_iter().filter(|finding| finding.account.is_some()).collect();
    print::out(&as_text(&own))?;
    let failures = own.iter().filter_map(|finding| finding.failure.as_ref());
    Ok(failures.map(|failure| failure.kind.exit_code()).max().unwrap_or_default())
}
