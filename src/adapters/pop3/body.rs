//! The end of a multi-line answer, and what its lines are without their stuffing (RFC 1939 §3). Floor 3.

/// Takes a message off the wire: CRLF becomes LF, stuffed dots go, and nothing else changes.
///
/// A dot counts only after a CRLF: a message may hold `LF . CRLF`, which no server stuffs, and which must
/// not end it. Only where the server ends its own status lines in a bare LF is that a line end.
#[derive(Debug)]
pub(super) struct Unstuff {
    is_lf_only: bool,
    at_start: bool,
    is_done: bool,
}

impl Unstuff {
    /// For an answer whose status line ended like that.
    pub(super) fn after(is_crlf: bool) -> Self {
        Self { is_lf_only: !is_crlf, at_start: true, is_done: false }
    }

    /// Whether the final dot was seen.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes what it can of `input` and puts it into `out`; answers how many bytes it took. What is left
    /// begins with bytes that more must follow before they mean anything.
    pub(super) fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut rest = input;
        while !self.is_done && !rest.is_empty() {
            if self.at_start && rest.first() == Some(&b'.') {
                match rest {
                    [b'.', b'\r', b'\n', ..] => {
                        self.is_done = true;
                        rest = rest.get(3..).unwrap_or_default();
                        break;
                    }
                    [b'.', b'\n', ..] if self.is_lf_only => {
                        self.is_done = true;
                        rest = rest.get(2..).unwrap_or_default();
                        break;
                    }
                    [b'.'] | [b'.', b'\r'] => break,
                    _ => rest = rest.get(1..).unwrap_or_default(),
                }
            }
            self.at_start = false;
            let Some(end) = memchr::memchr(b'\n', rest) else {
                // A CR at the end may be half of a line end.
                let n = rest.len() - usize::from(rest.last() == Some(&b'\r'));
                out.extend_from_slice(rest.get(..n).unwrap_or_default());
                rest = rest.get(n..).unwrap_or_default();
                break;
            };
            let line = rest.get(..end).unwrap_or_default();
            let is_crlf = line.last() == Some(&b'\r');
            let text = if is_crlf { line.split_last().map_or(line, |(_, l)| l) } else { line };
            out.extend_from_slice(text);
            out.push(b'\n');
            self.at_start = is_crlf || self.is_lf_only;
            rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
        }
        input.len() - rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these bytes when they arrive in these pieces, and what is left.
    fn taken(pieces: &[&[u8]], is_crlf: bool) -> (Vec<u8>, Vec<u8>, bool) {
        let (mut unstuff, mut out, mut unread) = (Unstuff::after(is_crlf), Vec::new(), Vec::new());
        for piece in pieces {
            unread.extend_from_slice(piece);
            let n = unstuff.take(&unread, &mut out);
            unread.drain(..n);
        }
        (out, unread, unstuff.is_done())
    }

    #[test]
    fn any_split_gives_the_same_message() {
        let wire =
            b"Subject: x\r\n\r\n..dot\r\n...\r\na\rb\r\r\nlone\n.\r\nend\r\n.\r\n+OK next\r\n";
        let text = b"Subject: x\n\n.dot\n..\na\rb\r\nlone\n.\nend\n";
        for at in 0..=wire.len() {
            let (out, left, is_done) = taken(&[&wire[..at], &wire[at..]], true);
            assert_eq!((out.as_slice(), is_done), (text.as_slice(), true), "{at}");
            assert_eq!(left, b"+OK next\r\n", "{at}");
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(taken(&bytes, true).0, text);
    }

    #[test]
    fn nothing_but_the_final_dot_ends_a_message() {
        for wire in
            [&b"x\r\n"[..], b"x\r\n.", b"x\r\n.\r", b"x\r\n.\n", b"x\r\n..\r\n", b"x\n.\r\n"]
        {
            assert!(!taken(&[wire], true).2, "{wire:?}");
        }
        assert!(taken(&[b".\r\n"], true).2, "an empty message");
        assert!(taken(&[b"x\n.\n"], false).2, "a server that knows no CR");
    }
}
