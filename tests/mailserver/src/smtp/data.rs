//! DATA: the message, without the dots that hid its lines.

use std::io;

use super::session::Session;
use crate::dispatch;
use crate::state::SentMessage;
use crate::wire::cut;

impl Session {
    pub(super) async fn data(&mut self) -> io::Result<()> {
        let recipients = self.transaction.as_ref().map(|transaction| transaction.recipients.len());
        match recipients {
            None => return self.reply("503 5.5.1 MAIL first").await,
            Some(0) => return self.reply("554 5.5.1 no valid recipients").await,
            Some(_) => {}
        }
        let refused = self.effects.tagged.as_ref().is_some_and(|text| !text.starts_with('3'));
        let cut_receiving = self.effects.cut_receiving;
        self.reply("354 end with a dot").await?;
        if refused {
            return Ok(());
        }
        self.wire.flush().await?;
        let max = self.shared.read(|state| state.config.smtp_bytes_max);
        let bytes = self.message(cut_receiving, max).await?;
        self.record(".", b".");
        dispatch::before(&self.shared, self.id, &mut self.wire, &self.effects).await?;
        let transaction = self.transaction.take();
        if let Some(text) = self.effects.refuse.take() {
            return self.reply(&text).await;
        }
        if self.effects.reply.is_some() {
            return self.reply("").await;
        }
        let (Some(bytes), Some(transaction)) = (bytes, transaction) else {
            return self.reply("552 5.3.4 message too large").await;
        };
        let number = self.shared.update(|state| {
            state.sent.push(SentMessage {
                connection: self.id,
                user: self.user.clone(),
                sender: transaction.sender,
                mail_parameters: transaction.parameters,
                recipients: transaction.recipients,
                bytes,
            });
            state.sent.len()
        });
        self.reply(&format!("250 2.0.0 accepted as {number}")).await
    }

    /// Reads to the lone dot; `None` if the message is too large.
    async fn message(
        &mut self,
        cut_receiving: Option<usize>,
        max: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let mut received = 0;
        let mut after_crlf = true;
        loop {
            let line = self.wire.raw_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            received += line.len();
            if cut_receiving.is_some_and(|limit| received >= limit) {
                return Err(cut());
            }
            // Only CRLF ends a line here: a bare LF is content, or mail could be smuggled.
            if line == b".\r\n" && after_crlf {
                return Ok((bytes.len() <= max).then_some(bytes));
            }
            if bytes.len() <= max {
                let unstuffed = line.strip_prefix(b".").filter(|_| after_crlf);
                bytes.extend_from_slice(unstuffed.unwrap_or(&line));
            }
            after_crlf = line.ends_with(b"\r\n");
        }
    }
}
