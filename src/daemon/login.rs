//! Signing in with OAuth 2.0, and keeping passwords, for the command line. Floor 5.

pub use crate::adapters::keyring::keep_password;
pub use crate::adapters::oauth::{Browser, Device};
use crate::model::account::{Account, SecretSource};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::oauth::OAuth;

/// What a person has to sign in to for an account: as a rule one thing, two where the outgoing server
/// has a login of its own.
///
/// # Errors
/// `Config` where there is nothing to sign in to.
pub fn sign_ins(account: &Account) -> Result<Vec<OAuth>, Failure> {
    let mut found: Vec<OAuth> = Vec::new();
    let mut has_command = false;
    for endpoint in account.endpoints() {
        match &endpoint.password {
            Some(SecretSource::OAuth(oauth)) if !found.contains(oauth) => {
                found.push(oauth.as_ref().clone());
            }
            Some(SecretSource::Token(_)) => has_command = true,
            _ => {}
        }
    }
    if found.is_empty() {
        let what = format!("sign in to account {}", account.name);
        let none = Failure::new(Scope::Account, Remedy::Never, Kind::Config, what);
        return Err(match has_command {
            true => none.detail("its token_command signs in by itself"),
            false => none
                .detail("it logs in with a password")
                .cure("to sign in with OAuth give it oauth = { client_id = \"...\" } instead"),
        });
    }
    Ok(found)
}
