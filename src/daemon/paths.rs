//! Where the service keeps its state and its socket, and the lock that makes it the only one. Floor 5.
//!
//! XDG defaults apply on every system. What is made here is for the owner alone. The lock is the
//! kernel's, so it ends with the process however that ends; the pid in the file is only told to people.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use etcetera::BaseStrategy;

use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::AccountName;

/// The directory of the ledgers: `$XDG_STATE_HOME/postrider`. It need not exist.
pub fn state_dir() -> PathBuf {
    let xdg = etcetera::base_strategy::Xdg::new().ok();
    let below_home = || xdg.as_ref().map(|xdg| xdg.home_dir().join(".local/state"));
    xdg.as_ref()
        .and_then(BaseStrategy::state_dir)
        .or_else(below_home)
        .unwrap_or_else(|| PathBuf::from("/"))
        .join("postrider")
}

/// Where mbsync keeps its state: `~/.mbsync`, since isync 1.5 `$XDG_STATE_HOME/isync`.
pub fn mbsync_states() -> Vec<PathBuf> {
    let Ok(xdg) = etcetera::base_strategy::Xdg::new() else { return Vec::new() };
    vec![xdg.home_dir().join(".mbsync"), state_dir().with_file_name("isync")]
}

/// The directory of the socket: `$XDG_RUNTIME_DIR/postrider`, else `$TMPDIR/postrider-$UID`. It need
/// not exist.
pub fn runtime_dir() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match given.filter(|dir| dir.is_absolute()) {
        Some(dir) => dir.join("postrider"),
        None => std::env::temp_dir().join(format!("postrider-{}", own_uid())),
    }
}

/// The private socket.
pub fn socket() -> PathBuf {
    runtime_dir().join("bus")
}

/// The ledger of an account; its name has no `/`.
pub fn ledger(state_dir: &Path, account: &AccountName) -> PathBuf {
    state_dir.join(format!("{account}.sqlite"))
}

/// The D-Bus object of an account: bytes outside `[A-Za-z0-9]` as `_xx`.
pub fn account_object(name: &AccountName) -> String {
    let mut path = "/org/postrider/Postrider1/account/".to_owned();
    for byte in name.as_str().bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// Makes a directory that only its owner can enter, or checks that an existing one is ours and closes
/// it to others.
///
/// # Errors
/// It cannot be made, is a link or no directory, or belongs to another user.
pub fn make_private_dir(dir: &Path) -> Result<(), Failure> {
    let failed = |err: &io::Error| {
        Failure::local_io("make a private directory", err)
            .scoped(Scope::Daemon)
            .at(dir.display().to_string())
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(|err| failed(&err))?;
    // Not through a link: in a shared temporary directory anybody may have put one there.
    let meta = dir.symlink_metadata().map_err(|err| failed(&err))?;
    if !meta.is_dir() || meta.uid() != own_uid() {
        return Err(failed(&io::Error::other("it belongs to another user, or is no directory"))
            .cure(
                "remove it, or set XDG_RUNTIME_DIR and XDG_STATE_HOME to directories of your own",
            ));
    }
    if meta.mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(|err| failed(&err))?;
    }
    Ok(())
}

/// Our effective user id.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The right to work on a state directory: held as long as this lives.
#[derive(Debug)]
pub struct StateLock {
    /// Closing it releases the lock.
    _file: File,
}

impl StateLock {
    /// Takes the lock of a state directory, which is made if it is missing.
    ///
    /// # Errors
    /// `Busy`, naming the pid of the process that holds it; or the directory cannot be used.
    pub fn take(state_dir: &Path) -> Result<Self, Failure> {
        make_private_dir(state_dir)?;
        let path = state_dir.join("lock");
        let failed = |err: &io::Error| {
            Failure::local_io("lock the state directory", err)
                .scoped(Scope::Daemon)
                .at(path.display().to_string())
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(|err| failed(&err))?;
        let mut looks = 0..GLANCES_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                // Whoever only asks who holds it has it for an instant, too.
                Err(TryLockError::WouldBlock) if looks.next().is_some() => sleep(GLANCE),
                Err(TryLockError::WouldBlock) => return Err(busy(file, &path)),
                Err(TryLockError::Error(err)) => return Err(failed(&err)),
            }
        }
        let pid = std::process::id();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{pid}"))
            .map_err(|err| failed(&err))?;
        Ok(Self { _file: file })
    }
}

/// The process that works on a state directory, if one does.
pub fn holder(state_dir: &Path) -> Option<u32> {
    let file = File::open(state_dir.join("lock")).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => pid_in(file),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// A holder that has not written its pid yet is still a holder.
fn pid_in(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn busy(file: File, path: &Path) -> Failure {
    let pid = pid_in(file);
    let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("pid {pid}"));
    let failure = Failure::new(Scope::Daemon, Remedy::Later, Kind::Busy, "start")
        .at(path.display().to_string())
        .detail(format_args!("{who} holds the state directory"));
    match pid {
        Some(pid) => failure.cure(format!("postrider status; or stop it: kill {pid}")),
        None => failure.cure("postrider status"),
    }
}

/// How often, and how far apart, it is tried to get a lock that somebody may only glance at.
const GLANCES_MAX: u32 = 25;
const GLANCE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/state");
        let first = StateLock::take(&state).unwrap();
        assert_eq!(state.metadata().unwrap().mode() & 0o777, 0o700);
        let refusal = StateLock::take(&state).unwrap_err();
        assert_eq!(refusal.kind.exit_code(), 75);
        assert!(refusal.to_string().contains(&format!("pid {}", std::process::id())), "{refusal}");
        assert_eq!(holder(&state), Some(std::process::id()));
        drop(first);
        assert_eq!(holder(&state), None);
        StateLock::take(&state).unwrap();
    }

    #[test]
    fn who_asks_for_the_holder_keeps_nobody_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        drop(StateLock::take(dir.path()).unwrap());
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| {
                for _ in 0..300 {
                    StateLock::take(dir.path()).unwrap();
                }
            });
            while !taker.is_finished() {
                let _somebody = holder(dir.path());
            }
        });
    }

    #[test]
    fn a_directory_open_to_others_is_closed_and_a_link_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        make_private_dir(&open).unwrap();
        assert_eq!(open.metadata().unwrap().mode() & 0o777, 0o700);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(make_private_dir(&link).is_err());
    }
}
