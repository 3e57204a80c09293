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
    os::lookup(account).await
}

fn missing(account: &str, detail: impl std::fmt::Display) -> Failure {
    Failure::new(Scope::Account, Remedy::Later, Kind::NeedsLogin, "get the password")
        .at("the keyring")
        .detail(detail)
        .cure(os::store_command(account))
}

#[cfg(not(target_os = "macos"))]
mod os {
    use std::collections::HashMap;

    use secrecy::SecretString;
    use zbus::{Connection, Message, OwnedObjectPath, OwnedVariant, Variant};
    use zeroize::Zeroizing;

    use super::missing;
    use crate::model::failure::{Failure, Kind, Remedy, Scope};

    /// Session, parameters, value and content type of a secret (Secret Service API 0.2, `Secret`).
    type Secret = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

    pub(super) fn store_command(account: &str) -> String {
        format!(
            "secret-tool store --label='postrider {account}' service postrider account '{account}'"
        )
    }

    pub(super) async fn lookup(account: &str) -> Result<SecretString, Failure> {
        let bus = Connection::session().await.map_err(|err| missing(account, err))?;
        let (unlocked, locked) =
            search(&bus, account).await.map_err(|err| missing(account, err))?;
        if let Some(item) = unlocked.first() {
            return secret(&bus, item).await.map_err(|err| missing(account, err));
        }
        if locked.is_empty() {
            return Err(missing(account, "it has no password for this account"));
        }
        let what = "get the password";
        Err(Failure::new(Scope::Account, Remedy::Later, Kind::KeyringLocked, what)
            .at("the keyring")
            .detail("it is locked; it is asked again until it is not")
            .cure("unlock the keyring, or log in to the desktop"))
    }

    /// The items of an account: those that can be read, and those in a locked keyring.
    async fn search(
        bus: &Connection,
        account: &str,
    ) -> zbus::Result<(Vec<OwnedObjectPath>, Vec<OwnedObjectPath>)> {
        let attributes = HashMap::from([("service", "postrider"), ("account", account)]);
        call(bus, SERVICE, "Service", "SearchItems", &attributes).await?.body().deserialize()
    }

    async fn secret(bus: &Connection, item: &OwnedObjectPath) -> zbus::Result<SecretString> {
        let input = ("plain", Variant::from(""));
        let opened = call(bus, SERVICE, "Service", "OpenSession", &input).await?;
        let (_, session): (OwnedVariant, OwnedObjectPath) = opened.body().deserialize()?;
        let reply = call(bus, item.as_str(), "Item", "GetSecret", &session).await?;
        let (_, _, value, _): Secret = reply.body().deserialize()?;
        let value = Zeroizing::new(value);
        let text = std::str::from_utf8(&value).map_err(|e| zbus::Error::Failure(e.to_string()))?;
        Ok(SecretString::from(text.to_owned()))
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
    use secrecy::SecretString;
    use tokio::process::Command;
    use zeroize::Zeroizing;

    use super::missing;
    use crate::model::failure::Failure;

    pub(super) fn store_command(account: &str) -> String {
        format!("security add-generic-password -s postrider -a '{account}' -w")
    }

    pub(super) async fn lookup(account: &str) -> Result<SecretString, Failure> {
        let arguments = ["find-generic-password", "-s", "postrider", "-a", account, "-w"];
        let ran = Command::new("/usr/bin/security").args(arguments).kill_on_drop(true).output();
        let ran = ran.await.map_err(|err| missing(account, err))?;
        let bytes = Zeroizing::new(ran.stdout);
        if !ran.status.success() {
            return Err(missing(account, String::from_utf8_lossy(&ran.stderr).trim()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|err| missing(account, err))?;
        Ok(SecretString::from(text.trim_end_matches('\n').to_owned()))
    }
}
