//! `postrider service`: the systemd user unit, or the launchd agent. Beside floor 5.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etcetera::BaseStrategy;
use serde_json::json;

use super::complaint::Complaint;
use super::print;
use crate::daemon::settings;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the unit for this program, enable and start it
    Install {
        /// Only write the files
        #[arg(long)]
        no_start: bool,
    },
    /// Stop the service and remove what install wrote
    Uninstall,
    /// Whether it is installed, enabled and running
    Status {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}

/// A file of the service.
struct Part {
    path: PathBuf,
    text: String,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Result<u8, Complaint> {
    let parts = parts(config)?;
    match args.verb {
        Verb::Install { no_start } => install(&parts, no_start),
        Verb::Uninstall => uninstall(&parts),
        Verb::Status { json } => status(&parts, json),
    }
}

/// Installs and starts it: what `setup` offers.
pub(super) fn install_here(config: Option<&Path>) -> Result<(), Complaint> {
    install(&parts(config)?, false).map(drop)
}

/// What belongs to the service here, made for this very program.
fn parts(config: Option<&Path>) -> Result<Vec<Part>, Complaint> {
    let program = std::env::current_exe()
        .map_err(|err| Complaint::plain(74, &format!("find this program: {err}")))?;
    let program = nameable(&program)?;
    // Which file that is has to be known to a service that has neither our arguments nor our environment.
    let is_default = config.is_none() && std::env::var_os("POSTRIDER_CONFIG").is_none();
    let config = if is_default { None } else { Some(settings::locate(config)) };
    let config = config.as_deref().map(nameable).transpose()?;
    let option = config.map(|file| format!("--config \"{file}\" ")).unwrap_or_default();
    let xdg = etcetera::base_strategy::Xdg::new()
        .map_err(|err| Complaint::plain(74, &format!("find the home directory: {err}")))?;
    if cfg!(target_os = "macos") {
        let path = xdg.home_dir().join("Library/LaunchAgents").join(AGENT_FILE);
        let command = format!("{program} {option}run");
        let text = AGENT.replace("/usr/local/bin/postrider run", &command);
        return Ok(vec![Part { path, text }]);
    }
    let quoted = if program.contains(' ') { format!("\"{program}\"") } else { program.to_owned() };
    Ok(vec![
        Part {
            path: xdg.config_dir().join("systemd/user").join(UNIT_NAME),
            text: unit(has_user_namespaces())
                .replace("/usr/bin/postrider run", &format!("{quoted} {option}run")),
        },
        Part {
            path: xdg.data_dir().join("dbus-1/services/org.postrider.Postrider1.service"),
            text: ACTIVATION.replace("/usr/bin/postrider run", &format!("{quoted} {option}run")),
        },
    ])
}

/// A path as it can stand in a unit.
fn nameable(path: &Path) -> Result<&str, Complaint> {
    path.to_str().filter(|p| !p.contains(['"', '%', '\\', '&', '<', '$'])).ok_or_else(|| {
        Complaint::plain(73, &format!("a unit cannot name this file: {}", path.display()))
    })
}

/// A unit's text without the configuration file that it names.
fn without_config(text: &str) -> String {
    let Some((head, rest)) = text.split_once(" --config \"") else { return text.to_owned() };
    let tail = rest.split_once('"').map_or(rest, |(_, tail)| tail);
    format!("{head}{tail}")
}

/// The unit, without what needs user namespaces where there are none.
fn unit(has_namespaces: bool) -> String {
    let parts = UNIT.split_once(NAMESPACES_BEGIN);
    let parts = parts.and_then(|(head, rest)| Some((head, rest.split_once(NAMESPACES_END)?.1)));
    match parts {
        Some((head, tail)) if !has_namespaces => format!("{}\n{tail}", head.trim_end_matches('\n')),
        Some(_) | None => UNIT.to_owned(),
    }
}

/// Whether users may make user namespaces; some distributions forbid it.
fn has_user_namespaces() -> bool {
    let says = |file: &str, word: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(file)).is_ok_and(|text| text.trim() == word)
    };
    !says("kernel/apparmor_restrict_unprivileged_userns", "1")
        && !says("kernel/unprivileged_userns_clone", "0")
        && !says("user/max_user_namespaces", "0")
}

fn install(parts: &[Part], no_start: bool) -> Result<u8, Complaint> {
    for part in parts {
        write(part).map_err(|err| {
            Complaint::plain(73, &format!("write {}: {err}", part.path.display()))
        })?;
        print::out(&format!("wrote {}", part.path.display()))?;
    }
    if no_start {
        return Ok(0);
    }
    if cfg!(target_os = "macos") {
        let domain = format!("gui/{}", crate::daemon::paths::own_uid());
        let file = parts.first().map(|part| part.path.display().to_string()).unwrap_or_default();
        // One that runs already is replaced.
        drop(manager("launchctl", &["bootout", &format!("{domain}/{AGENT_LABEL}")]));
        manager("launchctl", &["bootstrap", &domain, &file])?;
    } else {
        manager("systemctl", &["--user", "daemon-reload"])?;
        manager("systemctl", &["--user", "enable", "--now", UNIT_NAME])?;
    }
    print::out("the service is enabled and runs: postrider status")?;
    Ok(0)
}

