//! Receiving a command with its literals, and recording it.

use std::io;

use super::session::{Done, Session};
use crate::config::Capability;
use crate::state::{CommandRecord, Protocol};
use crate::token::literal_suffix;
use crate::wire::cut;

/// A command as it came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) tag: String,
    pub(super) name: String,
    /// All bytes with the last CRLF.
    pub(super) raw: Vec<u8>,
    /// The bytes after the name.
    pub(super) arguments: Vec<u8>,
}

/// Splits the first line into tag, upper-case name and the length of both.
fn head(line: &[u8]) -> Option<(String, String, usize)> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split(' ');
    let tag = words.next().filter(|tag| !tag.is_empty())?.to_owned();
    let mut name = words.next().filter(|name| !name.is_empty())?.to_ascii_uppercase();
    if name == "UID" {
        name.push(' ');
        name.push_str(&words.next().unwrap_or_default().to_ascii_uppercase());
    }
    let length = tag.len() + 1 + name.len();
    Some((tag, name, length))
}

impl Session {
    /// Takes the literals of the command that the line begins. `None`: it was refused already.
    pub(super) async fn receive(&mut self, line: Vec<u8>) -> io::Result<Option<Received>> {
        let Some((tag, name, length)) = head(&line) else {
            self.wire.send(b"* BAD no command\r\n").await?;
            return Ok(None);
        };
        self.record(&tag, &name, &line);
        let early = self.effects.refuse_early.take();
        let mut raw = Vec::new();
        let mut line = line;
        while let Some((size, waits)) = literal_suffix(&line) {
            if let Some(refusal) = self.literal_refusal(early.as_deref(), size, waits) {
                // Without a continuation the literal is on its way: nothing after it would be
                // understood, so the connection ends, as RFC 7888 allows.
                self.ended = !waits;
                self.finish(&tag, refusal).await?;
                return Ok(None);
            }
            if waits {
                self.wire.send(b"+ go ahead\r\n").await?;
                self.wire.flush().await?;
            }
            raw.append(&mut line);
            raw.extend_from_slice(b"\r\n");
            self.literal(size as usize, &mut raw).await?;
            line = self.wire.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        if let Some(status) = early {
            self.finish(&tag, Done { status, ..Done::ok("").without_updates() }).await?;
            return Ok(None);
        }
        raw.append(&mut line);
        raw.extend_from_slice(b"\r\n");
        let arguments = raw.get(length..).unwrap_or_default().to_vec();
        Ok(Some(Received { tag, name, raw, arguments }))
    }

    pub(super) fn record(&mut self, tag: &str, name: &str, line: &[u8]) {
        let record = CommandRecord {
            protocol: Protocol::Imap,
            connection: self.id,
            tag: tag.to_owned(),
            name: name.to_owned(),
            line: String::from_utf8_lossy(line).into_owned(),
            selected: self.selected.as_ref().map(|selected| selected.name.clone()),
            read_only: self.selected.as_ref().is_some_and(|selected| selected.read_only),
        };
        self.effects = self.shared.update(|state| {
            state.commands.push(record);
            state.effects(Protocol::Imap, name, line)
        });
    }

    fn literal_refusal(&self, early: Option<&str>, size: u32, waits: bool) -> Option<Done> {
        if let Some(text) = early.filter(|_| waits) {
            return Some(Done { status: text.to_owned(), ..Done::ok("").without_updates() });
        }
        let accepted = waits
            || self.has(Capability::LiteralPlus)
            || (self.has(Capability::LiteralMinus) && size <= 4096);
        if !accepted {
            return Some(Done::bad("literal without continuation is not offered"));
        }
        let max = self.shared.read(|state| state.config.literal_bytes_max);
        (size > max).then(|| Done::no("[TOOBIG] literal too large").without_updates())
    }

    async fn literal(&mut self, size: usize, raw: &mut Vec<u8>) -> io::Result<()> {
        if let Some(bytes) = self.effects.cut_receiving.filter(|bytes| *bytes < size) {
            self.wire.bytes(bytes).await?;
            return Err(cut());
        }
        raw.append(&mut self.wire.bytes(size).await?);
        Ok(())
    }
}
