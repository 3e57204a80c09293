//! `postrider setup ADDRESS`: from an address to an account that works. Beside floor 5.
//!
//! Finds the servers, asks for what it cannot know, tests the logins, and only then writes: the new
//! table is added to the end of the configuration, and what stands there is left as it is.

mod ask;
mod holds;
mod offer;
mod secret;
mod table;

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, TomlError};

use super::check::as_text;
use super::complaint::Complaint;
use super::{log, login, print};
use crate::daemon::check::survey;
use crate::daemon::discover::{Found, discover};
use crate::daemon::settings::{self, preset_for, presets};
use crate::model::account::Tls;
use crate::model::ids::AccountName;
use crate::model::provider::{Preset, PresetServer, UserForm};
use ask::agrees;
use secret::secret;
use table::{Secret, Server, Table};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Environment:\n  POSTRIDER_DNS=ADDRESS:PORT  the name server to ask in place of the system's\n  \
    POSTRIDER_ISPDB=URL         the database of providers to ask in place of Thunderbird's"
)]
pub(super) struct Args {
    /// The address
    address: String,
    /// The account's name [default: from the address]
    #[arg(long)]
    name: Option<String>,
    /// Ask nothing: take what is found, or fail
    #[arg(long)]
    yes: bool,
    /// The command that prints the password, for a shell
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["password_file", "token_command"])]
    password_command: Option<String>,
    /// The file that holds the password (mode 0600)
    #[arg(long, value_name = "FILE", conflicts_with = "token_command")]
    password_file: Option<PathBuf>,
    /// The command that prints an OAuth token, for a shell
    #[arg(long, value_name = "COMMAND")]
    token_command: Option<String>,
    /// Sign in with OAuth 2.0, as the program that is registered with the provider under this id
    #[arg(long, value_name = "ID", conflicts_with_all = ["password_command", "password_file", "token_command"])]
    client_id: Option<String>,
    /// The command that prints the registration's secret, for a shell
    #[arg(long, value_name = "COMMAND", requires = "client_id")]
    client_secret_command: Option<String>,
    /// The user's name at the servers
    #[arg(long)]
    user: Option<String>,
    /// The incoming server, as HOST[:PORT][/starttls]
    #[arg(long, value_name = "HOST")]
    imap: Option<Server>,
    /// The incoming server by POP3; without a HOST the one that is found
    #[arg(long, value_name = "HOST", num_args = 0..=1, default_missing_value = "", conflicts_with = "imap")]
    pop3: Option<Server>,
    /// The outgoing server, as HOST[:PORT][/starttls]
    #[arg(long, value_name = "HOST")]
    smtp: Option<Server>,
    /// Certificates to trust in addition to the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print the table instead of writing it
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let file = settings::locate(config);
    let old = existing(&file)?;
    let table = fill(args, &old).await?;
    let text = table.to_toml();
    if args.dry_run {
        print::out(text.trim_end())?;
        return Ok(0);
    }
    let mut new = old;
    table.add_to(&mut new);
    print::out(&format!("The account, to be added to {}:\n\n{}", file.display(), text.trim_end()))?;
    let agreed = args.yes || agrees("Test the logins and write it?")?;
    if !agreed {
        print::out("nothing was written")?;
        return Ok(0);
    }
    let draft = Draft::write(&file, &new.to_string())?;
    let settings = settings::load(&draft.path)?;
    log::start("error");
    let name = AccountName(table.name.clone());
    let Some(account) = settings.accounts.get(&name) else {
        return Err(Complaint::no_account(&table.name, None));
    };
    if let Some(Secret::OAuth(..)) = &table.secret {
        Box::pin(login::sign_in(account, false, false)).await?;
    }
    let (findings, survey) = Box::pin(survey(account)).await;
    let failures = findings.iter().filter_map(|finding| finding.failure.as_ref());
    let worst = failures.map(|failure| failure.kind.exit_code()).max().unwrap_or_default();
    print::out(&format!("\n{}\n", as_text(&findings)))?;
    if let Some(survey) = &survey {
        print::out(&format!("on the server:\n{}\n", holds::as_text(survey, table.preset())))?;
    }
    if worst != 0 {
        print::trouble("error: the account does not work yet; nothing was written");
        return Ok(worst);
    }
    draft.keep(&file)?;
    print::out(&format!("wrote {}", file.display()))?;
    offer::offer(config, &table.name, !args.yes)?;
    Ok(0)
}

