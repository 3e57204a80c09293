//! SASL, once for all protocols: SCRAM-SHA-256, PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), OAUTHBEARER
//! (RFC 7628) and XOAUTH2. Floor 3.
//!
//! Speaks base64, as IMAP, POP3 and SMTP do on their lines. It does not know whether the connection
//! is encrypted: its callers refuse to log in over cleartext.

mod scram;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use md5::Md5;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use self::scram::Scram;
use crate::model::account::Mechanism;

/// One login attempt with one mechanism. Its answers carry secrets: never log them.
pub struct Exchange {
    mechanism: Mechanism,
    user: String,
    password: SecretString,
    answers: u8,
    scram: Option<Scram>,
}

/// The server asked for more than the mechanism has, or is not to be trusted with an answer; the caller
/// cancels with `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfAnswers;

/// Returns the mechanism to use: the first of `preference` that is offered, or the best for a password.
///
/// Tokens are only ever sent when `preference` names their mechanisms.
pub fn choose(preference: &[Mechanism], offered: &[Mechanism]) -> Option<Mechanism> {
    let order = if preference.is_empty() { BEST_FIRST } else { preference };
    order.iter().copied().find(|mechanism| offered.contains(mechanism))
}

/// Returns the mechanism of a name as it stands in a capability line, in any case.
pub fn mechanism(name: &str) -> Option<Mechanism> {
    KNOWN.iter().copied().find(|known| mechanism_name(*known).eq_ignore_ascii_case(name))
}

/// Returns the name of a mechanism as it travels.
pub fn mechanism_name(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::Login => "LOGIN",
        Mechanism::CramMd5 => "CRAM-MD5",
        Mechanism::ScramSha256 => "SCRAM-SHA-256",
        Mechanism::OAuthBearer => "OAUTHBEARER",
        Mechanism::XOAuth2 => "XOAUTH2",
    }
}

impl Exchange {
    /// Begins a login.
    pub fn new(mechanism: Mechanism, user: &str, password: SecretString) -> Self {
        let scram = if mechanism == Mechanism::ScramSha256 { Scram::new() } else { None };
        Self { mechanism, user: user.to_owned(), password, answers: 0, scram }
    }

    /// The mechanism's name as it travels.
    pub fn name(&self) -> &'static str {
        mechanism_name(self.mechanism)
    }

    /// Returns the base64 text to send along with the command, for mechanisms that speak first.
    ///
    /// Where the protocol has no place for it (IMAP without SASL-IR), do not call this and answer the
    /// empty challenge by [`Exchange::respond`].
    pub fn initial_response(&mut self) -> Option<Zeroizing<String>> {
        match self.mechanism {
            Mechanism::Plain
            | Mechanism::ScramSha256
            | Mechanism::OAuthBearer
            | Mechanism::XOAuth2 => self.respond("").ok(),
            Mechanism::Login | Mechanism::CramMd5 => None,
        }
    }

    /// Returns the base64 answer to the server's next challenge.
    ///
    /// # Errors
    ///
    /// [`OutOfAnswers`] when the mechanism has nothing left to say, or will not say it to this server.
    pub fn respond(&mut self, challenge: &str) -> Result<Zeroizing<String>, OutOfAnswers> {
        let secret = self.password.expose_secret();
        let user = &self.user;
        // LOGIN's prompts are texts of the server's taste (Username:, User Name\0), so order decides.
        let answer = match (self.mechanism, self.answers) {
            (Mechanism::Plain, 0) => encode(&text(&["\0", user, "\0", secret])),
            (Mechanism::Login, 0) => encode(user.as_bytes()),
            (Mechanism::Login, 1) => encode(secret.as_bytes()),
            (Mechanism::CramMd5, 0) => encode(&cram(user, secret, &decode(challenge)?)?),
            (Mechanism::XOAuth2, 0) => {
                encode(&text(&["user=", user, "\x01auth=Bearer ", secret, "\x01\x01"]))
            }
            (Mechanism::OAuthBearer, 0) => {
                let user = user.replace('=', "=3D").replace(',', "=2C");
                encode(&text(&["n,a=", &user, ",\x01auth=Bearer ", secret, "\x01\x01"]))
            }
            // What went wrong came as a challenge, and wants an empty answer before it is an error.
            (Mechanism::XOAuth2, 1) => Zeroizing::default(),
            (Mechanism::OAuthBearer, 1) => encode(b"\x01"),
            (Mechanism::ScramSha256, step) => self.scram_answer(step, challenge)?,
            (
                Mechanism::Plain
                | Mechanism::Login
                | Mechanism::CramMd5
                | Mechanism::XOAuth2
                | Mechanism::OAuthBearer,
                _,
            ) => return Err(OutOfAnswers),
        };
        self.answers += 1;
        Ok(answer)
    }

    fn scram_answer(
        &mut self,
        step: u8,
        challenge: &str,
    ) -> Result<Zeroizing<String>, OutOfAnswers> {
        let scram = self.scram.as_mut().ok_or(OutOfAnswers)?;
        if step == 0 {
            return Ok(encode(&scram.first(&self.user)));
        }
        let challenge = String::from_utf8(decode(challenge)?).map_err(|_| OutOfAnswers)?;
        match step {
            1 => scram.proof(&challenge, &self.password).map(|it| encode(&it)).ok_or(OutOfAnswers),
            2 => scram.verify(&challenge).map(|()| Zeroizing::default()).ok_or(OutOfAnswers),
            _ => Err(OutOfAnswers),
        }
    }

    /// Whether the server proved what the mechanism wants proved: a success before that is a lie.
    pub fn is_server_proved(&self) -> bool {
        self.mechanism != Mechanism::ScramSha256
            || self.scram.as_ref().is_some_and(Scram::is_verified)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// The parts in one allocation of the right size, so that no copy of a secret is left behind.
fn text(parts: &[&str]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        text.extend_from_slice(part.as_bytes());
    }
    text
}

