//! One message: MAIL, RCPT, DATA, the final dot. Floor 3.

use super::body::Message;
use super::session::{Session, refused};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::outbox::{Address, Broken, Envelope, Outcome, Reply, Verdict};
use crate::ports::outbox::DotGate;

impl Session {
    /// Sends one message. Not cancel safe: a session whose `send` was dropped must be dropped too.
    ///
    /// # Errors
    ///
    /// What broke the attempt off. The session is unusable then.
    pub(super) async fn send(
        &mut self,
        envelope: &Envelope,
        message: Message,
        gate: &impl DotGate,
    ) -> Result<Outcome, Broken> {
        let before = |failure| Broken { failure, after_dot: false };
        self.transactions += 1;
        let mail = self.mail_command(envelope, &message).map_err(before)?;
        self.usable = false;
        let verdicts = self.address(&mail, &envelope.recipients).await.map_err(before)?;
        let outcome = if verdicts.iter().any(|(_, verdict)| is_accepted(verdict)) {
            let settled = self.data(message, gate).await?;
            verdicts.into_iter().map(|(to, verdict)| (to, settle(verdict, &settled))).collect()
        } else {
            verdicts
        };
        self.usable = true;
        Ok(Outcome { verdicts: outcome })
    }

    /// The MAIL command, or why this server cannot take this message.
    fn mail_command(&self, envelope: &Envelope, message: &Message) -> Result<String, Failure> {
        let offers = &self.offers;
        let mut line = match &envelope.sender {
            Some(sender) => format!("MAIL FROM:<{sender}>"),
            None => "MAIL FROM:<>".to_owned(),
        };
        if let Some(limit) = offers.size {
            if limit != 0 && message.wire_bytes > limit {
                return Err(self.unfit(Kind::TooBig, "send a message of this size").detail(
                    format_args!("it has {} bytes, the server takes {limit}", message.wire_bytes),
                ));
            }
            line.push_str(&format!(" SIZE={}", message.wire_bytes));
        }
        if message.is_eight_bit {
            if !offers.eight_bit {
                return Err(self
                    .unfit(Kind::NotSupported, "send a message with 8-bit text")
                    .detail("the server does not offer 8BITMIME")
                    .cure("let the mail program encode it as quoted-printable"));
            }
            line.push_str(" BODY=8BITMIME");
        }
        if envelope.sender.iter().chain(&envelope.recipients).any(Address::needs_utf8) {
            if !offers.utf8 {
                return Err(self
                    .unfit(Kind::NotSupported, "send to an internationalised address")
                    .detail("the server does not offer SMTPUTF8"));
            }
            line.push_str(" SMTPUTF8");
        }
        Ok(line)
    }

    fn unfit(&self, kind: Kind, what: &str) -> Failure {
        let mut failure = self.wire.failure("MAIL", kind, what).scoped(Scope::Message);
        failure.remedy = Remedy::Never;
        failure
    }

    /// MAIL and all RCPT, in groups when the server pipelines.
    async fn address(
        &mut self,
        mail: &str,
        recipients: &[Address],
    ) -> Result<Vec<(Address, Verdict)>, Failure> {
        let group = if self.offers.pipelining { PIPELINE_MAX } else { 1 };
        let limit = self.limits.mail;
        let mut verdicts = Vec::new();
        let mut mail_reply = None;
        if !self.offers.pipelining {
            let reply = self.wire.command(mail, "MAIL", limit).await?.reply;
            mail_reply = Some(self.message_reply("MAIL", reply)?);
        }
        for some in recipients.chunks(group) {
            if mail_reply.as_ref().is_some_and(is_negative) {
                break;
            }
            if mail_reply.is_none() {
                self.wire.queue(mail);
            }
            for recipient in some {
                self.wire.queue(&format!("RCPT TO:<{recipient}>"));
            }
            self.wire.flush("RCPT", limit).await?;
            if mail_reply.is_none() {
                let reply = self.wire.reply("MAIL", limit).await?.reply;
                mail_reply = Some(self.message_reply("MAIL", reply)?);
            }
            for recipient in some {
                let reply = self.wire.reply("RCPT", limit).await?.reply;
                let reply = self.message_reply("RCPT", reply)?;
                verdicts.push((recipient.clone(), verdict(reply)));
            }
        }
        match mail_reply {
            Some(reply) if is_negative(&reply) => {
                let all = recipients.iter();
                Ok(all.map(|to| (to.clone(), verdict(reply.clone()))).collect())
            }
            _ => Ok(verdicts),
        }
    }

