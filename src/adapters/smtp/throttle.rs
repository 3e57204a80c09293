//! Replies that are about how much an account sends, and not about a message: it waits, all of it, and no
//! message ages or fails by it. Floor 3.

use std::time::Duration;

use crate::model::failure::Remedy;
use crate::model::outbox::Reply;

/// Whether a server wants less of the account. Providers say so with 421, with codes of their own, or only
/// in words; a full mailbox and greylisting are others.
pub(super) fn is_throttle(reply: &Reply) -> bool {
    if matches!(reply.code, 421 | 432) {
        return true;
    }
    if !(400..600).contains(&reply.code) || is_of_recipient(reply) {
        return false;
    }
    match reply.enhanced {
        // Gmail: the daily limit. Exchange Online: limits of a day, of a tenant.
        Some([_, 4, 5] | [5, 7, 232 | 233] | [5, 1, 90]) => true,
        _ => {
            let text = reply.text.to_lowercase();
            !text.contains("greylist")
                && !text.contains("graylist")
                && WORDS.iter().any(|words| text.contains(words))
        }
    }
}

/// Whether it is the recipient's mailbox that gets too much.
fn is_of_recipient(reply: &Reply) -> bool {
    matches!(reply.enhanced, Some([_, 2, _]))
}

/// When to come back: what the server says, else in an hour where only a new day helps.
pub(super) fn remedy(reply: &Reply) -> Remedy {
    match pause(&reply.text) {
        Some(pause) => Remedy::After(pause),
        None if reply.is_transient() => Remedy::Later,
        None => Remedy::After(LONG),
    }
}

/// `try again in 5 minutes`, `retry after 30s`: at most a day.
fn pause(text: &str) -> Option<Duration> {
    let text = text.to_lowercase();
    let rest = BEFORE.iter().find_map(|before| text.split_once(before).map(|(_, rest)| rest))?;
    let rest = rest.trim_start_matches([' ', ':', '=']);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = rest.get(..digits)?.parse().ok()?;
    let unit = rest.get(digits..)?.trim_start();
    let seconds = match unit.chars().next() {
        Some('m') if !unit.starts_with("ms") && !unit.starts_with("milli") => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        Some('m') => return Some(Duration::from_millis(number.min(DAY * 1000))),
        _ => 1,
    };
    Some(Duration::from_secs(number.saturating_mul(seconds).min(DAY)))
}

const WORDS: [&str; 14] = [
    "rate limit",
    "ratelimit",
    "rate-limit",
    "sending limit",
    "sending quota",
    "sending rate",
    "daily limit",
    "hourly limit",
    "quota exceeded for sending",
    "too many connections",
    "too many messages",
    "too much mail",
    "too fast",
    "throttl",
];
const BEFORE: [&str; 6] =
    ["again in ", "again after ", "retry in ", "retry after ", "retry-after", "wait for "];
const LONG: Duration = Duration::from_secs(3600);
const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        let (code, rest) = text.split_once(' ').unwrap();
        let (word, words) = rest.split_once(' ').unwrap();
        let parts: Vec<u8> = word.split('.').filter_map(|part| part.parse().ok()).collect();
        let code = code.parse().unwrap();
        match <[u8; 3]>::try_from(parts) {
            Ok(enhanced) => Reply::new(code, Some(enhanced), words),
            Err(_) => Reply::new(code, None, rest),
        }
    }

    #[test]
    fn what_providers_say_of_too_much_is_about_the_account() {
        let (later, hour) = (Remedy::Later, Remedy::After(Duration::from_secs(3600)));
        let after = |seconds| Remedy::After(Duration::from_secs(seconds));
        for (text, when) in [
            ("421 4.7.0 Try again later, closing connection", later),
            ("421 4.7.28 Our system has detected an unusual rate of mail", later),
            ("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", later),
            ("550 5.4.5 Daily user sending limit exceeded. For more information go to", hour),
            ("550 5.7.232 Your message can't be sent because your trial tenant has exceeded", hour),
            ("451 4.7.1 Rate limit exceeded, try again in 300 seconds", after(300)),
            ("452 4.3.1 too many messages, please retry after 5 minutes", after(300)),
            ("450 4.7.1 Error: too much mail from 192.0.2.1", later),
            ("550 You have reached your hourly limit, try again in 1 hour", after(3600)),
            (
                "451 Throttling failure: Maximum sending rate exceeded. wait for 500 ms",
                Remedy::After(Duration::from_millis(500)),
            ),
        ] {
            let reply = reply(text);
            assert!(is_throttle(&reply), "{text}");
            assert_eq!(remedy(&reply), when, "{text}");
        }
    }

    #[test]
    fn other_refusals_stay_with_their_message() {
        for text in [
            "450 4.2.1 The user you are trying to contact is receiving mail too fast; rate limited",
            "452 4.2.2 The email account is over quota",
            "552 5.2.2 mailbox full, daily limit of the mailbox",
            "451 4.7.1 Greylisted, try again in 300 seconds; rate limit of new senders",
            "550 5.1.1 nobody here",
            "452 4.5.3 too many recipients",
            "554 5.7.1 never",
            "250 2.0.0 rate limit of 500 a day noted",
        ] {
            assert!(!is_throttle(&reply(text)), "{text}");
        }
    }

    #[test]
    fn a_pause_is_bounded_and_nonsense_is_none() {
        assert_eq!(pause("try again in 99999999999999 hours"), Some(Duration::from_secs(DAY)));
        assert_eq!(pause("Retry-After: 30"), Some(Duration::from_secs(30)));
        for text in ["again in a while", "again in ", "later", "again in 99999999999999999999999 s"]
        {
            assert_eq!(pause(text), None, "{text}");
        }
    }
}
