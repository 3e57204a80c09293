//! Holds the ledger against Maildir and server, row by row: what differs is kept, and the rest is
//! never in memory together. Floor 4.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::failure::Failure;
use crate::model::flags::Flags;
use crate::model::ids::{Base, MailboxName, Uid};
use crate::model::listing::Sight;
use crate::model::view::{
    BaseRow, BaseView, LocalMessage, LocalView, RemoteState, RemoteView, RowId, RowState,
};
use crate::ports::ledger::{Ledger, MailboxId};
use crate::ports::local::{Local, Scan, Seen};
use crate::rules::limits::{Horizon, Measure};

/// A mailbox's ledger and Maildir side by side.
#[derive(Debug, Clone, Default)]
pub(super) struct Compared {
    /// Rows that differ from a side, or are no pairs.
    pub(super) base: BaseView,
    /// Files of rows that were not seen.
    pub(super) missing: BTreeSet<Base>,
    /// Files that no row knows.
    pub(super) unknown: Vec<Seen>,
    /// Whether the Maildir shows anything that the ledger does not know: then, and only then, the
    /// server has to be asked because of it.
    pub(super) is_different: bool,
}

/// Reads the whole ledger of a mailbox past a complete scan, and past what the server said.
pub(super) fn compare<G: Ledger>(
    ledger: &G,
    id: MailboxId,
    scan: &Scan,
    there: Option<(&RemoteView, &Horizon)>,
) -> Result<Compared, Failure> {
    let known = ledger.known(id)?;
    let mut compared =
        Compared { base: BaseView { rows: Vec::new(), ..known }, ..Compared::default() };
    let mut sieve = scan.messages.sieve();
    ledger.each(id, &mut |row| {
        let here =
            row.base.as_ref().map(|base| (base, sieve.look(base, &expressible(&row.flags, scan))));
        let is_agreed_here = here.is_none_or(|(_, sight)| sight == Sight::AsAgreed);
        if let Some((base, Sight::Missing)) = here {
            compared.missing.insert(base.clone());
        }
        compared.is_different |= match here {
            Some((_, Sight::Missing)) => true,
            Some((_, Sight::Other)) => row.uid.is_some(),
            Some((_, Sight::AsAgreed)) | None => false,
        };
        let is_pair = row.state == RowState::Paired && row.uid.is_some() && row.base.is_some();
        let is_about = there.is_some_and(|(view, horizon)| is_about(&row, view, horizon));
        if !is_agreed_here || !is_pair || is_about {
            compared.base.rows.push(row);
        }
    })?;
    compared.unknown = sieve.rest();
    compared.is_different |= !compared.unknown.is_empty();
    Ok(compared)
}

/// What is known of a mailbox whose directory did not change since both sides agreed.
pub(super) fn unchanged<G: Ledger>(ledger: &G, id: MailboxId) -> Result<Compared, Failure> {
    Ok(Compared { base: ledger.known(id)?, ..Compared::default() })
}

/// Adds the rows that the server's answer is about.
pub(super) fn with_remote<G: Ledger>(
    ledger: &G,
    id: MailboxId,
    mut compared: Compared,
    view: &RemoteView,
    horizon: &Horizon,
) -> Result<Compared, Failure> {
    let have: BTreeSet<RowId> = compared.base.rows.iter().map(|r| r.row).collect();
    let rows = &mut compared.base.rows;
    let mut add = |row: BaseRow| {
        if is_about(&row, view, horizon) && !have.contains(&row.row) {
            rows.push(row);
        }
    };
    match view {
        // A limit can push out messages that the server says nothing about.
        RemoteView::Delta { changed, vanished, .. } if !horizon.moves() => {
            let about = changed.uids().chain(vanished.iter()).collect();
            ledger.rows(id, &about)?.into_iter().for_each(add);
        }
        RemoteView::Delta { .. } | RemoteView::Complete { .. } => ledger.each(id, &mut add)?,
    }
    Ok(compared)
}

/// Looks for the files of the rows, in a directory that was not listed.
pub(super) fn with_files<L: Local>(
    local: &L,
    name: &MailboxName,
    mut compared: Compared,
) -> Result<(Compared, Scan), Failure> {
    let rows = compared.base.rows.iter();
    let files: Vec<(Base, Flags)> =
        rows.filter_map(|r| Some((r.base.clone()?, r.flags.clone()))).collect();
    let scan = if files.is_empty() { Scan::default() } else { local.find(name, &files)? };
    let astray = files.into_iter().map(|(base, _)| base);
    compared.missing = astray.filter(|base| !scan.messages.contains(base)).collect();
    Ok((compared, scan))
}

/// Whether a plan needs a row because of what the server said, or because of a limit.
fn is_about(row: &BaseRow, view: &RemoteView, horizon: &Horizon) -> bool {
    let Some(uid) = row.uid else { return false };
    let measure = Measure { uid, size: None, date: row.date, flags: Some(&row.flags) };
    if !row.is_pinned && row.base.is_some() && horizon.outgrew(measure).is_some() {
        return true;
    }
    match view.state(uid) {
        RemoteState::Gone => true,
        RemoteState::Unchanged => false,
        RemoteState::Seen(message) => message.flags.is_some_and(|flags| flags != row.flags),
    }
}

/// What a file name of this mailbox can say of some flags.
fn expressible(flags: &Flags, scan: &Scan) -> Flags {
    let keywords = flags.keywords.iter().filter(|k| scan.keywords.contains(*k));
    Flags::from_parts(flags.bits(), keywords.cloned())
}

impl Compared {
    /// Messages of both sides that are no pairs, and may be the same: new on either side, or left
    /// over from a UIDVALIDITY that ended.
    pub(super) fn strangers(&self, view: &RemoteView, scan: &Scan) -> Strangers {
        let known = |uid: &Uid| self.base.uids.contains(*uid);
        let uids = view.listed().uids().filter(|uid| !known(uid)).collect();
        let halves = self.base.rows.iter().filter(|r| r.uid.is_none());
        let halves = halves.filter_map(|r| r.base.as_ref());
        let halves = halves.filter_map(|base| scan.messages.get(base).map(|m| (base.clone(), m)));
        let mut files: Vec<Seen> = self.unknown.iter().cloned().chain(halves).collect();
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        Strangers { uids, files }
    }

    /// What the Maildir shows of all this. Keywords that file names cannot say are here as they
    /// were agreed.
    pub(super) fn local_view(&self, scan: &Scan, absent: BTreeSet<Base>) -> LocalView {
        let mut messages: BTreeMap<Base, LocalMessage> = self.unknown.iter().cloned().collect();
        for row in &self.base.rows {
            let Some(base) = &row.base else { continue };
            if let Some(mut message) = scan.messages.get(base) {
                let unsaid = row.flags.keywords.iter().filter(|k| !scan.keywords.contains(*k));
                message.flags.keywords.extend(unsaid.cloned());
                messages.insert(base.clone(), message);
            }
        }
        LocalView { messages, absent }
    }
}

/// Messages of both sides that are known to no row, or to half a one.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    pub(super) uids: Vec<Uid>,
    pub(super) files: Vec<Seen>,
}
