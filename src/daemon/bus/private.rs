//! The objects on the private socket, peer to peer. Floor 5.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use zbus::Guid;
use zbus::connection::Builder;

use super::desk::Desk;
use super::follow::{Start, follow};
use super::stream::Peer;
use crate::daemon::paths::{make_private_dir, own_uid};
use crate::model::failure::{Failure, Scope};

/// The socket; removed when this goes.
pub(super) struct PrivateSocket {
    listener: UnixListener,
    _path: OwnedPath,
}

struct OwnedPath(std::path::PathBuf);

impl Drop for OwnedPath {
    fn drop(&mut self) {
        // Whoever finds a stale one replaces it.
        drop(std::fs::remove_file(&self.0));
    }
}

impl PrivateSocket {
    /// Makes the socket. Only for the holder of the state lock: a socket that is there already is
    /// taken for a stale one.
    pub(super) fn bind(path: &Path) -> Result<Self, Failure> {
        let failed = |err: &io::Error| {
            Failure::local_io("make the private socket", err)
                .scoped(Scope::Daemon)
                .at(path.display().to_string())
                .cure("set XDG_RUNTIME_DIR to a directory of your own with a short name")
        };
        if let Some(dir) = path.parent() {
            make_private_dir(dir)?;
        }
        match std::fs::remove_file(path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(failed(&err)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(|err| failed(&err))?;
        let path = OwnedPath(path.to_owned());
        std::fs::set_permissions(&path.0, std::fs::Permissions::from_mode(0o600))
            .map_err(|err| failed(&err))?;
        Ok(Self { listener, _path: path })
    }

    /// Accepts peers until `stop` is cancelled.
    pub(super) async fn serve(self, desk: Arc<Desk>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(PEERS_MAX));
        let guid = Guid::generate();
        let mut peers = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = peers.join_next() => {
                    if let Err(err) = ended {
                        tracing::warn!(error = %err, "a connection of the bus broke");
                    }
                    continue;
                }
                accepted = accept(&self.listener, &places) => accepted,
            };
            match accepted {
                Ok(peer) => {
                    let (desk, stop, guid) = (Arc::clone(&desk), stop.clone(), guid.to_owned());
                    peers.spawn(Box::pin(welcome(desk, peer, guid, stop)));
                }
                Err(err) => {
                    // Out of descriptors, for one: it passes, and must not spin until then.
                    tracing::warn!(error = %err, "accept a client of the private socket");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
        let ended = timeout(GOODBYE_LIMIT, async { while peers.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::debug!("some clients of the private socket were cut off");
        }
    }
}

/// The next peer, once there is a place for it. Cancel safe.
async fn accept(listener: &UnixListener, places: &Arc<Semaphore>) -> io::Result<Peer> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok(Peer { stream, place })
}

async fn welcome(desk: Arc<Desk>, peer: Peer, guid: Guid<'static>, stop: CancellationToken) {
    // zbus accepts any peer that does not lie about its uid; this takes only our own.
    match uid(&peer.stream) {
        Ok(uid) if uid == own_uid() => {}
        Ok(uid) => {
            tracing::warn!(uid, "refused a client of another user on the private socket");
            return;
        }
        Err(err) => {
            tracing::warn!(error = %err, "ask who a client of the private socket is");
            return;
        }
    }
    let start = Start::new(&desk);
    let builder = start.furnish(Builder::socket(peer).server(guid).p2p());
    match timeout(HELLO_LIMIT, builder.build()).await {
        Ok(Ok(connection)) => follow(connection, start, stop).await,
        Ok(Err(err)) => tracing::debug!(error = %err, "greet a client of the private socket"),
        Err(_) => tracing::debug!("a client of the private socket never said who it is"),
    }
}

fn uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(stream.peer_cred()?.uid())
}

const PEERS_MAX: usize = 128;

const HELLO_LIMIT: Duration = Duration::from_secs(10);

const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
