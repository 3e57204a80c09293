//! What an account holds on its server, in words. Beside floor 5.

use crate::model::failure::server_words;
use crate::model::provider::Preset;
use crate::model::survey::{Size, Survey, Surveyed};

/// The mailboxes with their roles, and how much will come.
pub(super) fn as_text(survey: &Survey, preset: Option<&Preset>) -> String {
    let shown: Vec<(String, String)> = survey.mailboxes.iter().take(SHOWN_MAX).map(line).collect();
    let width = shown.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let mut lines: Vec<String> =
        shown.iter().map(|(name, rest)| format!("  {name:width$}  {rest}")).collect();
    let n_more = survey.mailboxes.len().saturating_sub(SHOWN_MAX);
    if n_more > 0 {
        lines.push(format!("  and {n_more} more"));
    }
    lines.push(total(survey));
    lines.extend(preset.and_then(|preset| patience(survey.size, preset)));
    lines.join("\n")
}

fn line(mailbox: &Surveyed) -> (String, String) {
    let mut rest = mailbox.n_messages.map_or_else(|| "not counted".to_owned(), messages);
    if let Some(role) = mailbox.role.filter(|_| !mailbox.name.is_inbox()) {
        rest.push_str(&format!(", {}", role.as_str()));
    }
    if !mailbox.is_synced {
        rest.push_str(", not synced");
    }
    (server_words(mailbox.name.as_str()), rest)
}

/// What a person wants to know before it begins: `9031 messages, 1.4 GB, INBOX first`.
fn total(survey: &Survey) -> String {
    let more = if survey.is_counted() { "" } else { "at least " };
    let count = format!("{more}{}", messages(survey.n_messages()));
    let order = if survey.mailboxes.len() > 1 { ", INBOX first" } else { "" };
    match survey.size {
        Size::Exactly(n) => format!("{count}, {}{order}", bytes(n)),
        Size::About(n) => format!("{count}, about {}{order}", bytes(n)),
        Size::Unknown => format!("{count}{order}; the server does not say how large"),
    }
}

/// Where the provider gives out less a day than there is.
fn patience(size: Size, preset: &Preset) -> Option<String> {
    let daily = u64::from(preset.daily?.down_mb) * 1_000_000;
    let (Size::About(n) | Size::Exactly(n)) = size else { return None };
    let n_days = n.div_ceil(daily.max(1));
    (n_days > 1).then(|| {
        format!("{} gives out {} a day: all of it takes {n_days} days", preset.title, bytes(daily))
    })
}

fn messages(n: u64) -> String {
    if n == 1 { "1 message".to_owned() } else { format!("{n} messages") }
}

/// A size as disks and providers count, in powers of 1000.
fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["bytes", "kB", "MB"] {
        if value < 999.5 {
            let digits = usize::from(unit != "bytes" && value < 9.95);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} GB")
}

/// More mailboxes than this fill the screen.
const SHOWN_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::account::Role;
    use crate::model::ids::MailboxName;

    fn mailbox(name: &str, role: Option<Role>, n_messages: Option<u64>) -> Surveyed {
        Surveyed { name: MailboxName(name.to_owned()), role, n_messages, is_synced: true }
    }

    #[test]
    fn mailboxes_stand_in_columns_and_what_comes_stands_below() {
        let all = Surveyed { is_synced: false, ..mailbox("All", Some(Role::All), Some(9030)) };
        let mut survey = Survey {
            mailboxes: vec![
                mailbox("INBOX", Some(Role::Inbox), Some(9030)),
                mailbox("Sent Messages", Some(Role::Sent), Some(1)),
                all,
            ],
            size: Size::Exactly(1_400_000_000),
        };
        let shown = "  INBOX          9030 messages\n  Sent Messages  1 message, sent\n  \
                     All            9030 messages, all, not synced\n\
                     9031 messages, 1.4 GB, INBOX first";
        assert_eq!(as_text(&survey, None), shown);
        let gmail = crate::daemon::settings::presets().get("gmail");
        assert_eq!(as_text(&survey, gmail), shown, "it comes on the first day");
        survey.size = Size::About(6_000_000_000);
        let last = as_text(&survey, gmail).lines().last().unwrap().to_owned();
        assert_eq!(
            last,
            "Gmail and Google Workspace gives out 2.5 GB a day: all of it takes 3 days"
        );
        survey.mailboxes.push(mailbox("x\u{1b}[2J", None, None));
        survey.size = Size::Unknown;
        let shown = as_text(&survey, None);
        assert!(!shown.contains('\u{1b}') && shown.contains("not counted"), "{shown}");
        assert!(shown.contains("\nat least 9031 messages, INBOX first; the server"), "{shown}");
        survey.mailboxes.extend((0..40).map(|n| mailbox(&n.to_string(), None, Some(0))));
        assert!(as_text(&survey, None).contains("\n  and 24 more\n"));
    }

    #[test]
    fn sizes_are_short_and_of_the_right_unit() {
        for (n, shown) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (9_940, "9.9 kB"),
            (12_345, "12 kB"),
            (999_600, "1.0 MB"),
            (45_600_000, "46 MB"),
            (1_400_000_000, "1.4 GB"),
            (123_400_000_000, "123.4 GB"),
        ] {
            assert_eq!(bytes(n), shown);
        }
    }
}
