//! The brake: holds back deletions that look like an accident. Floor 1.

use crate::model::account::Brake;
use crate::rules::plan::Plan;

/// What the brake held back of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusal {
    /// Deletions on the server.
    pub remote: usize,
    /// Deletions in the Maildir.
    pub local: usize,
}

impl Refusal {
    /// How many deletions wait.
    pub fn total(self) -> u32 {
        u32::try_from(self.remote.saturating_add(self.local)).unwrap_or(u32::MAX)
    }
}

/// A mailbox below this size may become empty without a question.
pub const EMPTIED_FLOOR: usize = 10;

/// Takes deletions out of the plan that wait for consent: more than `max(min, percent)` of the
/// `known` messages, or all of them where there were [`EMPTIED_FLOOR`] or more.
///
/// What was held before stays held, whatever arrived meanwhile: one new message does not turn an
/// emptied mailbox into an ordinary one.
pub fn guard(plan: &mut Plan, known: usize, brake: Brake, held_before: u32) -> Refusal {
    let mut refusal = Refusal::default();
    let is_too_much = |n, known, brake| (n > 0 && held_before > 0) || is_too_much(n, known, brake);
    if is_too_much(plan.remove_remote.len(), known, brake) {
        refusal.remote = plan.remove_remote.len();
        plan.remove_remote.clear();
    }
    if is_too_much(plan.remove_local.len(), known, brake) {
        refusal.local = plan.remove_local.len();
        plan.remove_local.clear();
    }
    refusal
}

/// Whether so many deletions of so many known messages wait for consent.
pub fn is_too_much(deletions: usize, known: usize, brake: Brake) -> bool {
    if deletions == 0 {
        return false;
    }
    let share = known.saturating_mul(brake.percent as usize) / 100;
    let allowed = share.max(brake.min as usize);
    deletions > allowed || (known >= EMPTIED_FLOOR && deletions >= known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(deletions: usize, known: usize) -> bool {
        is_too_much(deletions, known, Brake { min: 25, percent: 20 })
    }

    #[test]
    fn a_share_is_allowed_and_a_landslide_is_not() {
        assert!(!held(0, 0));
        assert!(!held(1, 1), "the last message of a small mailbox is an ordinary deletion");
        assert!(!held(25, 40));
        assert!(held(26, 40));
        assert!(!held(50, 1000), "5 % pass");
        assert!(!held(200, 1000));
        assert!(held(201, 1000));
        assert!(held(10, 10), "an emptied mailbox of ten or more waits");
        assert!(!held(9, 9));
    }
}
