//! IMAP (RFC 3501, RFC 9051) behind the `Remote` port. Floor 3.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a server may send any response at any time; what was not asked for is passed over"
)]

mod append;
mod changes;
mod deflate;
mod encode;
mod fetch;
mod guard;
mod idle;
mod item;
mod list;
mod login;
mod notify;
mod select;
mod store;
mod survey;
mod suspects;
mod wire;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::adapters::net::{self, Line};
use crate::model::account::{Endpoint, ImapSettings};
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::flags::{FlagDelta, Permanent};
use crate::model::ids::{MailboxName, Uid, UidValidity};
use crate::model::view::{Evidence, RemoteMailbox, RemoteView};
use crate::ports::remote::{
    Appended, Connector, FetchSink, Heard, Known, Quirk, Relocation, Remote, Removal, Removed,
    Upload, Wanted, Woken,
};
use crate::rules::names;
use login::LoggedIn;
pub use survey::Contents;
use suspects::Suspects;
use wire::Wire;

/// Dials one account's IMAP server.
#[derive(Debug, Clone)]
pub struct ImapConnector {
    settings: ImapSettings,
    account: String,
    needs: Needs,
    is_far: bool,
    line: Line,
    suspects: Arc<Suspects>,
}

/// What the account's settings make the listings tell beside the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    /// Which mailboxes are subscribed to.
    pub subscriptions: bool,
    /// The INTERNALDATE of messages.
    pub dates: bool,
}

impl ImapConnector {
    /// A connector for an account.
    pub fn new(settings: ImapSettings, account: &str) -> Self {
        Self {
            settings,
            account: account.to_owned(),
            needs: Needs::default(),
            is_far: false,
            line: Line::default(),
            suspects: Arc::default(),
        }
    }

    /// Asks for more than the usual.
    #[must_use]
    pub fn with(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// Has all connections hang on a line.
    #[must_use]
    pub fn on(mut self, line: Line) -> Self {
        self.line = line;
        self
    }

    /// Treats the server as one that is far away, even if it is on this machine: compresses where it
    /// can, and fetches over several connections.
    #[must_use]
    pub fn far_away(mut self) -> Self {
        self.is_far = true;
        self
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        &self.settings.endpoint
    }
}

impl ImapConnector {
    async fn log_in(&self) -> Result<LoggedIn, Failure> {
        let namespace = self.settings.path_prefix.is_none();
        let wishes = login::Wishes { namespace, is_far: self.is_far };
        login::log_in(&self.settings.endpoint, &self.account, &self.line, wishes)
            .await
            .map_err(|failure| failure.of_login(&self.account))
    }

    async fn begin(&self, mut logged_in: LoggedIn) -> Result<ImapRemote, Failure> {
        let endpoint = &self.settings.endpoint;
        let fixed = self.settings.path_prefix.clone();
        let prefix = fixed.or_else(|| logged_in.namespace.take());
        let (capabilities, is_near) = (logged_in.capabilities.clone(), logged_in.is_near);
        let place = net::place(endpoint, "IMAP", "session");
        let place = place.split(" (").next().unwrap_or_default().to_owned();
        let wire = Wire::new(logged_in, place, endpoint.timeout).await?;
        Ok(ImapRemote {
            wire,
            capabilities,
            is_near,
            prefix,
            needs: self.needs,
            delimiter: None,
            names: BTreeMap::new(),
            selected: None,
            permanent: Permanent::all(),
            is_resync_on: false,
            n_short: 0,
            suspects: Arc::clone(&self.suspects),
            quirks: quirks_of(&endpoint.host),
        })
    }
}

impl Connector for ImapConnector {
    type Remote = ImapRemote;

    async fn connect(&self) -> Result<ImapRemote, Failure> {
        self.begin(self.log_in().await?).await
    }
}

/// A connection that is logged in.
#[derive(Debug)]
pub struct ImapRemote {
    wire: Wire,
    capabilities: BTreeSet<String>,
    /// Whether the server is on this machine.
    is_near: bool,
    prefix: Option<String>,
    needs: Needs,
    delimiter: Option<char>,
    /// How the server spells the mailboxes that it listed.
    names: BTreeMap<MailboxName, String>,
    selected: Option<(MailboxName, UidValidity)>,
    /// What the selected mailbox keeps.
    permanent: Permanent,
    /// Whether QRESYNC was switched on.
    is_resync_on: bool,
    /// What the server was caught at, here or before.
    quirks: BTreeSet<Quirk>,
    /// Messages that came shorter than their size, or only at the second time.
    n_short: u32,
    suspects: Arc<Suspects>,
}

/// What is known of providers: iCloud's QRESYNC tells of messages that it does not have.
fn quirks_of(host: &str) -> BTreeSet<Quirk> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_icloud = host == "mail.me.com" || host.ends_with(".mail.me.com");
    if is_icloud { BTreeSet::from([Quirk::NoQresync]) } else { BTreeSet::new() }
}

