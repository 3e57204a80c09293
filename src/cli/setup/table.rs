//! The account's table as it is written down. Beside floor 5.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::toml::{argv, key, quoted};
use crate::model::provider::{Preset, UserForm};

/// A server as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// Empty: the one that is found.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Encrypted only after a command; else from the first byte.
    pub(super) is_starttls: bool,
    /// What it takes as the user's name, if that is not the address.
    pub(super) user: Option<UserForm>,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_suffix("/starttls");
        let is_starttls = bare.is_some();
        let text = bare.unwrap_or(text);
        match text.rsplit_once(':') {
            Some((host, port)) => {
                let port = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
                Ok(Self { host: host.to_owned(), port: Some(port), is_starttls, user: None })
            }
            None => Ok(Self { host: text.to_owned(), port: None, is_starttls, user: None }),
        }
    }
}

/// Where the password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Secret {
    Command(String),
    File(PathBuf),
    Token(String),
    /// It is in the keyring.
    Keyring,
    /// A registration, and the command that prints its secret.
    OAuth(String, Option<String>),
}

/// An account.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) user: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) secret: Option<Secret>,
    /// The preset, where the address does not tell it.
    pub(super) provider: Option<String>,
    /// Hosts and ports are left to the preset.
    pub(super) is_preset: bool,
    pub(super) wants_pop: bool,
    pub(super) imap: Option<Server>,
    pub(super) pop3: Option<Server>,
    pub(super) smtp: Option<Server>,
}

impl Table {
    /// The table as TOML.
    pub(super) fn to_toml(&self) -> String {
        let name = key(&self.name);
        let mut out = format!("[account.{name}]\naddress = {}\n", quoted(&self.address));
        let line = match &self.secret {
            Some(Secret::Command(command)) => {
                format!("password = {{ command = {} }}\n", argv(command))
            }
            Some(Secret::File(file)) => {
                format!("password = {{ file = {} }}\n", quoted(&file.display().to_string()))
            }
            Some(Secret::Token(command)) => {
                format!("oauth = {{ token_command = {} }}\n", argv(command))
            }
            Some(Secret::Keyring) => "password = { keyring = true }\n".to_owned(),
            Some(Secret::OAuth(id, None)) => format!("oauth = {{ client_id = {} }}\n", quoted(id)),
            Some(Secret::OAuth(id, Some(command))) => format!(
                "oauth = {{ client_id = {}, client_secret = {{ command = {} }} }}\n",
                quoted(id),
                argv(command)
            ),
            None => String::new(),
        };
        out.push_str(&line);
        if let Some(provider) = &self.provider {
            let _ = writeln!(out, "provider = {}", quoted(provider));
        }
        let incoming = if self.wants_pop { "pop3" } else { "imap" };
        let servers = [
            (incoming, if self.wants_pop { &self.pop3 } else { &self.imap }),
            ("smtp", &self.smtp),
        ];
        for (table, server) in servers {
            if server.is_none() && !self.is_preset {
                continue;
            }
            let _ = write!(out, "\n[account.{name}.{table}]\n");
            if let Some(server) = server {
                let _ = writeln!(out, "host = {}", quoted(&server.host));
                if let Some(port) = server.port {
                    let _ = writeln!(out, "port = {port}");
                }
                if server.is_starttls {
                    out.push_str("tls = \"starttls\"\n");
                }
            }
            let form = server.as_ref().and_then(|server| server.user);
            let user = self.user.clone().or_else(|| Some(form?.of(&self.address)));
            if let Some(user) = &user {
                let _ = writeln!(out, "user = {}", quoted(user));
            }
            if let Some(file) = &self.ca_file {
                let _ = writeln!(out, "ca_file = {}", quoted(&file.display().to_string()));
            }
        }
        out
    }
}

/// A name for the account that the configuration does not have yet.
pub(super) fn account_name(
    local: &str,
    domain: &str,
    preset: Option<&Preset>,
    old: &str,
) -> String {
    let label = domain.split('.').next().unwrap_or(domain);
    let base = preset.map_or(label, |preset| preset.name.as_str());
    let clean = |text: &str| -> String {
        let kept = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        kept.collect::<String>().to_lowercase()
    };
    let is_free = |name: &str| !old.contains(&format!("[account.{name}]"));
    let candidates = [clean(base), format!("{}-{}", clean(base), clean(local))];
    let numbered = (2..).map(|n: u32| format!("{}-{n}", clean(base)));
    candidates.into_iter().chain(numbered.take(1000)).find(|name| is_free(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_what_was_asked_for_and_nothing_that_a_preset_knows() {
        let table = Table {
            name: "icloud".to_owned(),
            address: "me@icloud.com".to_owned(),
            secret: Some(Secret::Command("pass show icloud".to_owned())),
            is_preset: true,
            ..Table::default()
        };
        assert_eq!(
            table.to_toml(),
            "[account.icloud]\naddress = \"me@icloud.com\"\n\
             password = { command = [\"pass\", \"show\", \"icloud\"] }\n\n\
             [account.icloud.imap]\n\n[account.icloud.smtp]\n"
        );
        let table = Table {
            name: "a.b".to_owned(),
            address: "me@a.b".to_owned(),
            secret: Some(Secret::Token("cat \"$HOME/x\"".to_owned())),
            wants_pop: true,
            pop3: Some("h:995".parse().unwrap()),
            ..Table::default()
        };
        let text = table.to_toml();
        assert!(text.contains("[account.\"a.b\".pop3]\nhost = \"h\"\nport = 995\n"), "{text}");
        assert!(text.contains("token_command = [\"sh\", \"-c\""), "{text}");
        assert!(!text.contains("smtp"), "{text}");
    }

    #[test]
    fn a_name_is_one_that_the_configuration_does_not_have() {
        let name = |old: &str| account_name("me", "example.com", None, old);
        assert_eq!(name(""), "example");
        assert_eq!(name("[account.example]\n"), "example-me");
        assert_eq!(name("[account.example]\n[account.example-me]\n"), "example-2");
    }
}
