//! The objects `org.postrider.Postrider1.Account`, one per account. Floor 5.

use std::collections::HashMap;

use zbus::Variant;
use zbus::object_server::SignalEmitter;

use super::desk::View;
use super::error::Error;
use super::values::{Options, mailbox_values, progress_values, some_names, wanted_uids};
use crate::model::event::{Command, Consent, Target};
use crate::model::ids::{AccountName, MailboxName};
use crate::model::status::{AccountStatus, Micros, Trouble};

#[derive(Clone)]
pub(super) struct Account {
    pub(super) view: View,
    pub(super) name: AccountName,
}

impl Account {
    /// Looks at the account in the snapshot; one that is just being removed looks empty.
    fn look<T>(&self, at: impl FnOnce(&AccountStatus) -> T) -> T {
        match self.view.now().accounts.get(&self.name) {
            Some(account) => at(account),
            None => at(&AccountStatus::default()),
        }
    }

    fn decide(&self, mailbox: &str, consent: Consent) -> Result<(), Error> {
        let mailbox = MailboxName::parse(mailbox);
        if !self.look(|a| a.mailboxes.contains_key(&mailbox)) {
            return Err(Error::NoSuchMailbox(mailbox.to_string()));
        }
        self.view.order(Command::Decide { account: self.name.clone(), mailbox, consent })
    }

    fn trouble<T: Default>(&self, at: impl FnOnce(&Trouble) -> T) -> T {
        self.view.now().trouble(&self.name).map(at).unwrap_or_default()
    }
}

#[zbus::interface(name = "org.postrider.Postrider1.Account", introspection_docs = false)]
impl Account {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        self.name.as_str()
    }

    #[zbus(property)]
    fn address(&self) -> String {
        self.look(|a| a.address.clone())
    }

    #[zbus(property)]
    fn protocol(&self) -> String {
        self.look(|a| a.protocol.clone())
    }

    #[zbus(property)]
    fn enabled(&self) -> bool {
        self.look(|a| a.enabled)
    }

    #[zbus(property)]
    fn maildir(&self) -> String {
        self.look(|a| a.maildir.clone())
    }

    #[zbus(property)]
    fn push(&self) -> &str {
        self.look(|a| a.push.as_str())
    }

    #[zbus(property)]
    fn watch(&self) -> &str {
        self.look(|a| a.watch.as_str())
    }

    #[zbus(property)]
    fn state(&self) -> &str {
        self.view.now().state(&self.name).as_str()
    }

    #[zbus(property)]
    fn error_name(&self) -> String {
        self.trouble(|t| t.name.clone())
    }

    #[zbus(property)]
    fn error_text(&self) -> String {
        self.trouble(|t| t.text.clone())
    }

    #[zbus(property)]
    fn error_since(&self) -> Micros {
        self.trouble(|t| t.since)
    }

    #[zbus(property)]
    fn next_retry(&self) -> Micros {
        self.trouble(|t| t.next_retry)
    }

    #[zbus(property)]
    fn last_sync(&self) -> Micros {
        self.look(|a| a.last_sync)
    }

    #[zbus(property)]
    fn last_success(&self) -> Micros {
        self.look(|a| a.last_success)
    }

    #[zbus(property)]
    fn unread(&self) -> u32 {
        self.look(AccountStatus::unread)
    }

    #[zbus(property)]
    fn total(&self) -> u32 {
        self.look(AccountStatus::total)
    }

    #[zbus(property)]
    fn held(&self) -> u32 {
        self.look(AccountStatus::held)
    }

    #[zbus(property)]
    fn progress(&self) -> HashMap<&'static str, Variant<'static>> {
        self.look(|a| progress_values(a.progress.as_ref()))
    }

    #[zbus(out_args("job"))]
    fn sync(&self, mailboxes: Vec<String>, options: Options<'_>) -> Result<u32, Error> {
        let wanted = wanted_uids(options)?;
        let target = |mailbox| Target { account: self.name.clone(), mailbox };
        let names = some_names(mailboxes)?;
        match (names.as_slice(), wanted) {
            (_, None) => {}
            ([mailbox], Some(uids)) => self.view.order(Command::Want {
                account: self.name.clone(),
                mailbox: MailboxName::parse(mailbox),
                uids,
            })?,
            (_, Some(_)) => {
                let text = "fetch needs exactly one mailbox".to_owned();
                return Err(Error::NotSupported(text));
            }
        }
        let mut targets: Vec<Target> =
            names.iter().map(|mailbox| target(Some(MailboxName::parse(mailbox)))).collect();
        if targets.is_empty() {
            targets.push(target(None));
        }
        self.view.sync(targets)
    }

    fn pause(&self, seconds: u64) -> Result<(), Error> {
        self.view.order(Command::Pause { account: Some(self.name.clone()), seconds })
    }

    fn resume(&self) -> Result<(), Error> {
        self.view.order(Command::Resume { account: Some(self.name.clone()) })
    }

    fn confirm_deletes(&self, mailbox: &str) -> Result<(), Error> {
        self.decide(mailbox, Consent::Confirm)
    }

    fn reject_deletes(&self, mailbox: &str) -> Result<(), Error> {
        self.decide(mailbox, Consent::Reject)
    }

    #[zbus(out_args("mailboxes"))]
    fn list_mailboxes(&self) -> Vec<HashMap<&'static str, Variant<'static>>> {
        self.look(|a| a.mailboxes.iter().map(|(name, m)| mailbox_values(name, m)).collect())
    }

    #[zbus(signal)]
    pub(super) async fn new_messages(
        emitter: &SignalEmitter<'_>,
        mailbox: &str,
        paths: &[String],
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn deletes_held(
        emitter: &SignalEmitter<'_>,
        mailbox: &str,
        count: u32,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn mailbox_reset(
        emitter: &SignalEmitter<'_>,
        mailbox: &str,
    ) -> zbus::Result<()>;
}