impl ImapRemote {
    fn has(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// The mailbox as an argument of a command.
    fn argument(&self, mailbox: &MailboxName) -> Result<String, Failure> {
        let raw = match self.names.get(mailbox) {
            Some(raw) => Some(raw.clone()),
            None => names::to_server(mailbox, self.delimiter, self.prefix.as_deref()),
        };
        raw.map(|raw| encode::quoted(&raw)).ok_or_else(|| {
            Failure::new(
                Scope::Mailbox,
                Remedy::Never,
                Kind::NotSupported,
                format!("name {mailbox:?} on the server"),
            )
            .detail("the server's mailbox names cannot express it")
            .cure("rename the directory, or exclude it with \"mailboxes\"")
        })
    }

    /// Makes sure that a command by UID can only reach the messages that it was meant for.
    fn check_selected(&self, validity: UidValidity) -> Result<(), Failure> {
        match &self.selected {
            Some((_, now)) if *now == validity => Ok(()),
            _ => Err(Failure::new(
                Scope::Mailbox,
                Remedy::Now,
                Kind::Protocol,
                "use UIDs of another UIDVALIDITY",
            )),
        }
    }
}

impl Remote for ImapRemote {
    fn can_push(&self) -> bool {
        self.has("IDLE")
    }

    fn can_notify(&self) -> bool {
        self.has("NOTIFY")
    }

    fn can_expunge(&self) -> bool {
        self.has("UIDPLUS")
    }

    fn can_move(&self) -> bool {
        self.has("MOVE")
    }

    fn is_near(&self) -> bool {
        self.is_near
    }

    fn quirks(&self) -> &BTreeSet<Quirk> {
        &self.quirks
    }

    fn expect(&mut self, quirks: &BTreeSet<Quirk>) {
        self.quirks.extend(quirks);
    }

    fn permanent(&self) -> &Permanent {
        &self.permanent
    }

    async fn mailboxes(&mut self) -> Result<Vec<RemoteMailbox>, Failure> {
        self.list_all().await
    }

    async fn create(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        self.create_one(mailbox).await
    }

    async fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<(), Failure> {
        self.rename_one(from, to).await
    }

    async fn delete(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        self.delete_empty(mailbox).await
    }

    async fn open(&mut self, mailbox: &MailboxName, validity: UidValidity) -> Result<(), Failure> {
        self.select(mailbox).await?;
        self.check_selected(validity)
    }

    async fn changes(
        &mut self,
        mailbox: &MailboxName,
        known: Option<Known<'_>>,
    ) -> Result<RemoteView, Failure> {
        self.view(mailbox, known).await
    }

    async fn fetch<S: FetchSink>(
        &mut self,
        wanted: &[Wanted],
        sink: &mut S,
    ) -> Result<(), Failure> {
        self.fetch_all(wanted, sink).await
    }

    async fn evidence(&mut self, first: u32) -> Result<Vec<(Uid, Evidence)>, Failure> {
        self.evidence_from(first).await
    }

    async fn append(
        &mut self,
        mailbox: &MailboxName,
        uploads: Vec<Upload>,
    ) -> (Vec<Appended>, Result<(), Failure>) {
        self.append_all(mailbox, uploads).await
    }

    fn has_ids(&self) -> bool {
        self.has("OBJECTID") || self.has("X-GM-EXT-1")
    }

    async fn ids(&mut self, uids: &[Uid]) -> Result<Vec<(Uid, String)>, Failure> {
        self.ids_of(uids).await
    }

    async fn copies(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
    ) -> Result<Vec<(Uid, Uid)>, Failure> {
        self.copies_in(from, uids, to).await
    }

    async fn set_flags(
        &mut self,
        validity: UidValidity,
        uids: &[Uid],
        delta: &FlagDelta,
    ) -> Result<(), Failure> {
        self.check_selected(validity)?;
        self.store(uids, delta).await
    }

    async fn remove(
        &mut self,
        validity: UidValidity,
        uids: &[Uid],
        removal: &Removal,
    ) -> Result<Removed, Failure> {
        self.check_selected(validity)?;
        match removal {
            Removal::MoveTo(target) => self.move_to(uids, target).await,
            Removal::Expunge => self.expunge(uids).await,
        }
    }

    async fn relocate(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
        how: Relocation,
    ) -> Result<Vec<(Uid, Uid)>, Failure> {
        self.relocate_from(from, uids, to, how).await
    }

    async fn gone(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
    ) -> Result<BTreeSet<Uid>, Failure> {
        self.gone_from(from, uids).await
    }

    async fn begin_wait(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        self.select(mailbox).await.map(|_| ())
    }

    async fn wait(&mut self, mailbox: &MailboxName, limit: Duration) -> Result<Woken, Failure> {
        self.idle(mailbox, limit).await
    }

    async fn begin_notify(&mut self) -> Result<bool, Failure> {
        self.notify_all().await
    }

    async fn wait_any(&mut self, limit: Duration) -> Result<Heard, Failure> {
        self.hear(limit).await
    }

    async fn logout(mut self) {
        let polite = self.wire.exec("LOGOUT", |_| {});
        // The answer is of no interest: the connection is closed either way.
        drop(tokio::time::timeout(LOGOUT_MAX, polite).await);
    }
}

const LOGOUT_MAX: Duration = Duration::from_millis(500);
