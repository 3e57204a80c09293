//! Mailbox names: the server's spelling (modified UTF-7, any delimiter) against ours. Floor 1.

use crate::model::ids::MailboxName;

/// Decodes the server's name (RFC 3501 §5.1.3) into ours; `None` if it cannot be written back
/// exactly, or is unusable: empty, a NUL, an empty level.
pub fn from_server(
    raw: &str,
    delimiter: Option<char>,
    prefix: Option<&str>,
) -> Option<MailboxName> {
    let inner = strip_prefix(raw, delimiter, prefix)?;
    if inner.eq_ignore_ascii_case("INBOX") {
        return Some(MailboxName::inbox());
    }
    let levels: Vec<&str> = match delimiter {
        Some(d) => inner.split(d).collect(),
        None => vec![inner],
    };
    let mut decoded = Vec::new();
    for level in levels {
        let text = decode_utf7(level)?;
        if text.is_empty() || text.contains('\0') {
            return None;
        }
        decoded.push(escape_slash(&text));
    }
    if decoded.first().is_some_and(|l| l.eq_ignore_ascii_case("INBOX")) {
        decoded.splice(0..1, ["INBOX".to_owned()]);
    }
    let name = MailboxName(decoded.join("/"));
    let back = to_server(&name, delimiter, prefix);
    (back.as_deref() == Some(raw) || name.as_str().starts_with("INBOX")).then_some(name)
}

/// Encodes our name for the server; `None` if it cannot be said there: levels without a delimiter,
/// or the delimiter inside a level.
pub fn to_server(
    name: &MailboxName,
    delimiter: Option<char>,
    prefix: Option<&str>,
) -> Option<String> {
    if name.is_inbox() {
        return Some("INBOX".to_owned());
    }
    let mut levels = Vec::new();
    for level in name.levels() {
        let text = unescape_slash(level);
        if text.is_empty() || delimiter.is_some_and(|d| text.contains(d)) {
            return None;
        }
        levels.push(encode_utf7(&text));
    }
    if levels.len() > 1 && delimiter.is_none() {
        return None;
    }
    let mut sep = [0_u8; 4];
    let joined = levels.join(delimiter.map_or("", |d| d.encode_utf8(&mut sep)));
    Some(match prefix.filter(|_| !name.as_str().starts_with("INBOX/")) {
        Some(p) => format!("{}{joined}", prefix_text(p, delimiter)),
        None => joined,
    })
}

fn prefix_text(prefix: &str, delimiter: Option<char>) -> String {
    match delimiter {
        Some(d) if !prefix.is_empty() && !prefix.ends_with(d) => format!("{prefix}{d}"),
        _ => prefix.to_owned(),
    }
}

fn strip_prefix<'a>(
    raw: &'a str,
    delimiter: Option<char>,
    prefix: Option<&str>,
) -> Option<&'a str> {
    let Some(prefix) = prefix.filter(|p| !p.is_empty()) else {
        return Some(raw);
    };
    if raw.eq_ignore_ascii_case("INBOX") {
        return Some(raw);
    }
    raw.strip_prefix(&prefix_text(prefix, delimiter)).filter(|rest| !rest.is_empty())
}

/// Writes a `/` inside a level as `%2F`, and a `%` that would then be ambiguous as `%25`.
fn escape_slash(level: &str) -> String {
    let mut out = String::new();
    for (at, c) in level.char_indices() {
        match c {
            '/' => out.push_str("%2F"),
            '%' if is_hex_pair(level.get(at.saturating_add(1)..)) => out.push_str("%25"),
            c => out.push(c),
        }
    }
    out
}

fn unescape_slash(level: &str) -> String {
    level.replace("%2F", "/").replace("%25", "%")
}

