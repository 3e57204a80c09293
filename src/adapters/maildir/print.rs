//! The fingerprint of a message, taken while its bytes pass by. Floor 3.

use sha2::{Digest, Sha256};

use crate::model::view::{Evidence, Fingerprint};
use crate::rules::header::message_id;

/// Takes a fingerprint piece by piece.
#[derive(Debug, Default)]
pub(super) struct Print {
    wire_bytes: u64,
    last: u8,
    hash: Sha256,
    head: Vec<u8>,
    has_head: bool,
}

impl Print {
    /// The next piece, as it is on disk.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.wire_bytes += wire_bytes(piece, self.last);
        self.last = piece.last().copied().unwrap_or(self.last);
        self.hash.update(piece);
        if !self.has_head {
            let end = memchr::memmem::find(piece, b"\n\n").map_or(piece.len(), |at| at + 2);
            self.head.extend_from_slice(piece.get(..end).unwrap_or_default());
            self.has_head = end < piece.len() || self.head.len() > HEAD_BYTES_MAX;
        }
    }

    /// The fingerprint of what was taken.
    pub(super) fn finish(self) -> Fingerprint {
        let message_id = message_id(&self.head);
        let evidence = Evidence { message_id, size: self.wire_bytes };
        Fingerprint { evidence, digest: self.hash.finalize().into() }
    }

    /// The digest so far.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

/// The size of a piece when each lone LF becomes CRLF; `last` is the byte before the piece.
fn wire_bytes(piece: &[u8], last: u8) -> u64 {
    let mut extra = 0_u64;
    for at in memchr::memchr_iter(b'\n', piece) {
        let before = at.checked_sub(1).and_then(|i| piece.get(i)).copied().unwrap_or(last);
        extra += u64::from(before != b'\r');
    }
    piece.len() as u64 + extra
}

/// A header that goes on beyond this holds no Message-ID that anybody looks for.
const HEAD_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_gives_the_same_print() {
        let mail = b"Subject: x\nMessage-ID: <1@x>\n\na\r\nb\n\n\nMessage-ID: <2@x>\n";
        let mut whole = Print::default();
        whole.take(mail);
        let whole = whole.finish();
        assert_eq!(whole.evidence, Evidence { message_id: "<1@x>".to_owned(), size: 62 });
        for at in 0..mail.len() {
            let mut split = Print::default();
            split.take(&mail[..at]);
            split.take(&mail[at..]);
            assert_eq!(split.finish(), whole, "{at}");
        }
    }
}
