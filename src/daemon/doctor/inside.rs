//! Whether the secrets can be had where the service runs, and not only in this shell: with its environment,
//! without a terminal, and of the files only those that it sees. Floor 5.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::unit::Unit;
use crate::adapters::secrets::{self, Surroundings};
use crate::daemon::check::Finding;
use crate::daemon::paths;
use crate::model::account::{Account, SecretSource};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::AccountName;

/// The service, as far as it can be seen from here.
struct Service {
    pid: Option<u32>,
    unit: Option<Unit>,
    /// What its commands have in their environment; none where that cannot be known.
    environment: Option<BTreeMap<OsString, OsString>>,
    /// What runs a command where the service runs it.
    starter: Vec<String>,
}

/// Why a secret cannot be had there.
struct Obstacle {
    detail: String,
    cure: String,
}

/// Looks at the secrets of accounts as the service would get them. Where none is installed and none runs
/// there is nothing to say.
pub(super) async fn secrets(accounts: &[&Account], findings: &mut Vec<Finding>) {
    let Some(service) = Service::find().await else { return };
    for account in accounts {
        let mut seen: Vec<&SecretSource> = Vec::new();
        for source in account.endpoints().filter_map(|endpoint| endpoint.password.as_ref()) {
            if seen.contains(&source) {
                continue;
            }
            seen.push(source);
            if let SecretSource::Credential(name) = source
                && service.has_credential(name)
            {
                // Here there is none, and here none is needed.
                settle(&account.name, findings, name);
                continue;
            }
            if is_wrong_here(&account.name, findings) {
                continue;
            }
            let obstacle = service.obstacle(source, &account.name).await;
            findings.push(finding(account, obstacle));
        }
    }
}

/// Whether it is known already that the secret cannot be had at all.
fn is_wrong_here(account: &AccountName, findings: &[Finding]) -> bool {
    findings.iter().any(|finding| {
        finding.account.as_ref() == Some(account)
            && finding.what.ends_with("password")
            && finding.failure.is_some()
    })
}

fn settle(account: &AccountName, findings: &mut [Finding], credential: &str) {
    for finding in findings.iter_mut().filter(|f| f.account.as_ref() == Some(account)) {
        if finding.what.ends_with("password") && finding.failure.take().is_some() {
            finding.what.push_str(&format!(": the service has the credential {credential}"));
        }
    }
}

fn finding(account: &Account, obstacle: Option<Obstacle>) -> Finding {
    let failure = obstacle.map(|obstacle| {
        let what = "get the password where the service runs";
        Failure::new(Scope::Account, Remedy::Never, Kind::NeedsLogin, what)
            .detail(obstacle.detail)
            .cure(obstacle.cure)
    });
    let what = "password in the service".to_owned();
    Finding { account: Some(account.name.clone()), what, failure, advice: None }
}

impl Service {
    async fn find() -> Option<Self> {
        let pid = paths::holder(&paths::state_dir());
        let unit = Unit::find();
        if pid.is_none() && unit.is_none() {
            return None;
        }
        let environment = match pid.map(|pid| std::fs::read(format!("/proc/{pid}/environ"))) {
            Some(Ok(bytes)) => Some(variables(bytes.split(|byte| *byte == 0))),
            Some(Err(_)) | None => of_manager().await,
        };
        let mut starter = entering(pid).await;
        if is_program("setsid") {
            // Without a terminal, as the service is.
            starter.extend(["setsid", "--wait"].map(str::to_owned));
        }
        Some(Self { pid, unit, environment, starter })
    }

