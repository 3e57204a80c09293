//! Passwords in the desktop's keyring: the Secret Service on D-Bus, the Keychain on macOS. Floor 3,
//! shared by the adapters.

use secrecy::SecretString;

use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// The password of an account; its attributes are `service postrider account NAME`.
///
/// # Errors
/// `KeyringLocked` while the keyring is locked, which mends itself; `NeedsLogin` if it has no such
/// item, or cannot be reached.
pub async fn lookup(account: &str) -> Result<SecretString, Failure> {
    match os::lookup(PASSWORDS, account, account).await? {
        Some(secret) => Ok(secret),
        None => Err(missing(account, "it has no password for this account")),
    }
}

/// Keeps the password of an account, in place of what was there.
///
/// # Errors
/// As [`lookup`].
pub async fn keep_password(account: &str, secret: &SecretString) -> Result<(), Failure> {
    os::store(PASSWORDS, account, account, secret).await
}

/// What [`keep_token`] kept under a name; none if nothing was.
///
/// # Errors
/// `KeyringLocked` while the keyring is locked; `NeedsLogin` if it cannot be reached.
pub async fn token(item: &str, account: &str) -> Result<Option<SecretString>, Failure> {
    os::lookup(TOKENS, item, account).await
}

/// Keeps the tokens of an account in the keyring, in place of what was there.
///
/// # Errors
/// As [`token`].
pub async fn keep_token(item: &str, account: &str, secret: &SecretString) -> Result<(), Failure> {
    os::store(TOKENS, item, account, secret).await
}

#[cfg(not(target_os = "macos"))]
fn locked() -> Failure {
    Failure::new(Scope::Account, Remedy::Later, Kind::KeyringLocked, "get the secret")
        .at("the keyring")
        .detail("it is locked; it is asked again until it is not")
        .cure("unlock the keyring, or log in to the desktop")
}

fn missing(account: &str, detail: impl std::fmt::Display) -> Failure {
    Failure::new(Scope::Account, Remedy::Later, Kind::NeedsLogin, "get the password")
        .at("the keyring")
        .detail(detail)
        .cure(os::store_command(account))
}

const PASSWORDS: &str = "postrider";
const TOKENS: &str = "postrider-oauth";

#[cfg(not(target_os = "macos"))]
mod os {
    use std::collections::HashMap;