fn is_hex_pair(rest: Option<&str>) -> bool {
    let mut bytes = rest.unwrap_or_default().bytes();
    matches!((bytes.next(), bytes.next()), (Some(a), Some(b))
        if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

/// Decodes modified UTF-7 (RFC 3501 §5.1.3); `None` if it is not valid. Names that are already
/// UTF-8 (RFC 6855, or a careless server) pass as they are.
pub fn decode_utf7(raw: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (code, tail) = after.split_once('-')?;
        if code.is_empty() {
            out.push('&');
        } else {
            out.push_str(&decode_shifted(code)?);
        }
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

fn decode_shifted(code: &str) -> Option<String> {
    let mut bits: u32 = 0;
    let mut n_bits: u32 = 0;
    let mut units: Vec<u16> = Vec::new();
    for byte in code.bytes() {
        let value = BASE64.iter().position(|b| *b == byte)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        n_bits = n_bits.saturating_add(6);
        if n_bits >= 16 {
            n_bits = n_bits.saturating_sub(16);
            units.push(u16::try_from((bits >> n_bits) & 0xffff).ok()?);
            bits &= (1_u32 << n_bits).saturating_sub(1);
        }
    }
    if n_bits >= 6 || bits != 0 {
        return None;
    }
    String::from_utf16(&units).ok()
}

/// Encodes as modified UTF-7 (RFC 3501 §5.1.3).
pub fn encode_utf7(text: &str) -> String {
    let mut out = String::new();
    let mut shifted: Vec<u16> = Vec::new();
    for c in text.chars() {
        if (' '..='~').contains(&c) {
            flush_shifted(&mut out, &mut shifted);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0_u16; 2];
            shifted.extend_from_slice(c.encode_utf16(&mut units));
        }
    }
    flush_shifted(&mut out, &mut shifted);
    out
}

fn flush_shifted(out: &mut String, units: &mut Vec<u16>) {
    if units.is_empty() {
        return;
    }
    out.push('&');
    let mut bits: u32 = 0;
    let mut n_bits: u32 = 0;
    for unit in units.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        n_bits = n_bits.saturating_add(16);
        while n_bits >= 6 {
            n_bits = n_bits.saturating_sub(6);
            push_base64(out, (bits >> n_bits) & 63);
        }
        bits &= (1_u32 << n_bits).saturating_sub(1);
    }
    if n_bits > 0 {
        push_base64(out, (bits << 6_u32.saturating_sub(n_bits)) & 63);
    }
    out.push('-');
}

fn push_base64(out: &mut String, value: u32) {
    let byte = usize::try_from(value).ok().and_then(|i| BASE64.get(i)).copied().unwrap_or(b'A');
    out.push(char::from(byte));
}

/// The alphabet of modified UTF-7: `,` stands for `/`.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_rfc_decode() {
        assert_eq!(
            decode_utf7("~peter/mail/&U,BTFw-/&ZeVnLIqe-").as_deref(),
            Some("~peter/mail/台北/日本語")
        );
        assert_eq!(encode_utf7("Entwürfe & Co"), "Entw&APw-rfe &- Co");
        assert_eq!(decode_utf7("&Jjo"), None);
        assert_eq!(decode_utf7("&!-"), None);
    }

    #[test]
    fn any_delimiter_becomes_a_slash_and_a_slash_in_a_level_survives() {
        let cases = [
            ("Archive.2024.Q1", Some('.'), None, "Archive/2024/Q1"),
            ("a/b.c", Some('.'), None, "a%2Fb/c"),
            ("50%2F.x", Some('.'), None, "50%252F/x"),
            ("100%", Some('/'), None, "100%"),
            ("inbox", Some('/'), None, "INBOX"),
            ("INBOX.Sent", Some('.'), Some("INBOX."), "Sent"),
            ("INBOX.Sent", Some('.'), Some("INBOX"), "Sent"),
            ("INBOX", Some('.'), Some("INBOX."), "INBOX"),
            ("back\\slash", Some('\\'), None, "back/slash"),
            ("flat", None, None, "flat"),
        ];
        for (raw, delimiter, prefix, want) in cases {
            let name = from_server(raw, delimiter, prefix);
            assert_eq!(name.as_ref().map(MailboxName::as_str), Some(want), "{raw}");
        }
        assert_eq!(from_server("Other", Some('.'), Some("INBOX.")), None);
        assert_eq!(from_server("a//b", Some('/'), None), None);
        assert_eq!(from_server("", Some('/'), None), None);
        assert_eq!(to_server(&MailboxName("a/b".into()), None, None), None);
        assert_eq!(to_server(&MailboxName("v1.2".into()), Some('.'), None), None);
    }

    proptest! {
        #[test]
        fn every_name_comes_back(levels in prop::collection::vec("[^\0.]{1,12}", 1..4)) {
            let raw = levels.iter().map(|l| encode_utf7(l)).collect::<Vec<_>>().join(".");
            prop_assume!(!raw.to_ascii_uppercase().starts_with("INBOX"));
            let name = from_server(&raw, Some('.'), None);
            prop_assert!(name.is_some(), "{raw}");
            prop_assert_eq!(to_server(&name.unwrap(), Some('.'), None), Some(raw));
        }

        #[test]
        fn decoding_never_panics(raw in ".*") {
            drop(from_server(&raw, Some('/'), Some("x")));
        }
    }
}
