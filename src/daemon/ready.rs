//! Tells the service manager how we are (sd_notify); nothing where there is none. Floor 5.

use std::time::Duration;

#[cfg(target_os = "linux")]
use sd_notify::NotifyState;

/// The service is ready.
pub(super) fn ready(status: &str) {
    #[cfg(target_os = "linux")]
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    #[cfg(not(target_os = "linux"))]
    let _ = status;
}

/// The configuration is being read again; [`ready`] ends it.
pub(super) fn reloading() {
    #[cfg(target_os = "linux")]
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The service is stopping.
pub(super) fn stopping() {
    #[cfg(target_os = "linux")]
    tell(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`.
pub(super) fn status(line: &str) {
    #[cfg(target_os = "linux")]
    tell(&[NotifyState::Status(line)]);
    #[cfg(not(target_os = "linux"))]
    let _ = line;
}

/// How long a loop may be silent while it works before it counts as hanging: several deadlines of a
/// server, and a scan of a large mailbox on a slow disk, fit in.
pub(super) fn patience() -> Duration {
    #[cfg(target_os = "linux")]
    if let Some(limit) = sd_notify::watchdog_enabled() {
        return limit * 5;
    }
    Duration::from_secs(15 * 60)
}

/// The service is alive; `status` is one line for `systemctl status`.
pub(super) fn alive(status: &str) {
    #[cfg(target_os = "linux")]
    tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
    #[cfg(not(target_os = "linux"))]
    let _ = status;
}

/// How often the service manager wants to hear from us; a calm default without a watchdog.
pub(super) fn heartbeat() -> Duration {
    #[cfg(target_os = "linux")]
    if let Some(limit) = sd_notify::watchdog_enabled() {
        return limit / 3;
    }
    Duration::from_secs(30)
}

#[cfg(target_os = "linux")]
fn tell(state: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(state) {
        tracing::debug!(%err, "the service manager was not told");
    }
}
