//! logind: when the machine goes to sleep, and holding it up for a moment. Floor 3.

use std::os::fd::OwnedFd;

use futures_util::StreamExt as _;
use zbus::Connection;

use crate::model::failure::{Failure, Kind, Remedy, Scope};

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<zbus::OwnedFd>;

    #[zbus(signal)]
    fn prepare_for_sleep(&self, start: bool) -> zbus::Result<()>;
}

/// What logind says about sleep.
pub struct Sleep {
    login: LoginProxy<'static>,
    told: PrepareForSleepStream,
}

/// Holds sleep up until it is dropped, or until logind does not wait any longer (5 s by default).
#[derive(Debug)]
pub struct Inhibitor {
    _held: OwnedFd,
}

impl Sleep {
    /// Listens to logind on the system bus.
    ///
    /// # Errors
    /// There is no system bus.
    pub async fn listen() -> Result<Self, Failure> {
        let listen = async {
            let bus = Connection::system().await?;
            let login = LoginProxy::new(&bus).await?;
            let told = login.receive_prepare_for_sleep().await?;
            Ok(Self { login, told })
        };
        listen.await.map_err(|err| failed("listen to logind", &err))
    }

    /// Takes the right to be waited for at the next sleep.
    ///
    /// # Errors
    /// There is no logind, or it refuses.
    pub async fn inhibit(&self) -> Result<Inhibitor, Failure> {
        let why = "finish what is being written, and hang up";
        let held = self.login.inhibit("sleep", "postrider", why, "delay").await;
        let held = held.map_err(|err| failed("hold up sleep", &err))?;
        Ok(Inhibitor { _held: OwnedFd::from(held) })
    }

    /// Waits for the next word: whether the machine goes to sleep now, or came back. Nothing once the
    /// bus is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<bool> {
        loop {
            let signal = self.told.next().await?;
            if let Ok(args) = signal.args() {
                return Some(*args.start());
            }
        }
    }
}

fn failed(what: &str, err: &zbus::Error) -> Failure {
    Failure::new(Scope::Daemon, Remedy::Later, Kind::NotSupported, what).detail(err)
}
