//! Hears from logind when the machine goes to sleep, and has it wait until the work at hand is safe.
//! Floor 5. Where there is no logind, [`super::wake`] notices afterwards.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::adapters::power::Sleep;
use crate::daemon::wake::Turn;

/// Says so each time, until it is stopped.
pub(super) async fn watch(turns: mpsc::Sender<Turn>, stop: CancellationToken) {
    loop {
        let listening = async {
            if let Ok(sleep) = Sleep::listen().await {
                hear(sleep, &turns).await;
            }
            // Without a bus there is none for long, or for ever.
            sleep(RETRY_AFTER).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = listening => {}
        }
    }
}

async fn hear(mut sleep: Sleep, turns: &mpsc::Sender<Turn>) {
    let mut held = match sleep.inhibit().await {
        Ok(held) => Some(held),
        Err(failure) => {
            tracing::debug!(%failure, "sleep will come without a warning");
            None
        }
    };
    let mut is_asleep = false;
    while let Some(starts) = sleep.next().await {
        is_asleep = starts;
        let turn = if starts {
            tracing::info!("the machine goes to sleep");
            Turn::Sleep(held.take())
        } else {
            held = sleep.inhibit().await.ok();
            Turn::Awake
        };
        if turns.send(turn).await.is_err() {
            return;
        }
    }
    if is_asleep {
        // The bus died meanwhile; nobody else will say it.
        drop(turns.send(Turn::Awake).await);
    }
}

const RETRY_AFTER: Duration = Duration::from_secs(60);
