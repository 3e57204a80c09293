//! What the control headers of a message ask for, and what is wrong with them. Floor 1.

use crate::model::account::OnUncertain;
use crate::model::failure::server_words;
use crate::model::ids::AccountName;
use crate::model::outbox::{Address, Dsn};
use crate::model::status::Micros;

use super::addresses::addresses;
use super::relay::after;
use super::span::span;

/// What the control headers of a message ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `X-Postrider-Account`.
    pub account: Option<AccountName>,
    /// `X-Postrider-Envelope-From`; `Some(None)` is the null sender.
    pub sender: Option<Option<Address>>,
    /// `X-Postrider-Hold`.
    pub hold: bool,
    /// `X-Postrider-Send-After`.
    pub send_after: SendAfter,
    /// `X-Postrider-On-Uncertain`.
    pub on_uncertain: Option<OnUncertain>,
    /// `X-Postrider-DSN`.
    pub dsn: Dsn,
    /// What cannot be read, each with its header and what can stand there.
    pub wrong: Vec<String>,
}

/// When a message may leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SendAfter {
    /// At once.
    #[default]
    Now,
    /// Not before this moment.
    Moment(Micros),
    /// Not before so many microseconds after it was queued.
    Delay(Micros),
}

impl SendAfter {
    /// The moment for a message that was queued then; 0 is at once.
    pub fn from(self, queued_at: Micros) -> Micros {
        match self {
            Self::Now => 0,
            Self::Moment(at) => at,
            Self::Delay(delay) => queued_at.saturating_add(delay),
        }
    }
}

impl Wishes {
    /// Reads them; `value` answers a header's value by its name in lower case. An empty one asks for nothing.
    pub(super) fn read<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut wrong = Vec::new();
        let mut wish = |name: &str, can: &str, is_read: &mut dyn FnMut(&str) -> bool| {
            let text =
                value(&name.to_ascii_lowercase()).map(str::trim).filter(|text| !text.is_empty());
            if let Some(text) = text.filter(|text| !is_read(text)) {
                wrong.push(format!("{name}: \"{}\" cannot be read: {can}", server_words(text)));
            }
        };
        let mut all = Self::default();
        wish("X-Postrider-Account", "", &mut |text| {
            all.account = Some(AccountName(text.to_owned()));
            true
        });
        wish("X-Postrider-Envelope-From", "write an address, or <> for none", &mut |text| {
            all.sender = sender(text);
            all.sender.is_some()
        });
        wish("X-Postrider-Hold", "write yes or no", &mut |text| {
            let word = yes_or_no(text);
            all.hold = word.unwrap_or_default();
            word.is_some()
        });
        wish("X-Postrider-Send-After", MOMENTS, &mut |text| {
            let found = moment(text);
            all.send_after = found.unwrap_or_default();
            found.is_some()
        });
        wish("X-Postrider-On-Uncertain", "write hold or retry", &mut |text| {
            all.on_uncertain = [("retry", OnUncertain::Retry), ("hold", OnUncertain::Hold)]
                .into_iter()
                .find_map(|(word, wish)| word.eq_ignore_ascii_case(text).then_some(wish));
            all.on_uncertain.is_some()
        });
        wish("X-Postrider-DSN", REPORTS, &mut |text| {
            all.dsn = Dsn::parse(text);
            Dsn::is_whole(text)
        });
        all.wrong = wrong;
        all
    }
}

fn sender(text: &str) -> Option<Option<Address>> {
    if text == "<>" {
        return Some(None);
    }
    let mut found = addresses(text).into_iter();
    match (found.next(), found.next()) {
        (Some(Ok(address)), None) => Some(Some(address)),
        _ => None,
    }
}

fn yes_or_no(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// Reads RFC 5322, RFC 3339, seconds since the epoch, or a duration.
fn moment(text: &str) -> Option<SendAfter> {
    if let Some(delay) = span(text) {
        return Some(SendAfter::Delay(after(0, delay)));
    }
    let parsed = chrono::DateTime::parse_from_rfc2822(text)
        .or_else(|_| chrono::DateTime::parse_from_rfc3339(text));
    let seconds = parsed.map(|time| time.timestamp()).ok().or_else(|| text.parse::<i64>().ok());
    let seconds = Micros::try_from(seconds?).ok()?;
    Some(SendAfter::Moment(seconds.saturating_mul(1_000_000)))
}

const MOMENTS: &str = "write a time like \"2026-03-01T08:00:00Z\" or \"Sun, 1 Mar 2026 08:00:00 +0100\", \
                       seconds since 1970, or a duration like \"30m\", \"1h\" or \"2d\"";
const REPORTS: &str = "write \"notify=\" with success, failure, delay or never, \"ret=full\" or \
                       \"ret=hdrs\", \"envid=\" with a word, and \";\" between them";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, text: &'static str) -> Wishes {
        Wishes::read(|asked| (asked == name).then_some(text))
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_can_stand_there() {
        for (name, text, wanted) in [
            ("x-postrider-send-after", "garbage", "X-Postrider-Send-After: \"garbage\""),
            ("x-postrider-send-after", "-5", "a duration like"),
            ("x-postrider-on-uncertain", "foo", "hold or retry"),
            ("x-postrider-dsn", "nonsense", "\"notify=\" with success"),
            ("x-postrider-dsn", "notify=failure; ret=half", "X-Postrider-DSN"),
            ("x-postrider-hold", "perhaps", "yes or no"),
            ("x-postrider-envelope-from", "nobody", "an address, or <>"),
        ] {
            let wrong = read(name, text).wrong;
            assert!(wrong.len() == 1 && wrong[0].contains(wanted), "{name}: {wrong:?}");
        }
    }

    #[test]
    fn what_can_be_read_is_not_wrong() {
        for (name, text) in [
            ("x-postrider-send-after", "1700000000"),
            ("x-postrider-send-after", "Sun, 1 Mar 2026 08:00:00 +0100"),
            ("x-postrider-on-uncertain", "Retry"),
            ("x-postrider-dsn", "failure,delay; RET=hdrs; envid=a-1"),
            ("x-postrider-hold", "No"),
            ("x-postrider-hold", ""),
            ("x-postrider-envelope-from", "Me <me@x.org>"),
        ] {
            assert_eq!(read(name, text).wrong, [""; 0], "{name}: {text}");
        }
        assert_eq!(read("x-postrider-envelope-from", "<>").sender, Some(None));
        let after = read("x-postrider-send-after", "1h").send_after;
        assert_eq!(after.from(5), 3_600_000_005);
    }
}
