//! What `check` looks at: secrets, logins, places on the disk. Floor 5.
//!
//! Changes nothing: it logs in and out, and asks the system what it would allow.

use std::path::Path;

use futures_util::future::join_all;
use rustix::fs::{Access, access};
use secrecy::SecretString;

use crate::adapters::imap::ImapConnector;
use crate::adapters::pop3::Pop3Connector;
use crate::adapters::secrets;
use crate::adapters::smtp::SmtpRelay;
use crate::daemon::doctor::server;
use crate::daemon::{found, paths, survey};
use crate::model::account::{Account, Endpoint, ImapSettings, PopSettings, Settings};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::AccountName;
use crate::model::survey::Survey;
use crate::ports::pop::{PopConnector as _, PopDrop as _};
use crate::ports::remote::{Connector, Remote};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The account; none for what all share.
    pub account: Option<AccountName>,
    /// What was looked at.
    pub what: String,
    /// What is wrong with it.
    pub failure: Option<Failure>,
    /// What would be better; nothing is wrong yet.
    pub advice: Option<String>,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What mail needs to flow.
    Logins,
    /// What the account holds on its server as well.
    Contents,
    /// What the servers offer as well.
    Machine,
}

/// Looks at what all accounts share, then at one account, or at each that is enabled. The accounts
/// are looked at side by side, so a dead server delays no other.
pub async fn check(settings: &Settings, only: Option<&AccountName>) -> Vec<Finding> {
    look(settings, only, Depth::Logins).await
}

/// [`check`], as far as is wanted.
pub(super) async fn look(
    settings: &Settings,
    only: Option<&AccountName>,
    depth: Depth,
) -> Vec<Finding> {
    let mut findings = shared(settings);
    let chosen = settings
        .accounts
        .values()
        .filter(|account| only.map_or(account.enabled, |only| account.name == *only));
    for looked in join_all(chosen.map(|account| Box::pin(one(account, depth)))).await {
        findings.extend(looked.findings);
    }
    findings
}

/// Looks at one account, and at what it holds on its server: that is none where nothing can be fetched.
pub async fn survey(account: &Account) -> (Vec<Finding>, Option<Survey>) {
    let looked = Box::pin(one(account, Depth::Contents)).await;
    (looked.findings, looked.survey)
}

/// What a look at an account shows.
#[derive(Default)]
struct Looked {
    findings: Vec<Finding>,
    survey: Option<Survey>,
}

impl Looked {
    fn add(&mut self, account: &Account, what: String, failure: Option<Failure>) {
        let account = Some(account.name.clone());
        self.findings.push(Finding { account, what, failure, advice: None });
    }
}

fn shared(settings: &Settings) -> Vec<Finding> {
    let finding = |what: String, failure| Finding { account: None, what, failure, advice: None };
    let state = paths::state_dir();
    vec![
        finding(format!("configuration {}", settings.path.display()), None),
        finding(format!("state directory {}", state.display()), writable(&state).err()),
        finding(
            format!("outbox {}", settings.outbox.dir.display()),
            writable(&settings.outbox.dir).err(),
        ),
    ]
}

async fn one(account: &Account, depth: Depth) -> Looked {
    let mut looked = Looked::default();
    if let Some(settings) = &account.imap {
        imap(account, settings, depth, &mut looked).await;
    }
    if let Some(pop) = &account.pop3 {
        pop3(account, pop, depth, &mut looked).await;
    }
    if let Some(smtp) = &account.smtp {
        let secret = secret(&smtp.endpoint, account).await.err();
        let has_secret = secret.is_none();
        looked.add(account, "SMTP password".to_owned(), secret);
        if has_secret {
            let endpoint = (account.name.clone(), smtp.endpoint.clone());
            let relay = SmtpRelay::new([endpoint].into());
            let login = match Box::pin(relay.check(&account.name)).await {
                Ok(()) => None,
                Err(failure) => Some(reached(&smtp.endpoint, failure, depth).await),
            };
            let place = found::authority(&smtp.endpoint);
            looked.add(account, format!("SMTP login at {place}"), login);
        }
    }
    looked
}

