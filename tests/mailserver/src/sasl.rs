//! What the servers know of SASL: the one message of PLAIN and of XOAUTH2.

/// Splits `authzid NUL authcid NUL password`.
pub(crate) fn plain(message: &[u8]) -> Option<(String, String)> {
    let mut parts = message.split(|b| *b == 0).skip(1);
    let user = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let password = String::from_utf8(parts.next()?.to_vec()).ok()?;
    parts.next().is_none().then_some((user, password))
}

/// The user and the token of `user=… SOH auth=Bearer … SOH SOH`.
pub(crate) fn xoauth2(message: Vec<u8>) -> Option<(String, String)> {
    let message = String::from_utf8(message).ok()?;
    let part = |key: &str| message.split('\x01').find_map(|part| part.strip_prefix(key));
    let found = part("user=").zip(part("auth=Bearer "));
    found.map(|(user, token)| (user.to_owned(), token.to_owned()))
}
