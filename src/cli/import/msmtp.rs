//! msmtprc (msmtp 1.8), where each account sends only, and mpoprc (mpop 1.4), where each only receives. Beside floor 5.

use std::collections::BTreeMap;

use super::draft::{AccountDraft, Asked, Draft, Keys, is_system};

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
    let takes_token = get("auth").is_some_and(|auth| matches!(auth, "xoauth2" | "oauthbearer"));
    match (get("passwordeval"), get("password")) {
        (Some(command), _) if takes_token => account.keys.token_command(command),
        (Some(command), _) => account.keys.password_command(command),
        (None, Some(password)) => account.keys.text("password", password),
        (None, None) => {}
    }
    let mut server = Keys::default();
    server.text("host", host);
    if let Some(port) = get("port") {
        server.raw("port", port.to_owned());
    }
    let has_tls = settings.contains_key("tls") && is_on("tls");
    if has_tls {
        let starttls = is_on("tls_starttls");
        server.text("tls", if starttls { "starttls" } else { "implicit" });
    } else {
        server.text("tls", "none");
        account
            .notes
            .push("it went without encryption, which is taken for loopback only".to_owned());
    }
    // Who fetches mail logs in, whatever is said of it.
    let receives = settings.contains_key("delivery");
    if receives || (settings.contains_key("auth") && is_on("auth")) {
        server.maybe("user", get("user"));
    } else {
        server.text("user", "");
    }
    if let Some(file) = get("tls_trust_file").filter(|file| !is_system(file)) {
        server.text("ca_file", file);
    }
    if get("tls_fingerprint").is_some() {
        account.notes.push(
            "tls_fingerprint was of the certificate; pin_sha256 is of its key, and has to be taken anew"
                .to_owned(),
        );
    }
    if receives {
        let deletes = get("keep").is_none_or(|value| value == "off");
        server.text("leave", if deletes { "remove" } else { "forever" });
        account.came_to(get("delivery").and_then(|to| to.strip_prefix("maildir ")));
    }
    ["auth", "tls", "tls_starttls", "logfile", "syslog"].iter().for_each(|key| asked.note(key));
    account.notes.extend(asked.left(settings.iter()));
    *(if receives { &mut account.pop3 } else { &mut account.smtp }) = Some(server);
    account
}
