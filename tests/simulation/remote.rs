//! The port of a server over one in memory, on a line that can break.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use postrider::model::account::Role;
use postrider::model::failure::{Failure, Kind, Remedy, Scope};
use postrider::model::flags::{FlagDelta, Permanent};
use postrider::model::ids::{MailboxName, Uid, UidValidity};
use postrider::model::view::{Evidence, RemoteMailbox, RemoteMessage, RemoteView};
use postrider::ports::remote::*;

use crate::disk::print_of;
use crate::server::{Cut, Mailbox, Message, Server};

/// Connects to the server.
#[derive(Clone)]
pub(crate) struct MemConnector(pub(crate) Arc<Mutex<Server>>);

impl Connector for MemConnector {
    type Remote = MemRemote;

    async fn connect(&self) -> Result<MemRemote, Failure> {
        let (server, permanent) = (Arc::clone(&self.0), Permanent::all());
        let quirks = BTreeSet::new();
        Ok(MemRemote { server, selected: String::new(), permanent, quirks, is_cut: false })
    }
}

/// A connection.
pub(crate) struct MemRemote {
    server: Arc<Mutex<Server>>,
    selected: String,
    permanent: Permanent,
    quirks: BTreeSet<Quirk>,
    is_cut: bool,
}

fn offline() -> Failure {
    Failure::new(Scope::Account, Remedy::Later, Kind::Offline, "the line broke")
}

fn refused(what: &str) -> Failure {
    Failure::new(Scope::Mailbox, Remedy::Later, Kind::Refused, what)
}

impl MemRemote {
    fn server(&self) -> Result<MutexGuard<'_, Server>, Failure> {
        if self.is_cut { Err(offline()) } else { Ok(self.server.lock().unwrap()) }
    }

    fn select(&mut self, mailbox: &MailboxName, validity: UidValidity) -> Result<(), Failure> {
        let selected = mailbox.as_str().to_owned();
        let found = self.server()?.mailboxes.get(&selected).map(|m| m.validity);
        if found != Some(validity.get()) {
            return Err(refused("another UIDVALIDITY"));
        }
        self.selected = selected;
        Ok(())
    }

    /// A command that changes something, on a line that may break.
    fn command<T>(
        &mut self,
        effect: impl FnOnce(&mut Server, &str) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let selected = self.selected.clone();
        let mut server = self.server()?;
        server.n_changes += 1;
        let cut = match &mut server.cut_in {
            Some((0, cut)) => Some(*cut),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        let result = match cut {
            Some(Cut::Before) => Err(offline()),
            Some(Cut::After) | None => effect(&mut server, &selected),
        };
        if cut.is_none() {
            return result;
        }
        server.cut_in = None;
        drop(server);
        self.is_cut = true;
        Err(offline())
    }
}

impl Remote for MemRemote {
    fn can_push(&self) -> bool {
        false
    }

    fn can_notify(&self) -> bool {
        false
    }

    fn can_expunge(&self) -> bool {
        self.server().is_ok_and(|server| server.offer.has_uidplus)
    }

    fn can_move(&self) -> bool {
        self.server().is_ok_and(|server| server.offer.has_move)
    }

    fn is_near(&self) -> bool {
        true
    }

    fn quirks(&self) -> &BTreeSet<Quirk> {
        &self.quirks
    }

    fn expect(&mut self, _quirks: &BTreeSet<Quirk>) {}

    fn permanent(&self) -> &Permanent {
        &self.permanent
    }

    async fn mailboxes(&mut self) -> Result<Vec<RemoteMailbox>, Failure> {
        let server = self.server()?;
        let told = |(name, mailbox): (&String, &Mailbox)| RemoteMailbox {
            name: MailboxName(name.clone()),
            role: (name == "Trash").then_some(Role::Trash),
            is_subscribed: true,
            selectable: true,
            status: Some(mailbox.cursor(server.offer)),
        };
        Ok(server.mailboxes.iter().map(told).collect())
    }

    async fn create(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        self.command(|server, _| {
            server.make(mailbox.as_str());
            Ok(())
        })
    }

