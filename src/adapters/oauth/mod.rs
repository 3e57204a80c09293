//! Access tokens by OAuth 2.0 (RFC 6749): kept, renewed ahead of time, one process at a time. Floor 3,
//! shared by the adapters.
//!
//! A refresh token that the provider replaces is durable before the access token that came with it is
//! used: only a crash between the provider's answer and the disk leaves us with one that is used up, which
//! needs a new sign-in. After `invalid_grant` the provider is
//! not asked again until a person signed in.

mod client;
mod login;
mod loopback;
mod store;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

pub use self::login::{Browser, Code, Device};
use self::store::{Lock, Tokens};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::oauth::OAuth;

/// An access token that is good for some minutes more.
///
/// # Errors
/// `NeedsLogin` where nobody signed in yet or the provider takes the refresh token no longer; `Offline`
/// and `Timeout` where it could not be asked; `KeyringLocked`; `LocalIo`.
pub async fn access_token(oauth: &OAuth, account: &str) -> Result<SecretString, Failure> {
    let kept = store::load(oauth, account).await?;
    if let Some(tokens) = kept.filter(|tokens| tokens.is_fresh(now())) {
        return Ok(tokens.access_token());
    }
    renewed(oauth, account, None).await
}

/// Another access token after a server refused this one; none if it was had a moment ago, so that
/// another one would be refused as well.
///
/// # Errors
/// As [`access_token`].
pub async fn renew(
    oauth: &OAuth,
    account: &str,
    refused: &SecretString,
) -> Result<Option<SecretString>, Failure> {
    let Some(tokens) = store::load(oauth, account).await? else { return Ok(None) };
    if tokens.access_token.as_str() != refused.expose_secret() {
        return Ok(Some(tokens.access_token()));
    }
    if now().saturating_sub(tokens.obtained) < JUST_NOW.as_secs() {
        return Ok(None);
    }
    renewed(oauth, account, Some(refused.clone())).await.map(Some)
}

/// Renews in a task of its own: whoever waits may be interrupted, and what the provider handed out
/// meanwhile must still be kept.
async fn renewed(
    oauth: &OAuth,
    account: &str,
    refused: Option<SecretString>,
) -> Result<SecretString, Failure> {
    let (oauth, account) = (oauth.clone(), account.to_owned());
    let work = tokio::spawn(async move { locked(&oauth, &account, refused.as_ref()).await });
    match work.await {
        Ok(done) => done,
        Err(err) => {
            Err(Failure::new(Scope::Account, Remedy::Later, Kind::LocalIo, "renew the token")
                .detail(err))
        }
    }
}

async fn locked(
    oauth: &OAuth,
    account: &str,
    refused: Option<&SecretString>,
) -> Result<SecretString, Failure> {
    let lock = Lock::take(oauth).await?;
    // Another process may have done it while this one waited.
    let Some(tokens) = store::load(oauth, account).await? else {
        return Err(needs_login(account, "nobody has signed in yet"));
    };
    let is_refused = refused.is_some_and(|it| it.expose_secret() == tokens.access_token.as_str());
    if tokens.is_fresh(now()) && !is_refused {
        return Ok(tokens.access_token());
    }
    if tokens.is_refused {
        return Err(needs_login(account, "the provider takes the sign-in no longer"));
    }
    // What the provider replaces is lost unless it can be kept: without a place for it nothing is asked for.
    store::save(oauth, account, &tokens).await?;
    let new = match client::refresh(oauth, account, &tokens).await {
        Ok(new) => new,
        Err(failure) => {
            if failure.kind == Kind::NeedsLogin && failure.remedy == Remedy::Never {
                store::save(oauth, account, &Tokens { is_refused: true, ..tokens }).await?;
            }
            // It is looked for again, so that a sign-in is noticed; the provider is not asked.
            return Err(Failure { remedy: Remedy::Later, ..failure });
        }
    };
    store::save(oauth, account, &new).await?;
    drop(lock);
    tracing::debug!(account, "the access token was renewed");
    Ok(new.access_token())
}

fn needs_login(account: &str, detail: &str) -> Failure {
    Failure::new(Scope::Account, Remedy::Later, Kind::NeedsLogin, "get the access token")
        .detail(detail)
        .cure(format!("postrider login {account}"))
}

impl Tokens {
    /// What has just been handed out.
    fn new(oauth: &OAuth, refresh: &str, access: &str, lifetime: Option<Duration>) -> Self {
        let obtained = now();
        Self {
            client_id: oauth.client_id.clone(),
            token_url: oauth.issuer.token_url.clone(),
            refresh_token: Zeroizing::new(refresh.to_owned()),
            access_token: Zeroizing::new(access.to_owned()),
            obtained,
            expires: obtained.saturating_add(lifetime.unwrap_or(LIFETIME).as_secs()),
            is_refused: false,
        }
    }

    fn access_token(&self) -> SecretString {
        SecretString::from(self.access_token.as_str())
    }

    /// Whether it lasts for a while yet. A clock that went back makes that unknown.
    fn is_fresh(&self, now: u64) -> bool {
        let lifetime = self.expires.saturating_sub(self.obtained);
        let ahead = AHEAD.as_secs().min(lifetime / 5);
        (self.obtained..self.expires.saturating_sub(ahead)).contains(&now)
    }
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// So long before its end a token is renewed, or a fifth of its life before.
const AHEAD: Duration = Duration::from_secs(300);
/// How long a token lasts whose provider does not say so.
const LIFETIME: Duration = Duration::from_secs(3600);
/// A token that is refused so soon is refused for another reason than its age.
const JUST_NOW: Duration = Duration::from_secs(60);
