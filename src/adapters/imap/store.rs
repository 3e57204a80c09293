//! Flags and removals, always by exact UID. Floor 3.

use super::ImapRemote;
use super::encode::uid_sets;
use super::item::{COPIED_MAX, Code, FetchItem, Item};
use crate::model::failure::{Failure, Scope};
use crate::model::flags::{FlagDelta, Flags};
use crate::model::ids::{MailboxName, Uid, UidValidity};
use crate::ports::remote::{Relocation, Removed};
use std::collections::{BTreeMap, BTreeSet};

impl ImapRemote {
    /// Adds and takes away flags.
    pub(super) async fn store(&mut self, uids: &[Uid], delta: &FlagDelta) -> Result<(), Failure> {
        let mut commands = Vec::new();
        for set in uid_sets(uids, SET_BYTES_MAX) {
            commands.extend(store_command(&set, '+', &delta.add));
            commands.extend(store_command(&set, '-', &delta.remove));
        }
        self.all_ok(&commands).await
    }

    /// Moves messages: MOVE (RFC 6851), else copy and remove exactly those.
    pub(super) async fn move_to(
        &mut self,
        uids: &[Uid],
        target: &MailboxName,
    ) -> Result<Removed, Failure> {
        let argument = self.argument(target)?;
        let verb = if self.has("MOVE") { "MOVE" } else { "COPY" };
        let sets = uid_sets(uids, SET_BYTES_MAX);
        let commands: Vec<String> =
            sets.iter().map(|set| format!("UID {verb} {set} {argument}")).collect();
        self.all_ok(&commands).await?;
        if self.has("MOVE") { Ok(Removed::Gone) } else { self.expunge(uids).await }
    }

    /// Removes exactly these messages. Without UIDPLUS (RFC 4315) they are only marked as deleted:
    /// EXPUNGE would take other clients' messages along.
    pub(super) async fn expunge(&mut self, uids: &[Uid]) -> Result<Removed, Failure> {
        let mut commands = Vec::new();
        for set in uid_sets(uids, SET_BYTES_MAX) {
            commands.push(format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"));
            if self.has("UIDPLUS") {
                commands.push(format!("UID EXPUNGE {set}"));
            }
        }
        self.all_ok(&commands).await?;
        Ok(if self.has("UIDPLUS") { Removed::Gone } else { Removed::Marked })
    }

    /// Moves or copies messages of a mailbox that is not the one at work.
    pub(super) async fn relocate_from(
        &mut self,
        (from, validity): (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
        how: Relocation,
    ) -> Result<Vec<(Uid, Uid)>, Failure> {
        self.select(from).await?;
        self.check_selected(validity)?;
        let has_move = how == Relocation::Move && self.has("MOVE");
        let verb = if has_move { "MOVE" } else { "COPY" };
        let argument = self.argument(to)?;
        let mut told = Vec::new();
        for batch in uids.chunks(COPIED_MAX) {
            for set in uid_sets(batch, SET_BYTES_MAX) {
                let command = format!("UID {verb} {set} {argument}");
                let mut codes = Vec::new();
                let done = self
                    .wire
                    .exec(&command, |item| {
                        if let Item::Code(code) = item {
                            codes.push(code);
                        }
                    })
                    .await?;
                codes.push(done.code);
                told.extend(codes.into_iter().flat_map(pairs_of));
            }
        }
        if how == Relocation::Move && !has_move && self.expunge(uids).await? == Removed::Marked {
            // A pair would say that the message has left, while it is still there.
            told.clear();
        }
        Ok(told)
    }

    /// Messages that another mailbox has as well. A Message-ID that is not there is no evidence.
    pub(super) async fn copies_in(
        &mut self,
        (from, validity): (&MailboxName, UidValidity),
        uids: &[Uid],
        to: &MailboxName,
    ) -> Result<Vec<(Uid, Uid)>, Failure> {
        self.select(from).await?;
        self.check_selected(validity)?;
        let first = uids.iter().min().map_or(1, |uid| uid.get());
        let wanted: BTreeSet<Uid> = uids.iter().copied().collect();
        let mut ours = self.evidence_from(first).await?;
        ours.retain(|(uid, e)| wanted.contains(uid) && !e.message_id.is_empty());
        let theirs = match self.select(to).await {
            Ok(_) => self.evidence_from(1).await?,
            // It is not there yet.
            Err(failure) if failure.scope == Scope::Mailbox => Vec::new(),
            Err(failure) => return Err(failure),
        };
        self.select(from).await?;
        self.check_selected(validity)?;
        let mut there: BTreeMap<_, Vec<Uid>> = BTreeMap::new();
        for (uid, evidence) in theirs {
            there.entry(evidence).or_default().push(uid);
        }
        // Each of them stands for one only, the newest first.
        let copies = ours.into_iter().map(|(uid, e)| Some((uid, there.get_mut(&e)?.pop()?)));
        Ok(copies.flatten().collect())
    }

    /// Which messages of a mailbox that is not the one at work are gone.
    pub(super) async fn gone_from(
        &mut self,
        (from, validity): (&MailboxName, UidValidity),
        uids: &[Uid],
    ) -> Result<BTreeSet<Uid>, Failure> {
        self.select(from).await?;
        self.check_selected(validity)?;
        let mut gone: BTreeSet<Uid> = uids.iter().copied().collect();
        for set in uid_sets(uids, SET_BYTES_MAX) {
            self.wire
                .exec(&format!("UID FETCH {set} (UID)"), |item| {
                    if let Item::Fetch(FetchItem { uid: Some(uid), .. }) = item
                        && let Some(uid) = Uid::new(uid)
                    {
                        gone.remove(&uid);
                    }
                })
                .await?;
        }
        Ok(gone)
    }

    async fn all_ok(&mut self, commands: &[String]) -> Result<(), Failure> {
        for verdict in self.wire.exec_all(commands, WINDOW, |_| {}).await? {
            verdict?;
        }
        Ok(())
    }
}

/// Old and new UIDs of a COPYUID code (RFC 4315); a code whose sides differ in length says nothing.
fn pairs_of(code: Code) -> Vec<(Uid, Uid)> {
    match code {
        Code::CopyUid(_, from, to) if from.len() == to.len() => {
            let pairs = from.into_iter().zip(to);
            pairs.filter_map(|(a, b)| Some((Uid::new(a)?, Uid::new(b)?))).collect()
        }
        _ => Vec::new(),
    }
}

fn store_command(set: &str, sign: char, flags: &Flags) -> Option<String> {
    let names = flags.imap_names().join(" ");
    (!flags.is_empty()).then(|| format!("UID STORE {set} {sign}FLAGS.SILENT ({names})"))
}

const SET_BYTES_MAX: usize = 900;
const WINDOW: usize = 8;
