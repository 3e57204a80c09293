//! The token endpoint: what is asked there, and what its answers mean. Floor 3. Only this file and
//! `login` know the library.

use std::pin::Pin;
use std::time::Duration;

use oauth2::basic::{BasicClient, BasicTokenResponse};
use oauth2::http::Response;
use oauth2::{
    AuthUrl, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ErrorResponse, HttpRequest,
    HttpResponse, RefreshToken, RequestTokenError, TokenResponse as _, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::store::Tokens;
use crate::adapters::http::{Request, Web};
use crate::adapters::secrets;
use crate::model::account::SecretSource;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::oauth::OAuth;

/// A client with the two addresses that every provider has.
pub(super) type Client =
    BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The client of an account.
pub(super) async fn client(oauth: &OAuth, account: &str) -> Result<Client, Failure> {
    let bad = |err: url::ParseError| {
        let failure = Failure::new(Scope::Account, Remedy::Never, Kind::Config, "use the issuer");
        failure.detail(err).cure("check \"issuer\" of the account's oauth")
    };
    let mut client = BasicClient::new(ClientId::new(oauth.client_id.clone()))
        .set_auth_uri(AuthUrl::new(oauth.issuer.auth_url.clone()).map_err(bad)?)
        .set_token_uri(TokenUrl::new(oauth.issuer.token_url.clone()).map_err(bad)?);
    if let Some(source) = &oauth.client_secret {
        let secret = client_secret(source, account).await?;
        client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
    }
    Ok(client)
}

/// Boxed, since a secret may be a token, and a token may need this secret.
fn client_secret<'a>(
    source: &'a SecretSource,
    account: &'a str,
) -> Pin<Box<dyn Future<Output = Result<SecretString, Failure>> + Send + 'a>> {
    Box::pin(secrets::resolve(source, account))
}

/// Gets a new access token, and with many providers a new refresh token.
pub(super) async fn refresh(oauth: &OAuth, account: &str, old: &Tokens) -> Result<Tokens, Failure> {
    let client = client(oauth, account).await?;
    let token = RefreshToken::new(old.refresh_token.to_string());
    let asked = client.exchange_refresh_token(&token);
    let web = web(oauth);
    let answer = asked.request_async(&|request| post(web.clone(), request)).await;
    let answer = answer.map_err(|err| classify(err, oauth, account, "get the access token"))?;
    Ok(tokens(oauth, &answer, Some(old.refresh_token.as_str())).unwrap_or_else(|| old.clone()))
}

/// What is to be kept of an answer; none if there is no refresh token, neither new nor old.
pub(super) fn tokens(
    oauth: &OAuth,
    answer: &BasicTokenResponse,
    old: Option<&str>,
) -> Option<Tokens> {
    let refresh = answer.refresh_token().map(|token| token.secret().as_str()).or(old)?;
    Some(Tokens::new(oauth, refresh, answer.access_token().secret(), answer.expires_in()))
}

/// The way to the provider. It is never redirected: a token goes to the configured host only.
pub(super) fn web(oauth: &OAuth) -> Web {
    Web {
        purpose: "OAuth",
        ca_file: oauth.ca_file.clone(),
        timeout: TIMEOUT,
        body_max: BODY_BYTES_MAX,
        redirects_max: 0,
        dns: None,
    }
}

/// Sends what the library made up. What only passes comes back as a failure of its own.
pub(super) async fn post(web: Web, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let (head, body) = request.into_parts();
    let url = head.uri.to_string();
    let headers = head.headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), Zeroizing::new(value.to_str().ok()?.to_owned())))
    });
    let request =
        Request { url: &url, headers: headers.collect(), body: Some(Zeroizing::new(body)) };
    let answer = web.send(request).await?;
    let broken = |kind: Kind| {
        Failure::new(Scope::Account, Remedy::Later, kind, "ask the provider for a token")
            .at(url.clone())
            .detail(format_args!("HTTP status {}", answer.status))
    };
    if answer.status == 429 || answer.status >= 500 {
        return Err(broken(Kind::Throttled));
    }
    if (300..400).contains(&answer.status) {
        return Err(broken(Kind::Protocol).cure("check \"issuer\": it leads elsewhere"));
    }
    let mut response = Response::builder().status(answer.status);
    if let Some(kind) = &answer.content_type {
        response = response.header("content-type", kind);
    }
    response.body(answer.body.to_vec()).map_err(|err| broken(Kind::Protocol).detail(err))
}

/// Says what a refusal means. The answer's body is never shown: a token may be in it.
pub(super) fn classify<T: ErrorResponse>(
    err: RequestTokenError<Failure, T>,
    oauth: &OAuth,
    account: &str,
    what: &str,
) -> Failure {
    let failure = |kind, remedy| {
        let name = &oauth.issuer.name;
        Failure::new(Scope::Account, remedy, kind, what).at(format!("{name} (OAuth)"))
    };
    let said = match err {
        RequestTokenError::Request(failure) => return failure,
        RequestTokenError::ServerResponse(said) => said.to_string(),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            return failure(Kind::Protocol, Remedy::Later)
                .detail("the answer is no token")
                .cure("check \"issuer\" of the account's oauth");
        }
    };
    let code = said.split([':', ' ']).next().unwrap_or_default();
    let login = format!("postrider login {account}");
    match code {
        "invalid_grant" | "expired_token" => failure(Kind::NeedsLogin, Remedy::Never)
            .detail("the sign-in has run out, was revoked, or its password was changed")
            .cure(login),
        "access_denied" => {
            failure(Kind::NeedsLogin, Remedy::Never).detail("the sign-in was declined").cure(login)
        }
        "invalid_client" | "unauthorized_client" => failure(Kind::NeedsLogin, Remedy::Later)
            .detail("the provider does not know this program, or not for this")
            .cure(format!("check client_id and client_secret of account {account}, then: {login}")),
        "invalid_scope" => failure(Kind::NeedsLogin, Remedy::Later)
            .detail("the registration of this program does not cover what is asked for")
            .cure(format!("check the scopes of account {account}, then: {login}")),
        _ => failure(Kind::Protocol, Remedy::Later),
    }
    .said(&said)
}

/// One request with its connection and its encryption.
const TIMEOUT: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 128 * 1024;
