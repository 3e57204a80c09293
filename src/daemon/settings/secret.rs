//! `password = …` in all its forms. Floor 5.
//!
//! Never shows a value: a password must not reach a terminal or a log through an error.

use super::Surroundings;
use super::oauth::{Holder, oauth};
use super::raw::{Table, Value};
use super::values;
use crate::model::account::SecretSource;

/// Where the password comes from.
pub(super) fn password(value: &Value<'_>, around: &Surroundings) -> Option<SecretSource> {
    match value.as_text() {
        Some(text) => plain(text, value, around),
        None => from_table(value.table_like("a string or a table")?, around),
    }
}

/// The login of a table: its password, or its OAuth token; whether it says either at all.
pub(super) fn login(
    table: &Table<'_>,
    around: &Surroundings,
    holder: Holder<'_>,
) -> (Option<SecretSource>, bool) {
    let (of_password, of_oauth) = (table.take("password"), table.take("oauth"));
    if let (Some(_), Some(oauth)) = (&of_password, &of_oauth) {
        oauth.name_spot.problem("and password: use one of them");
    }
    let has_one = of_password.is_some() || of_oauth.is_some();
    let password = of_password.and_then(|value| password(&value, around));
    (password.or_else(|| of_oauth.and_then(|value| oauth(&value, around, holder))), has_one)
}

fn plain(text: &str, value: &Value<'_>, around: &Surroundings) -> Option<SecretSource> {
    if text.is_empty() || text.contains(['\0', '\r', '\n']) {
        value.spot.problem("is empty or has more than one line");
        return None;
    }
    if !around.private {
        value.spot.problem(
            "a password in a file that others can read: chmod 600 the configuration file, or use \
             { command = [...] }",
        );
        return None;
    }
    Some(SecretSource::Plain(text.to_owned().into()))
}

fn from_table(table: Table<'_>, around: &Surroundings) -> Option<SecretSource> {
    let spot = table.spot.clone();
    let n_keys = table.named().count();
    let command = table.take("command").and_then(|v| command(&v)).map(SecretSource::Command);
    let file = table.take("file").and_then(|v| v.parsed(|text| values::path(text, around)));
    let env = table.take("env").and_then(|v| v.parsed(variable_name));
    let credential = table.take("credential").and_then(|v| v.parsed(credential_name));
    let keyring = table.take("keyring").and_then(|value| {
        let is_on = value.boolean()?;
        if !is_on {
            value.spot.problem("false says nothing: name where the password is");
        }
        is_on.then_some(SecretSource::Keyring)
    });
    table.finish();
    if n_keys != 1 {
        spot.problem(format!("needs exactly one of {FORMS}"));
        return None;
    }
    command
        .or_else(|| file.map(SecretSource::File))
        .or_else(|| env.map(SecretSource::Env))
        .or_else(|| credential.map(SecretSource::Credential))
        .or(keyring)
}

/// An argv array: at least the program, no NUL.
pub(super) fn command(value: &Value<'_>) -> Option<Vec<String>> {
    let argv = value.texts()?;
    if argv.first().is_none_or(|(program, _)| program.is_empty()) {
        value.spot.problem("names no program: write it as [\"pass\", \"show\", \"work\"]");
        return None;
    }
    if argv.iter().any(|(arg, _)| arg.contains('\0')) {
        value.spot.problem("an argument cannot contain a NUL character");
        return None;
    }
    Some(argv.into_iter().map(|(arg, _)| arg.to_owned()).collect())
}

fn variable_name(text: &str) -> Result<String, String> {
    let valid = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if text.is_empty() || !text.chars().all(valid) {
        return Err("is not the name of an environment variable".to_owned());
    }
    Ok(text.to_owned())
}

fn credential_name(text: &str) -> Result<String, String> {
    if text.starts_with('.') || text.contains('/') {
        return Err("is not the name of a systemd credential".to_owned());
    }
    values::one_line(text)
}

const FORMS: &str = "{ command = [...] }, { file = \"...\" }, { env = \"...\" }, { keyring = true }, { credential = \"...\" }";
