//! msmtprc (msmtp 1.8): each account sends only. Beside floor 5.

use std::collections::BTreeMap;

use super::draft::{AccountDraft, Asked, Draft, Keys};

type Settings = BTreeMap<String, String>;

pub(super) fn read(text: &str) -> Draft {
    let mut draft = Draft::default();
    let mut accounts: Vec<(String, Settings)> = Vec::new();
    let mut defaults = Settings::new();
    let mut at: Option<usize> = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        match key {
            "defaults" => at = None,
            "account" => {
                let (name, base) = match value.split_once(':') {
                    Some((name, base)) => (name.trim(), Some(base.trim())),
                    None => (value, None),
                };
                let found = |wanted: &str| accounts.iter().find(|(name, _)| name == wanted);
                let inherited = base.and_then(found).map(|(_, settings)| settings.clone());
                accounts.push((name.to_owned(), inherited.unwrap_or_else(|| defaults.clone())));
                at = Some(accounts.len() - 1);
            }
            key => {
                let settings = match at {
                    Some(at) => accounts.get_mut(at).map(|(_, settings)| settings),
                    None => Some(&mut defaults),
                };
                if let Some(settings) = settings {
                    settings.insert(key.to_owned(), value.to_owned());
                }
            }
        }
    }
    if accounts.is_empty() && defaults.contains_key("host") {
        accounts.push(("default".to_owned(), defaults));
    }
    for (name, settings) in &accounts {
        let is_copy = |(other, same): &&(String, Settings)| other != name && same == settings;
        if name == "default" && accounts.iter().any(|other| is_copy(&other)) {
            continue;
        }
        draft.accounts.push(account(name, settings));
    }
    draft
}

fn account(name: &str, settings: &Settings) -> AccountDraft {
    let asked = Asked::default();
    let get = |key: &str| {
        asked.note(key);
        settings.get(key).map(String::as_str)
    };
    let is_on = |key| get(key).is_none_or(|value| !value.eq_ignore_ascii_case("off"));
    let mut account = AccountDraft::named(name);
    let (user, host) = (get("user").unwrap_or_default(), get("host").unwrap_or_default());
    match get("from").filter(|from| from.contains('@')) {
        Some(from) => from.clone_into(&mut account.address),
        None => account.guess_address(user, host),
    }
    match (get("passwordeval"), get("password")) {
        (Some(command), _) => account.keys.password_command(command),
        (None, Some(password)) => account.keys.text("password", password),
        (None, None) => {}
    }
    let mut smtp = Keys::default();
    smtp.text("host", host);
    if let Some(port) = get("port") {
        smtp.raw("port", port.to_owned());
    }
    let has_tls = settings.contains_key("tls") && is_on("tls");
    if has_tls {
        let starttls = is_on("tls_starttls");
        smtp.text("tls", if starttls { "starttls" } else { "implicit" });
    } else {
        smtp.text("tls", "none");
        account
            .notes
            .push("it went without encryption, which is taken for loopback only".to_owned());
    }
    let has_login = settings.contains_key("auth") && is_on("auth");
    if has_login {
        smtp.maybe("user", get("user"));
    } else {
        smtp.text("user", "");
    }
    if let Some(file) = get("tls_trust_file").filter(|file| !is_system(file)) {
        smtp.text("ca_file", file);
    }
    if get("tls_fingerprint").is_some() {
        account.notes.push(
            "tls_fingerprint was of the certificate; pin_sha256 is of its key, and has to be taken anew"
                .to_owned(),
        );
    }
    ["auth", "tls", "tls_starttls", "logfile", "syslog"].iter().for_each(|key| asked.note(key));
    account.notes.extend(asked.left(settings.iter()));
    account.smtp = Some(smtp);
    account
}

fn is_system(file: &str) -> bool {
    file == "system" || file == "/etc/ssl/certs/ca-certificates.crt"
}