    fn has_credential(&self, name: &str) -> bool {
        let dir = self.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let is_passed = dir.is_some_and(|dir| self.sees(&dir.join(name)));
        is_passed || self.unit.as_ref().is_some_and(|unit| unit.credentials.contains(name))
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.as_ref()?.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Whether a file is there for the service.
    fn sees(&self, file: &Path) -> bool {
        let Some(pid) = self.pid else { return true };
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let there = root.join(file.strip_prefix("/").unwrap_or(file));
        // Where nobody may look, nothing is known.
        there.symlink_metadata().is_ok() || std::fs::read_dir(&root).is_err()
    }

    /// What keeps a file from the service.
    fn hidden(&self, file: &Path) -> Option<Obstacle> {
        let setting = self.unit.as_ref().and_then(|unit| unit.hides(file));
        if setting.is_none() && self.sees(file) {
            return None;
        }
        let by = setting.map(|setting| format!(" ({setting})")).unwrap_or_default();
        Some(Obstacle {
            detail: format!("the service does not see {}{by}", file.display()),
            cure: format!(
                "move it to where the unit lets it look, below ~/.config; or: systemctl --user edit \
                 postrider, with BindReadOnlyPaths={}",
                file.display()
            ),
        })
    }

    async fn obstacle(&self, source: &SecretSource, account: &AccountName) -> Option<Obstacle> {
        match source {
            SecretSource::File(path) => self.hidden(path),
            SecretSource::Env(name) => self.lacks(name),
            SecretSource::Credential(name) => Some(Obstacle {
                detail: format!("the unit passes no credential {name}"),
                cure: format!(
                    "systemctl --user edit postrider, with [Service] and LoadCredential={name}:/PATH/TO/IT"
                ),
            }),
            SecretSource::Command(argv) | SecretSource::Token(argv) => {
                let files = argv.iter().map(Path::new).filter(|word| word.is_absolute());
                match files.filter(|file| file.exists()).find_map(|file| self.hidden(file)) {
                    Some(obstacle) => Some(obstacle),
                    None => self.rehearsed(source, account).await,
                }
            }
            SecretSource::Keyring | SecretSource::OAuth(_) | SecretSource::Plain(_) => None,
        }
    }

    fn lacks(&self, name: &str) -> Option<Obstacle> {
        let environment = self.environment.as_ref()?;
        let is_set = environment.contains_key(OsStr::new(name))
            || self.unit.as_ref().is_some_and(|unit| unit.variables.contains(name));
        (!is_set).then(|| Obstacle {
            detail: format!("the variable {name} is set in this shell and not in the service"),
            cure: "give it a file, a command or a credential instead; a variable is seen by every program \
                   that the service starts"
                .to_owned(),
        })
    }

    async fn rehearsed(&self, source: &SecretSource, account: &AccountName) -> Option<Obstacle> {
        let environment = self.environment.as_ref()?;
        let there = Surroundings {
            environment: environment.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            starter: self.starter.clone(),
        };
        let failure = secrets::rehearse(source, account.as_str(), &there).await?.err()?;
        let detail = failure.detail.unwrap_or(failure.what);
        let other: Vec<&str> = TELLING.into_iter().filter(|name| self.differs(name)).collect();
        if other.is_empty() {
            return Some(Obstacle {
                detail: format!("{detail}; it works in this shell, which has a terminal"),
                cure: "let the command ask for nothing: a graphical pinentry, or an agent that has the \
                       passphrase"
                    .to_owned(),
            });
        }
        let names = other.join(" ");
        Some(Obstacle {
            detail: format!("{detail}; it works in this shell, where these are others: {names}"),
            cure: format!(
                "systemctl --user import-environment {names}; systemctl --user restart postrider; for good: \
                 set them in ~/.config/environment.d/, or give the whole path of the program"
            ),
        })
    }

    /// Whether a variable is set here, and not there or to something else.
    fn differs(&self, name: &str) -> bool {
        std::env::var_os(name).is_some_and(|value| self.variable(name) != Some(&value))
    }
}

fn variables<'a>(words: impl Iterator<Item = &'a [u8]>) -> BTreeMap<OsString, OsString> {
    let pair = |word: &[u8]| {
        let at = word.iter().position(|byte| *byte == b'=')?;
        let (name, value) = word.split_at_checked(at)?;
        let value = value.get(1..).unwrap_or_default();
        Some((OsStr::from_bytes(name).to_owned(), OsString::from_vec(value.to_vec())))
    };
    words.filter_map(pair).collect()
}

/// The environment that the service manager starts services with.
async fn of_manager() -> Option<BTreeMap<OsString, OsString>> {
    let said = output("systemctl", &["--user", "show-environment"]).await?;
    Some(variables(said.split(|byte| *byte == b'\n')))
}

/// The words that bring a command to where the service runs, if that is another place than here.
async fn entering(pid: Option<u32>) -> Vec<String> {
    let Some(pid) = pid else { return Vec::new() };
    let is_other = |kind: &str| {
        let space = |whose: &str| std::fs::read_link(format!("/proc/{whose}/ns/{kind}")).ok();
        space("self") != space(&pid.to_string())
    };
    if !is_other("mnt") {
        return Vec::new();
    }
    let mut words = vec!["nsenter".to_owned(), format!("--target={pid}"), "--mount".to_owned()];
    if is_other("user") {
        words.extend(["--user", "--preserve-credentials"].map(str::to_owned));
    }
    let mut trial: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    trial.extend(["--", "true"]);
    if output("nsenter", &trial).await.is_none() {
        return Vec::new();
    }
    words.push("--".to_owned());
    words
}

/// What a program of the system prints; nothing where it fails.
pub(super) async fn output(program: &str, args: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let done = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    done.status.success().then_some(done.stdout)
}

fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// What commands that know passwords commonly need.
const TELLING: [&str; 10] = [
    "PATH",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "GPG_TTY",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
    "SSH_AUTH_SOCK",
    "DBUS_SESSION_BUS_ADDRESS",
    "BW_SESSION",
    "HOME",
];
const PATIENCE: Duration = Duration::from_secs(5);
