//! IDLE: updates at once.

use std::io;

use imap_codec::IdleDoneCodec;
use imap_codec::decode::Decoder;

use super::session::{Done, Session};
use super::updates::Updates;
use crate::dispatch;

impl Session {
    pub(super) async fn idle(&mut self) -> io::Result<Done> {
        self.wire.send(b"+ idling\r\n").await?;
        let mut watch = self.shared.watch();
        self.shared.update(|state| {
            let name = self.selected.as_ref().map(|selected| selected.name.clone());
            state.idling.insert(self.id, name.unwrap_or_default());
        });
        let line = loop {
            watch.borrow_and_update();
            self.collect_updates(Updates::All);
            self.collect_notifications();
            self.send_items().await?;
            self.wire.flush().await?;
            if self.ended {
                return Ok(Done::ok("done").without_updates());
            }
            tokio::select! {
                line = self.wire.line() => break line?,
                _ = watch.changed() => {}
            }
        };
        self.shared.update(|state| state.idling.remove(&self.id));
        let mut line = line.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.record_done(&line);
        dispatch::before(&self.shared, self.id, &mut self.wire, &self.effects).await?;
        line.extend_from_slice(b"\r\n");
        let refused = self.effects.refuse.take();
        Ok(match (refused, IdleDoneCodec::default().decode(&line)) {
            (Some(status), _) => Done { status, updates: Updates::Nothing },
            (None, Ok(_)) => Done::ok("idle done"),
            (None, Err(_)) => Done::bad("expected DONE"),
        })
    }

    /// DONE is a command of its own for rules and records; what IDLE's own rule wants of the
    /// tagged reply stays in force.
    fn record_done(&mut self, line: &[u8]) {
        let idle = std::mem::take(&mut self.effects);
        self.record("", "DONE", line);
        let done = &mut self.effects;
        done.tagged = done.tagged.take().or(idle.tagged);
        done.tagged_raw = done.tagged_raw.take().or(idle.tagged_raw);
        done.hang_after = done.hang_after.or(idle.hang_after);
        done.cut_after |= idle.cut_after;
    }
}
