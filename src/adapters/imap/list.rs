//! Mailboxes: listing, STATUS, creation. Floor 3.

use super::ImapRemote;
use super::item::{Item, ListItem, StatusItem};
use crate::model::account::Role;
use crate::model::failure::{Failure, Kind, Remedy, Scope};
use crate::model::ids::{MailboxName, ModSeq, UidValidity};
use crate::model::view::{Cursor, RemoteMailbox};
use crate::ports::remote::Quirk;
use crate::rules::names;

impl ImapRemote {
    /// All mailboxes: in one round trip with LIST-STATUS (RFC 5819), else LIST and STATUS each,
    /// pipelined. Names that cannot be used are left out with a line in the log.
    pub(super) async fn list_all(&mut self) -> Result<Vec<RemoteMailbox>, Failure> {
        let mut statuses = Vec::new();
        let mut mailboxes = self.list_names(&mut statuses).await?;
        if !self.has("LIST-STATUS") {
            let items = self.status_items();
            self.ask_status(&mailboxes, items, &mut statuses).await?;
        }
        for mailbox in &mut mailboxes {
            let raw = self.names.get(&mailbox.name);
            let status = statuses.iter().find(|s| Some(&s.name) == raw);
            mailbox.status = status.and_then(cursor_of);
        }
        Ok(mailboxes)
    }

    /// All mailboxes, and what LIST-STATUS tells of them where the server has it.
    pub(super) async fn list_names(
        &mut self,
        statuses: &mut Vec<StatusItem>,
    ) -> Result<Vec<RemoteMailbox>, Failure> {
        let items = self.status_items();
        let with_status = self.has("LIST-STATUS");
        let special = if self.has("SPECIAL-USE") { "SPECIAL-USE " } else { "" };
        let subscribed = if self.needs.subscriptions { "SUBSCRIBED " } else { "" };
        let command = if with_status {
            format!("LIST \"\" \"*\" RETURN ({subscribed}{special}STATUS ({items}))")
        } else {
            "LIST \"\" \"*\"".to_owned()
        };
        let mut lists = Vec::new();
        self.wire.exec(&command, |item| sort_item(item, &mut lists, statuses)).await?;
        let mut mailboxes = self.take_names(lists);
        if self.needs.subscriptions && !with_status {
            self.ask_subscribed(&mut mailboxes).await?;
        }
        Ok(mailboxes)
    }

    fn status_items(&self) -> &'static str {
        if self.has("CONDSTORE") && !self.quirks.contains(&Quirk::NoCondstore) {
            "MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ"
        } else {
            "MESSAGES UIDNEXT UIDVALIDITY"
        }
    }

    /// Learns how the server spells its mailboxes.
    pub(super) fn take_names(&mut self, lists: Vec<ListItem>) -> Vec<RemoteMailbox> {
        self.names.clear();
        let mut mailboxes: Vec<RemoteMailbox> = Vec::new();
        for list in lists.into_iter().take(MAILBOXES_MAX) {
            if list.delimiter.is_some() {
                self.delimiter = list.delimiter;
            }
            let named = names::from_server(&list.name, list.delimiter, self.prefix.as_deref());
            let Some(name) = named.filter(|n| n.as_str().len() <= NAME_BYTES_MAX) else {
                tracing::warn!(name = ?list.name, "a mailbox name that cannot be used is left out");
                continue;
            };
            if self.names.contains_key(&name) {
                continue;
            }
            let has = |what: &str| list.attributes.iter().any(|a| a == what);
            let selectable = !has("\\noselect") && !has("\\nonexistent");
            let role = ROLES.iter().find(|(attribute, _)| has(attribute)).map(|(_, role)| *role);
            self.names.insert(name.clone(), list.name);
            let is_subscribed = !self.needs.subscriptions || has("\\subscribed");
            let mailbox = RemoteMailbox { name, role, is_subscribed, selectable, status: None };
            mailboxes.push(mailbox);
        }
        mailboxes
    }

    /// LSUB, for servers that cannot tell subscriptions with LIST.
    async fn ask_subscribed(&mut self, mailboxes: &mut [RemoteMailbox]) -> Result<(), Failure> {
        let (mut lists, mut none) = (Vec::new(), Vec::new());
        let command = "LSUB \"\" \"*\"";
        self.wire.exec(command, |item| sort_item(item, &mut lists, &mut none)).await?;
        for mailbox in mailboxes {
            let raw = self.names.get(&mailbox.name);
            mailbox.is_subscribed = lists.iter().any(|list| Some(&list.name) == raw);
        }
        Ok(())
    }

    pub(super) async fn ask_status(
        &mut self,
        mailboxes: &[RemoteMailbox],
        items: &str,
        statuses: &mut Vec<StatusItem>,
    ) -> Result<(), Failure> {
        let mut commands = Vec::new();
        for mailbox in mailboxes.iter().filter(|m| m.selectable) {
            commands.push(format!("STATUS {} ({items})", self.argument(&mailbox.name)?));
        }
        let mut none = Vec::new();
        let verdicts = self
            .wire
            .exec_all(&commands, PIPELINE, |item| sort_item(item, &mut none, statuses))
            .await?;
        // A mailbox whose STATUS is refused is looked at by SELECT, which will say why.
        drop(verdicts);
        Ok(())
    }

    /// Creates a mailbox and subscribes to it; one that exists is fine.
    pub(super) async fn create_one(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        let argument = self.argument(mailbox)?;
        let commands = [format!("CREATE {argument}"), format!("SUBSCRIBE {argument}")];
        let mut verdicts = self.wire.exec_all(&commands, 1, |_| {}).await?.into_iter();
        let created = verdicts.next();
        match created {
            Some(Err(failure)) if !says_exists(&failure) => Err(failure),
            _ => Ok(()),
        }
    }
}

