//! Uploads: APPEND, pipelined where the server takes literals without being asked. Floor 3.

use std::collections::VecDeque;

use tokio::io::AsyncReadExt as _;

use super::ImapRemote;
use super::encode::{date_time, to_crlf};
use super::item::{Code, Done, Item, Next, Verdict};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{MailboxName, Uid};
use crate::ports::remote::{Appended, Upload};

/// What was sent and not yet answered.
#[derive(Debug, Default)]
struct InFlight {
    tags: VecDeque<(String, u64)>,
    bytes: u64,
}

impl ImapRemote {
    /// Appends messages in order. The answers end where the fate of a message is not known.
    pub(super) async fn append_all(
        &mut self,
        mailbox: &MailboxName,
        uploads: Vec<Upload>,
    ) -> (Vec<Appended>, Result<(), Failure>) {
        let mut done = Vec::new();
        let argument = match self.argument(mailbox) {
            Ok(argument) => argument,
            Err(failure) => return (done, Err(failure)),
        };
        let result = self.append_in_order(&argument, uploads, &mut done).await;
        (done, result)
    }

    async fn append_in_order(
        &mut self,
        argument: &str,
        uploads: Vec<Upload>,
        done: &mut Vec<Appended>,
    ) -> Result<(), Failure> {
        let is_free = self.has("LITERAL+");
        let mut flight = InFlight::default();
        for upload in uploads {
            while flight.tags.len() >= WINDOW || flight.bytes >= WINDOW_BYTES {
                self.take_answer(&mut flight, done).await?;
            }
            let command = command(argument, &upload, is_free);
            let tag = self.wire.send(&command).await?;
            let bytes = upload.print.evidence.size;
            if !is_free && let Some(refusal) = self.await_continue(&tag).await? {
                done.push(appended(Err(refusal))?);
                continue;
            }
            self.send_literal(upload).await?;
            flight.tags.push_back((tag, bytes));
            flight.bytes = flight.bytes.saturating_add(bytes);
            if !is_free {
                self.take_answer(&mut flight, done).await?;
            }
        }
        while !flight.tags.is_empty() {
            self.take_answer(&mut flight, done).await?;
        }
        Ok(())
    }

    /// Waits for `+`; other responses may come before it.
    async fn await_continue(&mut self, tag: &str) -> Result<Option<Failure>, Failure> {
        loop {
            match self.wire.next().await? {
                Next::Item(Item::Continue) => return Ok(None),
                Next::Item(_) => {}
                Next::Done(done, verdict) if done == tag => {
                    return Ok(Some(verdict.err().unwrap_or_else(|| {
                        self.wire.broken("APPEND ended before its message was sent")
                    })));
                }
                Next::Done(..) => {}
            }
        }
    }

    async fn send_literal(&mut self, upload: Upload) -> Result<(), Failure> {
        let read = |e: std::io::Error| Failure::local_io("read a message for upload", &e);
        let mut file = tokio::fs::File::from_std(upload.file);
        let mut buffer = vec![0_u8; READ_BYTES];
        let (mut last, mut sent) = (0_u8, 0_u64);
        let mut out = Vec::with_capacity(READ_BYTES * 2);
        loop {
            let n = file.read(&mut buffer).await.map_err(read)?;
            if n == 0 {
                break;
            }
            out.clear();
            to_crlf(buffer.get(..n).unwrap_or_default(), &mut last, &mut out);
            sent = sent.saturating_add(out.len() as u64);
            if sent > upload.print.evidence.size {
                break;
            }
            self.wire.write(&out).await?;
        }
        if sent != upload.print.evidence.size {
            // The announced size cannot be met any more: only cutting the connection is safe, and
            // the server drops what it has of the message.
            return Err(self.wire.lost("a message changed while it was being uploaded"));
        }
        self.wire.write(b"\r\n").await?;
        self.wire.flush().await
    }

    async fn take_answer(
        &mut self,
        flight: &mut InFlight,
        done: &mut Vec<Appended>,
    ) -> Result<(), Failure> {
        loop {
            if let Next::Done(tag, verdict) = self.wire.next().await? {
                let Some((first, bytes)) = flight.tags.pop_front() else { return Ok(()) };
                if tag != first {
                    return Err(self.wire.broken("APPENDs were answered out of order"));
                }
                flight.bytes = flight.bytes.saturating_sub(bytes);
                done.push(appended(verdict)?);
                return Ok(());
            }
        }
    }
}

fn command(argument: &str, upload: &Upload, is_free: bool) -> String {
    let flags = upload.flags.imap_names().join(" ");
    let plus = if is_free { "+" } else { "" };
    let date = date_time(upload.date);
    format!("APPEND {argument} ({flags}) \"{date}\" {{{}{plus}}}", upload.print.evidence.size)
}

/// A refusal spoils the message, unless it is about the mailbox or the account.
fn appended(verdict: Verdict) -> Result<Appended, Failure> {
    match verdict {
        Ok(Done { code: Code::AppendUid(_, uid) }) => Ok(Appended::Stored(uid.and_then(Uid::new))),
        Ok(_) => Ok(Appended::Stored(None)),
        Err(failure) if failure.scope == Scope::Account || failure.kind == Kind::NotFound => {
            Err(failure)
        }
        Err(failure) => {
            let remedy = if failure.kind == Kind::TooBig { Remedy::Never } else { Remedy::Later };
            Ok(Appended::Refused(Failure { scope: Scope::Message, remedy, ..failure }))
        }
    }
}

const WINDOW: usize = 64;
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;
