//! Which commands are allowed in which state.

use super::session::{Done, Session};
use crate::config::Capability;

impl Session {
    /// Refuses what the state or a missing capability forbids.
    pub(super) fn refusal(&self, name: &str) -> Option<Done> {
        let anywhere = ["CAPABILITY", "NOOP", "LOGOUT", "ID", "LOGIN", "AUTHENTICATE", "STARTTLS"];
        let authenticated = [
            "ENABLE",
            "LIST",
            "LSUB",
            "SUBSCRIBE",
            "UNSUBSCRIBE",
            "NAMESPACE",
            "STATUS",
            "CREATE",
            "DELETE",
            "RENAME",
            "SELECT",
            "EXAMINE",
            "APPEND",
            "IDLE",
            "NOTIFY",
            "COMPRESS",
        ];
        let needed = match name {
            "IDLE" => Some(Capability::Idle),
            "NOTIFY" => Some(Capability::Notify),
            "COMPRESS" => Some(Capability::Compress),
            "ID" => Some(Capability::Id),
            "ENABLE" => Some(Capability::Enable),
            "NAMESPACE" => Some(Capability::Namespace),
            "UNSELECT" => Some(Capability::Unselect),
            "UID EXPUNGE" => Some(Capability::UidPlus),
            "MOVE" | "UID MOVE" => Some(Capability::Move),
            _ => None,
        };
        if needed.is_some_and(|capability| !self.has(capability)) {
            return Some(Done::bad("unknown command"));
        }
        if anywhere.contains(&name) {
            return None;
        }
        if self.user.is_none() {
            return Some(Done::bad("log in first"));
        }
        let selected = self.selected.is_some() || authenticated.contains(&name);
        (!selected).then(|| Done::bad("no mailbox is selected, or unknown command"))
    }
}
