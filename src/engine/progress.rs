//! Tells the board of a download, batch by batch. Floor 4.

use std::path::PathBuf;

use crate::engine::board::Board;
use crate::engine::download::OnBatch;
use crate::model::event::Notice;
use crate::model::ids::{AccountName, MailboxName};
use crate::model::status::Progress;
use crate::model::view::Sub;

/// Reports progress and new mail of a download of so many messages and bytes; `new` is where unseen mail
/// lands.
pub(super) fn on_batch(
    (board, account): (&Board, &AccountName),
    mailbox: &MailboxName,
    new: PathBuf,
    (n_messages, n_bytes): (usize, u64),
) -> OnBatch {
    let mut progress = Progress {
        mailbox: mailbox.to_string(),
        done: 0,
        total: n_messages as u64,
        bytes_done: 0,
        bytes_total: n_bytes,
    };
    let (board, account, mailbox) = (board.clone(), account.clone(), mailbox.clone());
    board.account(&account, |a| a.progress = Some(progress.clone()));
    Box::new(move |landed, bytes| {
        progress.done = progress.done.saturating_add(landed.len() as u64);
        progress.bytes_done = progress.bytes_done.saturating_add(bytes);
        board.account(&account, |a| a.progress = Some(progress.clone()));
        // What somebody flagged elsewhere already was noticed there.
        let unseen = landed.iter().filter(|l| l.sub == Sub::New && l.flags.is_empty());
        let paths: Vec<String> =
            unseen.map(|l| new.join(&l.base.0).display().to_string()).collect();
        if !paths.is_empty() {
            let (account, mailbox) = (account.clone(), mailbox.clone());
            board.notice(Notice::NewMessages { account, mailbox, paths });
        }
    })
}
