//! Hears from NetworkManager how the network is: up, behind a captive portal, metered. Floor 5. Where
//! there is none, [`super::wake`] notices another network by its addresses.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::adapters::connectivity::{Network, Networks};
use crate::daemon::wake::Turn;

/// Says each change, until it is stopped.
pub(super) async fn watch(turns: mpsc::Sender<Turn>, stop: CancellationToken) {
    loop {
        let listening = async {
            if let Ok(networks) = Networks::listen().await {
                hear(networks, &turns).await;
            }
            sleep(RETRY_AFTER).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = listening => {}
        }
    }
}

async fn hear(mut networks: Networks, turns: &mpsc::Sender<Turn>) {
    let mut before = Network { is_up: true, ..Network::default() };
    let mut seen = networks.now().await;
    while let Some(now) = seen {
        for turn in turned(before, now) {
            if turns.send(turn).await.is_err() {
                return;
            }
        }
        before = now;
        seen = networks.next().await;
    }
    // It is gone: nothing of what it said holds any longer.
    let calm = Network { is_up: before.is_up, ..Network::default() };
    for turn in turned(before, calm) {
        drop(turns.send(turn).await);
    }
}

/// What a change of the network means. That it is gone means nothing: it shows by itself.
fn turned(before: Network, now: Network) -> Vec<Turn> {
    let mut turns = Vec::new();
    if now.is_metered != before.is_metered {
        turns.push(Turn::Metered(now.is_metered));
    }
    if now.is_captive != before.is_captive {
        turns.push(Turn::Captive(now.is_captive));
    } else if now.is_up && !before.is_up && !now.is_captive {
        turns.push(Turn::Redial);
    }
    turns
}

const RETRY_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_comes_is_dialled_and_a_portal_is_waited_for() {
        let up = Network { is_up: true, ..Network::default() };
        let down = Network::default();
        let captive = Network { is_captive: true, ..up };
        let metered = Network { is_metered: true, ..up };
        assert!(matches!(turned(down, up).as_slice(), [Turn::Redial]));
        assert!(turned(up, down).is_empty() && turned(up, up).is_empty());
        assert!(matches!(turned(down, captive).as_slice(), [Turn::Captive(true)]));
        assert!(matches!(turned(captive, up).as_slice(), [Turn::Captive(false)]));
        assert!(matches!(turned(up, metered).as_slice(), [Turn::Metered(true)]));
    }
}
