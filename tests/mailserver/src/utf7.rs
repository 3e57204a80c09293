//! Modified UTF-7 for mailbox names (RFC 3501, section 5.1.3).

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

const ENGINE: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

pub(crate) fn encode(name: &str) -> String {
    let mut out = String::new();
    let mut wide = String::new();
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            flush(&mut out, &mut wide);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            wide.push(c);
        }
    }
    flush(&mut out, &mut wide);
    out
}

fn flush(out: &mut String, wide: &mut String) {
    if wide.is_empty() {
        return;
    }
    let bytes: Vec<u8> = wide.encode_utf16().flat_map(u16::to_be_bytes).collect();
    out.push('&');
    out.push_str(&ENGINE.encode(bytes));
    out.push('-');
    wide.clear();
}

/// Returns `None` for bytes that are not modified UTF-7.
pub(crate) fn decode(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    if !name.is_ascii() {
        return Some(name.to_owned());
    }
    let mut out = String::new();
    let mut rest = name;
    while let Some((plain, tail)) = rest.split_once('&') {
        out.push_str(plain);
        let (shifted, after) = tail.split_once('-')?;
        if shifted.is_empty() {
            out.push('&');
        } else {
            let bytes = ENGINE.decode(shifted).ok()?;
            let units = bytes.chunks(2).map(|pair| match pair {
                [high, low] => Some(u16::from_be_bytes([*high, *low])),
                _ => None,
            });
            let units = units.collect::<Option<Vec<u16>>>()?;
            out.push_str(&String::from_utf16(&units).ok()?);
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_both_ways() {
        for (plain, coded) in [
            ("Entwürfe", "Entw&APw-rfe"),
            ("A & B", "A &- B"),
            ("日本語", "&ZeVnLIqe-"),
            ("Ham 🐟", "Ham &2D3cHw-"),
        ] {
            assert_eq!(encode(plain), coded);
            assert_eq!(decode(coded.as_bytes()).as_deref(), Some(plain));
        }
        assert_eq!(decode(b"bad&AP"), None);
    }
}