    async fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<(), Failure> {
        self.command(|server, _| {
            if server.mailboxes.contains_key(to.as_str()) {
                return Err(refused("a mailbox is in the way"));
            }
            let moved = server.mailboxes.remove(from.as_str());
            let moved = moved.ok_or_else(|| refused("no such mailbox"))?;
            server.mailboxes.insert(to.as_str().to_owned(), moved);
            Ok(())
        })
    }

    async fn delete(&mut self, mailbox: &MailboxName) -> Result<(), Failure> {
        self.command(|server, _| {
            let is_empty = |m: &Mailbox| m.messages.is_empty();
            if !server.mailboxes.get(mailbox.as_str()).is_some_and(is_empty) {
                return Err(refused("it is not empty"));
            }
            server.mailboxes.remove(mailbox.as_str());
            Ok(())
        })
    }

    async fn open(&mut self, mailbox: &MailboxName, validity: UidValidity) -> Result<(), Failure> {
        self.select(mailbox, validity)
    }

    async fn changes(
        &mut self,
        mailbox: &MailboxName,
        known: Option<Known<'_>>,
    ) -> Result<RemoteView, Failure> {
        self.selected = mailbox.as_str().to_owned();
        let server = self.server()?;
        let found = server.mailboxes.get(mailbox.as_str());
        let found = found.ok_or_else(|| refused("no such mailbox"))?;
        let cursor = found.cursor(server.offer);
        let told = |(uid, m): (&u32, &Message)| RemoteMessage {
            uid: Uid::new(*uid).unwrap(),
            flags: Some(m.flags.clone()),
            size: Some(u32::try_from(print_of(&m.bytes).evidence.size).unwrap()),
            date: None,
        };
        let before = known.filter(|k| k.cursor.modseq.0 > 0 && cursor.modseq.0 > 0);
        let before = before.filter(|k| k.cursor.uidvalidity == cursor.uidvalidity);
        let Some(before) = before else {
            return Ok(RemoteView::Complete {
                cursor,
                messages: found.messages.iter().map(told).collect(),
            });
        };
        let is_new = |m: &(&u32, &Message)| {
            m.1.modseq > before.cursor.modseq.0 || *m.0 >= before.cursor.uidnext
        };
        let is_gone = |uid: &Uid| !found.messages.contains_key(&uid.get());
        Ok(RemoteView::Delta {
            cursor,
            changed: found.messages.iter().filter(is_new).map(told).collect(),
            vanished: before.uids.iter().filter(is_gone).collect(),
        })
    }

    async fn fetch<S: FetchSink>(
        &mut self,
        wanted: &[Wanted],
        sink: &mut S,
    ) -> Result<(), Failure> {
        for one in wanted {
            let found =
                self.server()?.mailboxes[&self.selected].messages.get(&one.uid.get()).cloned();
            let Some(Message { bytes, flags, date, .. }) = found else { continue };
            let header = Header { uid: one.uid, flags: Some(flags), date: Some(date) };
            sink.put(Fetched::Whole(header, bytes)).await?;
        }
        Ok(())
    }

    async fn evidence(&mut self, first: u32) -> Result<Vec<(Uid, Evidence)>, Failure> {
        let server = self.server()?;
        let messages = server.mailboxes[&self.selected].messages.range(first..);
        let told =
            |(uid, m): (&u32, &Message)| (Uid::new(*uid).unwrap(), print_of(&m.bytes).evidence);
        Ok(messages.map(told).collect())
    }

    async fn append(
        &mut self,
        mailbox: &MailboxName,
        uploads: Vec<Upload>,
    ) -> (Vec<Appended>, Result<(), Failure>) {
        let mut done = Vec::new();
        for mut upload in uploads {
            let mut bytes = Vec::new();
            upload.file.read_to_end(&mut bytes).unwrap();
            let stored = self.command(|server, _| {
                let uid = server.add(mailbox.as_str(), &bytes, upload.flags, upload.date);
                Ok(Appended::Stored(Uid::new(uid).filter(|_| server.offer.has_uidplus)))
            });
            match stored {
                Ok(stored) => done.push(stored),
                Err(failure) => return (done, Err(failure)),
            }
        }
        (done, Ok(()))
    }

