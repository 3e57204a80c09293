//! What `doctor` looks at beside what `check` does: this machine. Floor 5.
//!
//! Changes nothing. A warning is something that will hurt one day; it does not change the exit code.

mod inside;
mod place;
pub(super) mod server;
mod unit;
mod watching;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::unit::Unit;
use crate::adapters::desktop;
use crate::daemon::check::{Depth, Finding, look};
use crate::daemon::paths;
use crate::model::account::{Account, BusChoice, Settings};
use crate::model::ids::AccountName;

/// Everything that `check` finds, then what there is to say of the machine.
pub async fn doctor(settings: &Settings, only: Option<&AccountName>) -> Vec<Finding> {
    let mut findings = look(settings, only, Depth::Machine).await;
    let accounts: Vec<&Account> = settings
        .accounts
        .values()
        .filter(|account| only.map_or(account.enabled, |only| account.name == *only))
        .collect();
    inside::secrets(&accounts, &mut findings).await;
    findings.extend(accounts.iter().filter_map(|account| place::file_system(account)));
    findings.extend(accounts.iter().filter_map(|account| place::privacy(account)));
    findings.push(watching::watches(&accounts));
    findings.extend(watching::instances());
    findings.push(bus(settings).await);
    findings.push(clock());
    findings.extend(disks(settings, &accounts));
    findings.extend(accounts.iter().flat_map(|account| other_syncers(account)));
    findings.extend(running_syncers());
    findings.extend(place::timers().await);
    findings.extend(place::long_lines(&settings.outbox.dir));
    findings.push(service());
    findings.push(linger());
    findings.push(sendmail());
    findings
}

fn ok(what: impl Into<String>) -> Finding {
    Finding { account: None, what: what.into(), failure: None, advice: None }
}

fn warn(what: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { advice: Some(advice.into()), ..ok(what) }
}

async fn bus(settings: &Settings) -> Finding {
    match settings.daemon.bus {
        BusChoice::Off => return ok("D-Bus: off"),
        BusChoice::Private => return ok("D-Bus: the private socket only"),
        BusChoice::Session => {}
    }
    let ours = paths::holder(&paths::state_dir());
    match desktop::owner("org.postrider.Postrider1").await {
        Ok(Some(pid)) if ours.is_none_or(|ours| ours == pid) => {
            ok(format!("session bus: the name is owned by pid {pid}"))
        }
        Ok(Some(pid)) => warn(
            format!("session bus: another postrider has the name, pid {pid}"),
            format!(
                "programs on the bus see that one, with its own configuration; stop one: kill {pid}"
            ),
        ),
        Ok(None) if ours.is_some() => warn(
            "session bus: the service runs and is not on it",
            "it was started without DBUS_SESSION_BUS_ADDRESS, or on another bus: systemctl --user restart \
             postrider; the private socket serves all the same",
        ),
        Ok(None) => ok("session bus: reachable; no service is on it"),
        Err(failure) => warn(
            format!("session bus: {failure}"),
            "the private socket serves all the same; set DBUS_SESSION_BUS_ADDRESS, or bus = \"private\"",
        ),
    }
}

/// Certificates and time stamps want a clock that is right. Ours shows when it went back, and the system
/// says whether it is kept.
fn clock() -> Finding {
    let now = SystemTime::now();
    let newest = fs::read_dir(paths::state_dir()).into_iter().flatten().flatten();
    let newest = newest.filter_map(|e| e.metadata().ok()?.modified().ok()).max();
    let ahead = newest.and_then(|at| at.duration_since(now).ok()).unwrap_or_default();
    if ahead >= CLOCK_SLIP {
        let what = format!("clock: {} min behind the last sync", ahead.as_secs() / 60);
        return warn(what, "set the clock: timedatectl set-ntp true");
    }
    let timesync = Path::new("/run/systemd/timesync");
    if timesync.is_dir() && !timesync.join("synchronized").exists() {
        return warn(
            "clock: not synchronised since the start of the machine",
            "certificates are refused by a wrong clock: timedatectl set-ntp true",
        );
    }
    ok("clock: not behind the last sync")
}

