//! What the service's unit says: what it hides from the service, and what it passes to it. Floor 5.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The unit, with its drop-ins.
#[derive(Debug, Default)]
pub(super) struct Unit {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Directories that the service does not see, and the setting that hides them.
    hidden: Vec<(PathBuf, String)>,
    /// The credentials that it passes.
    pub(super) credentials: BTreeSet<String>,
    /// The variables that it sets.
    pub(super) variables: BTreeSet<String>,
}

impl Unit {
    /// The unit that the service manager would take: the user's own before those of the system.
    pub(super) fn find() -> Option<Self> {
        let dirs: Vec<PathBuf> = own_dir().into_iter().chain(DIRS.map(PathBuf::from)).collect();
        let path = dirs.iter().map(|dir| dir.join(UNIT)).find(|path| path.exists())?;
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        // The system's first, so that the user's own have the last word.
        for dir in dirs.iter().rev() {
            let entries =
                fs::read_dir(dir.join(format!("{UNIT}.d"))).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            files.retain(|file| file.extension().is_some_and(|end| end == "conf"));
            files.sort();
            for file in files {
                text.push('\n');
                text.push_str(&fs::read_to_string(file).unwrap_or_default());
            }
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        Some(Self { path, ..Self::parse(&text, &home) })
    }

    fn parse(text: &str, home: &Path) -> Self {
        let mut unit = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            match (key.trim(), value.trim()) {
                (key @ ("PrivateTmp" | "ProtectHome"), value) => {
                    unit.hidden.retain(|(_, setting)| !setting.starts_with(key));
                    if is_hiding(value) {
                        let dirs: &[&str] = match key {
                            "PrivateTmp" => &["/tmp", "/var/tmp"],
                            _ => &["/home", "/root", "/run/user"],
                        };
                        let setting = format!("{key}={value}");
                        unit.hidden.extend(dirs.iter().map(|dir| (dir.into(), setting.clone())));
                    }
                }
                (key @ ("InaccessiblePaths" | "TemporaryFileSystem"), "") => {
                    unit.hidden.retain(|(_, setting)| !setting.starts_with(key));
                }
                (key @ ("InaccessiblePaths" | "TemporaryFileSystem"), value) => {
                    for word in value.split_whitespace() {
                        let path = word.trim_start_matches(['-', '+']);
                        let path = path.split(':').next().unwrap_or_default();
                        let path = path.replace("%h", &home.display().to_string());
                        unit.hidden.push((path.into(), format!("{key}={word}")));
                    }
                }
                ("LoadCredential" | "LoadCredentialEncrypted" | "SetCredential", value)
                | ("SetCredentialEncrypted" | "ImportCredential", value) => {
                    unit.credentials.extend(value.split(':').next().map(str::to_owned));
                }
                ("Environment", value) => {
                    let names = value.split_whitespace().filter_map(|word| word.split_once('='));
                    let name =
                        |(name, _): (&str, &str)| name.trim_start_matches(['"', '\'']).to_owned();
                    unit.variables.extend(names.map(name));
                }
                _ => {}
            }
        }
        unit
    }

    /// The setting that keeps the service from seeing a file.
    pub(super) fn hides(&self, file: &Path) -> Option<&str> {
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let found = self.hidden.iter().find(|(dir, _)| file.starts_with(dir));
        found.map(|(_, setting)| setting.as_str())
    }

    /// Whether the service manager starts it when the user logs in.
    pub(super) fn is_enabled() -> bool {
        let dirs = own_dir().into_iter().chain(DIRS.map(PathBuf::from));
        dirs.map(|dir| dir.join("default.target.wants").join(UNIT))
            .any(|link| link.symlink_metadata().is_ok())
    }
}

/// The user's own units.
pub(super) fn own_dir() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    config.or_else(home).map(|dir| dir.join("systemd/user"))
}

fn is_hiding(value: &str) -> bool {
    matches!(value, "yes" | "true" | "on" | "1" | "tmpfs" | "disconnected")
}

const UNIT: &str = "postrider.service";
const DIRS: [&str; 3] =
    ["/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_unit_and_its_drop_ins_counts() {
        let text = "[Service]\nPrivateTmp=yes\nProtectHome=no\nInaccessiblePaths=-%h/secret /opt/x\n\
                    LoadCredential=work:/etc/work\nEnvironment=A=1 \"B=2 3\"\n# a drop-in\n\
                    [Service]\nPrivateTmp=no\nTemporaryFileSystem=/srv:ro\n";
        let unit = Unit::parse(text, Path::new("/home/me"));
        assert_eq!(unit.hides(Path::new("/tmp/pw")), None);
        assert_eq!(
            unit.hides(Path::new("/home/me/secret/pw")),
            Some("InaccessiblePaths=-%h/secret")
        );
        assert_eq!(unit.hides(Path::new("/srv/pw")), Some("TemporaryFileSystem=/srv:ro"));
        assert_eq!(unit.hides(Path::new("/home/me/pw")), None);
        assert!(unit.credentials.contains("work"));
        assert!(unit.variables.contains("A") && unit.variables.contains("B"));
        let unit = Unit::parse("ProtectHome=tmpfs\nPrivateTmp=true\n", Path::new("/home/me"));
        assert_eq!(unit.hides(Path::new("/home/me/pw")), Some("ProtectHome=tmpfs"));
        assert_eq!(unit.hides(Path::new("/tmp/pw")), Some("PrivateTmp=true"));
    }
}
