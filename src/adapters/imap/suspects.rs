//! Which messages were being fetched when a connection died, over all connections of an account: one
//! that kills each connection must not stop the others for ever. Floor 3.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::model::ids::{MailboxName, Uid, UidValidity};

/// A message under its full name.
type Message = (MailboxName, UidValidity, Uid);

/// Counts the connections that died under a message.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<BTreeMap<Message, u32>>);

/// How a message may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Together with others.
    Full,
    /// Alone: it was there when two connections died.
    Alone,
    /// Not now: a connection died when nothing else was asked for.
    None,
}

impl Suspects {
    /// How a message may be asked for. One that may not be is asked for alone the next time.
    pub(super) fn trust(&self, place: &(MailboxName, UidValidity), uid: Uid) -> Trust {
        let mut deaths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(n) = deaths.get_mut(&(place.0.clone(), place.1, uid)) else { return Trust::Full };
        match *n {
            0..ALONE => Trust::Full,
            ALONE => Trust::Alone,
            _ => {
                *n = ALONE;
                Trust::None
            }
        }
    }

    /// A connection died while these were asked for.
    pub(super) fn died(
        &self,
        place: &(MailboxName, UidValidity),
        uids: impl IntoIterator<Item = Uid>,
    ) {
        let mut deaths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for uid in uids {
            let message = (place.0.clone(), place.1, uid);
            if deaths.len() < SUSPECTS_MAX || deaths.contains_key(&message) {
                let n = deaths.entry(message).or_default();
                *n = n.saturating_add(1);
            }
        }
    }

    /// A message arrived, or the server said what is the matter with it.
    pub(super) fn cleared(&self, place: &(MailboxName, UidValidity), uid: Uid) {
        let mut deaths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !deaths.is_empty() {
            deaths.remove(&(place.0.clone(), place.1, uid));
        }
    }
}

/// Deaths after which a message is asked for alone.
const ALONE: u32 = 2;
const SUSPECTS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_death_sets_a_message_aside_and_arriving_clears_it() {
        let suspects = Suspects::default();
        let place = (MailboxName::inbox(), UidValidity::new(1).unwrap());
        let [one, two] = [1, 2].map(|n| Uid::new(n).unwrap());
        suspects.died(&place, [one, two]);
        assert_eq!(suspects.trust(&place, one), Trust::Full, "a network fails now and then");
        suspects.died(&place, [one, two]);
        assert_eq!(suspects.trust(&place, one), Trust::Alone);
        suspects.cleared(&place, two);
        suspects.died(&place, [one]);
        assert_eq!(suspects.trust(&place, one), Trust::None);
        assert_eq!(suspects.trust(&place, one), Trust::Alone, "it is tried again later");
        assert_eq!(suspects.trust(&place, two), Trust::Full);
    }
}
