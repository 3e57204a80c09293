//! The way to a running daemon. Beside floor 5.

use std::path::Path;

use zbus::Connection;

use super::complaint::Complaint;
use super::view::StatusView;
use crate::daemon::proxy::{AccountProxy, ManagerProxy, OutboxProxy, connect_private};
use crate::daemon::{document, paths, settings, stopped};
use crate::model::account::BusChoice;
use crate::model::event::Consent;
use crate::model::ids::{AccountName, MailboxName};

/// A running daemon.
pub(super) struct Daemon {
    pub(super) manager: ManagerProxy<'static>,
    /// Closed when it is dropped.
    connection: Connection,
}

impl Daemon {
    /// The daemon, if one runs. It must have been started with the configuration that is asked for.
    pub(super) async fn find(config: Option<&Path>) -> Result<Option<Self>, Complaint> {
        let Some(connection) = connect_private(&paths::socket()).await? else { return Ok(None) };
        let manager = ManagerProxy::builder(&connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        if config.is_some() {
            let theirs = manager.config_path().await?;
            let ours = settings::locate(config);
            if !is_same(Path::new(&theirs), &ours) {
                let text = format!(
                    "the daemon that runs uses another configuration: {theirs}\n  \
                     to mend it:  leave --config out, or stop that daemon"
                );
                return Err(Complaint::plain(75, &text));
            }
        }
        Ok(Some(Self { manager, connection }))
    }

    /// The daemon; that none runs is an error.
    pub(super) async fn get(config: Option<&Path>) -> Result<Self, Complaint> {
        Self::of_this_state(config).await?.ok_or_else(|| {
            Complaint::plain(75, &format!("no daemon is running\n  to mend it:  {START}"))
        })
    }

    /// The daemon, if one runs; one that cannot be asked is an error.
    pub(super) async fn of_this_state(config: Option<&Path>) -> Result<Option<Self>, Complaint> {
        let found = Self::find(config).await?;
        match paths::holder(&paths::state_dir()).filter(|_| found.is_none()) {
            // It has no socket.
            Some(pid) => Err(Complaint::plain(
                75,
                &format!(
                    "the daemon that runs (pid {pid}) cannot be asked\n  \
                     to mend it:  bus = \"private\" in [daemon], and start it again"
                ),
            )),
            None => Ok(found),
        }
    }

    /// Its outbox.
    pub(super) async fn outbox(&self) -> Result<OutboxProxy<'static>, Complaint> {
        Ok(OutboxProxy::new(&self.connection).await?)
    }

    /// One of its accounts.
    pub(super) async fn account(
        &self,
        account: &AccountName,
    ) -> Result<AccountProxy<'static>, Complaint> {
        Ok(AccountProxy::builder(&self.connection)
            .path(paths::account_object(account))
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?)
    }

    /// Waits for a sync; answers its document.
    pub(super) async fn result(&self, job: u32) -> Result<String, Complaint> {
        let result = self.manager.wait_job(job).await?;
        let document = result.get("json").and_then(|json| <&str>::try_from(&**json).ok());
        document.map(str::to_owned).ok_or_else(|| {
            Complaint::plain(76, "the daemon gave no sync document; is it of this version?")
        })
    }

    /// Tells an account what a person says about the deletions that it holds back.
    pub(super) async fn decide(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        consent: Consent,
    ) -> Result<(), Complaint> {
        let proxy = self.account(account).await?;
        match consent {
            Consent::Confirm => proxy.confirm_deletes(mailbox.as_str()).await?,
            Consent::Reject => proxy.reject_deletes(mailbox.as_str()).await?,
        }
        Ok(())
    }

    /// The status document and what it says.
    pub(super) async fn status(&self) -> Result<(String, StatusView), Complaint> {
        let text = self.manager.get_status().await?;
        let view = understood(&text)?;
        Ok((text, view))
    }
}

/// How things are, told by the daemon, or by the ledgers while none answers.
pub(super) struct Told {
    pub(super) document: String,
    pub(super) view: StatusView,
    /// Why no daemon answers.
    pub(super) silence: Option<Silence>,
}

/// Why no daemon answers.
pub(super) enum Silence {
    /// None runs.
    Stopped,
    /// One does, and its bus is off.
    BusOff(u32),
    /// A process is at work that does not answer: a sync without a daemon, or one that starts or ends.
    AtWork(u32),
}

impl Silence {
    /// Why, in words.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Stopped => "no service is running".to_owned(),
            Self::BusOff(pid) => format!("the service runs (pid {pid}), and its bus is off"),
            Self::AtWork(pid) => format!("pid {pid} is at work, and does not answer"),
        }
    }

    /// What helps.
    pub(super) fn cure(&self) -> String {
        match self {
            Self::Stopped => format!("to start it: {START}"),
            Self::BusOff(_) => {
                "to see how it is now: bus = \"private\" in [daemon], and start it again".to_owned()
            }
            Self::AtWork(_) => {
                "a sync of its own, or a service that starts: ask again in a moment".to_owned()
            }
        }
    }
}

/// Asks the daemon how things are; where none answers, the ledgers are looked into.
pub(super) async fn told(config: Option<&Path>) -> Result<Told, Complaint> {
    if let Some(daemon) = Daemon::find(config).await? {
        let (document, view) = daemon.status().await?;
        return Ok(Told { document, view, silence: None });
    }
    let settings = settings::load(&settings::locate(config))?;
    let state_dir = paths::state_dir();
    let pid = paths::holder(&state_dir);
    let document = document::unanswered(&stopped::status(&settings, &state_dir)?, pid).to_string();
    let view = understood(&document)?;
    let silence = match pid {
        None => Silence::Stopped,
        Some(pid) if settings.daemon.bus == BusChoice::Off => Silence::BusOff(pid),
        Some(pid) => Silence::AtWork(pid),
    };
    Ok(Told { document, view, silence: Some(silence) })
}

fn understood(document: &str) -> Result<StatusView, Complaint> {
    serde_json::from_str(document).map_err(|err| {
        Complaint::plain(76, &format!("understand the daemon: {err}; is it of this version?"))
    })
}

/// How a daemon is started.
pub(super) const START: &str = "systemctl --user start postrider, or: postrider run";

fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
