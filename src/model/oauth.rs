//! What the configuration says about signing in with OAuth 2.0 (RFC 6749). Floor 0.

use std::path::PathBuf;

use crate::model::account::SecretSource;

/// How access tokens are had: from whom, as which program, for whom, and where they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// As whom the program is registered with the provider. It is no secret.
    pub client_id: String,
    /// What some providers want beside it.
    pub client_secret: Option<SecretSource>,
    /// Who hands out the tokens.
    pub issuer: Issuer,
    /// PEM file of certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The address that the sign-in page is to propose; may be empty.
    pub login_hint: String,
    /// Where the tokens are kept.
    pub store: TokenStore,
}

/// An authorisation server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What people call it.
    pub name: String,
    /// Where a person signs in.
    pub auth_url: String,
    /// Where codes and refresh tokens become access tokens.
    pub token_url: String,
    /// Where a device code is had (RFC 8628), if there is such a place.
    pub device_url: Option<String>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The host of the address that a browser is sent back to: `127.0.0.1` or `localhost`, whichever
    /// the provider takes for desktop programs.
    pub redirect_host: String,
    /// More that the sign-in page wants to be told.
    pub extra: Vec<(String, String)>,
}

/// Where tokens are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenStore {
    /// The file of the tokens, for the owner alone. Its lock stands beside it.
    pub file: PathBuf,
    /// The name of the item in the keyring, which is used instead of the file.
    pub keyring: Option<String>,
}
