//! Mailbox addresses that are safe in a command. Floor 0.

use std::fmt;

/// A mailbox address that is safe in an SMTP command (RFC 5321 §4.1.2): no control character, no space
/// and no angle bracket outside a quoted local part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

impl Address {
    /// Checks an address; none when it could not stand in a command.
    pub fn new(text: &str) -> Option<Self> {
        let (local, domain) = text.rsplit_once('@')?;
        let fits = text.len() <= ADDRESS_BYTES_MAX && !text.chars().any(char::is_control);
        (fits && is_local_part(local) && is_domain(domain)).then(|| Self(text.to_owned()))
    }

    /// The address as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the last `@`.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }

    /// The part after the last `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// The address with its domain in lower case: two addresses with one key are one mailbox.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}@{}", self.local_part(), self.domain().to_lowercase())
    }

    /// Whether it can only travel with SMTPUTF8 (RFC 6531).
    pub fn needs_utf8(&self) -> bool {
        !self.0.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_local_part(local: &str) -> bool {
    if let Some(quoted) = local.strip_prefix('"') {
        let Some(inner) = quoted.strip_suffix('"') else { return false };
        let mut escaped = false;
        for c in inner.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return false,
                _ => {}
            }
        }
        return !escaped;
    }
    // Lone and trailing dots are against the grammar and yet in use, so they pass.
    !local.is_empty() && local.chars().all(|c| !c.is_whitespace() && !"()<>[]:;@\\,\"".contains(c))
}

fn is_domain(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return !literal.is_empty()
            && literal.chars().all(|c| c.is_ascii_alphanumeric() || ".:-".contains(c));
    }
    let legal = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    domain.split('.').all(|label| !label.is_empty() && label.chars().all(legal))
}

const ADDRESS_BYTES_MAX: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_could_steer_a_command_do_not_exist() {
        for good in ["a@b", "a.b+c@example.com", "\"a b <c>\"@x.org", "u@[127.0.0.1]", "ü@ä.de"] {
            assert!(Address::new(good).is_some(), "{good}");
        }
        for bad in [
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b c",
            "a\r\nRCPT TO:<x>@b",
            "a>@b",
            "<a@b>",
            "a@b>",
            "a\0@b",
            "\"a\r\"@b",
            "\"a\"\"@b",
            "a@b\n",
            "\"a\\\"@b",
            "a\u{7f}@b",
            "a@.b",
            "a,b@c",
            "a\u{85}@b",
        ] {
            assert_eq!(Address::new(bad), None, "{bad:?}");
        }
    }
}
