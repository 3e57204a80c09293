//! The handle on a running server, for tests and the demo.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::mailbox::{self, Message, NewMessage};
use crate::script::{Rule, RuleId};
use crate::state::{CommandRecord, Protocol, SentMessage, Shared, View};
use crate::{imap, pop3, smtp};

/// An IMAP, an SMTP and a POP3 server on loopback, running until it is dropped.
///
/// It has a thread and a runtime of its own, so it serves synchronous and asynchronous tests
/// alike, and answers while a test blocks its own runtime.
#[derive(Debug)]
pub struct MailServer {
    shared: Arc<Shared>,
    imap_addr: SocketAddr,
    smtp_addr: SocketAddr,
    pop3_addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MailServer {
    /// Starts all servers.
    ///
    /// # Errors
    /// A port that is taken, or no thread to be had.
    pub fn start(config: Config) -> io::Result<Self> {
        let imap_listener = std::net::TcpListener::bind((config.address, config.imap_port))?;
        let smtp_listener = std::net::TcpListener::bind((config.address, config.smtp_port))?;
        let pop3_listener = std::net::TcpListener::bind((config.address, config.pop3_port))?;
        let pop3_addr = pop3_listener.local_addr()?;
        pop3_listener.set_nonblocking(true)?;
        let imap_addr = imap_listener.local_addr()?;
        let smtp_addr = smtp_listener.local_addr()?;
        imap_listener.set_nonblocking(true)?;
        smtp_listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared::new(config));
        let (stop, stopped) = oneshot::channel();
        let for_thread = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("mailserver".to_owned()).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = accept(Protocol::Imap, imap_listener, &for_thread) => {}
                        () = accept(Protocol::Smtp, smtp_listener, &for_thread) => {}
                        () = accept(Protocol::Pop3, pop3_listener, &for_thread) => {}
                    }
                });
            })?;
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(Self { shared, imap_addr, smtp_addr, pop3_addr, stop, thread })
    }

    /// Returns the address of the IMAP server.
    #[must_use]
    pub fn imap_addr(&self) -> SocketAddr {
        self.imap_addr
    }

    /// Returns the address of the SMTP server.
    #[must_use]
    pub fn smtp_addr(&self) -> SocketAddr {
        self.smtp_addr
    }

    /// Returns the address of the POP3 server.
    #[must_use]
    pub fn pop3_addr(&self) -> SocketAddr {
        self.pop3_addr
    }

    /// Returns a handle on the mailbox of that (plain, not UTF-7) name, which need not exist yet.
    #[must_use]
    pub fn mailbox(&self, name: &str) -> MailboxHandle {
        MailboxHandle { shared: Arc::clone(&self.shared), name: name.to_owned() }
    }

    /// Creates a mailbox; false if it exists.
    pub fn create_mailbox(&self, name: &str) -> bool {
        self.shared.update(|state| state.create(name))
    }

    /// Deletes a mailbox with its messages; false if it does not exist.
    pub fn delete_mailbox(&self, name: &str) -> bool {
        self.shared.update(|state| state.mailboxes.remove(name).is_some())
    }

    /// Renames a mailbox and those below it; false if it does not exist or the target does.
    pub fn rename_mailbox(&self, from: &str, to: &str) -> bool {
        self.shared.update(|state| state.rename(from, to))
    }

    /// Returns the names of all mailboxes that can be selected.
    #[must_use]
    pub fn mailboxes(&self) -> Vec<String> {
        self.view(|view| view.mailboxes())
    }

    /// Adds a rule.
    pub fn script(&self, rule: Rule) -> RuleId {
        self.shared.update(|state| {
            let id = RuleId(state.fresh_id());
            state.rules.insert(id, rule);
            id
        })
    }

    /// Removes a rule, and lets go whoever hangs in it.
    pub fn unscript(&self, id: RuleId) {
        self.shared.update(|state| {
            state.rules.remove(&id);
            state.released.insert(id);
        });
    }

    /// Lets go every connection that hangs in the rule, now and later.
    pub fn release(&self, id: RuleId) {
        self.shared.update(|state| state.released.insert(id));
    }

    /// Removes all rules.
    pub fn clear_script(&self) {
        self.shared.update(|state| {
            let ids: Vec<RuleId> = state.rules.keys().copied().collect();
            state.released.extend(ids);
            state.rules.clear();
        });
    }

    /// Changes what the server offers or whom it knows; connections see it at their next command.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Config)) {
        self.shared.update(|state| change(&mut state.config));
    }

    /// Returns the commands received so far by all servers.
    #[must_use]
    pub fn commands(&self) -> Vec<CommandRecord> {
        self.shared.read(|state| state.commands.clone())
    }

    /// Forgets the commands received so far.
    pub fn clear_commands(&self) {
        self.shared.update(|state| state.commands.clear());
    }

    /// Returns the messages that the SMTP server accepted.
    #[must_use]
    pub fn sent(&self) -> Vec<SentMessage> {
        self.shared.read(|state| state.sent.clone())
    }

    /// Ends all connections of all servers that are open now.
    pub fn disconnect_all(&self) {
        self.shared.update(|state| state.cut_below = state.fresh_id());
    }

    /// Makes each open IMAP connection send these bytes: at once in IDLE, else with the next reply.
    pub fn inject(&self, raw: &[u8]) {
        self.shared.update(|state| state.injections.push(raw.to_vec()));
    }

    /// Looks at the state while it stands still.
    pub fn view<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        self.shared.read(|state| look(&View(state)))
    }

    /// Blocks until the condition gives a value; `None` after the timeout. Woken by changes, never
    /// by polling. The condition must not call the server.
    pub fn wait_until<T>(
        &self,
        timeout: Duration,
        condition: impl Fn(&View<'_>) -> Option<T>,
    ) -> Option<T> {
        self.shared.wait_until(timeout, condition)
    }

    /// [`MailServer::wait_until`] for async callers. Cancel safe.
    pub async fn wait_for<T>(
        &self,
        timeout: Duration,
        condition: impl Fn(&View<'_>) -> Option<T>,
    ) -> Option<T> {
        self.shared.wait_for(timeout, condition).await
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was printed already; a second one here would abort the test run.
            drop(thread.join());
        }
    }
}

