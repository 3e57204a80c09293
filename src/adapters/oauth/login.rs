//! Signing in: in a browser that comes back to this machine (RFC 8252) with PKCE (RFC 7636), or with a
//! device code (RFC 8628). Floor 3.

use std::time::Duration;

use oauth2::basic::BasicTokenResponse;
use oauth2::{
    AuthorizationCode, CsrfToken, DeviceAuthorizationResponse, DeviceAuthorizationUrl,
    EmptyExtraDeviceAuthorizationFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    Scope as Wanted, TokenResponse as _,
};
use tokio::time::sleep;

use super::client::{self, Client, classify, post, web};
use super::loopback::Loopback;
use super::store::{self, Lock};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::oauth::OAuth;

/// A sign-in that waits for a browser.
pub struct Browser {
    oauth: OAuth,
    account: String,
    client: Client,
    loopback: Loopback,
    redirect: RedirectUrl,
    state: CsrfToken,
    verifier: PkceCodeVerifier,
    url: String,
}

/// What the provider's page sent back: good for one exchange.
pub struct Code(AuthorizationCode);

impl Browser {
    /// Opens a port on 127.0.0.1 and makes up the address to be opened.
    ///
    /// # Errors
    /// No port, a client secret that cannot be had, an issuer that is no address.
    pub async fn begin(oauth: &OAuth, account: &str) -> Result<Self, Failure> {
        let client = client::client(oauth, account).await?;
        let loopback = Loopback::open().await.map_err(|err| local("open a port", &err))?;
        let back = format!("http://{}:{}/", oauth.issuer.redirect_host, loopback.port());
        let redirect = RedirectUrl::new(back).map_err(|err| failure(Kind::Config).detail(err))?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut asked = client
            .authorize_url(CsrfToken::new_random)
            .set_redirect_uri(std::borrow::Cow::Borrowed(&redirect))
            .set_pkce_challenge(challenge)
            .add_scopes(wanted(oauth));
        for (name, value) in &oauth.issuer.extra {
            asked = asked.add_extra_param(name.clone(), value.clone());
        }
        if !oauth.login_hint.is_empty() {
            asked = asked.add_extra_param("login_hint", oauth.login_hint.clone());
        }
        let (url, state) = asked.url();
        let (oauth, account) = (oauth.clone(), account.to_owned());
        let url = url.to_string();
        Ok(Self { oauth, account, client, loopback, redirect, state, verifier, url })
    }

    /// The address to be opened in a browser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port on 127.0.0.1 that the browser comes back to.
    pub fn port(&self) -> u16 {
        self.loopback.port()
    }

    /// Waits for the browser. One that comes with another `state` is not ours, and is turned away.
    ///
    /// # Errors
    /// The person or the provider declined, or the port is broken.
    pub async fn answer(&self) -> Result<Code, Failure> {
        loop {
            let target = self.loopback.target(|target| self.read(target).is_some()).await;
            let target = target.map_err(|err| local("wait for the browser", &err))?;
            if let Some(done) = self.read(&target) {
                return done;
            }
        }
    }

    /// Takes what a person pasted: the address that the browser was sent back to, or the code alone.
    ///
    /// # Errors
    /// It is neither, belongs to another sign-in, or says that it was declined.
    pub fn pasted(&self, text: &str) -> Result<Code, Failure> {
        let text = text.trim();
        let is_code = !text.is_empty() && !text.contains(['?', '&', ' ']) && !text.contains("://");
        if is_code {
            // Nobody else's code is of use here: it fits our verifier only (RFC 7636).
            return Ok(Code(AuthorizationCode::new(text.to_owned())));
        }
        let query = text.split_once('?').map_or("", |(_, query)| query);
        self.read(&format!("/?{query}")).unwrap_or_else(|| {
            Err(failure(Kind::NeedsLogin)
                .detail("this is not the address that this sign-in came back to")
                .cure("paste the whole address from the browser, which begins with http://"))
        })
    }

    /// What the target of a request says; none if it is not about this sign-in.
    fn read(&self, target: &str) -> Option<Result<Code, Failure>> {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        let pairs = || url::form_urlencoded::parse(query.as_bytes());
        let value = |wanted: &str| pairs().find(|(name, _)| name == wanted).map(|(_, value)| value);
        if value("state")?.as_ref() != self.state.secret().as_str() {
            return None;
        }
        if let Some(code) = value("code") {
            return Some(Ok(Code(AuthorizationCode::new(code.into_owned()))));
        }
        let error = value("error")?;
        let more = value("error_description").unwrap_or_default();
        let declined = failure(Kind::NeedsLogin).said(&format!("{error} {more}"));
        Some(Err(declined.cure(format!("postrider login {}", self.account))))
    }

