//! Uploads: APPEND, pipelined where the server takes literals without being asked (RFC 7888), small
//! messages together where it takes several at once (MULTIAPPEND, RFC 3502). Floor 3.

use std::collections::VecDeque;
use std::io::Seek as _;

use tokio::io::AsyncReadExt as _;

use super::ImapRemote;
use super::encode::{date_time, to_crlf};
use super::item::{Code, Done, Item, Next, Verdict};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{MailboxName, Uid};
use crate::ports::remote::{Appended, Upload};

/// Messages of one command, and the place of the first among all.
#[derive(Debug)]
struct Group {
    first: usize,
    uploads: Vec<Upload>,
    bytes: u64,
}

/// A command that was sent and not yet answered. The messages are kept where the refusal of one
/// refuses them all.
#[derive(Debug)]
struct Sent {
    tag: String,
    n: usize,
    group: Group,
}

/// What is to be sent, what was sent and not yet answered, and the answers so far.
#[derive(Debug, Default)]
struct Appending {
    queue: VecDeque<Group>,
    sent: VecDeque<Sent>,
    answers: Vec<Option<Appended>>,
}

impl Appending {
    fn is_full(&self) -> bool {
        let messages: usize = self.sent.iter().map(|s| s.n).sum();
        let bytes = self.sent.iter().map(|s| s.group.bytes).fold(0, u64::saturating_add);
        messages >= WINDOW || bytes >= WINDOW_BYTES
    }

    /// Queues the messages of a group again, each for itself.
    fn apart(&mut self, group: Group) {
        let mut at = group.first.saturating_add(group.uploads.len());
        for upload in group.uploads.into_iter().rev() {
            at = at.saturating_sub(1);
            let bytes = upload.print.evidence.size;
            self.queue.push_front(Group { first: at, uploads: vec![upload], bytes });
        }
    }

    fn answer(&mut self, at: usize, answer: Appended) {
        if let Some(place) = self.answers.get_mut(at) {
            *place = Some(answer);
        }
    }
}

impl ImapRemote {
    /// Appends messages in order. The answers end where the fate of a message is not known.
    pub(super) async fn append_all(
        &mut self,
        mailbox: &MailboxName,
        uploads: Vec<Upload>,
    ) -> (Vec<Appended>, Result<(), Failure>) {
        let argument = match self.argument(mailbox) {
            Ok(argument) => argument,
            Err(failure) => return (Vec::new(), Err(failure)),
        };
        let mut work = Appending::default();
        work.answers.resize_with(uploads.len(), || None);
        work.queue = grouped(uploads, |bytes| self.has("MULTIAPPEND") && self.is_free(bytes));
        let result = self.append_in_order(&argument, &mut work).await;
        (work.answers.into_iter().map_while(|answer| answer).collect(), result)
    }

    /// Whether a literal of this size may be sent without being asked for.
    fn is_free(&self, bytes: u64) -> bool {
        self.has("LITERAL+") || (self.has("LITERAL-") && bytes <= LITERAL_MINUS_BYTES)
    }

    async fn append_in_order(
        &mut self,
        argument: &str,
        work: &mut Appending,
    ) -> Result<(), Failure> {
        loop {
            while let Some(group) = work.queue.pop_front() {
                let is_free = group.uploads.iter().all(|u| self.is_free(u.print.evidence.size));
                // Where the server has to say `+`, nobody else's answer may be awaited.
                while work.is_full() || !(is_free || work.sent.is_empty()) {
                    self.take_answer(work).await?;
                }
                if is_free {
                    self.send_group(argument, group, work).await?;
                } else {
                    self.append_asking(argument, group, work).await?;
                }
            }
            if work.sent.is_empty() {
                return Ok(());
            }
            self.take_answer(work).await?;
        }
    }

    /// Sends one command with all its literals.
    async fn send_group(
        &mut self,
        argument: &str,
        mut group: Group,
        work: &mut Appending,
    ) -> Result<(), Failure> {
        let n = group.uploads.len();
        let mut tag = None;
        for upload in &mut group.uploads {
            let message = message(upload, "+");
            if tag.is_none() {
                tag = Some(self.wire.send(&format!("APPEND {argument} {message}")).await?);
            } else {
                self.wire.write(format!(" {message}\r\n").as_bytes()).await?;
            }
            self.send_literal(upload).await?;
        }
        self.wire.write(b"\r\n").await?;
        self.wire.flush().await?;
        let Some(tag) = tag else { return Ok(()) };
        if n == 1 {
            // Nothing is ever sent again of it: the file need not stay open.
            group.uploads.clear();
        }
        work.sent.push_back(Sent { tag, n, group });
        Ok(())
    }

