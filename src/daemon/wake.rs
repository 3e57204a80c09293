//! Notices that the machine slept, or is in another network: connections are dead then and do not
//! know it. Floor 5.
//!
//! Both show without help of a bus: a tick comes late by the clock on the wall, and the address that
//! packets would leave from is another one.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::adapters::net::{Sources, source_addresses};
use crate::adapters::power::Inhibitor;

/// What happens to the machine, as far as mail is concerned.
#[derive(Debug)]
pub(super) enum Turn {
    /// Connections are dead, and may not know it.
    Redial,
    /// It goes to sleep as soon as this is dropped.
    Sleep(Option<Inhibitor>),
    /// It is back.
    Awake,
    /// A captive portal is in the way, or is not any longer.
    Captive(bool),
    /// The traffic is counted, or is not any longer.
    Metered(bool),
}

/// Says so each time, until it is stopped.
pub(super) async fn watch(woken: mpsc::Sender<Turn>, stop: CancellationToken) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen { at: SystemTime::now(), from: source_addresses() };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Some(why) = seen.look(SystemTime::now(), source_addresses()) {
            tracing::info!(why, "connections are dialled again");
            if woken.send(Turn::Redial).await.is_err() {
                return;
            }
        }
    }
}

/// What the last tick saw.
struct Seen {
    at: SystemTime,
    /// The last addresses with which there was a network.
    from: Sources,
}

impl Seen {
    /// Why connections cannot be trusted any more, if they cannot.
    fn look(&mut self, now: SystemTime, from: Sources) -> Option<&'static str> {
        let gap = now.duration_since(self.at).unwrap_or_default();
        self.at = now;
        // A network that is gone may come back as it was; nothing can be dialled meanwhile.
        let has_moved = from != Sources::default() && from != self.from;
        if has_moved {
            self.from = from;
        }
        if gap > TICK + LATE {
            Some("the machine slept")
        } else if has_moved {
            Some("the network changed")
        } else {
            None
        }
    }
}

const TICK: Duration = Duration::from_secs(2);
/// A busy machine is late, too, but not by that much.
const LATE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn sleep_and_another_network_are_noticed_and_a_gap_in_the_network_is_not() {
        let begin = SystemTime::UNIX_EPOCH;
        let at = |secs| begin + Duration::from_secs(secs);
        let home = Sources { v4: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))), v6: None };
        let train = Sources { v4: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))), v6: None };
        let none = Sources::default();
        let mut seen = Seen { at: begin, from: home };
        assert_eq!(seen.look(at(2), home), None);
        assert_eq!(seen.look(at(4), none), None);
        assert_eq!(seen.look(at(6), home), None);
        assert_eq!(seen.look(at(8), train), Some("the network changed"));
        assert_eq!(seen.look(at(10), train), None);
        assert_eq!(seen.look(at(3610), train), Some("the machine slept"));
        // The clock was set back.
        assert_eq!(seen.look(at(5), train), None);
    }
}
