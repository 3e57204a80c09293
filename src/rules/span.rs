//! Durations as people write them. Floor 1.

use std::time::Duration;

/// Reads `30s`, `5m`, `2h`, `7d`; one that is longer than can be said is the longest.
pub fn span(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit_secs: u64 = match text.strip_prefix(digits)? {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse::<u64>().unwrap_or(u64::MAX);
    Some(Duration::from_secs(number.saturating_mul(unit_secs)))
}
