//! A configuration that is being put together, and how it is written down. Beside floor 5.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::cli::toml::{argv, key, quoted};

/// What was understood of a file.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The accounts, in the order of the file.
    pub(super) accounts: Vec<AccountDraft>,
    /// What has no place in an account.
    pub(super) notes: Vec<String>,
}

/// An account.
#[derive(Debug, Default)]
pub(super) struct AccountDraft {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) keys: Keys,
    pub(super) imap: Option<Keys>,
    pub(super) pop3: Option<Keys>,
    pub(super) smtp: Option<Keys>,
    pub(super) sync: Keys,
    pub(super) notes: Vec<String>,
}

/// Which keys of a section were asked for: the others have no counterpart, and that is told.
#[derive(Debug, Default)]
pub(super) struct Asked(RefCell<BTreeSet<String>>);

impl Asked {
    /// Notes that a key was asked for.
    pub(super) fn note(&self, key: &str) {
        self.0.borrow_mut().insert(key.to_owned());
    }

    /// A note for each key that nobody asked for. Values that may be secret are not shown.
    pub(super) fn left<'a>(
        &self,
        keys: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Vec<String> {
        let asked = self.0.borrow();
        let left = keys.filter(|(key, _)| !asked.contains(*key));
        left.map(|(key, value)| {
            let value = if key.contains("pass") { "…" } else { value.as_str() };
            format!("has no counterpart here: {key} {value}")
        })
        .collect()
    }
}

/// Keys of a table with their values as TOML.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<(String, String)>);

impl Keys {
    /// A string.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.raw(key, quoted(value));
    }

    /// A string, if there is one.
    pub(super) fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.text(key, value);
        }
    }

    /// Anything that is TOML already.
    pub(super) fn raw(&mut self, key: &str, value: String) {
        self.0.push((key.to_owned(), value));
    }

    /// A list of strings.
    pub(super) fn list(&mut self, key: &str, values: &[String]) {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        self.raw(key, format!("[{}]", values.join(", ")));
    }

    /// The value of a key, as TOML.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// An OAuth token from a shell command.
    pub(super) fn token_command(&mut self, command: &str) {
        self.raw("oauth", format!("{{ token_command = {} }}", argv(command)));
    }

    /// A password from a shell command.
    pub(super) fn password_command(&mut self, command: &str) {
        self.raw("password", format!("{{ command = {} }}", argv(command)));
    }

    /// All keys as an inline table.
    pub(super) fn inline(&self) -> String {
        let keys: Vec<String> =
            self.0.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        format!("{{ {} }}", keys.join(", "))
    }

    fn write(&self, out: &mut String) {
        for (key, value) in &self.0 {
            let _ = writeln!(out, "{key} = {value}");
        }
    }
}

impl Draft {
    /// Adds what another file says. An account that only sends joins the one of its name or address that
    /// only receives.
    pub(super) fn join(&mut self, other: Self) {
        self.notes.extend(other.notes);
        for account in other.accounts {
            let is_sender =
                account.smtp.is_some() && account.imap.is_none() && account.pop3.is_none();
            let receiver = self.accounts.iter_mut().find(|known| {
                known.smtp.is_none()
                    && (known.name == account.name || known.address == account.address)
            });
            match receiver.filter(|_| is_sender) {
                Some(receiver) => receiver.send_by(account),
                None => self.accounts.push(account),
            }
        }
    }

    /// The text of a configuration file.
    pub(super) fn to_toml(&self) -> String {
        let mut out = String::new();
        comments(&mut out, &self.notes);
        for account in &self.accounts {
            account.write(&mut out);
        }
        out
    }
}

impl AccountDraft {
    /// An account of a name that can be one.
    pub(super) fn named(name: &str) -> Self {
        let name: String =
            name.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
        let name = name.trim_start_matches('.').to_owned();
        Self { name, ..Self::default() }
    }

    /// Uses a login as the address where it is one.
    pub(super) fn guess_address(&mut self, user: &str, host: &str) {
        if user.contains('@') {
            user.clone_into(&mut self.address);
            return;
        }
        let domain = host.split_once('.').map_or(host, |(_, domain)| domain);
        self.address = format!("{user}@{domain}");
        self.notes.push(GUESS.to_owned());
    }

    /// Where a program put the mail that it fetched: a Maildir, or none that could be taken over.
    pub(super) fn came_to(&mut self, maildir: Option<&str>) {
        let Some(path) = maildir.map(|path| path.trim().trim_end_matches('/')) else {
            self.notes.push("the destination was no Maildir: use a hook".to_owned());
            return;
        };
        if path.starts_with('~') && !path.starts_with("~/") {
            self.notes.push(format!("mail went to {path}, another user's: set \"maildir\""));
            return;
        }
        match path.strip_suffix("/INBOX") {
            Some(above) => self.keys.text("maildir", above),
            None => {
                self.keys.text("maildir", path);
                // The directory itself is INBOX then.
                self.keys.text("layout", "maildir++");
            }
        }
    }

    /// Sends as another account does, which is of the same person.
    fn send_by(&mut self, other: Self) {
        let is_guess = |account: &Self| account.notes.iter().any(|note| note == GUESS);
        if is_guess(self) && !is_guess(&other) {
            self.address = other.address;
            self.notes.retain(|note| note != GUESS);
        }
        let notes = other.notes.into_iter().filter(|note| note != GUESS);
        self.notes.extend(notes);
        let mut smtp = other.smtp.unwrap_or_default();
        for key in ["password", "oauth"] {
            if let Some(value) =
                other.keys.get(key).filter(|value| self.keys.get(key) != Some(value))
            {
                smtp.raw(key, value.to_owned());
            }
        }
        self.smtp = Some(smtp);
    }

    fn write(&self, out: &mut String) {
        let name = key(&self.name);
        let _ = writeln!(out, "[account.{name}]");
        comments(out, &self.notes);
        let _ = writeln!(out, "address = {}", quoted(&self.address));
        self.keys.write(out);
        let servers = [("imap", &self.imap), ("pop3", &self.pop3), ("smtp", &self.smtp)];
        for (table, keys) in servers {
            if let Some(keys) = keys {
                let _ = writeln!(out, "\n[account.{name}.{table}]");
                keys.write(out);
            }
        }
        if !self.sync.0.is_empty() {
            let _ = writeln!(out, "\n[account.{name}.sync]");
            self.sync.write(out);
        }
        out.push('\n');
    }
}

/// Whether a file of certificates is the system's own, which is trusted anyway.
pub(super) fn is_system(file: &str) -> bool {
    SYSTEM_ROOTS.contains(&file)
}

const GUESS: &str = "the address is a guess: correct it";
const SYSTEM_ROOTS: [&str; 8] = [
    "system",
    "OS-DEFAULT",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn comments(out: &mut String, notes: &[String]) {
    for note in notes {
        let note: String = note.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(out, "# {note}");
    }
}
