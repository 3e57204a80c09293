//! USER and PASS, APOP, and AUTH with and without an initial response.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use super::session::{STAMP, Session};
use crate::config::Pop3Extension;
use crate::sasl;

impl Session {
    pub(super) async fn user(&mut self, name: &str) -> io::Result<()> {
        if !self.has(Pop3Extension::User) {
            return self.reply("-ERR unknown command").await;
        }
        self.named = Some(name.to_owned());
        self.reply("+OK").await
    }

    pub(super) async fn pass(&mut self, password: &str) -> io::Result<()> {
        let Some(user) = self.named.take() else { return self.reply("-ERR USER first").await };
        self.admit(Some((user, password.to_owned()))).await
    }

    pub(super) async fn apop(&mut self, rest: &str) -> io::Result<()> {
        let (user, digest) = rest.split_once(' ').unwrap_or((rest, ""));
        let hex = |password: &str| {
            let digest = Md5::new().chain_update(STAMP).chain_update(password).finalize();
            digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let known = self.shared.read(|state| state.config.users.clone());
        let found =
            known.into_iter().find(|(name, password)| name == user && hex(password) == digest);
        self.admit(found).await
    }

    pub(super) async fn authenticate(&mut self, rest: &str) -> io::Result<()> {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let initial = (!initial.is_empty()).then(|| initial.as_bytes().to_vec());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
        let credentials = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" if self.has(Pop3Extension::AuthPlain) => {
                self.answer("+ ", initial).await?.and_then(|message| sasl::plain(&message))
            }
            "LOGIN" if self.has(Pop3Extension::AuthLogin) => {
                let user = self.answer("+ VXNlcm5hbWU6", initial).await?;
                let password = self.answer("+ UGFzc3dvcmQ6", None).await?;
                user.and_then(text).zip(password.and_then(text))
            }
            "XOAUTH2" if self.has(Pop3Extension::AuthXOAuth2) => {
                self.answer("+ ", initial).await?.and_then(sasl::xoauth2)
            }
            "OAUTHBEARER" if self.has(Pop3Extension::AuthOAuthBearer) => {
                let message = self.answer("+ ", initial).await?.and_then(text).unwrap_or_default();
                // RFC 7628 §3.1: the GS2 header names the user, the token is a field behind it.
                let user = message.split(',').find_map(|part| part.strip_prefix("a="));
                let mut fields = message.split('\x01');
                let token = fields.find_map(|field| field.strip_prefix("auth=Bearer "));
                user.zip(token).map(|(user, token)| (user.to_owned(), token.to_owned()))
            }
            _ => return self.reply("-ERR no such mechanism").await,
        };
        self.admit(credentials).await
    }

    async fn admit(&mut self, credentials: Option<(String, String)>) -> io::Result<()> {
        let is_good = credentials.is_some_and(|(user, password)| {
            self.shared.read(|s| s.config.accepts(&user, &password))
        });
        if is_good {
            self.open();
            self.reply("+OK welcome").await
        } else {
            self.reply("-ERR [AUTH] wrong user or password").await
        }
    }

    /// Asks the client, unless it has answered already; `None` for a cancel or bad base64.
    async fn answer(&mut self, ask: &str, given: Option<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
        let line = match given {
            Some(given) if given == b"=" => return Ok(Some(Vec::new())),
            Some(given) => given,
            None => {
                self.wire.send(format!("{ask}\r\n").as_bytes()).await?;
                self.wire.flush().await?;
                self.wire.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
        };
        Ok(STANDARD.decode(line).ok())
    }
}
