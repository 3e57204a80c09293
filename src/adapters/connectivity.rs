//! NetworkManager: whether there is a network, whether it wants a login in a browser, whether it costs
//! money. Floor 3.

use futures_util::{StreamExt as _, stream};
use zbus::Connection;

use crate::model::failure::{Failure, Kind, Remedy, Scope};

#[zbus::proxy(
    interface = "org.freedesktop.NetworkManager",
    default_service = "org.freedesktop.NetworkManager",
    default_path = "/org/freedesktop/NetworkManager"
)]
trait Manager {
    #[zbus(property)]
    fn connectivity(&self) -> zbus::Result<u32>;

    #[zbus(property)]
    fn metered(&self) -> zbus::Result<u32>;

    #[zbus(property)]
    fn state(&self) -> zbus::Result<u32>;

    #[zbus(signal, name = "StateChanged")]
    fn state_told(&self, state: u32) -> zbus::Result<()>;
}

/// How the network is. Without NetworkManager nothing is known, and nothing is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Network {
    /// Whether it is connected to anything.
    pub is_up: bool,
    /// Whether a captive portal wants a login first.
    pub is_captive: bool,
    /// Whether its traffic is counted.
    pub is_metered: bool,
}

/// What NetworkManager says.
pub struct Networks {
    manager: ManagerProxy<'static>,
    /// The state, where the change is one of it.
    changes: stream::BoxStream<'static, Option<u32>>,
}

impl Networks {
    /// Listens to NetworkManager on the system bus.
    ///
    /// # Errors
    /// There is no system bus, or no NetworkManager on it.
    pub async fn listen() -> Result<Self, Failure> {
        let listen = async {
            let bus = Connection::system().await?;
            let manager = ManagerProxy::new(&bus).await?;
            // What is cached is kept true by its signals.
            manager.state().await?;
            let changes = stream::select_all([
                manager.receive_connectivity_changed().await.map(|_| None).boxed(),
                manager.receive_metered_changed().await.map(|_| None).boxed(),
                // A signal each, where the property would only show the last of several changes.
                manager
                    .receive_state_told()
                    .await?
                    .map(|told| told.args().ok().map(|args| args.state))
                    .boxed(),
            ]);
            Ok(Self { manager, changes: changes.boxed() })
        };
        listen.await.map_err(|err: zbus::Error| {
            Failure::new(
                Scope::Daemon,
                Remedy::Later,
                Kind::NotSupported,
                "listen to NetworkManager",
            )
            .detail(err)
        })
    }

    /// How the network is now; nothing once NetworkManager is gone.
    pub async fn now(&mut self) -> Option<Network> {
        let state = self.manager.state().await.ok()?;
        self.with(state).await
    }

    /// Waits for a change, and says how the network is since; nothing once the bus is gone. Cancel safe
    /// up to the change.
    pub async fn next(&mut self) -> Option<Network> {
        match self.changes.next().await? {
            Some(state) => self.with(state).await,
            None => self.now().await,
        }
    }

    async fn with(&mut self, state: u32) -> Option<Network> {
        let connectivity = self.manager.connectivity().await.ok()?;
        let metered = self.manager.metered().await.ok()?;
        Some(Network {
            is_up: state >= CONNECTED_LOCAL,
            is_captive: connectivity == PORTAL,
            is_metered: METERED.contains(&metered),
        })
    }
}

/// NMState: connected, at least to a local network.
const CONNECTED_LOCAL: u32 = 50;
/// NMConnectivityState: a captive portal.
const PORTAL: u32 = 2;
/// NMMetered: yes, and guessed to be.
const METERED: [u32; 2] = [1, 3];
