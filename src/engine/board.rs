//! The write side of the status. Readers hold a `watch::Receiver` and never wait for the engine.
//! Floor 4.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{broadcast, watch};

use crate::model::event::Notice;
use crate::model::failure::Failure;
use crate::model::ids::AccountName;
use crate::model::status::{AccountStatus, Micros, Status, Trouble};

/// Publishes snapshots of the status.
#[derive(Debug, Clone)]
pub struct Board {
    sender: Arc<watch::Sender<Arc<Status>>>,
    notices: broadcast::Sender<Notice>,
}

impl Board {
    /// A board and its first reader.
    pub fn new(status: Status) -> (Self, watch::Receiver<Arc<Status>>) {
        let (sender, receiver) = watch::channel(Arc::new(status));
        let (notices, _) = broadcast::channel(NOTICES_MAX);
        (Self { sender: Arc::new(sender), notices }, receiver)
    }

    /// What readers of mail want to hear of at once goes out here.
    pub fn notices(&self) -> broadcast::Sender<Notice> {
        self.notices.clone()
    }

    /// Tells a notice; nobody listening is fine.
    pub fn notice(&self, notice: Notice) {
        drop(self.notices.send(notice));
    }

    /// Changes the status; readers see the change at once.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.sender.send_if_modified(|current| {
            let mut next = Status::clone(current);
            change(&mut next);
            let modified = next != **current;
            if modified {
                *current = Arc::new(next);
            }
            modified
        });
    }

    /// Changes the status of an account that exists.
    pub fn account(&self, name: &AccountName, change: impl FnOnce(&mut AccountStatus)) {
        self.update(|status| {
            if let Some(account) = status.accounts.get_mut(name) {
                change(account);
            }
        });
    }

    /// The current snapshot.
    pub fn now(&self) -> Arc<Status> {
        Arc::clone(&self.sender.borrow())
    }
}

/// The wall clock in microseconds.
pub fn micros_now() -> Micros {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(now.as_micros()).unwrap_or(Micros::MAX)
}

/// A failure as lasting trouble; `since` stays where the same trouble goes on.
pub fn trouble(failure: &Failure, before: Option<&Trouble>, next_retry: Micros) -> Trouble {
    let name = failure.kind.error_name().to_owned();
    let since = before.filter(|b| b.name == name).map_or_else(micros_now, |b| b.since);
    Trouble { name, text: failure.to_string(), since, next_retry }
}

/// Notices that wait for a slow listener; older ones are dropped.
const NOTICES_MAX: usize = 256;
