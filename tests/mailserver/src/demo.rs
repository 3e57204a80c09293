//! The demo's mailboxes, and the lines that steer it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::config::Config;
use crate::mailbox::Message;
use crate::server::MailServer;

/// The demo's user.
pub const USER: &str = "demo";
/// The demo's password.
pub const PASSWORD: &str = "demo";

/// 2025-11-03 08:00:00 UTC: the sample mails are dated from here on.
const FIRST_DATE: i64 = 1_762_156_800;

struct Sample {
    from: &'static str,
    subject: &'static str,
    flags: &'static [&'static str],
    text: &'static str,
}

const SAMPLES: [Sample; 8] = [
    Sample {
        from: "Nadia Brandt <nadia@example.org>",
        subject: "Welcome to the reading group",
        flags: &["\\Seen"],
        text: "Hello,\n\nwe meet on the first Thursday of each month at seven.\n\
               The next book is on the table in the hall.\n\nNadia\n",
    },
    Sample {
        from: "Jonas Weber <jonas@example.com>",
        subject: "Photos of the hike",
        flags: &["\\Seen", "\\Flagged"],
        text: "The one at the summit turned out best. I keep the originals for you.\n\nJonas\n",
    },
    Sample {
        from: "City Library <notices@library.example>",
        subject: "Two books are due on Friday",
        flags: &["\\Seen"],
        text: "The Left Hand of Darkness\nA Short History of Bridges\n\n\
               You can renew each of them twice.\n",
    },
    Sample {
        from: "Søren Lind <soren@example.net>",
        subject: "=?utf-8?B?R3LDvMOfZSBhdXMgS8O4YmVuaGF2biDimJU=?=",
        flags: &[],
        text: "Der Kaffee ist großartig, die Fähre fährt pünktlich — bis Samstag!\n\nSøren\n",
    },
    Sample {
        from: "Mira Okafor <mira@example.com>",
        subject: "Agenda for Monday",
        flags: &["\\Answered", "\\Seen"],
        text: "1. the roof\n2. the garden fence\n3. who waters what in August\n\nMira\n",
    },
    Sample {
        from: "Bakery on the Corner <orders@bakery.example>",
        subject: "Your order is ready",
        flags: &[],
        text: "One rye loaf and six rolls are waiting until six in the evening.\n",
    },
    Sample {
        from: "Jonas Weber <jonas@example.com>",
        subject: "Re: Photos of the hike",
        flags: &[],
        text: "Found two more. Do you still have the map?\n\n\
               .. the dots at the start of this line are part of it.\n\nJonas\n",
    },
    Sample {
        from: "Nadia Brandt <nadia@example.org>",
        subject: "Chapter three",
        flags: &["\\Flagged"],
        text: "Page 84: who do you think wrote the letter?\n\nNadia\n",
    },
];

/// Returns the demo's set-up: user and password `demo`, and the usual mailboxes.
#[must_use]
pub fn config(imap_port: u16, smtp_port: u16) -> Config {
    let mailboxes = [
        ("Archive", Some("\\Archive")),
        ("Archive/2025", None),
        ("Drafts", Some("\\Drafts")),
        ("Junk", Some("\\Junk")),
        ("Sent", Some("\\Sent")),
        ("Trash", Some("\\Trash")),
    ];
    let owned = |(name, role): (&str, Option<&str>)| (name.to_owned(), role.map(str::to_owned));
    Config {
        users: vec![(USER.to_owned(), PASSWORD.to_owned())],
        mailboxes: mailboxes.into_iter().map(owned).collect(),
        imap_port,
        smtp_port,
        ..Config::default()
    }
}

/// Puts the sample mails into INBOX and one into the archive.
pub fn fill(server: &MailServer) {
    let inbox = server.mailbox("INBOX");
    for (number, sample) in SAMPLES.iter().enumerate() {
        let date = FIRST_DATE + 7 * 3600 * i64::try_from(number).unwrap_or(0);
        let bytes = compose(sample.from, sample.subject, sample.text, date, number);
        inbox.append(&bytes, sample.flags, Some(date));
    }
    let date = FIRST_DATE - 86_400 * 90;
    let text = "The boiler was serviced today. The next visit is due in a year.\n";
    let from = "Warm House <service@warmhouse.example>";
    let bytes = compose(from, "Service report", text, date, SAMPLES.len());
    server.mailbox("Archive/2025").append(&bytes, &["\\Seen"], Some(date));
}

