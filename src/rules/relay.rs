//! The life of a queued message: what an attempt means for it, and when the next one is due. Floor 1.

use std::time::Duration;

use crate::model::account::OnUncertain;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::OutboxId;
use crate::model::outbox::{
    Address, Broken, CopyState, Item, Outcome, Phase, Reason, Recipient, RecipientState, Verdict,
};
use crate::model::status::Micros;

/// A random number in 0..=1000; 500 leaves a delay as it is.
pub type Jitter = u32;

/// What holds for all messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayPolicy {
    /// How long transient refusals are retried.
    pub retry_for: Duration,
    /// What becomes of a message whose fate is not known.
    pub on_uncertain: OnUncertain,
}

/// What an attempt changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Who was accepted just now.
    pub accepted: Vec<Address>,
    /// The server's word to them.
    pub reply: String,
}

/// Returns the delay after `tries` attempts: 15 s, 30 s, 1, 2, 5, 15, 30, 60 min, ±20 %.
pub fn back_off(tries: u32, jitter: Jitter) -> Duration {
    let step = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
    let seconds = STEPS.get(step).copied().unwrap_or(LONGEST);
    Duration::from_millis(seconds * (800 + u64::from(jitter.min(1000)) * 2 / 5))
}

/// Makes an id that sorts by time.
pub fn new_id(now: Micros, random: u32) -> OutboxId {
    let digits = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let base36 = |mut n: u64, width: usize| {
        let mut out = vec![b'0'; width];
        for place in out.iter_mut().rev() {
            *place =
                usize::try_from(n % 36).ok().and_then(|d| digits.get(d)).copied().unwrap_or(b'0');
            n /= 36;
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    OutboxId(format!("{}{}", base36(now, 10), base36(u64::from(random), 5)))
}

/// Applies the verdicts of an attempt.
pub fn settle(
    item: &mut Item,
    outcome: &Outcome,
    now: Micros,
    jitter: Jitter,
    policy: &RelayPolicy,
) -> Change {
    let mut change = Change::default();
    let mut greylisted = false;
    let is_some_in = outcome.verdicts.iter().any(|(_, verdict)| is_accepted(verdict));
    for (address, verdict) in &outcome.verdicts {
        let Some(recipient) = open_recipient(item, address) else { continue };
        let (state, reply) = match verdict {
            Verdict::Accepted(reply) => (RecipientState::Accepted, reply),
            // Not refused: the next transaction has room (RFC 5321 §4.5.3.1.10).
            Verdict::Deferred(reply) | Verdict::Refused(reply) if reply.is_too_many() => {
                let next =
                    if is_some_in { RecipientState::Pending } else { RecipientState::Deferred };
                (next, reply)
            }
            Verdict::Deferred(reply) => (RecipientState::Deferred, reply),
            Verdict::Refused(reply) => (RecipientState::Failed, reply),
        };
        recipient.state = state;
        recipient.reply = Some(reply.to_string());
        if state == RecipientState::Accepted {
            change.accepted.push(address.clone());
            change.reply = reply.to_string();
        }
        greylisted |= state == RecipientState::Deferred && reply.is_greylisting();
    }
    if !change.accepted.is_empty() && item.copy == CopyState::NotYet {
        item.copy = CopyState::Due;
    }
    item.reason = word(item, RecipientState::Deferred, "Protocol");
    if item.has(RecipientState::Pending) {
        // Others have not had their turn.
        conclude(item, now, Duration::ZERO, policy);
        return change;
    }
    item.tries = item.tries.saturating_add(1);
    let mut delay = back_off(item.tries, jitter);
    if greylisted {
        delay = delay.max(GREYLISTING);
    }
    conclude(item, now, delay, policy);
    change
}

/// Applies an attempt that broke off.
pub fn broke(item: &mut Item, broken: &Broken, now: Micros, jitter: Jitter, policy: &RelayPolicy) {
    let failure = &broken.failure;
    // What a server said about the message stays: the account has its own reason.
    if broken.after_dot || failure.scope == Scope::Message || item.tries == 0 {
        item.reason = Some(reason(failure));
    }
    if broken.after_dot {
        doubt(item, now, policy);
        return;
    }
    item.phase = Phase::Queued;
    match (failure.scope, failure.remedy) {
        (Scope::Message, Remedy::Never) => fail(item, &failure.to_string()),
        (Scope::Message, Remedy::Now | Remedy::Later | Remedy::After(_)) => {
            item.tries = item.tries.saturating_add(1);
            conclude(item, now, back_off(item.tries, jitter), policy);
        }
        // The account's trouble never ages a message: it waits for its account.
        (Scope::Mailbox | Scope::Account | Scope::Daemon, _) => item.next_try = now,
    }
}

/// The final dot may have left: the message waits for a person, or goes out again.
pub fn doubt(item: &mut Item, now: Micros, policy: &RelayPolicy) {
    match item.on_uncertain.unwrap_or(policy.on_uncertain) {
        OnUncertain::Hold => item.phase = Phase::Uncertain,
        OnUncertain::Retry => {
            item.phase = Phase::Queued;
            item.tries = item.tries.saturating_add(1);
            item.next_try = after(now, UNCERTAIN_PAUSE).min(deadline(item, policy));
        }
    }
}

/// What is known when the final dot may leave: who was refused before it, or not tried. Only whoever is pending
/// afterwards may have the message when the answer to the dot is lost.
pub fn at_dot(item: &mut Item, verdicts: &[(Address, Verdict)]) {
    item.phase = Phase::Dot;
    for one in item.recipients.iter_mut().filter(|one| one.state == RecipientState::Pending) {
        one.state = RecipientState::Deferred;
    }
    for (address, verdict) in verdicts {
        let Some(recipient) = open_recipient(item, address) else { continue };
        let (state, reply) = match verdict {
            Verdict::Accepted(_) => (RecipientState::Pending, None),
            Verdict::Refused(reply) if !reply.is_too_many() => {
                (RecipientState::Failed, Some(reply.to_string()))
            }
            Verdict::Deferred(reply) | Verdict::Refused(reply) => {
                (RecipientState::Deferred, Some(reply.to_string()))
            }
        };
        recipient.state = state;
        recipient.reply = reply.or_else(|| recipient.reply.take());
    }
}

/// The message turned out to be with the server. Whoever it was refused for, or who was not tried, does not
/// have it by that. Answers who has.
pub fn confirm(item: &mut Item, how: &str, copy: CopyState, now: Micros) -> Vec<Address> {
    let mut accepted = Vec::new();
    for one in item.recipients.iter_mut().filter(|one| one.state == RecipientState::Pending) {
        one.state = RecipientState::Accepted;
        one.reply = Some(how.to_owned());
        accepted.push(one.address.clone());
    }
    item.copy = copy;
    item.reason = None;
    if item.has(RecipientState::Deferred) {
        (item.phase, item.next_try) = (Phase::Queued, now);
    } else if item.has(RecipientState::Failed) {
        item.phase = Phase::Failed;
        item.reason = word(item, RecipientState::Failed, "Protocol");
    } else {
        item.phase = Phase::Accepted;
    }
    accepted
}

fn is_accepted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Accepted(_))
}