fn disks(settings: &Settings, accounts: &[&Account]) -> Vec<Finding> {
    let mut places = vec![paths::state_dir(), settings.outbox.dir.clone()];
    places.extend(accounts.iter().map(|account| account.maildir.clone()));
    let mut seen = Vec::new();
    let mut findings = Vec::new();
    for place in places {
        let Some(there) = place.ancestors().find(|dir| dir.exists()) else { continue };
        let Ok(stat) = rustix::fs::statvfs(there) else { continue };
        if seen.contains(&stat.f_fsid) {
            continue;
        }
        seen.push(stat.f_fsid);
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let what = format!("disk of {}: {} MiB free", place.display(), free >> 20);
        findings.push(if free < DISK_BYTES_MIN {
            warn(what, "free some space: mail stops before the disk is full")
        } else if stat.f_files > 0 && stat.f_favail < DISK_FILES_MIN {
            warn(format!("{what}, {} inodes", stat.f_favail), "each message is a file: free inodes")
        } else {
            ok(what)
        });
    }
    findings
}

/// State of other programs that sync the same Maildir.
fn other_syncers(account: &Account) -> Option<Finding> {
    let inbox = account.maildir.join("INBOX");
    let traces = [".mbsyncstate", ".uidvalidity", ".isyncuidmap.db"];
    let dirs = [account.maildir.as_path(), inbox.as_path()];
    let found =
        dirs.iter().flat_map(|dir| traces.map(|trace| dir.join(trace))).find(|p| p.exists())?;
    let age = found.metadata().ok()?.modified().ok()?.elapsed().unwrap_or_default();
    let what = format!("another syncer: {} is mbsync's", found.display());
    let finding = if age < OTHER_SYNCER_AGE {
        warn(what, "it ran within a day: stop its timer, or each will undo what the other does")
    } else {
        ok(format!("{what}, and old"))
    };
    Some(Finding { account: Some(account.name.clone()), ..finding })
}

/// Programs of the user's that sync mail right now.
fn running_syncers() -> Vec<Finding> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        place::SYNCERS.contains(&name.trim()).then(|| (name.trim().to_owned(), pid))
    });
    names
        .map(|(name, pid)| {
            warn(
                format!("another syncer: {name} runs, pid {pid}"),
                "two syncers on one Maildir undo each other's work: stop one",
            )
        })
        .collect()
}

fn service() -> Finding {
    let agent = std::env::var_os("HOME")
        .map(|home| PathBuf::from(home).join("Library/LaunchAgents/org.postrider.postrider.plist"));
    if let Some(agent) = agent.filter(|agent| agent.exists()) {
        return ok(format!("service: {}", agent.display()));
    }
    match Unit::find() {
        Some(unit) if Unit::is_enabled() => {
            ok(format!("service: {}, enabled", unit.path.display()))
        }
        Some(unit) => warn(
            format!("service: {}, not enabled", unit.path.display()),
            "it does not start when you log in: systemctl --user enable --now postrider",
        ),
        None => warn("service: not installed", "postrider service install"),
    }
}

/// Without lingering, systemd stops a user's services when the last session ends.
fn linger() -> Finding {
    let dir = Path::new("/var/lib/systemd/linger");
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    if !dir.is_dir() || user.is_empty() || dir.join(&user).exists() {
        return ok("lingering: nothing to do");
    }
    ok("lingering: off; on a machine where nobody logs in: loginctl enable-linger")
}

fn sendmail() -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/lib"].map(PathBuf::from))
        .map(|dir| dir.join("sendmail"))
        .find(|file| file.exists());
    let Some(found) = found else {
        return ok("sendmail: none; link it to postrider for programs that look for it");
    };
    let target = found.canonicalize().unwrap_or_else(|_| found.clone());
    let own = std::env::current_exe().and_then(|exe| exe.canonicalize()).ok();
    if own.as_ref() == Some(&target) {
        ok(format!("sendmail: {} is postrider", found.display()))
    } else {
        ok(format!("sendmail: {} is {}", found.display(), target.display()))
    }
}

const CLOCK_SLIP: Duration = Duration::from_secs(120);
const DISK_BYTES_MIN: u64 = 500 << 20;
const DISK_FILES_MIN: u64 = 10_000;
const OTHER_SYNCER_AGE: Duration = Duration::from_secs(86_400);
