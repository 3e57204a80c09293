//! `oauth = …`: a command that prints tokens, or a registration to sign in with. Floor 5.

use super::presets::{LOOPBACK, issuers};
use super::raw::{Table, Value, nearest, quoted};
use super::{Surroundings, secret, values};
use crate::adapters::http::check_address;
use crate::model::account::SecretSource;
use crate::model::oauth::{Issuer, OAuth, TokenStore};

/// Whose login is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder<'h> {
    /// `account`, or `smtp` for the login of an outgoing server alone: tokens are kept apart.
    pub(super) kind: &'static str,
    /// The address to sign in with, if it is known.
    pub(super) address: &'h str,
    /// Who hands out tokens, if nobody says else.
    pub(super) issuer: Option<&'h str>,
}

/// Where the access token comes from.
pub(super) fn oauth(
    value: &Value<'_>,
    around: &Surroundings,
    holder: Holder<'_>,
) -> Option<SecretSource> {
    let table =
        value.table_like("a table: { token_command = [...] } or { client_id = \"...\" }")?;
    let command = table.take("token_command");
    let client_id = table.take("client_id").and_then(|v| v.parsed(values::one_line));
    if let Some(command) = command {
        let source = secret::command(&command).map(SecretSource::Token);
        if table.named().count() > 1 {
            command.name_spot.problem("needs nothing beside it: the command knows how to sign in");
        }
        // What else there is, is not unknown.
        for key in KEYS {
            drop(table.take(key));
        }
        table.finish();
        return source;
    }
    let client_secret = client_secret(&table, around);
    let issuer = issuer(&table, holder);
    let scopes = scopes(&table);
    let ca_file = table.take("ca_file").and_then(|v| v.parsed(|text| values::path(text, around)));
    let keyring = table.take("keyring").and_then(|v| v.boolean()).unwrap_or(false);
    if client_id.is_none() {
        table.spot.below("client_id").problem(NO_REGISTRATION);
    }
    let spot = table.spot.clone();
    table.finish();
    let mut issuer = issuer?;
    issuer.scopes = scopes.unwrap_or(issuer.scopes);
    if issuer.scopes.is_empty() {
        spot.below("scopes").problem("is missing: name what the provider wants to be asked for");
    }
    let name = spot.key().strip_suffix(".oauth").unwrap_or_default();
    let name = name.strip_prefix("account.").unwrap_or(name).replace('/', "%2F");
    let item = format!("{}/{name}", holder.kind);
    Some(SecretSource::OAuth(Box::new(OAuth {
        client_id: client_id?,
        client_secret,
        issuer,
        ca_file,
        login_hint: holder.address.to_owned(),
        store: TokenStore {
            file: around.state_dir.join("tokens").join(holder.kind).join(format!("{name}.json")),
            keyring: keyring.then_some(item),
        },
    })))
}

fn client_secret(table: &Table<'_>, around: &Surroundings) -> Option<SecretSource> {
    let value = table.take("client_secret")?;
    let source = secret::password(&value, around)?;
    if source == SecretSource::Keyring {
        value
            .spot
            .problem("cannot be in the keyring: use { command = [...] } or { file = \"...\" }");
    }
    Some(source)
}

fn scopes(table: &Table<'_>) -> Option<Vec<String>> {
    let texts = table.take("scopes")?.texts()?;
    Some(texts.iter().filter_map(|(_, item)| item.parsed(scope)).collect())
}

fn scope(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(' ') {
        true => Err("is no scope: write each as a string of its own".to_owned()),
        false => values::one_line(text),
    }
}

/// A name, or the addresses themselves.
fn issuer(table: &Table<'_>, holder: Holder<'_>) -> Option<Issuer> {
    let names = || issuers().keys().map(String::as_str);
    let Some(value) = table.take("issuer") else {
        let known = holder.issuer.and_then(|name| issuers().get(name)).cloned();
        if known.is_none() {
            let names: Vec<&str> = names().collect();
            table.spot.below("issuer").problem(format!(
                "is missing: one of {}, or {{ auth_url, token_url, scopes }}",
                names.join(", ")
            ));
        }
        return known;
    };
    let Some(name) = value.as_text() else {
        return own_issuer(&value.table_like("the name of an issuer, or a table")?);
    };
    let known = issuers().get(name).cloned();
    if known.is_none() {
        value.spot.suggest(format!("there is no issuer {}", quoted(name)), nearest(name, names()));
    }
    known
}

fn own_issuer(table: &Table<'_>) -> Option<Issuer> {
    let address = |v: &Value<'_>| v.parsed(|text| check_address(text).map(|()| text.to_owned()));
    let auth_url = table.need("auth_url").and_then(|v| address(&v));
    let token_url = table.need("token_url").and_then(|v| address(&v));
    let device_url = table.take("device_url").and_then(|v| address(&v));
    let scopes = scopes(table);
    for key in table.named().map(|(key, value)| (key, value.name_spot)) {
        if !OWN_KEYS.contains(&key.0) {
            key.1.suggest("unknown key", nearest(key.0, OWN_KEYS));
        }
    }
    let auth_url = auth_url?;
    let rest = auth_url.split_once("://").map_or("", |(_, rest)| rest);
    let name = rest.split(['/', '?']).next().unwrap_or_default().to_owned();
    Some(Issuer {
        name,
        token_url: token_url?,
        auth_url,
        device_url,
        scopes: scopes.unwrap_or_default(),
        redirect_host: LOOPBACK.to_owned(),
        extra: Vec::new(),
    })
}

const KEYS: [&str; 6] = ["client_id", "client_secret", "issuer", "scopes", "ca_file", "keyring"];
const OWN_KEYS: [&str; 4] = ["auth_url", "token_url", "device_url", "scopes"];

const NO_REGISTRATION: &str = "is missing: register postrider with the provider as a desktop \
     application and write down the id that it gives you (no registration comes with the program), or \
     name a token_command";