    /// Exchanges the code for tokens, and keeps them.
    ///
    /// # Errors
    /// The provider refuses, or its tokens cannot be renewed; see `access_token`.
    pub async fn finish(self, code: Code) -> Result<(), Failure> {
        let web = web(&self.oauth);
        let asked = self
            .client
            .exchange_code(code.0)
            .set_pkce_verifier(self.verifier)
            .set_redirect_uri(std::borrow::Cow::Borrowed(&self.redirect));
        let answer = asked.request_async(&|request| post(web.clone(), request)).await;
        let answer = answer.map_err(|err| classify(err, &self.oauth, &self.account, "sign in"))?;
        keep(&self.oauth, &self.account, &answer).await
    }
}

/// A sign-in by a code that is typed on another device.
pub struct Device {
    oauth: OAuth,
    account: String,
    client: Client,
    details: DeviceAuthorizationResponse<EmptyExtraDeviceAuthorizationFields>,
}

impl Device {
    /// Gets a code.
    ///
    /// # Errors
    /// The provider has no device codes, or refuses; see `access_token`.
    pub async fn begin(oauth: &OAuth, account: &str) -> Result<Self, Failure> {
        let Some(url) = oauth.issuer.device_url.clone() else {
            let mut none = failure(Kind::NotSupported);
            none.remedy = Remedy::Never;
            return Err(none
                .detail(format_args!("{} has no device codes for mail", oauth.issuer.name))
                .cure(format!("postrider login {account}; over SSH with --paste")));
        };
        let url =
            DeviceAuthorizationUrl::new(url).map_err(|err| failure(Kind::Config).detail(err))?;
        let client = client::client(oauth, account).await?;
        let web = web(oauth);
        let with_device = client.clone().set_device_authorization_url(url);
        let asked = with_device.exchange_device_code().add_scopes(wanted(oauth));
        let details = asked.request_async(&|request| post(web.clone(), request)).await;
        let details = details.map_err(|err| classify(err, oauth, account, "get a device code"))?;
        Ok(Self { oauth: oauth.clone(), account: account.to_owned(), client, details })
    }

    /// Where the code is typed.
    pub fn url(&self) -> &str {
        self.details.verification_uri().as_str()
    }

    /// What is typed there.
    pub fn code(&self) -> &str {
        self.details.user_code().secret()
    }

    /// How long the code is good.
    pub fn lasts(&self) -> Duration {
        self.details.expires_in()
    }

    /// Asks as often as the provider wants until the person is done, and keeps the tokens.
    ///
    /// # Errors
    /// It was declined, the code ran out, or as for `access_token`.
    pub async fn finish(self) -> Result<(), Failure> {
        let web = web(&self.oauth);
        let asked = self.client.exchange_device_access_token(&self.details);
        let http = |request| post(web.clone(), request);
        let answer = asked.request_async(&http, sleep, Some(self.details.expires_in())).await;
        let answer = answer.map_err(|err| classify(err, &self.oauth, &self.account, "sign in"))?;
        keep(&self.oauth, &self.account, &answer).await
    }
}

fn wanted(oauth: &OAuth) -> impl Iterator<Item = Wanted> + '_ {
    oauth.issuer.scopes.iter().cloned().map(Wanted::new)
}

async fn keep(oauth: &OAuth, account: &str, answer: &BasicTokenResponse) -> Result<(), Failure> {
    let granted: Option<Vec<&str>> =
        answer.scopes().map(|scopes| scopes.iter().flat_map(|scope| scope.split(' ')).collect());
    // `offline_access` asks for the refresh token, and is not granted by name everywhere.
    let missing = oauth.issuer.scopes.iter().find(|scope| {
        *scope != "offline_access"
            && granted.as_ref().is_some_and(|it| !it.contains(&scope.as_str()))
    });
    if let Some(missing) = missing {
        return Err(failure(Kind::NeedsLogin)
            .detail(format_args!("the sign-in does not cover {missing}"))
            .cure(format!("postrider login {account}, and agree to all that is asked")));
    }
    let Some(tokens) = client::tokens(oauth, answer, None) else {
        return Err(failure(Kind::NeedsLogin)
            .detail("the provider gave no refresh token: the sign-in would last an hour")
            .cure("register the program as a desktop application, with offline access"));
    };
    let _lock = Lock::take(oauth).await?;
    store::save(oauth, account, &tokens).await
}

fn failure(kind: Kind) -> Failure {
    Failure::new(Scope::Account, Remedy::Later, kind, "sign in")
}

fn local(what: &str, err: &std::io::Error) -> Failure {
    Failure::local_io(what, err).at("127.0.0.1")
}