fn compose(from: &str, subject: &str, text: &str, date: i64, number: usize) -> Vec<u8> {
    let date = chrono::DateTime::from_timestamp(date, 0).unwrap_or_default();
    let date = date.format("%a, %d %b %Y %H:%M:%S +0000");
    let head = format!(
        "From: {from}\nTo: Demo <demo@example.org>\nSubject: {subject}\nDate: {date}\n\
         Message-ID: <demo-{number}@example.org>\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
    );
    format!("{head}{text}").replace('\n', "\r\n").into_bytes()
}

/// What comes of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Lines of JSON to print.
    Lines(Vec<String>),
    /// The end of the demo.
    Quit,
}

/// Obeys one line: `deliver MAILBOX SUBJECT TEXT...`, `flag MAILBOX UID FLAG...`,
/// `unflag MAILBOX UID FLAG...`, `expunge MAILBOX UID`, `show MAILBOX`, `mailboxes`, `sent`,
/// `disconnect`, `quit`.
/// Words with spaces are put in double quotes. What is not understood is answered with an
/// `error`.
pub fn steer(server: &MailServer, line: &str) -> Outcome {
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let lines = match words.as_slice() {
        [] => Vec::new(),
        ["quit"] => return Outcome::Quit,
        ["disconnect"] => {
            server.disconnect_all();
            vec![json!({ "ok": true })]
        }
        ["deliver", mailbox, subject, text @ ..] => vec![deliver(server, mailbox, subject, text)],
        ["flag", mailbox, uid, flags @ ..] => vec![flag(server, mailbox, uid, flags, &[])],
        ["unflag", mailbox, uid, flags @ ..] => vec![flag(server, mailbox, uid, &[], flags)],
        ["expunge", mailbox, uid] => {
            let uid = uid.parse().unwrap_or(0);
            vec![json!({ "ok": server.mailbox(mailbox).expunge(uid), "uid": uid })]
        }
        ["show", mailbox] => server.mailbox(mailbox).messages().iter().map(show).collect(),
        ["mailboxes"] => server.mailboxes().into_iter().map(Value::from).collect(),
        ["sent"] => sent(server),
        [other, ..] => vec![json!({ "error": format!("unknown or incomplete: {other}") })],
    };
    Outcome::Lines(lines.iter().map(Value::to_string).collect())
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.trim().split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn deliver(server: &MailServer, mailbox: &str, subject: &str, text: &[&str]) -> Value {
    let mailbox = server.mailbox(mailbox);
    let now = crate::mailbox::now();
    let number = usize::try_from(now).unwrap_or(0) * 1000 + mailbox.messages().len();
    let text = format!("{}\n", text.join(" "));
    let bytes = compose("A Friend <friend@example.org>", subject, &text, now, number);
    json!({ "uid": mailbox.append(&bytes, &[], Some(now)) })
}

fn flag(server: &MailServer, mailbox: &str, uid: &str, add: &[&str], remove: &[&str]) -> Value {
    let mailbox = server.mailbox(mailbox);
    let uid = uid.parse().unwrap_or(0);
    let Some(message) = mailbox.message(uid) else {
        return json!({ "error": format!("no message {uid} in {}", mailbox.name()) });
    };
    let kept = message.flags.iter().map(String::as_str);
    let kept = kept.filter(|flag| !remove.iter().any(|gone| gone.eq_ignore_ascii_case(flag)));
    let flags: BTreeSet<&str> = kept.chain(add.iter().copied()).collect();
    mailbox.set_flags(uid, &flags.into_iter().collect::<Vec<_>>());
    mailbox.message(uid).as_ref().map_or(Value::Null, show)
}

fn show(message: &Message) -> Value {
    json!({
        "uid": message.uid,
        "flags": message.flags,
        "size": message.bytes.len(),
        "subject": message.header("Subject"),
    })
}

fn sent(server: &MailServer) -> Vec<Value> {
    let line = |sent: crate::SentMessage| {
        let subject = crate::mailbox::header_value(&sent.bytes, "Subject");
        json!({
            "sender": sent.sender,
            "recipients": sent.recipients,
            "subject": subject,
            "size": sent.bytes.len(),
        })
    };
    server.sent().into_iter().map(line).collect()
}