fn open_recipient<'a>(item: &'a mut Item, address: &Address) -> Option<&'a mut Recipient> {
    item.recipients.iter_mut().find(|one| one.state.is_open() && one.address == *address)
}

/// What a start finds in the ledger, and makes of it.
pub fn resume(item: &mut Item, now: Micros, policy: &RelayPolicy) {
    // The settings may be others by now.
    if item.phase == Phase::Queued {
        item.next_try = item.next_try.min(deadline(item, policy));
    }
    match item.phase {
        // The dot had not left, so the server has nothing.
        Phase::Sending => item.phase = Phase::Queued,
        Phase::Dot => {
            item.reason = Some(Reason {
                name: "Timeout".to_owned(),
                text: "stopped between the final dot and the server's answer".to_owned(),
            });
            doubt(item, now, policy);
        }
        Phase::SentCopy => item.phase = Phase::Accepted,
        Phase::Claimed
        | Phase::Queued
        | Phase::Held
        | Phase::Uncertain
        | Phase::Accepted
        | Phase::Failed => {}
    }
}

/// Fails all recipients that are still open.
pub fn fail(item: &mut Item, why: &str) {
    for recipient in item.recipients.iter_mut().filter(|one| one.state.is_open()) {
        recipient.state = RecipientState::Failed;
        recipient.reply =
            Some(recipient.reply.take().map_or_else(
                || why.to_owned(),
                |said| format!("{why}; the last word was: {said}"),
            ));
    }
    item.phase = Phase::Failed;
}