/// The configuration; empty if there is none.
fn existing(file: &Path) -> Result<DocumentMut, Complaint> {
    match fs::read_to_string(file) {
        Ok(text) => {
            // One with a mistake is not built upon.
            settings::load(file)?;
            text.parse().map_err(|err: TomlError| unread(file, &err))
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(DocumentMut::new()),
        Err(err) => Err(unread(file, &err)),
    }
}

fn unread(file: &Path, err: &dyn Error) -> Complaint {
    Complaint::plain(78, &format!("read {}: {err}", file.display()))
}

/// Everything that the account's table needs.
async fn fill(args: &Args, old: &DocumentMut) -> Result<Table, Complaint> {
    let Some((local, domain)) =
        args.address.rsplit_once('@').filter(|(l, d)| !l.is_empty() && !d.is_empty())
    else {
        let what = format!("{:?} is not an address like \"me@example.com\"", args.address);
        return Err(Complaint::plain(64, &what));
    };
    let preset = preset_for(&args.address);
    let mut table = Table {
        name: args.name.clone().unwrap_or_else(|| table::account_name(local, domain, preset, old)),
        address: args.address.clone(),
        user: args.user.clone(),
        ca_file: args.ca_file.clone(),
        ..Table::default()
    };
    servers(&mut table, args, preset, domain).await?;
    let preset = preset.or_else(|| presets().get(table.provider.as_ref()?));
    if let Some(hint) = preset.and_then(|preset| preset.hint.as_ref()) {
        print::trouble(&format!("{}: {hint}", preset.map_or("", |preset| &preset.title)));
        if let Some(url) = preset.and_then(|preset| preset.setup_url.as_ref()) {
            print::trouble(&format!("  {url}"));
        }
    }
    table.secret = Some(Box::pin(secret(args, &table.name, preset)).await?);
    Ok(table)
}

async fn servers(
    table: &mut Table,
    args: &Args,
    preset: Option<&Preset>,
    domain: &str,
) -> Result<(), Complaint> {
    let is_named = |server: &Option<Server>| server.as_ref().is_some_and(|s| !s.host.is_empty());
    let wants_pop = args.pop3.is_some();
    let incoming = if wants_pop { &args.pop3 } else { &args.imap };
    if let Some(preset) = preset.filter(|_| !is_named(incoming) && args.smtp.is_none()) {
        print::trouble(&format!("{} has a preset: {}", args.address, preset.title));
        if wants_pop && preset.pop3.is_none() {
            return Err(Complaint::plain(69, &format!("{} offers no POP3", preset.title)));
        }
        (table.is_preset, table.wants_pop) = (true, wants_pop);
        return Ok(());
    }
    let is_complete = is_named(incoming) && args.smtp.is_some();
    let found = if is_complete {
        Found::default()
    } else {
        print::trouble(&format!("looking for the servers of {domain} ..."));
        Box::pin(discover(&args.address, wants_pop, args.ca_file.clone())).await
    };
    tell(&found, domain);
    if let Some(preset) = found.preset {
        table.provider = Some(preset.name.clone());
        (table.is_preset, table.wants_pop) = (true, wants_pop);
        if is_named(incoming) {
            // What is named goes before what the preset says.
            let named = if wants_pop { &mut table.pop3 } else { &mut table.imap };
            named.clone_from(incoming);
        }
        table.smtp.clone_from(&args.smtp);
        return Ok(());
    }
    let take = |named: &Option<Server>, found: Option<PresetServer>| match named {
        Some(server) if !server.host.is_empty() => Some(server.clone()),
        _ => found.map(|server| Server {
            host: server.host,
            port: Some(server.port),
            is_starttls: server.tls == Tls::StartTls,
            user: server.user.filter(|form| *form != UserForm::Address),
        }),
    };
    if wants_pop {
        table.pop3 = take(&args.pop3, found.pop3);
    } else {
        table.imap = take(&args.imap, found.imap);
    }
    table.smtp = take(&args.smtp, found.smtp);
    table.wants_pop = wants_pop;
    if table.imap.is_none() && table.pop3.is_none() {
        let option = if wants_pop { "--pop3" } else { "--imap" };
        let what = format!(
            "no incoming server of {domain} was found\n  to mend it:  name it: {option} HOST"
        );
        return Err(Complaint::plain(69, &what));
    }
    Ok(())
}

/// Says what was found and by which way: a person has to agree to it before a password goes there.
fn tell(found: &Found, domain: &str) {
    if let Some(preset) = found.preset {
        print::trouble(&format!("found by {}: {}", found.way, preset.title));
        return;
    }
    let smtp_way = found.smtp_way.as_ref().unwrap_or(&found.way);
    let lines = [
        (&found.imap, &found.way, "IMAP"),
        (&found.pop3, &found.way, "POP3"),
        (&found.smtp, smtp_way, "SMTP"),
    ];
    for (server, way, protocol) in lines {
        let Some(server) = server else { continue };
        let tls = if server.tls == Tls::StartTls { "STARTTLS" } else { "TLS" };
        print::trouble(&format!(
            "found by {way}: {protocol} {}:{} ({tls})",
            server.host, server.port
        ));
        if server.host != domain && !server.host.ends_with(&format!(".{domain}")) {
            print::trouble(&format!("  {} does not belong to {domain}", server.host));
        }
    }
}

/// The new configuration beside the old one, until it is kept or dropped.
struct Draft {
    path: PathBuf,
    is_kept: bool,
}

impl Draft {
    fn write(file: &Path, text: &str) -> Result<Self, Complaint> {
        let failed = |err: io::Error| {
            Complaint::plain(73, &format!("write beside {}: {err}", file.display()))
        };
        if let Some(dir) = file.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        }
        let path = file.with_extension(format!("toml.{}.new", std::process::id()));
        let mut options = fs::OpenOptions::new();
        let mut new =
            options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let draft = Self { path, is_kept: false };
        io::Write::write_all(&mut new, text.as_bytes()).map_err(failed)?;
        new.sync_all().map_err(failed)?;
        Ok(draft)
    }

    /// Puts it in the place of the configuration, whose mode it takes over.
    fn keep(mut self, file: &Path) -> Result<(), Complaint> {
        let failed =
            |err: io::Error| Complaint::plain(73, &format!("write {}: {err}", file.display()));
        // A link, as dotfiles have them, stays one.
        let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        if let Ok(meta) = target.metadata() {
            fs::set_permissions(&self.path, meta.permissions()).map_err(failed)?;
        }
        fs::rename(&self.path, &target).map_err(failed)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(fs::remove_file(&self.path));
        }
    }
}
