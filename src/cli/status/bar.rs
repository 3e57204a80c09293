//! The state in a line, for bars: waybar, polybar, tmux. Beside floor 5.

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::json;

use crate::cli::view::StatusView;

/// The bar that reads the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    Waybar,
    Polybar,
    Tmux,
}

/// The line; without a status no daemon answers, and `silent` is the process that is at work all the same.
pub(super) fn line(
    format: Format,
    status: Option<&StatusView>,
    silent: Option<u32>,
    now: DateTime<Utc>,
) -> String {
    let unasked = if silent.is_some() { "unknown" } else { "stopped" };
    let state = status.map_or(unasked, |status| status.state.as_str());
    let unread: u32 = status.map_or(0, |s| s.accounts.iter().map(|a| a.unread).sum());
    let is_bad = matches!(state, "attention" | "stopped");
    match format {
        Format::Waybar => {
            let tooltip = status.map_or_else(
                || match silent {
                    None => "postrider does not run".to_owned(),
                    Some(pid) => format!("postrider is at work (pid {pid}), and cannot be asked"),
                },
                |status| super::screen(status, None, now, false),
            );
            let text = if unread > 0 { unread.to_string() } else { String::new() };
            // What waybar shows is markup of Pango.
            let tooltip = tooltip.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            json!({"text": text, "alt": state, "class": state, "tooltip": tooltip}).to_string()
        }
        Format::Polybar | Format::Tmux => {
            let sign = if is_bad { "! " } else { "" };
            format!("{sign}{unread}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_unread_mail_and_that_somebody_is_needed() {
        let document = r#"{"version":"1","state":"attention","pid":1,"since":null,"accounts":[{"name":"a<b",
            "address":"x","protocol":"imap","state":"needs-login","push":"idle","error":null,"last_sync":null,
            "last_success":null,"unread":3,"total":4,"held":0,"progress":null,"mailboxes":[]}],
            "outbox":{"queued":0,"held":0,"uncertain":0,"failed":0,"next_attempt":null,"directory":"/o"}}"#;
        let view: StatusView = serde_json::from_str(document).unwrap();
        let shown = |format| line(format, Some(&view), None, DateTime::UNIX_EPOCH);
        assert_eq!(shown(Format::Tmux), "! 3");
        let waybar: serde_json::Value = serde_json::from_str(&shown(Format::Waybar)).unwrap();
        assert_eq!((&waybar["text"], &waybar["class"]), (&json!("3"), &json!("attention")));
        assert!(waybar["tooltip"].as_str().unwrap().contains("a&lt;b"));
        let stopped = line(Format::Waybar, None, None, DateTime::UNIX_EPOCH);
        assert!(stopped.contains("\"class\":\"stopped\""), "{stopped}");
        let silent = line(Format::Waybar, None, Some(7), DateTime::UNIX_EPOCH);
        assert!(silent.contains("\"class\":\"unknown\"") && silent.contains("pid 7"), "{silent}");
    }
}