    use secrecy::{ExposeSecret, SecretString};
    use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant, Variant};
    use zeroize::Zeroizing;

    use super::{locked, missing};
    use crate::model::failure::Failure;

    /// Session, parameters, value and content type of a secret (Secret Service API 0.2, `Secret`).
    type Secret = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

    pub(super) fn store_command(account: &str) -> String {
        format!(
            "secret-tool store --label='postrider {account}' service postrider account '{account}'"
        )
    }

    pub(super) async fn lookup(
        service: &str,
        item: &str,
        account: &str,
    ) -> Result<Option<SecretString>, Failure> {
        let failed = |err| missing(account, err);
        let bus = Connection::session().await.map_err(failed)?;
        let (unlocked, locked_ones) = search(&bus, service, item).await.map_err(failed)?;
        match unlocked.first() {
            Some(item) => secret(&bus, item).await.map(Some).map_err(failed),
            None if locked_ones.is_empty() => Ok(None),
            None => Err(locked()),
        }
    }

    pub(super) async fn store(
        service: &str,
        item: &str,
        account: &str,
        secret: &SecretString,
    ) -> Result<(), Failure> {
        let failed = |err| missing(account, err);
        let bus = Connection::session().await.map_err(failed)?;
        let prompt = create(&bus, service, item, secret).await.map_err(failed)?;
        // Only a locked keyring wants to ask a person something.
        if prompt.as_str() == "/" { Ok(()) } else { Err(locked()) }
    }

    async fn create(
        bus: &Connection,
        service: &str,
        item: &str,
        secret: &SecretString,
    ) -> zbus::Result<OwnedObjectPath> {
        let reply = call(bus, SERVICE, "Service", "ReadAlias", &"default").await?;
        let collection: OwnedObjectPath = reply.body().deserialize()?;
        let (session, _) = session(bus).await?;
        let label = format!("{service} {item}");
        let attributes = HashMap::from([("service", service), ("account", item)]);
        let properties = HashMap::from([
            ("org.freedesktop.Secret.Item.Label", Variant::from(label)),
            ("org.freedesktop.Secret.Item.Attributes", Variant::from(attributes)),
        ]);
        let value = Zeroizing::new(secret.expose_secret().as_bytes().to_vec());
        let secret = (&session, Vec::<u8>::new(), &*value, "text/plain");
        let body = (properties, secret, true);
        let reply = call(bus, collection.as_str(), "Collection", "CreateItem", &body).await?;
        let (_, prompt): (OwnedObjectPath, OwnedObjectPath) = reply.body().deserialize()?;
        Ok(prompt)
    }

    /// The items of an account: those that can be read, and those in a locked keyring.
    async fn search(
        bus: &Connection,
        service: &str,
        account: &str,
    ) -> zbus::Result<(Vec<OwnedObjectPath>, Vec<OwnedObjectPath>)> {
        let attributes = HashMap::from([("service", service), ("account", account)]);
        call(bus, SERVICE, "Service", "SearchItems", &attributes).await?.body().deserialize()
    }

    async fn secret(bus: &Connection, item: &OwnedObjectPath) -> zbus::Result<SecretString> {
        let (session, _) = session(bus).await?;
        let reply = call(bus, item.as_str(), "Item", "GetSecret", &session).await?;
        let (_, _, value, _): Secret = reply.body().deserialize()?;
        let value = Zeroizing::new(value);
        let text = std::str::from_utf8(&value).map_err(|e| zbus::Error::Failure(e.to_string()))?;
        Ok(SecretString::from(text.to_owned()))
    }

    async fn session(bus: &Connection) -> zbus::Result<(OwnedObjectPath, OwnedVariant)> {
        let input = ("plain", Variant::from(""));
        let opened = call(bus, SERVICE, "Service", "OpenSession", &input).await?;
        let (output, session): (OwnedVariant, OwnedObjectPath) = opened.body().deserialize()?;
        Ok((session, output))
    }

    async fn call<B>(
        bus: &Connection,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        let interface = format!("org.freedesktop.Secret.{interface}");
        let name = Some("org.freedesktop.secrets");
        bus.call_method(name, path, Some(interface.as_str()), method, body).await
    }

    const SERVICE: &str = "/org/freedesktop/secrets";
}

#[cfg(target_os = "macos")]
mod os {
    use std::process::Stdio;

    use secrecy::{ExposeSecret, SecretString};
    use tokio::io::AsyncWriteExt;
    use tokio::process::Command;
    use zeroize::Zeroizing;

    use super::missing;
    use crate::model::failure::Failure;

    pub(super) fn store_command(account: &str) -> String {
        format!("security add-generic-password -s postrider -a '{account}' -w")
    }

    pub(super) async fn lookup(
        service: &str,
        item: &str,
        account: &str,
    ) -> Result<Option<SecretString>, Failure> {
        let arguments = ["find-generic-password", "-s", service, "-a", item, "-w"];
        let ran = Command::new(SECURITY).args(arguments).kill_on_drop(true).output();
        let ran = ran.await.map_err(|err| missing(account, err))?;
        let bytes = Zeroizing::new(ran.stdout);
        if ran.status.code() == Some(NOT_FOUND) {
            return Ok(None);
        }
        if !ran.status.success() {
            return Err(missing(account, String::from_utf8_lossy(&ran.stderr).trim()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|err| missing(account, err))?;
        Ok(Some(SecretString::from(text.trim_end_matches('\n').to_owned())))
    }

    /// The command goes in by stdin, since anybody can read arguments.
    pub(super) async fn store(
        service: &str,
        item: &str,
        account: &str,
        secret: &SecretString,
    ) -> Result<(), Failure> {
        let quoted =
            |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let line = Zeroizing::new(format!(
            "add-generic-password -U -s {} -a {} -w {}\n",
            quoted(service),
            quoted(item),
            quoted(secret.expose_secret())
        ));
        let failed = |err: std::io::Error| missing(account, err);
        let mut child = Command::new(SECURITY)
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(line.as_bytes()).await.map_err(failed)?;
        }
        let status = child.wait().await.map_err(failed)?;
        if status.success() { Ok(()) } else { Err(missing(account, "it did not take the secret")) }
    }

    const SECURITY: &str = "/usr/bin/security";
    /// errSecItemNotFound, as the exit code of `security`.
    const NOT_FOUND: i32 = 44;
}
