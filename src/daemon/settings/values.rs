//! The small languages inside values: durations, sizes, paths, pins, addresses. Floor 5.
//!
//! Each answers a value or says, without the key, what is wrong.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;

use super::Surroundings;
use super::raw::quoted;
use crate::rules::span::span;

/// `30s`, `5m`, `2h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{} is not a duration like \"30s\", \"5m\", \"2h\" or \"7d\"", quoted(text));
    let found = span(text).ok_or_else(wrong)?;
    if found.as_secs() <= DURATION_SECS_MAX {
        Ok(found)
    } else {
        Err(format!("{} is more than \"3650d\"", quoted(text)))
    }
}

/// `512`, `64KiB`, `10MiB`, `1GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{} is not a size like \"64KiB\" or \"10MiB\"", quoted(text));
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit_bytes: u64 = match text.strip_prefix(digits) {
        Some("" | "B") => 1,
        Some("KiB") => 1 << 10,
        Some("MiB") => 1 << 20,
        Some("GiB") => 1 << 30,
        Some(_) | None => return Err(wrong()),
    };
    number(digits).and_then(|n| n.checked_mul(unit_bytes)).ok_or_else(wrong)
}

/// A path with `~` and `$VAR` expanded; it must be absolute, since a service has no directory of
/// its own.
pub(super) fn path(text: &str, around: &Surroundings) -> Result<PathBuf, String> {
    let path = match text.strip_prefix('~') {
        None => PathBuf::from(variables(text, around)?),
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            around.home.join(variables(rest, around)?.trim_start_matches('/'))
        }
        Some(_) => {
            return Err(format!("{}: only \"~/\" is expanded, not another user's", quoted(text)));
        }
    };
    if text.contains('\0') {
        return Err("a path cannot contain a NUL character".to_owned());
    }
    if !path.is_absolute() {
        return Err(format!(
            "{} is not an absolute path (begin with \"/\" or \"~/\")",
            quoted(text)
        ));
    }
    Ok(normal(&path))
}

/// Expands `$VAR` and `${VAR}`; another `$` stands for itself.
fn variables(text: &str, around: &Surroundings) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, tail) = match after.strip_prefix('{') {
            Some(braced) => braced
                .split_once('}')
                .ok_or_else(|| format!("{}: \"${{\" is not closed", quoted(text)))?,
            None => {
                let end = after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                after.split_at(end.unwrap_or(after.len()))
            }
        };
        if name.is_empty() {
            out.push('$');
        } else {
            let value = (around.var)(name);
            out.push_str(&value.ok_or_else(|| format!("the variable ${name} is not set"))?);
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The path without `.`, `..` and doubled slashes.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(component),
        }
    }
    out
}

/// A SHA-256 digest in hex (colons allowed) or base64, with or without `sha256//` before it.
pub(super) fn pin(text: &str) -> Result<[u8; 32], String> {
    let digest = text.strip_prefix("sha256//").unwrap_or(text);
    let hex = digest.replace(':', "");
    let bytes = if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        let digits: Vec<char> = hex.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
        digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>()
    } else {
        let unpadded = digest.trim_end_matches('=');
        base64::engine::general_purpose::STANDARD_NO_PAD.decode(unpadded).ok()
    };
    bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| {
        format!(
            "{} is not a SHA-256 digest (64 hex digits, or 44 characters of base64)",
            quoted(text)
        )
    })
}

/// An address: one `@` with something on both sides, nothing that could break a protocol line.
pub(super) fn address(text: &str) -> Result<String, String> {
    let wrong = || format!("{} is not an address like \"me@example.com\"", quoted(text));
    let bad = |c: char| c.is_control() || c.is_whitespace() || "<>,;:\"()\\".contains(c);
    let (local, domain) = text.split_once('@').ok_or_else(wrong)?;
    if local.is_empty() || domain.is_empty() || domain.contains('@') || text.contains(bad) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// An address, or `*@domain`. (An asterisk is a valid local part, so the check is the same.)
pub(super) fn alias(text: &str) -> Result<String, String> {
    match text.split_once('@') {
        Some((local, _)) if local.contains('*') && local != "*" => {
            Err(format!("{}: the only pattern is \"*@domain\"", quoted(text)))
        }
        Some(_) | None => address(text),
    }
}

/// A host name or an IP address, without brackets.
pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_owned());
    }
    if text.contains("://") {
        return Err(format!("{} is a URL; only the host's name belongs here", quoted(text)));
    }
    if text.contains(':') {
        return Err(format!("{}: the port has a key of its own: port = 993", quoted(text)));
    }
    if !text.is_ascii() {
        return Err(format!("{}: write it in its ASCII form (xn--…)", quoted(text)));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 253 || !text.chars().all(valid) {
        return Err(format!("{} is not a host name", quoted(text)));
    }
    Ok(text.to_owned())
}

/// Whether nothing sent to this host leaves the machine.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Text for a line of a protocol: not empty, no control characters.
pub(super) fn one_line(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("is empty".to_owned())
    } else if text.contains(char::is_control) {
        Err(format!("{} contains a control character", quoted(text)))
    } else {
        Ok(text.to_owned())
    }
}

/// A glob pattern on mailbox names: `*` and `?`, with `!` before it to exclude.
///
/// A bracket stands for itself, so that `[Gmail]/*` means what it says.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    one_line(text.strip_prefix('!').unwrap_or(text))?;
    Ok(text.to_owned())
}

fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

const DURATION_SECS_MAX: u64 = 3650 * 86_400;
