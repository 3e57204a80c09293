//! AUTH PLAIN and LOGIN, with and without an initial response.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::session::Session;
use crate::config::SmtpExtension;
use crate::sasl;

impl Session {
    pub(super) async fn authenticate(&mut self, rest: &str) -> io::Result<()> {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let initial = (!initial.is_empty()).then(|| initial.as_bytes().to_vec());
        if self.user.is_some() || self.transaction.is_some() {
            return self.reply("503 5.5.1 bad sequence of commands").await;
        }
        let credentials = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" if self.has(SmtpExtension::AuthPlain) => {
                let message = self.answer("334 ", initial).await?;
                message.and_then(|message| sasl::plain(&message))
            }
            "XOAUTH2" if self.has(SmtpExtension::AuthXOAuth2) => {
                self.answer("334 ", initial).await?.and_then(sasl::xoauth2)
            }
            "LOGIN" if self.has(SmtpExtension::AuthLogin) => {
                let user = self.answer("334 VXNlcm5hbWU6", initial).await?;
                let password = match user {
                    Some(_) => self.answer("334 UGFzc3dvcmQ6", None).await?,
                    None => None,
                };
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
                user.and_then(text).zip(password.and_then(text))
            }
            _ => return self.reply("504 5.5.4 no such mechanism").await,
        };
        let Some((user, password)) = credentials else {
            return self.reply("501 5.5.2 malformed response, or cancelled").await;
        };
        if self.shared.read(|state| state.config.accepts(&user, &password)) {
            self.user = Some(user);
            self.reply("235 2.7.0 welcome").await
        } else {
            self.reply("535 5.7.8 wrong user or password").await
        }
    }

    /// Asks the client, unless it has answered already; `None` for a cancel or bad base64.
    async fn answer(&mut self, ask: &str, given: Option<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
        let line = match given {
            // A lone `=` is an empty initial response (RFC 4954, section 4).
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
