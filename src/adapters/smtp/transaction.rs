//! One message: MAIL, RCPT, DATA, the final dot. Floor 3.

use std::time::Duration;

use super::body::Message;
use super::session::{Session, refused};
use super::throttle::is_throttle;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::outbox::{Address, Broken, Outcome, Reply, Verdict};
use crate::ports::outbox::{DotGate, Job};

impl Session {
    /// Sends one message. Not cancel safe: a session whose `send` was dropped must be dropped too.
    ///
    /// # Errors
    ///
    /// What broke the attempt off. The session is unusable then.
    pub(super) async fn send(
        &mut self,
        job: &Job,
        message: Message,
        gate: &impl DotGate,
    ) -> Result<Outcome, Broken> {
        let before = |failure| Broken { failure, after_dot: false, in_mail: true };
        self.transactions += 1;
        let mail = self.mail_command(job, &message).map_err(before)?;
        // Those whose address cannot travel to this server; the others go without them.
        let (mut good, mut lines, mut unfit) = (Vec::new(), Vec::new(), Vec::new());
        for recipient in &job.envelope.recipients {
            match self.rcpt_command(job, recipient) {
                Ok(line) => {
                    good.push(recipient.clone());
                    lines.push(line);
                }
                Err(failure) => unfit.push((recipient.clone(), failure)),
            }
        }
        if good.is_empty()
            && let Some((_, failure)) = unfit.pop()
        {
            return Err(before(failure));
        }
        self.usable = false;
        let mut verdicts = self.address(&mail, &good, &lines).await.map_err(before)?;
        verdicts.extend(unfit.into_iter().map(|(to, failure)| {
            let reply = Reply::new(553, Some([5, 6, 7]), &format!("not tried: {failure}"));
            (to, Verdict::Refused(reply))
        }));
        let outcome = if verdicts.iter().any(|(_, verdict)| is_accepted(verdict)) {
            let settled = self.data(message, gate, &verdicts).await?;
            verdicts.into_iter().map(|(to, verdict)| (to, settle(verdict, &settled))).collect()
        } else {
            verdicts
        };
        (self.usable, self.is_used) = (true, true);
        Ok(Outcome { verdicts: outcome })
    }