    /// One message whose literal has to be asked for; nothing else is in flight.
    async fn append_asking(
        &mut self,
        argument: &str,
        mut group: Group,
        work: &mut Appending,
    ) -> Result<(), Failure> {
        let first = group.first;
        for (at, upload) in (first..).zip(&mut group.uploads) {
            let command = format!("APPEND {argument} {}", message(upload, ""));
            let tag = self.wire.send(&command).await?;
            if let Some(refusal) = self.await_continue(&tag).await? {
                work.answer(at, appended(Err(refusal))?);
                continue;
            }
            self.send_literal(upload).await?;
            self.wire.write(b"\r\n").await?;
            self.wire.flush().await?;
            let group = Group { first: at, uploads: Vec::new(), bytes: 0 };
            work.sent.push_back(Sent { tag, n: 1, group });
            self.take_answer(work).await?;
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

    async fn send_literal(&mut self, upload: &mut Upload) -> Result<(), Failure> {
        let read = |e: std::io::Error| Failure::local_io("read a message for upload", &e);
        upload.file.rewind().map_err(read)?;
        let mut file = tokio::fs::File::from_std(upload.file.try_clone().map_err(read)?);
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
        Ok(())
    }

    /// Takes the next answer. Messages that were refused together are queued again, each for
    /// itself: all or none were stored, and one bad message must stop no other.
    async fn take_answer(&mut self, work: &mut Appending) -> Result<(), Failure> {
        let (tag, verdict) = loop {
            if let Next::Done(tag, verdict) = self.wire.next().await? {
                break (tag, verdict);
            }
        };
        let Some(Sent { tag: expected, n, group }) = work.sent.pop_front() else { return Ok(()) };
        if tag != expected {
            return Err(self.wire.broken("APPENDs were answered out of order"));
        }
        let uids = match &verdict {
            Ok(Done { code: Code::AppendUid(_, uids) }) if uids.len() == n => uids.clone(),
            _ => Vec::new(),
        };
        if n > 1 && matches!(&verdict, Err(failure) if failure.kind == Kind::Protocol) {
            // It claims MULTIAPPEND and does not understand it.
            self.capabilities.remove("MULTIAPPEND");
            work.apart(group);
            return Ok(());
        }
        match appended(verdict)? {
            Appended::Refused(_) if n > 1 => work.apart(group),
            Appended::Refused(failure) => work.answer(group.first, Appended::Refused(failure)),
            Appended::Stored(_) => {
                for at in 0..n {
                    let uid = uids.get(at).copied().and_then(Uid::new);
                    work.answer(group.first.saturating_add(at), Appended::Stored(uid));
                }
            }
        }
        Ok(())
    }
}

/// Puts small messages together, as far as they `may`, and leaves the others alone.
fn grouped(uploads: Vec<Upload>, may: impl Fn(u64) -> bool) -> VecDeque<Group> {
    let mut groups: VecDeque<Group> = VecDeque::new();
    for (at, upload) in uploads.into_iter().enumerate() {
        let size = upload.print.evidence.size;
        let last = groups.back_mut().filter(|g| {
            let bytes = g.bytes.saturating_add(size);
            let all_may = may(size) && g.uploads.iter().all(|u| may(u.print.evidence.size));
            all_may && g.uploads.len() < GROUP && bytes <= GROUP_BYTES
        });
        match last {
            Some(group) => {
                group.bytes = group.bytes.saturating_add(size);
                group.uploads.push(upload);
            }
            None => groups.push_back(Group { first: at, bytes: size, uploads: vec![upload] }),
        }
    }
    groups
}

/// A message as an argument of APPEND, up to its literal.
fn message(upload: &Upload, plus: &str) -> String {
    let flags = upload.flags.imap_names().join(" ");
    let date = date_time(upload.date);
    format!("({flags}) \"{date}\" {{{}{plus}}}", upload.print.evidence.size)
}

/// A refusal spoils the message, unless it is about the mailbox or the account.
fn appended(verdict: Verdict) -> Result<Appended, Failure> {
    match verdict {
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

/// Messages and bytes in flight.
const WINDOW: usize = 64;
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// Messages and bytes of one command.
const GROUP: usize = 32;
const GROUP_BYTES: u64 = 256 * 1024;
/// The largest literal that LITERAL- takes without being asked.
const LITERAL_MINUS_BYTES: u64 = 4096;
const READ_BYTES: usize = 64 * 1024;
