//! The objects on the session bus, when there is one and the name is free. Floor 5.
//!
//! The bus is a convenience: the service never depends on it, and takes the name again after the bus
//! went away and came back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use zbus::Connection;
use zbus::connection::Builder;

use super::desk::Desk;
use super::follow::{Start, follow};

/// Serves on the bus at `address` (none: the user's session bus) until `stop` is cancelled.
pub(super) async fn serve(desk: Arc<Desk>, address: Option<String>, stop: CancellationToken) {
    let (mut is_told, mut pause) = (false, RETRY_FIRST);
    while !stop.is_cancelled() {
        let start = Start::new(&desk);
        let connected = tokio::select! {
            () = stop.cancelled() => return,
            connected = timeout(CONNECT_LIMIT, Box::pin(connect(&start, address.as_deref()))) => connected,
        };
        match connected {
            Ok(Ok(connection)) => {
                is_told = false;
                tracing::info!(name = NAME, "serving on the session bus");
                follow(connection, start, stop.clone()).await;
                if !stop.is_cancelled() {
                    tracing::warn!("the session bus went away; the private socket still serves");
                }
                pause = RETRY_FIRST;
            }
            Ok(Err(err)) => warn_once(&mut is_told, &reason(&err)),
            Err(_) => warn_once(&mut is_told, "it does not answer"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn connect(start: &Start, address: Option<&str>) -> zbus::Result<Connection> {
    let builder = address.map_or_else(Builder::session, Builder::address);
    // zbus asks for the name when the objects are in place, and never queues for it. Left alone it
    // would take the name from its owner, and give it away to whoever asks.
    let builder = builder.allow_name_replacements(false).replace_existing_names(false);
    start.furnish(builder).name(NAME).build().await
}

fn reason(err: &zbus::Error) -> String {
    if matches!(err, zbus::Error::NameTaken) {
        format!("another process owns {NAME}; to find it: busctl --user status {NAME}")
    } else {
        err.to_string()
    }
}

fn warn_once(is_told: &mut bool, why: &str) {
    if *is_told {
        tracing::debug!(why, "still not on the session bus");
    } else {
        tracing::warn!(why, "not on the session bus, will retry; the private socket serves");
    }
    *is_told = true;
}

const NAME: &str = "org.postrider.Postrider1";

/// A bus that was restarted is there at once, one that is missing may be so for ever.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

const CONNECT_LIMIT: Duration = Duration::from_secs(30);