    /// DATA, the body, the dot; returns the word on the whole message.
    async fn data(&mut self, message: Message, gate: &impl DotGate) -> Result<Verdict, Broken> {
        let before = |failure| Broken { failure, after_dot: false };
        let limits = self.limits;
        let reply = self.wire.command("DATA", "DATA", limits.data).await.map_err(before)?.reply;
        if reply.code != 354 {
            let reply = self.message_reply("DATA", reply).map_err(before)?;
            // 2xx to DATA is nonsense; nothing was sent, so nothing was accepted.
            return match reply.code {
                400..600 => Ok(verdict(reply)),
                _ => Err(before(self.nonsense("DATA", &reply))),
            };
        }
        if let Some(early) = self.body(message).await.map_err(before)? {
            return Ok(early);
        }
        gate.open().await.map_err(before)?;
        let after = |failure| Broken { failure, after_dot: true };
        self.wire.write(b".\r\n", "final dot", limits.block).await.map_err(after)?;
        let reply = self.wire.reply("final dot", limits.dot).await.map_err(after)?.reply;
        match reply.code {
            // The server said that it did not take it, so there is no doubt.
            421 | 432 => Err(before(refused(&self.wire, "final dot", "hand over", &reply))),
            200..300 | 400..600 => Ok(verdict(reply)),
            _ => Err(after(self.nonsense("final dot", &reply))),
        }
    }

    /// Streams the body; a refusal that came while it was written is returned.
    async fn body(&mut self, message: Message) -> Result<Option<Verdict>, Failure> {
        let mut wired = message.stream();
        loop {
            let (rest, bytes) = wired.next().await?;
            wired = rest;
            let Some(bytes) = bytes else { return Ok(None) };
            if let Err(lost) = self.wire.write(&bytes, "DATA", self.limits.block).await {
                // A server that closes in the middle may have said why.
                return match self.wire.reply("DATA", LAST_WORDS).await {
                    Ok(lines) if lines.reply.code >= 400 => {
                        Ok(Some(verdict(self.message_reply("DATA", lines.reply)?)))
                    }
                    _ => Err(lost),
                };
            }
        }
    }

    /// Sorts out replies that speak about the account and not about the message.
    fn message_reply(&self, phase: &str, reply: Reply) -> Result<Reply, Failure> {
        let about_account = match reply.code {
            421 | 432 | 530 | 534 | 535 | 538 => true,
            // At RCPT it is a relay that cannot decide yet; at MAIL it is the login that ended.
            454 => phase == "MAIL",
            _ => false,
        };
        if about_account { Err(refused(&self.wire, phase, "send", &reply)) } else { Ok(reply) }
    }

    fn nonsense(&self, phase: &str, reply: &Reply) -> Failure {
        self.wire.failure(phase, Kind::Protocol, "hand over the message").said(&reply.to_string())
    }
}

fn verdict(reply: Reply) -> Verdict {
    match reply.code {
        200..300 => Verdict::Accepted(reply),
        500..600 => Verdict::Refused(reply),
        _ => Verdict::Deferred(reply),
    }
}

fn is_negative(reply: &Reply) -> bool {
    !(200..300).contains(&reply.code)
}

fn is_accepted(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Accepted(_) => true,
        Verdict::Deferred(_) | Verdict::Refused(_) => false,
    }
}

/// Whoever was accepted at RCPT gets the word on the message; the others keep theirs.
fn settle(at_rcpt: Verdict, settled: &Verdict) -> Verdict {
    if is_accepted(&at_rcpt) { settled.clone() } else { at_rcpt }
}

const PIPELINE_MAX: usize = 50;
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(2);