fn uninstall(parts: &[Part]) -> Result<u8, Complaint> {
    let is_there = parts.iter().any(|part| part.path.exists());
    if !is_there {
        print::out("nothing is installed")?;
        return Ok(0);
    }
    // A manager that is not there runs nothing: the files go all the same.
    let stopped = if cfg!(target_os = "macos") {
        let service = format!("gui/{}/{AGENT_LABEL}", crate::daemon::paths::own_uid());
        manager("launchctl", &["bootout", &service])
    } else {
        manager("systemctl", &["--user", "disable", "--now", UNIT_NAME])
    };
    for part in parts {
        match fs::remove_file(&part.path) {
            Ok(()) => print::out(&format!("removed {}", part.path.display()))?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => {
                let what = format!("remove {}: {err}", part.path.display());
                return Err(Complaint::plain(74, &what));
            }
        }
    }
    if let Err(complaint) = stopped {
        print::trouble(&complaint.text.replacen("error:", "warning:", 1));
    }
    Ok(0)
}

fn status(parts: &[Part], as_json: bool) -> Result<u8, Complaint> {
    let unit = parts.first();
    let installed = unit.is_some_and(|part| part.path.exists());
    let current = unit.is_some_and(|part| {
        let is_same = |text: String| without_config(&text) == without_config(&part.text);
        fs::read_to_string(&part.path).is_ok_and(is_same)
    });
    let ask = |verb| match cfg!(target_os = "macos") {
        true => {
            let service = format!("gui/{}/{AGENT_LABEL}", crate::daemon::paths::own_uid());
            manager("launchctl", &["print", &service]).is_ok()
        }
        false => manager("systemctl", &["--user", "--quiet", verb, UNIT_NAME]).is_ok(),
    };
    let (enabled, active) = (installed && ask("is-enabled"), installed && ask("is-active"));
    let path = unit.map(|part| part.path.display().to_string()).unwrap_or_default();
    if as_json {
        let document = json!({"installed": installed, "current": current, "enabled": enabled,
            "active": active, "path": path});
        print::out(&document.to_string())?;
    } else if !installed {
        print::out("not installed; to install it: postrider service install")?;
    } else {
        let word = |is: bool, yes: &str, no: &str| if is { yes.to_owned() } else { no.to_owned() };
        let state =
            [word(enabled, "enabled", "not enabled"), word(active, "running", "not running")];
        let age =
            word(current, "", "\nit is not the unit of this version: postrider service install");
        print::out(&format!("{path}: {}{age}", state.join(", ")))?;
    }
    Ok(if active { 0 } else { 69 })
}

/// Writes a file of the service; one that a person changed is kept beside it.
fn write(part: &Part) -> io::Result<()> {
    if let Some(dir) = part.path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    match fs::read_to_string(&part.path) {
        Ok(text) if text == part.text => return Ok(()),
        Ok(_) => fs::rename(&part.path, with_suffix(&part.path, ".old"))?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err),
    }
    let new = with_suffix(&part.path, ".new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&new)?.write_all(part.text.as_bytes())?;
    fs::rename(&new, &part.path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Runs the service manager; what it says is part of the error.
fn manager(program: &str, args: &[&str]) -> Result<(), Complaint> {
    let command = format!("{program} {}", args.join(" "));
    let ran = Command::new(program).args(args).stdin(Stdio::null()).output();
    let ran = ran.map_err(|err| Complaint::plain(69, &format!("{command}: {err}")))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr).trim().replace('\n', "\n  ");
    Err(Complaint::plain(69, &format!("{command}: {}\n  {said}", ran.status)))
}

const UNIT_NAME: &str = "postrider.service";
const UNIT: &str = include_str!("../../systemd/postrider.service");
const NAMESPACES_BEGIN: &str = "\n# User namespaces.";
const NAMESPACES_END: &str = "# End of what needs user namespaces.\n";
const ACTIVATION: &str = include_str!("../../systemd/org.postrider.Postrider1.service");
const AGENT: &str = include_str!("../../launchd/org.postrider.postrider.plist");
const AGENT_FILE: &str = "org.postrider.postrider.plist";
const AGENT_LABEL: &str = "org.postrider.postrider";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_user_namespaces_the_unit_does_not_ask_for_them() {
        assert_eq!(unit(true), UNIT);
        let without = unit(false);
        for word in ["PrivateUsers", "ProtectSystem", "CapabilityBoundingSet", "namespaces.\n#"] {
            assert!(!without.contains(word), "{without}");
        }
        assert!(
            UNIT.contains("/usr/bin/postrider run\n")
                && ACTIVATION.contains("/usr/bin/postrider run\n")
        );
        assert!(AGENT.contains("/usr/local/bin/postrider run "));
        assert_eq!(without_config("x --config \"/a b\" run\n"), "x run\n");
        assert!(without.contains("SystemCallErrorNumber=EPERM\n\n[Install]\n"), "{without}");
    }
}
