//! A server that repeats what it was told must not have the secret shown, logged or stored. Floor 3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::model::failure::Failure;

/// The failure without whatever of its words holds the secret, as it is or within base64.
pub(super) fn without(secret: &SecretString, mut failure: Failure) -> Failure {
    let forms = forms(secret.expose_secret());
    for words in [&mut failure.server_said, &mut failure.detail, &mut failure.cure] {
        if words
            .as_ref()
            .is_some_and(|words| forms.iter().any(|form| words.contains(form.as_str())))
        {
            *words = Some(LEFT_OUT.to_owned());
        }
    }
    failure
}

/// The secret, and what of it stands in base64 (RFC 4648) of any text that holds it: that depends on where it
/// begins in a group of three bytes, and the characters at both ends depend on its neighbours.
fn forms(secret: &str) -> Vec<Zeroizing<String>> {
    let mut forms = vec![Zeroizing::new(secret.to_owned())];
    for n_before in 0..3_usize {
        let mut bytes = Zeroizing::new(Vec::with_capacity(n_before.saturating_add(secret.len())));
        bytes.resize(n_before, 0);
        bytes.extend(secret.bytes());
        let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(&*bytes));
        let whole = bytes.len().saturating_mul(8) / 6;
        let shared = n_before.saturating_mul(8).div_ceil(6);
        let form = encoded.get(shared..whole).filter(|form| form.len() >= SHORT);
        forms.extend(form.map(|form| Zeroizing::new(form.to_owned())));
    }
    forms.retain(|form| !form.is_empty());
    forms
}

/// Less than this turns up by chance.
const SHORT: usize = 4;
const LEFT_OUT: &str = "(left out: these words repeat the secret)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::{Kind, Remedy, Scope};
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn a_secret_that_is_repeated_in_any_form_is_not_shown() {
        let secret = SecretString::from("hunter2secret");
        let shown = |said: &str| {
            let failure = Failure::new(Scope::Account, Remedy::Later, Kind::AuthFailed, "log in");
            without(&secret, failure.said(said)).to_string()
        };
        assert!(shown("wrong password").contains("wrong password"));
        let plain = shown("you said: LOGIN {4}demo {13} hunter2secret");
        assert!(plain.contains("left out") && !plain.contains("hunter2"), "{plain}");
        for user in ["", "a", "ab", "abc"] {
            let blob = STANDARD.encode(format!("\0{user}\0hunter2secret"));
            let encoded = shown(&format!("cannot parse {blob}"));
            assert!(encoded.contains("left out") && !encoded.contains(&blob), "{encoded}");
            let blob =
                STANDARD.encode(format!("user={user}\u{1}auth=Bearer hunter2secret\u{1}\u{1}"));
            assert!(shown(&blob).contains("left out"));
        }
    }
}
