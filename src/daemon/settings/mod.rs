//! The configuration file: found, read, checked, turned into [`Settings`]. Floor 5.
//!
//! Reads the file and nothing else: no network, no change on disk. What it answers is complete and
//! valid; what it refuses is refused with everything that is wrong, each at its place.

mod account;
mod check;
mod error;
mod hooks;
mod oauth;
mod overlap;
mod pop;
mod presets;
mod raw;
mod secret;
mod server;
#[cfg(test)]
mod tests;
mod values;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use zeroize::Zeroizing;

pub use self::check::log_filter;
pub use self::error::{ConfigError, Problem};
pub use self::presets::{preset_for, presets};
pub use self::raw::nearest;
pub use self::values::duration;
use crate::model::account::Settings;

/// Finds the configuration file: what the command line says, else `POSTRIDER_CONFIG`, else
/// `postrider/config.toml` in the XDG directory for configuration, on macOS too.
pub fn locate(cli: Option<&Path>) -> PathBuf {
    let from_environment = || std::env::var_os("POSTRIDER_CONFIG").filter(|path| !path.is_empty());
    match cli.map(Path::to_owned).or_else(|| from_environment().map(PathBuf::from)) {
        Some(path) => std::path::absolute(&path).unwrap_or(path),
        None => match etcetera::base_strategy::Xdg::new() {
            Ok(xdg) => xdg.config_dir().join("postrider/config.toml"),
            Err(_) => PathBuf::from(".config/postrider/config.toml"),
        },
    }
}

/// Reads and checks the configuration file.
///
/// # Errors
///
/// A file that cannot be read, is larger than 1 MiB or is no TOML; else every unknown key, wrong
/// type, bad value and contradiction in it.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let (text, private) = read(path)?;
    let text = Zeroizing::new(text);
    parse(path, &text, &Surroundings::of_this_process(private))
}

/// What the meaning of a configuration depends on beside its text.
struct Surroundings {
    /// The home directory, for `~`.
    home: PathBuf,
    /// The directory of the ledgers, which no Maildir may touch.
    state_dir: PathBuf,
    /// Whether only the user can read the file, so that passwords may stand in it.
    private: bool,
    /// Looks an environment variable up.
    var: fn(&str) -> Option<String>,
}

impl Surroundings {
    fn of_this_process(private: bool) -> Self {
        let xdg = etcetera::base_strategy::Xdg::new().ok();
        let home = xdg.as_ref().map_or_else(|| PathBuf::from("/"), |xdg| xdg.home_dir().to_owned());
        let state_dir = xdg.and_then(|xdg| xdg.state_dir());
        Self {
            state_dir: state_dir.unwrap_or_else(|| home.join(".local/state")).join("postrider"),
            home,
            private,
            var: |name| std::env::var(name).ok(),
        }
    }
}

/// The text of the file without a byte order mark, and whether only its owner can read it.
fn read(path: &Path) -> Result<(String, bool), ConfigError> {
    let refuse = |what: String| ConfigError::whole_file(path, what);
    let file = File::open(path).map_err(|err| {
        let missing = err.kind() == ErrorKind::NotFound;
        refuse(if missing { NOT_FOUND.to_owned() } else { format!("cannot be opened: {err}") })
    })?;
    let meta = file.metadata().map_err(|err| refuse(format!("cannot be examined: {err}")))?;
    if meta.is_dir() {
        return Err(refuse("is a directory, not a configuration file".to_owned()));
    }
    // A password may stand in it: growing must leave no copy of it behind.
    let length = usize::try_from(meta.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(length.saturating_add(1));
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|err| refuse(format!("cannot be read: {err}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse("is larger than 1 MiB; this cannot be a configuration".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|err| {
        let good = err.utf8_error().valid_up_to();
        let line = err.as_bytes().iter().take(good).filter(|b| **b == b'\n').count() + 1;
        refuse(format!("line {line} is not UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok((text, meta.permissions().mode() & 0o077 == 0))
}

/// Checks a text as the content of the file at `path`.
fn parse(path: &Path, text: &str, around: &Surroundings) -> Result<Settings, ConfigError> {
    let document = toml::de::DeTable::parse(text).map_err(|err| {
        let at = err.span().map_or(0, |span| span.start);
        let what = err.message().to_owned();
        let raised = error::Raised { at, key: String::new(), what, nearest: None };
        ConfigError::at_offsets(path, text, vec![raised])
    })?;
    let problems = raw::Problems::default();
    let settings = check::settings(path, raw::Table::root(&problems, document.get_ref()), around);
    let raised = problems.into_vec();
    if raised.is_empty() { Ok(settings) } else { Err(ConfigError::at_offsets(path, text, raised)) }
}

const NOT_FOUND: &str = "there is no configuration here; postrider setup ADDRESS writes one, \
     config/config.example.toml is one to fill in; or name another file with --config FILE or POSTRIDER_CONFIG";

const FILE_BYTES_MAX: u64 = 1 << 20;
