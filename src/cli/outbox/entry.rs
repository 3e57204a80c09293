//! One message of the outbox as a person reads it. Beside floor 5.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use zbus::{OwnedVariant, Variant};

use crate::cli::print::columns;
use crate::cli::view::span;
use crate::daemon::document::time;
use crate::model::failure::server_words;
use crate::model::outbox::Item;
use crate::model::status::Micros;

/// A message. Its texts are not to be trusted: they are made safe when they are shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) sender: String,
    pub(super) message_id: String,
    pub(super) phase: String,
    pub(super) size: u64,
    pub(super) queued_at: Micros,
    pub(super) next_attempt: Micros,
    pub(super) tries: u32,
    pub(super) reason_name: String,
    pub(super) reason_text: String,
    /// Address, state, the server's last word.
    pub(super) recipients: Vec<(String, String, String)>,
}

impl Entry {
    /// From the ledger.
    pub(super) fn of_item(item: &Item) -> Self {
        let reason = item.reason.clone();
        let recipient = |one: &crate::model::outbox::Recipient| {
            let reply = one.reply.clone().unwrap_or_default();
            (one.address.to_string(), one.state.as_str().to_owned(), reply)
        };
        Self {
            id: item.id.0.clone(),
            account: item.account.as_ref().map(ToString::to_string).unwrap_or_default(),
            sender: item.sender.as_ref().map(ToString::to_string).unwrap_or_default(),
            message_id: item.message_id.clone(),
            phase: item.phase.as_str().to_owned(),
            size: item.size,
            queued_at: item.queued_at,
            next_attempt: item.next_attempt(),
            tries: item.tries,
            reason_name: reason.as_ref().map(|why| why.name.clone()).unwrap_or_default(),
            reason_text: reason.map(|why| why.text).unwrap_or_default(),
            recipients: item.recipients.iter().map(recipient).collect(),
        }
    }

    /// From the daemon; what it does not say is empty.
    pub(super) fn of_bus(values: &HashMap<String, OwnedVariant>) -> Self {
        let mut recipients = Vec::new();
        if let Some(Variant::Array(all)) = values.get("recipients").map(|all| &**all) {
            for one in all.iter() {
                let Ok(one) = one.try_clone().and_then(OwnedVariant::try_from) else { continue };
                let Ok(one) = HashMap::<String, OwnedVariant>::try_from(one) else { continue };
                recipients.push((text(&one, "address"), text(&one, "state"), text(&one, "reply")));
            }
        }
        let number = |key| values.get(key).and_then(|n| u64::try_from(&**n).ok());
        let tries = values.get("tries").and_then(|n| u32::try_from(&**n).ok());
        Self {
            id: text(values, "id"),
            account: text(values, "account"),
            sender: text(values, "sender"),
            message_id: text(values, "message_id"),
            phase: text(values, "phase"),
            size: number("size").unwrap_or_default(),
            queued_at: number("queued_at").unwrap_or_default(),
            next_attempt: number("next_attempt").unwrap_or_default(),
            tries: tries.unwrap_or_default(),
            reason_name: text(values, "reason_name"),
            reason_text: text(values, "reason_text"),
            recipients,
        }
    }

    /// For programs; times are RFC 3339 or null.
    pub(super) fn json(&self) -> Value {
        let recipients = self.recipients.iter().map(
            |(address, state, reply)| json!({"address": address, "state": state, "reply": reply}),
        );
        let reason = (!self.reason_name.is_empty())
            .then(|| json!({"name": self.reason_name, "text": self.reason_text}));
        json!({
            "id": self.id,
            "account": self.account,
            "sender": self.sender,
            "message_id": self.message_id,
            "phase": self.phase,
            "size": self.size,
            "queued_at": time(self.queued_at),
            "next_attempt": time(self.next_attempt),
            "tries": self.tries,
            "reason": reason,
            "recipients": recipients.collect::<Vec<_>>(),
        })
    }

    fn waits(&self) -> bool {
        self.phase == "queued"
    }

    /// Whether its sender wanted it to wait, and it still does: not one that is retried.
    pub(super) fn is_scheduled(&self) -> bool {
        let now = u64::try_from(Utc::now().timestamp_micros()).unwrap_or_default();
        self.tries == 0 && self.next_attempt > now && self.reason_name.is_empty()
    }

    /// Whether only its copy for Sent is due.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.phase.as_str(), "accepted" | "sent_copy")
    }
}

/// One line per message.
pub(super) fn table(all: &[Entry], now: DateTime<Utc>) -> String {
    let heads = ["ID", "PHASE", "ACCOUNT", "BYTES", "AGE", "NEXT", "RECIPIENTS", "WHY"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|one| {
        let whose = |state: &str| match one.is_sent() {
            true => state == "accepted",
            false => !matches!(state, "accepted" | "elsewhere"),
        };
        let open = one.recipients.iter().filter(|(_, state, _)| whose(state));
        let mut open: Vec<String> = open.map(|(address, _, _)| safe(address)).collect();
        let more = open.len().saturating_sub(RECIPIENTS_SHOWN);
        open.truncate(RECIPIENTS_SHOWN);
        if more > 0 {
            open.push(format!("and {more} more"));
        }
        let next = if one.waits() { ahead(one.next_attempt, now) } else { "-".to_owned() };
        vec![
            safe(&one.id),
            safe(&one.phase),
            or_dash(&one.account),
            one.size.to_string(),
            moment(one.queued_at).map_or_else(|| "-".to_owned(), |then| span(then, now)),
            next,
            or_dash(&open.join(", ")),
            if one.is_sent() { meaning(&one.phase, &one.id) } else { safe(&one.reason_text) },
        ]
    }));
    columns(&rows)
}

