//! An authorisation server (RFC 6749) on loopback: codes with PKCE (RFC 7636), refresh tokens that are
//! good once, device codes (RFC 8628), introspection (RFC 7662) for mail servers, and lies.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::web::{Reply, Request, WebServer};

/// How the token endpoint misbehaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    /// An answer of another kind, as it stands.
    Answer(u16, String, String),
    /// Elsewhere.
    Redirect(String),
    /// Later.
    Late(Duration),
    /// Without a refresh token.
    NoRefreshToken,
    /// With less than was asked for.
    LessScope,
}

/// The server, until it is dropped.
pub struct AuthServer {
    web: WebServer,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    user: String,
    /// What all tokens begin with.
    mark: String,
    n: u32,
    lifetime: u64,
    lie: Option<Lie>,
    declines: bool,
    codes: HashMap<String, Pending>,
    access: HashMap<String, Instant>,
    /// The one that is good; all others are not, and using one ends the sign-in.
    refresh: Option<String>,
    reused: u32,
    device: Option<DeviceCode>,
}

struct Pending {
    challenge: String,
    redirect: String,
    scope: String,
}

struct DeviceCode {
    code: String,
    scope: String,
    pending: u32,
    slow: u32,
    approved: bool,
}

impl AuthServer {
    /// Starts one that signs `user` in without asking, and whose tokens begin with `mark`.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(user: &str, mark: &str) -> io::Result<Self> {
        let state = State {
            user: user.to_owned(),
            mark: mark.to_owned(),
            lifetime: 3600,
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let own = Arc::clone(&state);
        let web = WebServer::start(move |request| lock(&own).answer(request))?;
        Ok(Self { web, state })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.web.url()
    }

    /// The grant types of all requests for tokens so far.
    #[must_use]
    pub fn grants(&self) -> Vec<String> {
        let tokens = self.web.seen().into_iter().filter(|request| request.path == "/token");
        tokens.map(|request| request.field("grant_type").to_owned()).collect()
    }

    /// How often a refresh token came that was used up.
    #[must_use]
    pub fn reused(&self) -> u32 {
        lock(&self.state).reused
    }

    /// How long access tokens last from now on, in seconds.
    pub fn set_lifetime(&self, seconds: u64) {
        lock(&self.state).lifetime = seconds;
    }

    /// Misbehaves at the token endpoint until told otherwise.
    pub fn lie(&self, lie: Option<Lie>) {
        lock(&self.state).lie = lie;
    }

    /// From now on the person declines.
    pub fn decline(&self) {
        lock(&self.state).declines = true;
    }

    /// No access token is good any more; refresh tokens are.
    pub fn expire(&self) {
        lock(&self.state).access.clear();
    }

    /// The sign-in is over: `invalid_grant`.
    pub fn revoke(&self) {
        let mut state = lock(&self.state);
        state.access.clear();
        state.refresh = None;
    }

    /// Whether an access token is good.
    #[must_use]
    pub fn knows(&self, token: &str) -> bool {
        lock(&self.state).is_active(token)
    }

