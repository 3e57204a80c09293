//! LOGIN and AUTHENTICATE.

use std::borrow::Cow;
use std::io;

use imap_codec::AuthenticateDataCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::auth::{AuthMechanism, AuthenticateData};
use imap_codec::imap_types::secret::Secret;

use super::session::{Done, Session};
use crate::config::Capability;
use crate::sasl;

impl Session {
    pub(super) fn login(&mut self, user: &[u8], password: &[u8]) -> Done {
        if self.has(Capability::LoginDisabled) {
            return Done::no("[PRIVACYREQUIRED] LOGIN is disabled");
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.admit(&text(user), &text(password))
    }

    fn admit(&mut self, user: &str, password: &str) -> Done {
        if self.user.is_some() {
            return Done::bad("logged in already");
        }
        let accepted = self.shared.read(|state| state.config.accepts(user, password));
        let capabilities = self.capability_line();
        if !accepted {
            return Done::no("[AUTHENTICATIONFAILED] wrong user or password");
        }
        self.user = Some(user.to_owned());
        Done::ok(&format!("[CAPABILITY {capabilities}] welcome"))
    }

    pub(super) async fn authenticate(
        &mut self,
        mechanism: &AuthMechanism<'_>,
        initial: Option<Secret<Cow<'static, [u8]>>>,
    ) -> io::Result<Done> {
        if initial.is_some() && !self.has(Capability::SaslIr) {
            return Ok(Done::bad("initial response is not offered"));
        }
        let initial = initial.map(|secret| secret.declassify().to_vec());
        let credentials = match mechanism {
            AuthMechanism::Plain if self.has(Capability::AuthPlain) => {
                let Some(message) = self.answer("+ \r\n", initial).await? else {
                    return Ok(Done::bad("cancelled"));
                };
                sasl::plain(&message)
            }
            AuthMechanism::XOAuth2 if self.has(Capability::AuthXOAuth2) => {
                let Some(message) = self.answer("+ \r\n", initial).await? else {
                    return Ok(Done::bad("cancelled"));
                };
                sasl::xoauth2(message)
            }
            AuthMechanism::Login if self.has(Capability::AuthLogin) => {
                let user = self.answer("+ VXNlcm5hbWU6\r\n", initial).await?;
                let Some(user) = user else {
                    return Ok(Done::bad("cancelled"));
                };
                let password = self.answer("+ UGFzc3dvcmQ6\r\n", None).await?;
                let Some(password) = password else {
                    return Ok(Done::bad("cancelled"));
                };
                String::from_utf8(user).ok().zip(String::from_utf8(password).ok())
            }
            _ => return Ok(Done::no("[CANNOT] no such mechanism")),
        };
        Ok(match credentials {
            Some((user, password)) => self.admit(&user, &password),
            None => Done::no("[AUTHENTICATIONFAILED] malformed response"),
        })
    }

    /// Asks the client, unless it has answered already; `None` when it cancels.
    async fn answer(&mut self, ask: &str, given: Option<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
        if given.is_some() {
            return Ok(given);
        }
        self.wire.send(ask.as_bytes()).await?;
        self.wire.flush().await?;
        let mut line = self.wire.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        line.extend_from_slice(b"\r\n");
        Ok(match AuthenticateDataCodec::default().decode(&line) {
            Ok((_, AuthenticateData::Continue(secret))) => Some(secret.declassify().to_vec()),
            Ok((_, AuthenticateData::Cancel)) | Err(_) => None,
        })
    }
}
