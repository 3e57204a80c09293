//! Flags and removals, always by exact UID. Floor 3.

use super::ImapRemote;
use super::encode::uid_sets;
use crate::model::failure::Failure;
use crate::model::flags::{FlagDelta, Flags};
use crate::model::ids::{MailboxName, Uid};
use crate::ports::remote::Removed;

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

    async fn all_ok(&mut self, commands: &[String]) -> Result<(), Failure> {
        for verdict in self.wire.exec_all(commands, WINDOW, |_| {}).await? {
            verdict?;
        }
        Ok(())
    }
}

fn store_command(set: &str, sign: char, flags: &Flags) -> Option<String> {
    let names = flags.imap_names().join(" ");
    (!flags.is_empty()).then(|| format!("UID STORE {set} {sign}FLAGS.SILENT ({names})"))
}

const SET_BYTES_MAX: usize = 900;
const WINDOW: usize = 8;