fn cram(user: &str, secret: &str, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, OutOfAnswers> {
    let mut mac = Hmac::<Md5>::new_from_slice(secret.as_bytes()).map_err(|_| OutOfAnswers)?;
    mac.update(challenge);
    let digest = mac.finalize().into_bytes();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(text(&[user, " ", &digest]))
}

fn decode(challenge: &str) -> Result<Vec<u8>, OutOfAnswers> {
    STANDARD.decode(challenge.trim()).map_err(|_| OutOfAnswers)
}

fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(bytes))
}

/// For a password over TLS: there CRAM-MD5 protects nothing more, and makes servers keep passwords.
const BEST_FIRST: &[Mechanism] =
    &[Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5];

const KNOWN: &[Mechanism] = &[
    Mechanism::ScramSha256,
    Mechanism::Plain,
    Mechanism::Login,
    Mechanism::CramMd5,
    Mechanism::OAuthBearer,
    Mechanism::XOAuth2,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_speaks_first_and_once() {
        let mut login = Exchange::new(Mechanism::Plain, "tim", "tanstaaftanstaaf".into());
        // RFC 4616 §4
        assert_eq!(login.initial_response().unwrap().as_str(), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
        assert_eq!(login.respond(""), Err(OutOfAnswers));
    }

    #[test]
    fn login_answers_by_order_whatever_the_prompt_says() {
        let mut login = Exchange::new(Mechanism::Login, "u", "p".into());
        assert_eq!(login.initial_response(), None);
        assert_eq!(login.respond("VXNlcm5hbWU6").unwrap().as_str(), "dQ==");
        assert_eq!(login.respond("nonsense").unwrap().as_str(), "cA==");
        assert_eq!(login.respond(""), Err(OutOfAnswers));
        assert!(!format!("{login:?}").contains("\"u\""));
    }

    #[test]
    fn the_configured_order_wins_over_the_best_one() {
        let (plain, login) = (Mechanism::Plain, Mechanism::Login);
        assert_eq!(choose(&[], &[login, plain]), Some(plain));
        assert_eq!(choose(&[login, plain], &[plain, login]), Some(login));
        assert_eq!(choose(&[plain], &[login]), None);
        assert_eq!(mechanism("login"), Some(login));
        assert_eq!(mechanism("GSSAPI"), None);
        let (scram, cram) = (Mechanism::ScramSha256, Mechanism::CramMd5);
        assert_eq!(choose(&[], &[cram, login, plain, scram]), Some(scram));
        assert_eq!(choose(&[], &[cram, login]), Some(login));
        let tokens = [Mechanism::OAuthBearer, Mechanism::XOAuth2];
        assert_eq!(choose(&[], &tokens), None, "a password is no token");
        assert_eq!(choose(&tokens, &[plain, Mechanism::XOAuth2]), Some(Mechanism::XOAuth2));
    }

    #[test]
    fn cram_md5_is_that_of_rfc_2195() {
        let mut login = Exchange::new(Mechanism::CramMd5, "tim", "tanstaaftanstaaf".into());
        assert_eq!(login.initial_response(), None);
        let challenge = encode(b"<1896.697170952@postoffice.reston.mci.net>");
        let answer = decode(&login.respond(&challenge).unwrap()).unwrap();
        assert_eq!(answer, b"tim b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(login.respond(""), Err(OutOfAnswers));
    }

    #[test]
    fn tokens_travel_as_bearers_and_a_refusal_is_heard_out() {
        let mut login = Exchange::new(Mechanism::XOAuth2, "me@x", "t".into());
        let first = decode(&login.initial_response().unwrap()).unwrap();
        assert_eq!(first, b"user=me@x\x01auth=Bearer t\x01\x01");
        assert_eq!(login.respond("e30=").unwrap().as_str(), "");
        let mut login = Exchange::new(Mechanism::OAuthBearer, "m,e", "t".into());
        let first = decode(&login.initial_response().unwrap()).unwrap();
        assert_eq!(first, b"n,a=m=2Ce,\x01auth=Bearer t\x01\x01");
        assert_eq!(login.respond("e30=").unwrap().as_str(), "AQ==");
        assert_eq!(login.respond(""), Err(OutOfAnswers));
        assert!(login.is_server_proved());
    }

    #[test]
    fn scram_believes_no_success_that_is_not_proved() {
        let mut login = Exchange::new(Mechanism::ScramSha256, "u", "p".into());
        assert!(login.initial_response().is_some());
        assert!(!login.is_server_proved());
        assert_eq!(login.respond("cj1ldmls"), Err(OutOfAnswers));
    }
}