    /// What a device is told first: so often to wait, then so often to slow down.
    pub fn device_waits(&self, pending: u32, slow: u32) {
        let code =
            DeviceCode { code: String::new(), scope: String::new(), pending, slow, approved: true };
        lock(&self.state).device = Some(code);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/authorize") => self.authorize(request),
            ("POST", "/device") => self.device_code(request),
            ("POST", "/introspect") => {
                let token = request.field("token");
                json_reply(200, &json!({"active": self.is_active(token), "username": self.user}))
            }
            ("POST", "/token") => self.token(request),
            _ => Reply::new(404, "text/plain", "nothing here"),
        }
    }

    fn authorize(&mut self, request: &Request) -> Reply {
        let field = |name| request.field(name);
        let is_loopback = field("redirect_uri").starts_with("http://127.0.0.1:");
        let is_sound = field("client_id") == CLIENT_ID
            && field("response_type") == "code"
            && field("code_challenge_method") == "S256"
            && field("state").len() >= 16;
        if !is_sound || !is_loopback {
            return Reply::new(400, "text/plain", "the request is not sound");
        }
        let back = |more: &str| {
            let (to, state) = (field("redirect_uri"), field("state"));
            Reply::redirect(&format!("{to}?{more}&state={state}"))
        };
        if self.declines {
            return back("error=access_denied&error_description=not+today");
        }
        let code = self.fresh("code");
        let pending = Pending {
            challenge: field("code_challenge").to_owned(),
            redirect: field("redirect_uri").to_owned(),
            scope: field("scope").to_owned(),
        };
        self.codes.insert(code.clone(), pending);
        back(&format!("code={code}"))
    }

    fn device_code(&mut self, request: &Request) -> Reply {
        let code = self.fresh("device");
        let Some(device) = &mut self.device else { return refused("unauthorized_client") };
        device.code.clone_from(&code);
        request.field("scope").clone_into(&mut device.scope);
        let answer = json!({
            "device_code": code, "user_code": "ABCD-EFGH", "expires_in": 600, "interval": 1,
            "verification_uri": "https://login.example.org/device",
        });
        json_reply(200, &answer)
    }

    fn token(&mut self, request: &Request) -> Reply {
        let mut delay = Duration::ZERO;
        match self.lie.clone() {
            Some(Lie::Answer(status, media, body)) => return Reply::new(status, &media, &body),
            Some(Lie::Redirect(to)) => return Reply::redirect(&to),
            Some(Lie::Late(by)) => delay = by,
            Some(Lie::NoRefreshToken | Lie::LessScope) | None => {}
        }
        if request.field("client_id") != CLIENT_ID && request.authorization.is_none() {
            return refused("invalid_client");
        }
        let reply = match request.field("grant_type") {
            "authorization_code" => self.by_code(request),
            "refresh_token" => self.by_refresh(request),
            "urn:ietf:params:oauth:grant-type:device_code" => self.by_device(request),
            _ => refused("unsupported_grant_type"),
        };
        Reply { delay, ..reply }
    }

    fn by_code(&mut self, request: &Request) -> Reply {
        let Some(pending) = self.codes.remove(request.field("code")) else {
            return refused("invalid_grant");
        };
        let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(request.field("code_verifier")));
        if proof != pending.challenge || request.field("redirect_uri") != pending.redirect {
            return refused("invalid_grant");
        }
        self.grant(&pending.scope)
    }

    fn by_refresh(&mut self, request: &Request) -> Reply {
        if self.refresh.as_deref() == Some(request.field("refresh_token")) {
            return self.grant("");
        }
        if self.refresh.take().is_some() {
            self.reused += 1;
        }
        self.access.clear();
        refused("invalid_grant")
    }

    fn by_device(&mut self, request: &Request) -> Reply {
        let Some(device) = &mut self.device else { return refused("invalid_grant") };
        if device.code != request.field("device_code") {
            return refused("invalid_grant");
        }
        if let Some(left) = device.pending.checked_sub(1) {
            device.pending = left;
            return refused("authorization_pending");
        }
        if let Some(left) = device.slow.checked_sub(1) {
            device.slow = left;
            return refused("slow_down");
        }
        let scope = device.scope.clone();
        match device.approved && !self.declines {
            true => self.grant(&scope),
            false => refused("access_denied"),
        }
    }

    fn grant(&mut self, scope: &str) -> Reply {
        let (access, refresh) = (self.fresh("access"), self.fresh("refresh"));
        self.access.insert(access.clone(), Instant::now() + Duration::from_secs(self.lifetime));
        let mut answer = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": self.lifetime,
        });
        if self.lie == Some(Lie::LessScope) {
            answer["scope"] = Value::from("less");
        } else if !scope.is_empty() {
            answer["scope"] = Value::from(scope);
        }
        if self.lie != Some(Lie::NoRefreshToken) {
            answer["refresh_token"] = Value::from(refresh.as_str());
            self.refresh = Some(refresh);
        }
        json_reply(200, &answer)
    }

    fn is_active(&self, token: &str) -> bool {
        self.access.get(token).is_some_and(|until| Instant::now() < *until)
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.n += 1;
        format!("{}-{kind}-{}", self.mark, self.n)
    }
}

fn refused(error: &str) -> Reply {
    json_reply(400, &json!({"error": error}))
}

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::new(status, "application/json", &body.to_string())
}

/// The one registration that it knows.
pub const CLIENT_ID: &str = "postrider-test";
