//! Where the tokens of an account are kept, and the lock of whoever renews them. Floor 3.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::adapters::{keyring, private_file};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::oauth::{OAuth, TokenStore};

/// What is kept of a sign-in.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Tokens {
    /// As whom the program was signed in: the tokens are of use to nobody else.
    pub(super) client_id: String,
    /// Who handed them out: they are shown to nobody else.
    pub(super) token_url: String,
    pub(super) refresh_token: Zeroizing<String>,
    pub(super) access_token: Zeroizing<String>,
    /// Seconds since the epoch.
    pub(super) obtained: u64,
    pub(super) expires: u64,
    /// The provider said `invalid_grant`.
    #[serde(default)]
    pub(super) is_refused: bool,
}

/// What is kept for an account; none if nobody signed in, or as another program or elsewhere.
pub(super) async fn load(oauth: &OAuth, account: &str) -> Result<Option<Tokens>, Failure> {
    let text = match &oauth.store.keyring {
        Some(item) => {
            keyring::token(item, account).await?.map(|secret| secret.expose_secret().into())
        }
        None => {
            let file = oauth.store.file.clone();
            blocking(oauth, "read the tokens", move || private_file::read(&file)).await?
        }
    };
    let Some(text) = text.map(Zeroizing::<String>::new) else { return Ok(None) };
    // What does not parse is as good as lost; its text must not get into an error.
    let tokens = serde_json::from_str::<Tokens>(&text).ok();
    Ok(tokens.filter(|tokens| {
        tokens.client_id == oauth.client_id && tokens.token_url == oauth.issuer.token_url
    }))
}

/// Keeps tokens; they are durable when this is done.
pub(super) async fn save(oauth: &OAuth, account: &str, tokens: &Tokens) -> Result<(), Failure> {
    let broken = |err: String| failed(&oauth.store, "write the tokens", &io::Error::other(err));
    // Growing must leave no copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(TEXT_BYTES));
    serde_json::to_writer(&mut *text, tokens).map_err(|err| broken(err.to_string()))?;
    match &oauth.store.keyring {
        Some(item) => {
            let text = std::str::from_utf8(&text).map_err(|err| broken(err.to_string()))?;
            keyring::keep_token(item, account, &SecretString::from(text)).await
        }
        None => {
            let file = oauth.store.file.clone();
            blocking(oauth, "write the tokens", move || write(&file, &text)).await
        }
    }
}

/// The right to renew the tokens of an account, among all processes.
#[derive(Debug)]
pub(super) struct Lock {
    /// Closing it releases the lock.
    _file: File,
}

impl Lock {
    /// Waits until nobody else renews.
    pub(super) async fn take(oauth: &OAuth) -> Result<Self, Failure> {
        let path = oauth.store.file.with_extension("lock");
        let file = blocking(oauth, "lock the tokens", move || {
            private_file::make_dirs(&path)?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
        })
        .await?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(POLL).await,
                Err(TryLockError::WouldBlock) => {
                    let what = "renew the access token";
                    let busy = Failure::new(Scope::Account, Remedy::Later, Kind::Busy, what);
                    return Err(busy.detail("another process of ours does it, and does not end"));
                }
                Err(TryLockError::Error(err)) => {
                    return Err(failed(&oauth.store, "lock the tokens", &err));
                }
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    oauth: &OAuth,
    what: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|err| failed(&oauth.store, what, &err))
}

fn failed(store: &TokenStore, what: &str, err: &io::Error) -> Failure {
    Failure::local_io(what, err).at(store.file.display().to_string())
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // Whoever writes has the lock, so the draft is nobody else's.
    private_file::write(file, &file.with_extension("new"), bytes)
}

/// Twice what a request may take.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// More than tokens have.
const TEXT_BYTES: usize = 64 * 1024;
