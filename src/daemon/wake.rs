//! Notices that the machine slept, or is in another network: connections are dead then and do not
//! know it. Floor 5.
//!
//! Both show without help of a bus: a tick comes late by the clock on the wall, and the address that
//! packets would leave from is another one. The kernel says when to look at that; a tick looks as well.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::adapters::power::Inhibitor;
use crate::adapters::route::{Changes, Sources, source_addresses};

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
    let mut changes = Changes::listen()
        .inspect_err(|failure| tracing::debug!(%failure, "another network shows by ticks only"))
        .ok();
    let mut seen = Seen { at: SystemTime::now(), from: source_addresses(), is_cut_off: false };
    loop {
        let by = tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => "clock",
            () = told(&mut changes) => "kernel",
        };
        if let Some(why) = seen.look(SystemTime::now(), source_addresses()) {
            tracing::info!(why, by, "connections are dialled again");
            if woken.send(Turn::Redial).await.is_err() {
                return;
            }
        }
    }
}

/// Waits until the kernel told of a change and whoever makes it may be done; for ever without it.
async fn told(changes: &mut Option<Changes>) {
    if let Some(listening) = changes {
        if listening.next().await.is_some() {
            return sleep(SETTLED).await;
        }
        *changes = None;
    }
    std::future::pending().await
}

/// What the last look saw.
struct Seen {
    at: SystemTime,
    /// The last addresses with which there was a network.
    from: Sources,
    /// Whether there is no network now.
    is_cut_off: bool,
}

impl Seen {
    /// Why connections cannot be trusted any more, if they cannot.
    fn look(&mut self, now: SystemTime, from: Sources) -> Option<&'static str> {
        let gap = now.duration_since(self.at).unwrap_or_default();
        self.at = now;
        // While it is gone nothing can be dialled. When it is back, a server may still think that it is
        // not, and wait for minutes before it says anything (RFC 6298 section 5.5).
        let was_cut_off = std::mem::replace(&mut self.is_cut_off, from == Sources::default());
        if self.is_cut_off {
            if !was_cut_off {
                tracing::info!("there is no network");
            }
            return (gap > TICK + LATE).then_some("the machine slept");
        }
        let has_moved = std::mem::replace(&mut self.from, from) != from;
        if gap > TICK + LATE {
            Some("the machine slept")
        } else if has_moved {
            Some("the network changed")
        } else if was_cut_off {
            Some("the network is back")
        } else {
            None
        }
    }
}

/// How long whoever configures a network is given between its first change and the last.
const SETTLED: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_secs(2);
/// A busy machine is late, too, but not by that much.
const LATE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn sleep_another_network_and_one_that_comes_back_are_noticed() {
        let begin = SystemTime::UNIX_EPOCH;
        let at = |secs| begin + Duration::from_secs(secs);
        let home = Sources { v4: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))), v6: None };
        let train = Sources { v4: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))), v6: None };
        let none = Sources::default();
        let mut seen = Seen { at: begin, from: home, is_cut_off: false };
        assert_eq!(seen.look(at(2), home), None);
        assert_eq!(seen.look(at(4), none), None);
        assert_eq!(seen.look(at(5), none), None);
        assert_eq!(seen.look(at(6), home), Some("the network is back"));
        assert_eq!(seen.look(at(7), home), None);
        assert_eq!(seen.look(at(8), train), Some("the network changed"));
        assert_eq!(seen.look(at(10), train), None);
        assert_eq!(seen.look(at(3610), train), Some("the machine slept"));
        // The clock was set back.
        assert_eq!(seen.look(at(5), train), None);
    }
}