    /// The MAIL command, or why this server cannot take this message.
    fn mail_command(&self, job: &Job, message: &Message) -> Result<String, Failure> {
        let (envelope, offers) = (&job.envelope, &self.offers);
        let needs_utf8 = job.utf8_header
            || envelope.sender.iter().chain(&envelope.recipients).any(Address::needs_utf8);
        let utf8 = needs_utf8 && offers.utf8;
        let mut line = match &envelope.sender {
            Some(sender) => format!("MAIL FROM:<{}>", self.wired(sender, utf8)?),
            None => "MAIL FROM:<>".to_owned(),
        };
        if let Some(limit) = offers.size {
            if limit != 0 && message.wire_bytes > limit {
                return Err(self
                    .unfit(Kind::TooBig, "send a message of this size")
                    .detail(format_args!(
                        "it has {} bytes, the server takes {limit}",
                        message.wire_bytes
                    ))
                    .cure("send less at once, or a link to it"));
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
        if utf8 {
            line.push_str(" SMTPUTF8");
        }
        if offers.dsn {
            if let Some(ret) = job.dsn.ret {
                line.push_str(&format!(" RET={ret}"));
            }
            if let Some(envid) = &job.dsn.envid {
                line.push_str(&format!(" ENVID={}", xtext(envid)));
            }
        }
        Ok(line)
    }

    /// The RCPT command of one recipient.
    fn rcpt_command(&self, job: &Job, recipient: &Address) -> Result<String, Failure> {
        let mut line = format!("RCPT TO:<{}>", self.wired(recipient, self.offers.utf8)?);
        if self.offers.dsn && !job.dsn.notify.is_empty() {
            line.push_str(&format!(" NOTIFY={}", job.dsn.notify.join(",")));
            if !recipient.needs_utf8() {
                line.push_str(&format!(" ORCPT=rfc822;{}", xtext(recipient.as_str())));
            }
        }
        Ok(line)
    }

    /// An address as it travels: as it is where SMTPUTF8 is used, else with its domain in A-labels
    /// (RFC 5891), which every server takes.
    fn wired(&self, address: &Address, utf8: bool) -> Result<String, Failure> {
        if utf8 || !address.needs_utf8() {
            return Ok(address.to_string());
        }
        let domain = idna::domain_to_ascii_strict(address.domain()).ok();
        match domain.filter(|_| address.local_part().is_ascii()) {
            Some(domain) => Ok(format!("{}@{domain}", address.local_part())),
            None => Err(self
                .unfit(Kind::NotSupported, "send to or from an internationalised address")
                .detail(format_args!("the server does not offer SMTPUTF8, and {address} needs it"))
                .cure("use another address, or a server that has SMTPUTF8")),
        }
    }

    fn unfit(&self, kind: Kind, what: &str) -> Failure {
        let mut failure = self.wire.failure("MAIL", kind, what).scoped(Scope::Message);
        failure.remedy = Remedy::Never;
        failure
    }

    /// MAIL and all RCPT, in groups when the server pipelines. Where the session had a transaction before,
    /// RSET goes ahead of them, in the same breath where that is possible.
    async fn address(
        &mut self,
        mail: &str,
        recipients: &[Address],
        lines: &[String],
    ) -> Result<Vec<(Address, Verdict)>, Failure> {
        let limit = self.limits.mail;
        let pipelines = self.offers.pipelining;
        let group = if pipelines { PIPELINE_MAX } else { 1 };
        let resets = std::mem::take(&mut self.is_used);
        if resets {
            self.wire.queue("RSET");
        }
        if resets && !pipelines {
            self.wire.flush("RSET", limit).await?;
            self.was_reset().await?;
        }
        self.wire.queue(mail);
        let mut mail_reply = None;
        if !pipelines {
            self.wire.flush("MAIL", limit).await?;
            mail_reply = Some(self.mail_reply(limit).await?);
        }
        let mut verdicts = Vec::new();
        for (some, lines) in recipients.chunks(group).zip(lines.chunks(group)) {
            if mail_reply.as_ref().is_some_and(is_negative) {
                break;
            }
            for line in lines {
                self.wire.queue(line);
            }
            self.wire.flush("RCPT", limit).await?;
            if mail_reply.is_none() {
                if resets {
                    self.was_reset().await?;
                }
                mail_reply = Some(self.mail_reply(limit).await?);
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

    async fn mail_reply(&mut self, limit: Duration) -> Result<Reply, Failure> {
        let reply = self.wire.reply("MAIL", limit).await?.reply;
        self.message_reply("MAIL", reply)
    }

    /// Reads the answer to RSET; whatever else it is, this session is over and the message not tried.
    async fn was_reset(&mut self) -> Result<(), Failure> {
        let reply = self.wire.reply("RSET", self.limits.mail.min(RESET)).await?.reply;
        if reply.code == 250 { Ok(()) } else { Err(refused(&self.wire, "RSET", "go on", &reply)) }
    }

    /// DATA, the body, the dot; returns the word on the whole message.
    async fn data(
        &mut self,
        message: Message,
        gate: &impl DotGate,
        verdicts: &[(Address, Verdict)],
    ) -> Result<Verdict, Broken> {
        let before = |failure| Broken { failure, after_dot: false, in_mail: true };
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
        gate.open(verdicts).await.map_err(before)?;
        let after = |failure| Broken { failure, after_dot: true, in_mail: true };
        self.wire.write(b".\r\n", "final dot", limits.block).await.map_err(after)?;
        let reply = self.wire.reply("final dot", limits.dot).await.map_err(after)?.reply;
        match reply.code {
            // The server said that it did not take it, so there is no doubt.
            _ if is_throttle(&reply) => {
                Err(before(refused(&self.wire, "final dot", "hand over", &reply)))
            }
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
            530 | 534 | 535 | 538 => true,
            // At RCPT it is a relay that cannot decide yet; at MAIL it is the login that ended.
            454 => phase == "MAIL",
            _ => is_throttle(&reply),
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

/// Characters that would end a parameter, as xtext (RFC 3461 §4).
fn xtext(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' | 0..=b' ' | 127.. => out.push_str(&format!("+{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

const PIPELINE_MAX: usize = 50;
const RESET: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_secs(2);