/// All that is known of one message.
pub(super) fn show(one: &Entry, now: DateTime<Utc>) -> String {
    let mut rows = vec![
        ("account", or_dash(&one.account)),
        ("from", if one.sender.is_empty() { "<>".to_owned() } else { safe(&one.sender) }),
        ("message-id", or_dash(&one.message_id)),
        ("size", format!("{} bytes", one.size)),
    ];
    if let Some(then) = moment(one.queued_at) {
        rows.push(("queued", format!("{} ago", span(then, now))));
    }
    rows.push(("phase", format!("{} — {}", safe(&one.phase), meaning(&one.phase, &safe(&one.id)))));
    rows.push(("tries", one.tries.to_string()));
    if one.waits() {
        rows.push(("next try", ahead(one.next_attempt, now)));
    }
    if !one.reason_name.is_empty() {
        rows.push(("why", format!("{}: {}", safe(&one.reason_name), safe(&one.reason_text))));
    }
    let mut lines = vec![safe(&one.id)];
    lines.extend(rows.iter().map(|(name, value)| format!("  {name:<11} {value}")));
    for (address, state, reply) in &one.recipients {
        let said = if reply.is_empty() { String::new() } else { format!(": {}", safe(reply)) };
        lines.push(format!("  {:<11} {} — {}{said}", "to", safe(address), safe(state)));
    }
    lines.join("\n")
}

fn meaning(phase: &str, id: &str) -> String {
    match phase {
        "claimed" => "taken in, and not complete yet".to_owned(),
        "queued" => "waits for its next attempt".to_owned(),
        "held" => format!("stays until it is released: postrider outbox release {id}"),
        "sending" | "dot" => "on its way to the server".to_owned(),
        "uncertain" => format!(
            "the connection broke before the server's word: postrider outbox resolve {id} \
             sent|resend|drop"
        ),
        "accepted" | "sent_copy" => "sent; the copy for the Sent mailbox is due".to_owned(),
        "failed" => {
            format!(
                "parked in failed/: postrider outbox retry {id}, or: postrider outbox cancel {id}"
            )
        }
        _ => "unknown to this version".to_owned(),
    }
}

fn text(values: &HashMap<String, OwnedVariant>, key: &str) -> String {
    let found = values.get(key).and_then(|value| <&str>::try_from(&**value).ok());
    found.unwrap_or_default().to_owned()
}

fn moment(at: Micros) -> Option<DateTime<Utc>> {
    i64::try_from(at).ok().filter(|at| *at > 0).and_then(DateTime::from_timestamp_micros)
}

fn ahead(at: Micros, now: DateTime<Utc>) -> String {
    match moment(at) {
        Some(at) if at > now => format!("in {}", span(now, at)),
        Some(_) | None => "now".to_owned(),
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { safe(text) }
}

fn safe(text: &str) -> String {
    server_words(text)
}

const RECIPIENTS_SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            id: "1a".to_owned(),
            account: "work".to_owned(),
            sender: "me@x".to_owned(),
            message_id: "<m@x>".to_owned(),
            phase: "queued".to_owned(),
            size: 10,
            queued_at: 1_699_999_940_000_000,
            next_attempt: 1_700_000_030_000_000,
            tries: 2,
            reason_name: "Protocol".to_owned(),
            reason_text: "a@x: 450 later".to_owned(),
            recipients: vec![
                ("a@x".to_owned(), "deferred".to_owned(), "450 later\u{1b}[2J".to_owned()),
                ("b@x".to_owned(), "accepted".to_owned(), "250 ok".to_owned()),
            ],
        }
    }

    #[test]
    fn a_message_is_shown_with_its_recipients_and_why_it_waits() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let text = show(&entry(), now);
        for wanted in
            ["next try    in 30 s", "why         Protocol: a@x: 450 later", "b@x — accepted"]
        {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(
            table(&[entry()], now),
            "ID  PHASE   ACCOUNT  BYTES  AGE    NEXT     RECIPIENTS  WHY\n\
             1a  queued  work     10     1 min  in 30 s  a@x         a@x: 450 later"
        );
    }

    #[test]
    fn one_whose_copy_is_due_shows_who_has_it_and_why_it_is_here() {
        let mut one = entry();
        one.phase = "accepted".to_owned();
        one.reason_text.clear();
        let text = table(&[one], DateTime::from_timestamp(1_700_000_000, 0).unwrap());
        assert!(text.ends_with("b@x         sent; the copy for the Sent mailbox is due"), "{text}");
    }

    #[test]
    fn the_json_has_times_and_null_for_no_reason() {
        let mut one = entry();
        one.reason_name.clear();
        let json = one.json();
        assert_eq!(json["next_attempt"], "2023-11-14T22:13:50.000Z");
        assert_eq!(json["reason"], Value::Null);
        assert_eq!(json["recipients"][1]["state"], "accepted");
    }
}
