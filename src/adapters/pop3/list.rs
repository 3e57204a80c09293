//! What is in the maildrop: STAT, LIST and UIDL, held against each other. Floor 3.

use super::wire::Wire;
use crate::model::failure::{Failure, Kind};
use crate::model::pop::PopListing;

/// Lists the maildrop. What the three answers do not agree on is left out, or makes the listing unsound.
pub(super) async fn list(wire: &mut Wire, is_pipelining: bool) -> Result<PopListing, Failure> {
    if is_pipelining {
        for command in COMMANDS {
            wire.queue(command);
        }
    }
    let [stat, listing, uidl] = COMMANDS;
    begin(wire, stat, is_pipelining).await?;
    let answer = wire.status(stat).await?;
    if !answer.is_ok {
        return Err(wire.refusal(&answer, stat, "look into the mailbox"));
    }
    let n_told = answer.words().split_ascii_whitespace().next().and_then(|n| n.parse::<u64>().ok());
    begin(wire, listing, is_pipelining).await?;
    let answer = wire.status(listing).await?;
    if !answer.is_ok {
        return Err(wire.refusal(&answer, listing, "list the mailbox"));
    }
    let mut found = PopListing::default();
    lines(wire, listing, |number, octets| {
        let octets = octets.split_ascii_whitespace().next().and_then(|n| n.parse().ok());
        // A size is only a hint; a message without one is there all the same.
        let octets = octets.unwrap_or_default();
        found.push(number, octets);
    })
    .await?;
    found.messages.sort_by_key(|m| m.number);
    let n_listed = found.messages.len();
    found.messages.dedup_by_key(|m| m.number);
    found.is_sound = n_listed == found.messages.len() && n_told == Some(n_listed as u64);
    begin(wire, uidl, is_pipelining).await?;
    if wire.status(uidl).await?.is_ok {
        add_uidl(wire, &mut found).await?;
    }
    Ok(found)
}

async fn begin(wire: &mut Wire, command: &str, is_pipelining: bool) -> Result<(), Failure> {
    if !is_pipelining {
        wire.queue(command);
    }
    wire.flush(command).await
}

async fn add_uidl(wire: &mut Wire, found: &mut PopListing) -> Result<(), Failure> {
    found.has_uidl = true;
    let (mut is_sound, mut n_named) = (true, 0_usize);
    let mut key = String::new();
    lines(wire, "UIDL", |number, uidl| {
        let at = found.messages.binary_search_by_key(&number, |m| m.number).ok();
        let message = at.and_then(|at| found.messages.get(at).filter(|m| found.key(m).is_none()));
        let (Some(at), Some(_)) = (at, message) else {
            // Named twice, or not listed.
            is_sound = false;
            return;
        };
        n_named += 1;
        key.clear();
        key.push('u');
        key.push_str(uidl);
        found.set_key(at, is_uidl(uidl).then_some(key.as_str()));
    })
    .await?;
    found.is_sound &= is_sound && n_named == found.messages.len();
    Ok(())
}

/// A unique id has 1 to 70 printable characters (RFC 1939 §7).
fn is_uidl(text: &str) -> bool {
    (1..=70).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Reads the lines of an answer that begin with a number; others are passed over.
async fn lines(
    wire: &mut Wire,
    phase: &str,
    mut each: impl FnMut(u32, &str),
) -> Result<(), Failure> {
    for _ in 0..MESSAGES_MAX {
        let line = wire.line(phase).await?;
        if line.bytes == b"." {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line.bytes);
        let text = text.trim_ascii();
        let (number, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        if let Ok(number) = number.parse() {
            each(number, rest.trim_ascii());
        }
    }
    Err(wire
        .failure(phase, Kind::Protocol, "list the mailbox")
        .detail(format_args!("the server lists more than {MESSAGES_MAX} messages")))
}

const COMMANDS: [&str; 3] = ["STAT", "LIST", "UIDL"];
/// More than this no server has, and each costs memory while a session runs.
const MESSAGES_MAX: u32 = 1_000_000;
