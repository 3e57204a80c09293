//! What lies beside a message that was not sent: a report as RFC 3464 has it, for eyes and programs. Floor 1.
//!
//! It is a file and is never mailed. Addresses and the server's words are made safe before they come here.

use crate::model::outbox::{Item, Recipient, RecipientState};
use crate::model::status::Micros;

/// The report about a parked message; `header` is the header of the message.
pub fn report(item: &Item, now: Micros, header: &[u8]) -> String {
    let boundary = format!("report-{}", item.id);
    let header = String::from_utf8_lossy(header).replace("\r\n", "\n").replace('\r', "\n");
    format!(
        "From: postrider\nDate: {date}\nSubject: Not sent: message {id}\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"{boundary}\"\n\n\
         --{boundary}\nContent-Type: text/plain; charset=utf-8\n\n{words}\n\
         --{boundary}\nContent-Type: message/delivery-status\n\n{status}\n\
         --{boundary}\nContent-Type: text/rfc822-headers\n\n{header}\n\
         --{boundary}--\n",
        date = date(now),
        id = item.id,
        words = words(item),
        status = status(item),
    )
}

/// What a person reads.
fn words(item: &Item) -> String {
    let is_split = item.has(RecipientState::Accepted) || item.has(RecipientState::Elsewhere);
    let what = if is_split { "not sent to everybody" } else { "not sent" };
    let mut text = format!("This message was {what}");
    if !item.message_id.is_empty() {
        text.push_str(&format!(": {}", item.message_id));
    }
    text.push_str("\n\n");
    let said = |one: &Recipient| one.reply.clone().unwrap_or_else(|| "not tried".to_owned());
    if let Some(reason) = &item.reason
        && !item.recipients.iter().any(|one| reason.text.ends_with(&said(one)))
    {
        text.push_str(&format!("Reason: {}\n", reason.text));
    }
    for one in item.recipients.iter().filter(|one| one.state != RecipientState::Accepted) {
        let said = said(one);
        text.push_str(&format!("  {}: {said}\n", one.address));
    }
    for one in item.recipients.iter().filter(|one| one.state == RecipientState::Accepted) {
        text.push_str(&format!("  {}: has it\n", one.address));
    }
    text.push_str(&format!(
        "\nTo try it again: postrider outbox retry {id}\nTo forget it:    postrider outbox cancel {id}\n",
        id = item.id
    ));
    text
}

/// The machine-readable part (RFC 3464 §2.1).
fn status(item: &Item) -> String {
    let mut text = format!(
        "Reporting-MTA: dns; localhost\nX-Postrider-Queue-ID: {}\nArrival-Date: {}\n",
        item.id,
        date(item.queued_at)
    );
    if !item.message_id.is_empty() {
        text.push_str(&format!("X-Original-Message-ID: {}\n", item.message_id));
    }
    for one in item.recipients.iter().filter(|one| one.state != RecipientState::Elsewhere) {
        text.push_str(&recipient(one));
    }
    text
}

fn recipient(one: &Recipient) -> String {
    let (action, class) = match one.state {
        RecipientState::Accepted => ("relayed", '2'),
        RecipientState::Failed => ("failed", '5'),
        RecipientState::Pending | RecipientState::Deferred | RecipientState::Elsewhere => {
            ("delayed", '4')
        }
    };
    let kind = if one.address.needs_utf8() { "utf-8" } else { "rfc822" };
    let said = one.reply.as_deref().unwrap_or_default();
    let enhanced = said.split_whitespace().nth(1).filter(|word| is_status(word, class));
    let status = enhanced.map_or_else(|| format!("{class}.0.0"), str::to_owned);
    let mut text =
        format!("\nFinal-Recipient: {kind}; {}\nAction: {action}\nStatus: {status}\n", one.address);
    if !said.is_empty() {
        let kind = if is_of_server(said) { "smtp" } else { "x-postrider" };
        text.push_str(&format!("Diagnostic-Code: {kind}; {said}\n"));
    }
    text
}

/// Whether these are a server's words: they begin with its three digits (RFC 5321 §4.2).
fn is_of_server(said: &str) -> bool {
    let code = said.split(' ').next().unwrap_or_default();
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a word is an enhanced status code of this class (RFC 3463 §2).
fn is_status(word: &str, class: char) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let numbers = parts.iter().all(|part| part.parse::<u16>().is_ok_and(|n| n < 1000));
    parts.len() == 3 && numbers && word.starts_with(class)
}

fn date(at: Micros) -> String {
    let at = i64::try_from(at).ok().and_then(chrono::DateTime::from_timestamp_micros);
    at.map(|at| at.to_rfc2822()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::OutboxId;
    use crate::model::outbox::{Address, Reason};

    #[test]
    fn a_report_names_each_recipient_its_status_and_the_servers_words() {
        let mut item = Item::claimed(OutboxId("q1".to_owned()), 1_700_000_000_000_000);
        item.message_id = "<m@x>".to_owned();
        item.reason = Some(Reason { name: "Protocol".to_owned(), text: "too late".to_owned() });
        let to = |address: &str, state, reply: &str| Recipient {
            address: Address::new(address).unwrap(),
            state,
            reply: Some(reply.to_owned()),
        };
        item.recipients = vec![
            to("a@x", RecipientState::Failed, "550 5.1.1 nobody here"),
            to("b@x", RecipientState::Accepted, "250 2.0.0 ok"),
            to("c@x", RecipientState::Failed, "550 plain"),
        ];
        let text = report(&item, item.queued_at, b"Subject: s\r\nTo: a@x\r\n");
        for wanted in [
            "Content-Type: multipart/report; report-type=delivery-status; boundary=\"report-q1\"\n",
            "This message was not sent to everybody: <m@x>\n\nReason: too late\n",
            "Final-Recipient: rfc822; a@x\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 nobody here\n",
            "Final-Recipient: rfc822; b@x\nAction: relayed\nStatus: 2.0.0\n",
            "Final-Recipient: rfc822; c@x\nAction: failed\nStatus: 5.0.0\n",
            "\n--report-q1\nContent-Type: text/rfc822-headers\n\nSubject: s\nTo: a@x\n",
            "postrider outbox retry q1",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        let parsed = mailparse::parse_mail(text.as_bytes()).unwrap();
        assert_eq!(parsed.subparts.len(), 3, "a mail program can read it");
    }

    #[test]
    fn a_reason_of_ours_is_said_once_and_not_as_a_servers() {
        let mut item = Item::claimed(OutboxId("q1".to_owned()), 1_700_000_000_000_000);
        let why = "no account sends as b@y";
        item.reason = Some(Reason { name: "NoAccountForSender".to_owned(), text: why.to_owned() });
        item.recipients = vec![Recipient {
            address: Address::new("a@x").unwrap(),
            state: RecipientState::Failed,
            reply: Some(why.to_owned()),
        }];
        let text = report(&item, item.queued_at, b"");
        assert!(text.contains("This message was not sent\n\n  a@x: no account"), "{text}");
        assert_eq!(text.matches(why).count(), 2, "once for eyes, once for programs: {text}");
        assert!(text.contains("Diagnostic-Code: x-postrider; no account"), "{text}");
    }
}
