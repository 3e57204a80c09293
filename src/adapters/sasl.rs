//! SASL, once for all protocols: PLAIN (RFC 4616) and LOGIN. Floor 3.
//!
//! Speaks base64, as IMAP, POP3 and SMTP do on their lines. It does not know whether the connection
//! is encrypted: its callers refuse to log in over cleartext.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::model::account::Mechanism;

/// One login attempt with one mechanism. Its answers carry secrets: never log them.
pub struct Exchange {
    mechanism: Mechanism,
    user: String,
    password: SecretString,
    answers: u8,
}

/// The server asked for more than the mechanism has; the caller cancels with `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfAnswers;

/// Returns the mechanism to use: the first of `preference` that is offered, or PLAIN over LOGIN.
pub fn choose(preference: &[Mechanism], offered: &[Mechanism]) -> Option<Mechanism> {
    let order = if preference.is_empty() { BEST_FIRST } else { preference };
    order.iter().copied().find(|mechanism| offered.contains(mechanism))
}

/// Returns the mechanism of a name as it stands in a capability line, in any case.
pub fn mechanism(name: &str) -> Option<Mechanism> {
    BEST_FIRST.iter().copied().find(|known| mechanism_name(*known).eq_ignore_ascii_case(name))
}

/// Returns the name of a mechanism as it travels.
pub fn mechanism_name(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::Login => "LOGIN",
    }
}

impl Exchange {
    /// Begins a login.
    pub fn new(mechanism: Mechanism, user: &str, password: SecretString) -> Self {
        Self { mechanism, user: user.to_owned(), password, answers: 0 }
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
            Mechanism::Plain => self.respond("").ok(),
            Mechanism::Login => None,
        }
    }

    /// Returns the base64 answer to the server's next challenge.
    ///
    /// # Errors
    ///
    /// [`OutOfAnswers`] when the mechanism has nothing left to say.
    pub fn respond(&mut self, _challenge: &str) -> Result<Zeroizing<String>, OutOfAnswers> {
        // LOGIN's prompts are texts of the server's taste (Username:, User Name\0), so order decides.
        let answer = match (self.mechanism, self.answers) {
            (Mechanism::Plain, 0) => {
                let password = self.password.expose_secret();
                let mut message =
                    Zeroizing::new(Vec::with_capacity(self.user.len() + password.len() + 2));
                message.push(0);
                message.extend_from_slice(self.user.as_bytes());
                message.push(0);
                message.extend_from_slice(password.as_bytes());
                encode(&message)
            }
            (Mechanism::Login, 0) => encode(self.user.as_bytes()),
            (Mechanism::Login, 1) => encode(self.password.expose_secret().as_bytes()),
            (Mechanism::Plain | Mechanism::Login, _) => return Err(OutOfAnswers),
        };
        self.answers += 1;
        Ok(answer)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(bytes))
}

const BEST_FIRST: &[Mechanism] = &[Mechanism::Plain, Mechanism::Login];

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
        assert_eq!(mechanism("CRAM-MD5"), None);
    }
}