/// Parts a message: those who were refused for good get one of their own, which is parked as `id` while this
/// one goes on for the others. None when nobody was, or nobody is left.
pub fn part(item: &mut Item, id: OutboxId) -> Option<Item> {
    if !item.has(RecipientState::Failed) || item.open().is_empty() {
        return None;
    }
    let mut part = item.clone();
    (part.phase, part.next_try) = (Phase::Failed, 0);
    part.reason = word(item, RecipientState::Failed, "Protocol");
    // One copy in Sent is enough for both.
    if item.copy != CopyState::NotYet {
        part.copy = CopyState::Done;
    }
    for (here, there) in item.recipients.iter_mut().zip(&mut part.recipients) {
        if here.state == RecipientState::Failed {
            here.state = RecipientState::Elsewhere;
            let said = here.reply.take().unwrap_or_default();
            here.reply = Some(format!("{said} (parked as {id})"));
        } else if here.state != RecipientState::Accepted {
            there.state = RecipientState::Elsewhere;
            there.reply = Some(format!("goes on as {}", item.id));
        }
    }
    part.id = id;
    Some(part)
}

/// A person wants the failed recipients tried again.
pub fn retry(item: &mut Item, now: Micros) {
    for recipient in &mut item.recipients {
        if recipient.state == RecipientState::Failed || recipient.state.is_open() {
            recipient.state = RecipientState::Pending;
        }
    }
    (item.phase, item.tries, item.next_try) = (Phase::Queued, 0, now);
    // Its time begins anew, but not its age.
    item.hold_until = now;
    item.reason = None;
}

/// Whether somebody should be told that a message still waits.
pub fn is_late(item: &Item, now: Micros) -> bool {
    item.phase == Phase::Queued && now >= after(item.queued_at.max(item.hold_until), LATE)
}

/// How long an account waits after `failures` failures in a row.
pub fn account_pause(failure: &Failure, failures: u32, jitter: Jitter) -> Duration {
    match (failure.remedy, failure.kind) {
        (Remedy::Never, _) => Duration::from_secs(LONGEST),
        (Remedy::After(least), _) => back_off(failures, jitter).max(least),
        (_, Kind::Throttled) => back_off(failures, jitter).max(THROTTLED),
        _ => back_off(failures, jitter),
    }
}

/// A failure as the reason of an item.
pub fn reason(failure: &Failure) -> Reason {
    Reason { name: failure.kind.error_name().to_owned(), text: failure.to_string() }
}

/// The moment `delay` after `now`.
pub fn after(now: Micros, delay: Duration) -> Micros {
    now.saturating_add(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX))
}

/// The moment of the last attempt.
fn deadline(item: &Item, policy: &RelayPolicy) -> Micros {
    after(item.queued_at.max(item.hold_until), policy.retry_for)
}

fn conclude(item: &mut Item, now: Micros, delay: Duration, policy: &RelayPolicy) {
    let open = item.recipients.iter().any(|one| one.state.is_open());
    let deadline = deadline(item, policy);
    if open && after(now, LAST_PAUSE_MIN) >= deadline {
        fail(item, "given up after the time that retry_for allows");
    } else if open {
        item.phase = Phase::Queued;
        item.next_try = after(now, delay).min(deadline);
    } else if item.has(RecipientState::Failed) {
        item.phase = Phase::Failed;
        item.reason = word(item, RecipientState::Failed, "Protocol");
    } else {
        item.phase = Phase::Accepted;
    }
}

fn word(item: &Item, state: RecipientState, name: &str) -> Option<Reason> {
    let one = item.recipients.iter().find(|one| one.state == state)?;
    let said = one.reply.as_deref().unwrap_or("no word");
    Some(Reason { name: name.to_owned(), text: format!("{}: {said}", one.address) })
}

/// More than any back-off, jitter included.
pub const PAUSE_MAX: Duration = Duration::from_secs(LONGEST * 5 / 4);
const STEPS: [u64; 8] = [15, 30, 60, 120, 300, 900, 1800, LONGEST];
const LONGEST: u64 = 3600;
const GREYLISTING: Duration = Duration::from_secs(300);
const UNCERTAIN_PAUSE: Duration = Duration::from_secs(60);
const THROTTLED: Duration = Duration::from_secs(60);
/// So soon before its last attempt a message is not tried again.
const LAST_PAUSE_MIN: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(4 * 3600);

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