async fn imap(account: &Account, imap: &ImapSettings, depth: Depth, looked: &mut Looked) {
    let place = format!("Maildir {}", account.maildir.display());
    looked.add(account, place, writable(&account.maildir).err());
    let secret = secret(&imap.endpoint, account).await.err();
    let has_secret = secret.is_none();
    looked.add(account, "IMAP password".to_owned(), secret);
    if !has_secret {
        return;
    }
    let mut offers = Vec::new();
    let login = match depth {
        Depth::Contents => match Box::pin(survey::imap(account, imap)).await {
            Ok(survey) => {
                looked.survey = Some(survey);
                Ok(())
            }
            Err(failure) => Err(failure),
        },
        Depth::Logins | Depth::Machine => {
            let connector = ImapConnector::new(imap.clone(), account.name.as_str());
            match Box::pin(connector.connect()).await {
                Ok(mut remote) => {
                    if depth == Depth::Machine {
                        offers = Box::pin(server::imap(account, &mut remote)).await;
                    }
                    remote.logout().await;
                    Ok(())
                }
                Err(failure) => Err(failure),
            }
        }
    };
    let login = match login {
        Ok(()) => None,
        Err(failure) => Some(reached(&imap.endpoint, failure, depth).await),
    };
    let place = found::authority(&imap.endpoint);
    looked.add(account, format!("IMAP login at {place}"), login);
    looked.findings.append(&mut offers);
}

async fn pop3(account: &Account, pop: &PopSettings, depth: Depth, looked: &mut Looked) {
    let place = format!("Maildir {}", account.maildir.display());
    looked.add(account, place, writable(&account.maildir).err());
    let secret = secret(&pop.endpoint, account).await.err();
    let has_secret = secret.is_none();
    looked.add(account, "POP3 password".to_owned(), secret);
    if !has_secret {
        return;
    }
    let connector = Pop3Connector::new(pop.clone(), account.name.as_str());
    let login = match Box::pin(connector.connect()).await {
        Ok(mut maildrop) => {
            if depth == Depth::Contents {
                looked.survey = survey::pop3(pop, &mut maildrop).await;
            }
            Box::pin(maildrop.quit()).await.err()
        }
        Err(failure) => Some(reached(&pop.endpoint, failure, depth).await),
    };
    let place = found::authority(&pop.endpoint);
    looked.add(account, format!("POP3 login at {place}"), login);
}

/// A failure to reach a server; the doctor tries its other ports.
async fn reached(endpoint: &Endpoint, failure: Failure, depth: Depth) -> Failure {
    match depth {
        Depth::Logins | Depth::Contents => failure,
        Depth::Machine => server::other_port(endpoint, failure).await,
    }
}

async fn secret(endpoint: &Endpoint, account: &Account) -> Result<(), Failure> {
    match &endpoint.password {
        Some(source) => secrets::resolve(source, account.name.as_str()).await.map(drop),
        None => Ok(()),
    }
}

/// The access token of an account, for other programs.
///
/// # Errors
/// The account logs in with a password, or the token cannot be had.
pub async fn token(account: &Account) -> Result<SecretString, Failure> {
    let sources = account.endpoints().filter_map(|endpoint| endpoint.password.as_ref());
    let mut tokens = sources.filter(|source| source.is_token());
    match tokens.next() {
        Some(source) => secrets::resolve(source, account.name.as_str()).await,
        None => {
            let what = format!("show the token of account {}", account.name);
            Err(Failure::new(Scope::Account, Remedy::Never, Kind::Config, what)
                .detail("it logs in with a password")
                .cure("an account with oauth has a token"))
        }
    }
}

/// Whether files can be made in a directory, or the directory can be made.
fn writable(dir: &Path) -> Result<(), Failure> {
    let nearest = dir.ancestors().find(|above| above.exists()).unwrap_or(dir);
    let failed = |detail: String| {
        Failure::new(Scope::Account, Remedy::Never, Kind::LocalIo, "write to the directory")
            .at(dir.display().to_string())
            .detail(detail)
            .cure(format!("chmod u+rwx {}, or name another directory", quoted(nearest)))
    };
    if !nearest.is_dir() {
        return Err(failed(format!("{} is no directory", nearest.display())));
    }
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    access(nearest, wanted).map_err(|err| failed(format!("{}: {err}", nearest.display())))
}

fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_missing_counts_by_what_is_above_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(writable(&dir.path().join("a/b")).is_ok());
        assert!(!dir.path().join("a").exists());
        std::fs::write(dir.path().join("f"), "").unwrap();
        let failure = writable(&dir.path().join("f/b")).unwrap_err();
        assert_eq!(failure.kind.exit_code(), 74);
        assert!(failure.cure.unwrap().contains("chmod"));
    }
}