async fn accept(protocol: Protocol, listener: std::net::TcpListener, shared: &Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        // An error here is one failed connection (or no descriptor left): the next may do.
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(protocol, stream, Arc::clone(shared)));
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn serve(protocol: Protocol, stream: TcpStream, shared: Arc<Shared>) {
    drop(stream.set_nodelay(true));
    let id = shared.update(|state| {
        let id = state.fresh_id();
        state.open.insert(id, protocol);
        id
    });
    let wire = match protocol {
        Protocol::Imap => imap::serve(stream, id, Arc::clone(&shared)).await,
        Protocol::Smtp => smtp::serve(stream, id, Arc::clone(&shared)).await,
        Protocol::Pop3 => pop3::serve(stream, id, Arc::clone(&shared)).await,
    };
    shared.update(|state| {
        state.open.remove(&id);
        state.idling.remove(&id);
        state.hanging.remove(&id);
    });
    wire.end().await;
}

/// A mailbox of a server, by name. Cheap to clone and to move into an [`Action::call`].
///
/// [`Action::call`]: crate::Action::call
#[derive(Debug, Clone)]
pub struct MailboxHandle {
    shared: Arc<Shared>,
    name: String,
}

impl MailboxHandle {
    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a message, creating the mailbox if need be, and returns its UID. The date is in
    /// seconds since the epoch, by default now.
    pub fn append(&self, bytes: &[u8], flags: &[&str], internal_date: Option<i64>) -> u32 {
        let new = NewMessage {
            flags: canonical(flags),
            internal_date: internal_date.unwrap_or_else(mailbox::now),
            zone_offset: 0,
            bytes: Arc::from(bytes),
        };
        self.shared.update(|state| {
            state.create(&self.name);
            state.mailboxes.get_mut(&self.name).map_or(0, |mailbox| mailbox.append(new))
        })
    }

    /// Replaces the flags; false if the message does not exist.
    pub fn set_flags(&self, uid: u32, flags: &[&str]) -> bool {
        self.change(|mailbox| mailbox.set_flags(uid, canonical(flags))).unwrap_or(false)
    }

    /// Adds flags; false if the message does not exist.
    pub fn add_flags(&self, uid: u32, flags: &[&str]) -> bool {
        let added = canonical(flags);
        let change = self.change(|mailbox| {
            let mut flags = mailbox.messages.get(&uid)?.flags.clone();
            flags.extend(added);
            Some(mailbox.set_flags(uid, flags))
        });
        change.flatten().unwrap_or(false)
    }

    /// Expunges a message; false if it does not exist.
    pub fn expunge(&self, uid: u32) -> bool {
        self.change(|mailbox| mailbox.expunge(uid).is_some()).unwrap_or(false)
    }

    /// Returns the messages in UID order; empty if the mailbox does not exist.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.shared.read(|state| View(state).messages(&self.name))
    }

    /// Returns one message.
    #[must_use]
    pub fn message(&self, uid: u32) -> Option<Message> {
        self.shared.read(|state| View(state).message(&self.name, uid).cloned())
    }

    /// Returns the UIDVALIDITY, 0 if the mailbox does not exist.
    #[must_use]
    pub fn uid_validity(&self) -> u32 {
        self.shared.read(|state| state.mailboxes.get(&self.name).map_or(0, |m| m.uid_validity))
    }

    /// Starts a new life of the mailbox: same messages, new UIDs from 1. Sessions that have it
    /// selected are told goodbye.
    pub fn set_uid_validity(&self, value: u32) -> bool {
        self.shared.update(|state| state.reset_mailbox(&self.name, value))
    }

    /// Sets the next UID; going back makes UIDs that are used twice.
    pub fn set_uid_next(&self, uid: u32) -> bool {
        self.change(|mailbox| mailbox.uid_next = uid).is_some()
    }

    /// Sets the SPECIAL-USE attribute, such as `\Sent`.
    pub fn set_special_use(&self, attribute: Option<&str>) -> bool {
        self.change(|mailbox| mailbox.special_use = attribute.map(str::to_owned)).is_some()
    }

    /// Subscribes or unsubscribes.
    pub fn set_subscribed(&self, subscribed: bool) -> bool {
        self.change(|mailbox| mailbox.subscribed = subscribed).is_some()
    }

    fn change<T>(&self, f: impl FnOnce(&mut mailbox::Mailbox) -> T) -> Option<T> {
        self.shared.update(|state| state.mailboxes.get_mut(&self.name).map(f))
    }
}

fn canonical(flags: &[&str]) -> BTreeSet<String> {
    flags.iter().filter_map(|flag| mailbox::canonical_flag(flag)).collect()
}
