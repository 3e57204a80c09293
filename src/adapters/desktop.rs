//! The desktop: notifications (Desktop Notifications Specification 1.2), and who is on its bus. Floor 3.

use std::collections::HashMap;

use zbus::{Connection, Variant};

use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// Shows notifications; the session bus is dialled when there is one to show.
#[derive(Debug, Default)]
pub struct Desktop {
    bus: Option<Connection>,
    /// The notification of each topic, which the next one about it replaces.
    shown: HashMap<String, u32>,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// News.
    Normal,
    /// Somebody has to do something.
    Critical,
}

impl Desktop {
    /// Shows a text. One about the same topic is replaced.
    ///
    /// # Errors
    /// There is no session bus, or nobody on it shows notifications.
    pub async fn show(
        &mut self,
        topic: &str,
        (summary, body): (&str, &str),
        urgency: Urgency,
    ) -> Result<(), Failure> {
        let bus = match &self.bus {
            Some(bus) => bus.clone(),
            None => self.bus.insert(Connection::session().await.map_err(|e| failed(&e))?).clone(),
        };
        let replaces = self.shown.get(topic).copied().unwrap_or(0);
        let (icon, level, category) = match urgency {
            Urgency::Normal => ("mail-unread", 1_u8, "email.arrived"),
            Urgency::Critical => ("dialog-warning", 2_u8, "email.bounced"),
        };
        let hints: HashMap<&str, Variant<'_>> =
            HashMap::from([("urgency", Variant::U8(level)), ("category", Variant::from(category))]);
        let actions: &[&str] = &[];
        let call = bus
            .call_method(
                Some("org.freedesktop.Notifications"),
                "/org/freedesktop/Notifications",
                Some("org.freedesktop.Notifications"),
                "Notify",
                &("postrider", replaces, icon, summary, body, actions, hints, -1_i32),
            )
            .await;
        match call.and_then(|reply| reply.body().deserialize::<u32>()) {
            Ok(id) => {
                self.shown.insert(topic.to_owned(), id);
                Ok(())
            }
            Err(err) => {
                self.bus = None;
                Err(failed(&err))
            }
        }
    }
}

fn failed(err: &zbus::Error) -> Failure {
    Failure::new(Scope::Daemon, Remedy::Later, Kind::NotSupported, "show a notification")
        .detail(err)
}

/// The process that owns a name on the session bus, if one does.
///
/// # Errors
/// There is no session bus.
pub async fn owner(name: &str) -> Result<Option<u32>, Failure> {
    let unreachable = |err: &zbus::Error| {
        Failure::new(Scope::Daemon, Remedy::Later, Kind::Offline, "reach the session bus")
            .detail(err)
    };
    let bus = Connection::session().await.map_err(|err| unreachable(&err))?;
    let ask = bus.call_method(
        Some("org.freedesktop.DBus"),
        "/org/freedesktop/DBus",
        Some("org.freedesktop.DBus"),
        "GetConnectionUnixProcessID",
        &name,
    );
    // An error means that nobody has the name.
    Ok(ask.await.ok().and_then(|reply| reply.body().deserialize::<u32>().ok()))
}