impl ImapRemote {
    /// Renames a mailbox, and lets the subscription follow.
    pub(super) async fn rename_one(
        &mut self,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<(), Failure> {
        let (old, new) = (self.argument(from)?, self.argument(to)?);
        self.leave().await?;
        self.wire.exec(&format!("RENAME {old} {new}"), |_| {}).await?;
        // Those below it have new names as well: the next listing spells them.
        self.names.clear();
        let commands = [format!("UNSUBSCRIBE {old}"), format!("SUBSCRIBE {new}")];
        // A server that refuses these has renamed it all the same.
        drop(self.wire.exec_all(&commands, 1, |_| {}).await?);
        Ok(())
    }

    /// Deletes a mailbox, if nothing is in it.
    pub(super) async fn delete_empty(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        let argument = self.argument(mailbox)?;
        // A STATUS may be old (RFC 9051 §6.3.11); what is selected is counted now.
        let exists = self.select(mailbox).await?.exists;
        if exists > 0 {
            let what = format!("delete mailbox {:?}", mailbox.as_str());
            return Err(Failure::new(Scope::Mailbox, Remedy::Later, Kind::Refused, what)
                .detail(format_args!("{exists} messages are in it")));
        }
        self.leave().await?;
        self.wire.exec(&format!("DELETE {argument}"), |_| {}).await?;
        self.names.remove(mailbox);
        let commands = [format!("UNSUBSCRIBE {argument}")];
        drop(self.wire.exec_all(&commands, 1, |_| {}).await?);
        Ok(())
    }

    /// Leaves the selected mailbox: some servers end a connection whose mailbox goes away. Without
    /// UNSELECT (RFC 3691) it stays selected, since CLOSE would expunge.
    async fn leave(&mut self) -> Result<(), Failure> {
        if self.selected.take().is_some() && self.has("UNSELECT") {
            self.wire.exec("UNSELECT", |_| {}).await?;
        }
        Ok(())
    }
}

fn says_exists(failure: &Failure) -> bool {
    failure.server_said.as_ref().is_some_and(|said| said.to_ascii_uppercase().contains("EXISTS"))
}

fn sort_item(item: Item, lists: &mut Vec<ListItem>, statuses: &mut Vec<StatusItem>) {
    match item {
        Item::List(list) => lists.push(list),
        Item::Status(status) => statuses.push(status),
        _ => {}
    }
}

pub(super) fn cursor_of(status: &StatusItem) -> Option<Cursor> {
    Some(Cursor {
        uidvalidity: UidValidity::new(status.uidvalidity?)?,
        uidnext: status.uidnext?,
        modseq: ModSeq(status.modseq.unwrap_or(0)),
        exists: status.messages?,
    })
}

const ROLES: &[(&str, Role)] = &[
    ("\\sent", Role::Sent),
    ("\\trash", Role::Trash),
    ("\\drafts", Role::Drafts),
    ("\\junk", Role::Junk),
    ("\\archive", Role::Archive),
    ("\\all", Role::All),
    ("\\flagged", Role::Flagged),
    ("\\important", Role::Important),
];

/// More mailboxes than this are not taken from one server.
pub(super) const MAILBOXES_MAX: usize = 10_000;
const NAME_BYTES_MAX: usize = 1024;
/// Commands in flight.
pub(super) const PIPELINE: usize = 32;
