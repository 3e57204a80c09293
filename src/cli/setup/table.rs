//! The account's table as it is written down. Beside floor 5.

use std::path::PathBuf;
use std::str::FromStr;

use toml_edit::{DocumentMut, InlineTable, Item, Value, value};

use crate::cli::toml::words;
use crate::daemon::settings::{preset_for, presets};
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
    /// The account alone.
    pub(super) fn to_toml(&self) -> String {
        let mut document = DocumentMut::new();
        self.add_to(&mut document);
        document.to_string()
    }

    /// Adds the account at the end of a configuration, of which every byte stays as it is.
    pub(super) fn add_to(&self, document: &mut DocumentMut) {
        let mut end = document.trailing().as_str().unwrap_or_default().to_owned();
        document.set_trailing("");
        let is_first = document.is_empty() && end.trim().is_empty();
        if is_first {
            end.clear();
        } else {
            end.push('\n');
        }
        let mut place = last_position(document.as_table());
        let mut next = || {
            place = place.saturating_add(1);
            Some(place)
        };
        let mut account = self.account();
        account.set_position(next());
        account.decor_mut().set_prefix(end);
        for (name, server) in self.servers() {
            let mut server = self.server(server);
            server.set_position(next());
            account.insert(name, Item::Table(server));
        }
        let accounts = document.entry("account").or_insert_with(|| {
            let mut accounts = toml_edit::Table::new();
            accounts.set_implicit(true);
            Item::Table(accounts)
        });
        if let Some(accounts) = accounts.as_table_like_mut() {
            accounts.insert(&self.name, Item::Table(account));
        }
    }

    /// The preset that the account is made of.
    pub(super) fn preset(&self) -> Option<&'static Preset> {
        match &self.provider {
            Some(name) => presets().get(name),
            None => preset_for(&self.address).filter(|_| self.is_preset),
        }
    }

    /// What the account says of itself.
    fn account(&self) -> toml_edit::Table {
        let mut table = toml_edit::Table::new();
        table.insert("address", value(&self.address));
        match &self.secret {
            Some(Secret::Command(command)) => {
                table.insert("password", one("command", argv(command)));
            }
            Some(Secret::File(file)) => {
                table.insert("password", one("file", file.display().to_string().into()));
            }
            Some(Secret::Keyring) => {
                table.insert("password", one("keyring", true.into()));
            }
            Some(Secret::Token(command)) => {
                table.insert("oauth", one("token_command", argv(command)));
            }
            Some(Secret::OAuth(id, secret)) => {
                let mut oauth = InlineTable::new();
                oauth.insert("client_id", id.into());
                if let Some(command) = secret {
                    let mut secret = InlineTable::new();
                    secret.insert("command", argv(command));
                    oauth.insert("client_secret", Value::InlineTable(secret));
                }
                table.insert("oauth", value(oauth));
            }
            None => {}
        }
        if let Some(provider) = &self.provider {
            table.insert("provider", value(provider));
        }
        table
    }

    /// The servers that get a table; one that is left to the preset is none.
    fn servers(&self) -> impl Iterator<Item = (&'static str, Option<&Server>)> {
        let incoming = match self.wants_pop {
            true => ("pop3", self.pop3.as_ref()),
            false => ("imap", self.imap.as_ref()),
        };
        let all = [incoming, ("smtp", self.smtp.as_ref())];
        all.into_iter().filter(|(_, server)| server.is_some() || self.is_preset)
    }

    fn server(&self, server: Option<&Server>) -> toml_edit::Table {
        let mut table = toml_edit::Table::new();
        if let Some(server) = server {
            table.insert("host", value(&server.host));
            if let Some(port) = server.port {
                table.insert("port", value(i64::from(port)));
            }
            if server.is_starttls {
                table.insert("tls", value("starttls"));
            }
        }
        let form = server.and_then(|server| server.user);
        if let Some(user) = self.user.clone().or_else(|| Some(form?.of(&self.address))) {
            table.insert("user", value(user));
        }
        if let Some(file) = &self.ca_file {
            table.insert("ca_file", value(file.display().to_string()));
        }
        table
    }
}

/// Where the last table of a document stands.
fn last_position(table: &toml_edit::Table) -> isize {
    let below = table.iter().flat_map(|(_, item)| match item {
        Item::Table(table) => vec![last_position(table)],
        Item::ArrayOfTables(tables) => tables.iter().map(last_position).collect(),
        Item::None | Item::Value(_) => Vec::new(),
    });
    below.chain(table.position()).max().unwrap_or_default()
}

/// `{ key = value }`.
fn one(key: &str, value: Value) -> Item {
    let mut table = InlineTable::new();
    table.insert(key, value);
    Item::Value(Value::InlineTable(table))
}

/// A command line as an argument vector.
fn argv(command: &str) -> Value {
    Value::Array(words(command).into_iter().collect())
}

/// A name for the account that the configuration does not have yet.
pub(super) fn account_name(
    local: &str,
    domain: &str,
    preset: Option<&Preset>,
    old: &DocumentMut,
) -> String {
    let label = domain.split('.').next().unwrap_or(domain);
    let base = preset.map_or(label, |preset| preset.name.as_str());
    let clean = |text: &str| -> String {
        let kept = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        kept.collect::<String>().to_lowercase()
    };
    let accounts = old.get("account").and_then(Item::as_table_like);
    let is_free = |name: &str| accounts.is_none_or(|accounts| !accounts.contains_key(name));
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
    fn what_stands_in_the_configuration_stays_where_it_is_to_the_last_byte() {
        let table = Table {
            name: "new".to_owned(),
            address: "me@example.org".to_owned(),
            secret: Some(Secret::Keyring),
            imap: Some("h".parse().unwrap()),
            ..Table::default()
        };
        let added = "[account.new]\naddress = \"me@example.org\"\npassword = { keyring = true }\n\n\
                     [account.new.imap]\nhost = \"h\"\n";
        for old in [
            "",
            "# only a word\n",
            "[account.b]   # of hers\n  address='b@x'\n\n[hooks]\n# last words\n",
            "[account]\na.address = 'a@x'\n\n[account.c.sync]\nmailboxes = [ # mine\n '*' ]",
            "account.d.address = 'd@x' # dotted\n[daemon]\nbus='off'\n\n\n",
        ] {
            let mut document: DocumentMut = old.parse().unwrap();
            table.add_to(&mut document);
            let new = document.to_string();
            assert!(new.starts_with(old.trim_end()), "{old}\n---\n{new}");
            assert!(new.ends_with(added), "{old}\n---\n{new}");
            assert_eq!(new.len() > added.len(), !old.is_empty(), "{new}");
            let _is_toml: toml::Table = new.parse().unwrap();
        }
        let mut inline: DocumentMut =
            "account = { e = { address = 'e@x' } } # odd\n".parse().unwrap();
        table.add_to(&mut inline);
        let read: toml::Table = inline.to_string().parse().unwrap();
        assert_eq!(read["account"]["new"]["imap"]["host"].as_str(), Some("h"), "{inline}");
        assert_eq!(read["account"]["e"]["address"].as_str(), Some("e@x"), "{inline}");
    }

    #[test]
    fn a_name_is_one_that_the_configuration_does_not_have() {
        let name = |old: &str| account_name("me", "example.com", None, &old.parse().unwrap());
        assert_eq!(name(""), "example");
        assert_eq!(name("[account.example]\n"), "example-me");
        assert_eq!(name("[account.\"example\".imap]\n"), "example-me");
        assert_eq!(name("[account.example]\n[account.example-me]\n"), "example-2");
    }
}
