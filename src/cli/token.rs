//! `postrider token show`: an access token for other programs. Beside floor 5.

use std::path::Path;

use secrecy::ExposeSecret;

use super::complaint::Complaint;
use super::{completions, print};
use crate::daemon::check::token;
use crate::daemon::settings::{self, nearest};
use crate::model::ids::AccountName;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print an access token, and nothing else
    Show {
        /// The account
        #[arg(add = completions::accounts())]
        account: String,
    },
}

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let Verb::Show { account: name } = &args.verb;
    let settings = settings::load(&settings::locate(config))?;
    let Some(account) = settings.accounts.get(&AccountName(name.clone())) else {
        let names = settings.accounts.keys().map(AccountName::as_str);
        return Err(Complaint::no_account(name, nearest(name, names)));
    };
    let token = token(account).await?;
    print::out(token.expose_secret())?;
    Ok(0)
}