    async fn copies(
        &mut self,
        (from, validity): (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
    ) -> Result<Vec<(Uid, Uid)>, Failure> {
        self.select(from, validity)?;
        let server = self.server()?;
        let Some(there) = server.mailboxes.get(to.as_str()) else { return Ok(Vec::new()) };
        let mut there: Vec<_> = there.messages.iter().map(|(uid, m)| (uid, &m.bytes)).collect();
        let ours = &server.mailboxes[from.as_str()].messages;
        let mut copies = Vec::new();
        for uid in uids {
            let Some(message) = ours.get(&uid.get()) else { continue };
            if let Some(at) = there.iter().rposition(|(_, bytes)| **bytes == message.bytes) {
                copies.push((*uid, Uid::new(*there.remove(at).0).unwrap()));
            }
        }
        Ok(copies)
    }

    async fn set_flags(
        &mut self,
        validity: UidValidity,
        uids: &[Uid],
        delta: &FlagDelta,
    ) -> Result<(), Failure> {
        let selected = MailboxName(self.selected.clone());
        self.select(&selected, validity)?;
        self.command(|server, mailbox| {
            for uid in uids {
                let found = server.mailboxes[mailbox].messages.get(&uid.get());
                if let Some(flags) = found.map(|m| m.flags.apply(delta)) {
                    server.flag(mailbox, uid.get(), flags);
                }
            }
            Ok(())
        })
    }

    async fn remove(
        &mut self,
        validity: UidValidity,
        uids: &[Uid],
        removal: &Removal,
    ) -> Result<Removed, Failure> {
        let selected = MailboxName(self.selected.clone());
        self.select(&selected, validity)?;
        let copy = |server: &mut Server, mailbox: &str| {
            for uid in uids {
                if let Removal::MoveTo(trash) = removal {
                    let _new = server.copy(mailbox, trash.as_str(), uid.get());
                }
            }
            Ok(())
        };
        let take_away = |server: &mut Server, mailbox: &str| {
            uids.iter().for_each(|uid| server.take_away(mailbox, uid.get()));
            Ok(if server.offer.has_uidplus { Removed::Gone } else { Removed::Marked })
        };
        if !self.can_move() {
            self.command(copy)?;
            return self.command(take_away);
        }
        self.command(|server, mailbox| {
            copy(server, mailbox)?;
            take_away(server, mailbox)
        })
    }

    async fn relocate(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
        how: Relocation,
    ) -> Result<Vec<(Uid, Uid)>, Failure> {
        self.select(from.0, from.1)?;
        let told = self.command(|server, mailbox| {
            if !server.mailboxes.contains_key(to.as_str()) {
                return Err(refused("no such mailbox"));
            }
            let mut told = Vec::new();
            for uid in uids {
                let new = server.copy(mailbox, to.as_str(), uid.get()).and_then(Uid::new);
                told.extend(new.map(|new| (*uid, new)));
                if how == Relocation::Move && server.offer.has_move {
                    server.take_away(mailbox, uid.get());
                }
            }
            Ok(if server.offer.has_uidplus { told } else { Vec::new() })
        })?;
        if how == Relocation::Move && !self.can_move() {
            self.command(|server, mailbox| {
                uids.iter().for_each(|uid| server.take_away(mailbox, uid.get()));
                Ok(())
            })?;
        }
        Ok(told)
    }

    async fn gone(
        &mut self,
        from: (&MailboxName, UidValidity),
        uids: &[Uid],
    ) -> Result<BTreeSet<Uid>, Failure> {
        self.select(from.0, from.1)?;
        let server = self.server()?;
        let messages = &server.mailboxes[from.0.as_str()].messages;
        Ok(uids.iter().copied().filter(|uid| !messages.contains_key(&uid.get())).collect())
    }

    async fn begin_wait(&mut self, _mailbox: &MailboxName) -> Result<(), Failure> {
        Err(offline())
    }

    async fn wait(&mut self, _mailbox: &MailboxName, _limit: Duration) -> Result<Woken, Failure> {
        Err(offline())
    }

    async fn begin_notify(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn wait_any(&mut self, _limit: Duration) -> Result<Heard, Failure> {
        Err(offline())
    }

    async fn logout(self) {}
}
