//! What both servers know of SASL: PLAIN's one message.

/// Splits `authzid NUL authcid NUL password`.
pub(crate) fn plain(message: &[u8]) -> Option<(String, String)> {
    let mut parts = message.split(|b| *b == 0).skip(1);
    let user = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let password = String::from_utf8(parts.next()?.to_vec()).ok()?;
    parts.next().is_none().then_some((user, password))
}
