//! The objects `org.postrider.Postrider1.Account`, one per account. Floor 5.

use std::collections::HashMap;

use zbus::Variant;
use zbus::object_server::SignalEmitter;

use super::desk::View;
use super::error::Error;
use super::values::{Options, mailbox_values, progress_values, some_names, wanted_uids};
use crate::engine::jobs::Manner;
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

#[zbus::interface(name = "org.postrider.Postrider1.Account")]
impl Account {
    /// The name, as in the configuration.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Its address.
    #[zbus(property)]
    fn address(&self) -> String {
        self.look(|a| a.address.clone())
    }

    /// imap, pop3 or none.
    #[zbus(property)]
    fn protocol(&self) -> String {
        self.look(|a| a.protocol.clone())
    }

    /// Whether it runs at all.
    #[zbus(property)]
    fn enabled(&self) -> bool {
        self.look(|a| a.enabled)
    }

    /// The root of its Maildir.
    #[zbus(property)]
    fn maildir(&self) -> String {
        self.look(|a| a.maildir.clone())
    }

    /// How changes on the server are noticed: notify, idle, poll or none.
    #[zbus(property)]
    fn push(&self) -> &str {
        self.look(|a| a.push.as_str())
    }

    /// How local changes are noticed: inotify or poll.
    #[zbus(property)]
    fn watch(&self) -> &str {
        self.look(|a| a.watch.as_str())
    }

    /// disabled, connecting, idle, syncing, backoff, offline, paused, needs-login, keyring-locked, cert-problem,
    /// store-missing or error.
    #[zbus(property)]
    fn state(&self) -> &str {
        self.view.now().state(&self.name).as_str()
    }

    /// The trouble that it has, as a name of an error without prefix; empty: none.
    #[zbus(property)]
    fn error_name(&self) -> String {
        self.trouble(|t| t.name.clone())
    }

    /// What, where, the words of the server, and what mends it; one line.
    #[zbus(property)]
    fn error_text(&self) -> String {
        self.trouble(|t| t.text.clone())
    }

    /// Since when; microseconds since the epoch, 0 = no trouble.
    #[zbus(property)]
    fn error_since(&self) -> Micros {
        self.trouble(|t| t.since)
    }

    /// When it is tried again; 0: not by itself.
    #[zbus(property)]
    fn next_retry(&self) -> Micros {
        self.trouble(|t| t.next_retry)
    }

    /// When a pass ended last; 0 = never.
    #[zbus(property)]
    fn last_sync(&self) -> Micros {
        self.look(|a| a.last_sync)
    }

    /// When a pass ended well last; 0 = never.
    #[zbus(property)]
    fn last_success(&self) -> Micros {
        self.look(|a| a.last_success)
    }

    /// Unread messages in all its mailboxes.
    #[zbus(property)]
    fn unread(&self) -> u32 {
        self.look(AccountStatus::unread)
    }

    /// Messages in all its mailboxes.
    #[zbus(property)]
    fn total(&self) -> u32 {
        self.look(AccountStatus::total)
    }

    /// Deletions that wait for consent.
    #[zbus(property)]
    fn held(&self) -> u32 {
        self.look(AccountStatus::held)
    }

    /// The pass that runs: mailbox (s), done, total, bytes_done, bytes_total (t); empty: none. Told at most twice a
    /// second.
    #[zbus(property)]
    fn progress(&self) -> HashMap<&'static str, Variant<'static>> {
        self.look(|a| progress_values(a.progress.as_ref()))
    }

    /// Syncs mailboxes; none means all. The option fetch (au) names UIDs to bring in spite of a limit, of exactly one
    /// mailbox. Errors: ConfigInvalid, NotSupported, Paused, Busy.
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
        self.view.sync(targets, Manner::default())
    }

    /// Stops this account; 0 seconds: until Resume.
    fn pause(&self, seconds: u64) -> Result<(), Error> {
        self.view.order(Command::Pause { account: Some(self.name.clone()), seconds })
    }

    /// Goes on after Pause.
    fn resume(&self) -> Result<(), Error> {
        self.view.order(Command::Resume { account: Some(self.name.clone()) })
    }

    /// Carries out the deletions that are held back in a mailbox. Errors: NoSuchMailbox.
    fn confirm_deletes(&self, mailbox: &str) -> Result<(), Error> {
        self.decide(mailbox, Consent::Confirm)
    }

    /// Brings back what the held deletions would remove. Errors: NoSuchMailbox.
    fn reject_deletes(&self, mailbox: &str) -> Result<(), Error> {
        self.decide(mailbox, Consent::Reject)
    }

    /// The mailboxes: name, path, role, push (s), total, unread, held, skipped, failed (u), last_sync (t).
    #[zbus(out_args("mailboxes"))]
    fn list_mailboxes(&self) -> Vec<HashMap<&'static str, Variant<'static>>> {
        self.look(|a| a.mailboxes.iter().map(|(name, m)| mailbox_values(name, m)).collect())
    }

    /// New mail: the files, in a mailbox.
    #[zbus(signal)]
    pub(super) async fn new_messages(
        emitter: &SignalEmitter<'_>,
        mailbox: &str,
        paths: &[String],
    ) -> zbus::Result<()>;

    /// So many deletions look like an accident: they wait for ConfirmDeletes or RejectDeletes.
    #[zbus(signal)]
    pub(super) async fn deletes_held(
        emitter: &SignalEmitter<'_>,
        mailbox: &str,
        count: u32,
    ) -> zbus::Result<()>;

    /// The server numbered the mailbox anew; its messages were paired again.
    #[zbus(signal)]
    pub(super) async fn mailbox_reset(
        emitter: &SignalEmitter<'_>,
        mailbox: &str,
    ) -> zbus::Result<()>;
}
