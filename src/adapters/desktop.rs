//! The desktop: notifications (Desktop Notifications Specification 1.2), and who is on its bus. Floor 3.

use std::collections::HashMap;
use std::future::pending;

use futures_util::StreamExt as _;
use zbus::{Connection, Variant};

use crate::model::failure::{Failure, Kind, Remedy, Scope};

#[zbus::proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications"
)]
trait Server {
    fn get_capabilities(&self) -> zbus::Result<Vec<String>>;

    #[allow(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &self,
        app_name: &str,
        replaces_id: u32,
        app_icon: &str,
        summary: &str,
        body: &str,
        actions: &[&str],
        hints: HashMap<&str, Variant<'_>>,
        expire_timeout: i32,
    ) -> zbus::Result<u32>;

    #[zbus(signal)]
    fn action_invoked(&self, id: u32, action_key: &str) -> zbus::Result<()>;
}

/// Shows notifications; the session bus is dialled when there is one to show.
#[derive(Default)]
pub struct Desktop {
    server: Option<Connected>,
    /// The notification of each topic, which the next one about it replaces.
    shown: HashMap<String, u32>,
}

struct Connected {
    server: ServerProxy<'static>,
    invoked: ActionInvokedStream,
    has_actions: bool,
}

/// What is to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// What it is about: one about the same is replaced.
    pub topic: &'a str,
    /// Its first line.
    pub summary: &'a str,
    /// The rest; may be markup.
    pub body: &'a str,
    /// How much it matters.
    pub urgency: Urgency,
    /// A key and the label of a button, shown where the desktop has buttons.
    pub action: Option<(&'a str, &'a str)>,
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
    pub async fn show(&mut self, what: Notification<'_>) -> Result<(), Failure> {
        match self.notify(what).await {
            Ok(id) => {
                self.shown.insert(what.topic.to_owned(), id);
                Ok(())
            }
            Err(err) => {
                self.server = None;
                Err(failed(&err))
            }
        }
    }

    async fn notify(&mut self, what: Notification<'_>) -> zbus::Result<u32> {
        let connected = match &mut self.server {
            Some(connected) => connected,
            none => none.insert(Connected::begin().await?),
        };
        let replaces = self.shown.get(what.topic).copied().unwrap_or(0);
        let (icon, level, category) = match what.urgency {
            Urgency::Normal => ("mail-unread", 1_u8, "email.arrived"),
            Urgency::Critical => ("dialog-warning", 2_u8, "email.bounced"),
        };
        let hints = HashMap::from([
            ("urgency", Variant::U8(level)),
            ("category", Variant::from(category)),
            ("desktop-entry", Variant::from("postrider")),
        ]);
        let actions: Vec<&str> = match what.action.filter(|_| connected.has_actions) {
            Some((key, label)) => vec![key, label],
            None => Vec::new(),
        };
        let (summary, body) = (what.summary, what.body);
        let server = &connected.server;
        server.notify("postrider", replaces, icon, summary, body, &actions, hints, -1).await
    }

    /// Waits until somebody presses a button: the topic and the key. Cancel safe.
    pub async fn invoked(&mut self) -> (String, String) {
        loop {
            let Some(connected) = &mut self.server else { return pending().await };
            let Some(signal) = connected.invoked.next().await else {
                self.server = None;
                continue;
            };
            let Ok(args) = signal.args() else { continue };
            // Others show notifications as well.
            let topic = self.shown.iter().find(|(_, id)| **id == *args.id());
            if let Some((topic, _)) = topic {
                return (topic.clone(), (*args.action_key()).to_owned());
            }
        }
    }
}

impl Connected {
    async fn begin() -> zbus::Result<Self> {
        let bus = Connection::session().await?;
        let server = ServerProxy::new(&bus).await?;
        let invoked = server.receive_action_invoked().await?;
        // One that does not say has none.
        let has = server.get_capabilities().await.unwrap_or_default();
        let has_actions = has.iter().any(|capability| capability == "actions");
        Ok(Self { server, invoked, has_actions })
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
