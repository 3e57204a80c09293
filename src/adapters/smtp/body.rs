//! The message on its way to the wire: CRLF line ends and dot-stuffing, in flat memory. Floor 3.
//!
//! Every bare LF and every bare CR becomes CRLF before dots are stuffed, so that no reading of the
//! bytes finds an end of data that is not ours (SMTP smuggling).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// A message file, measured and back at its start.
#[derive(Debug)]
pub(super) struct Message {
    source: Source,
    path: PathBuf,
    /// Bytes on the wire before dot-stuffing, as `SIZE=` counts them (RFC 1870 §3).
    pub(super) wire_bytes: u64,
    /// Whether any byte is above 127.
    pub(super) is_eight_bit: bool,
}

/// What no server has to take, and some cut off or take apart.
#[derive(Debug, Default)]
struct Faults {
    has_nul: bool,
    line_bytes: u64,
    longest_bytes: u64,
}

impl Faults {
    fn see(&mut self, wire: &[u8]) {
        self.has_nul |= memchr::memchr(0, wire).is_some();
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', wire) {
            self.line_bytes += count(wire.get(begin..end).unwrap_or_default());
            self.longest_bytes = self.longest_bytes.max(self.line_bytes);
            (self.line_bytes, begin) = (0, end + 1);
        }
        self.line_bytes += count(wire.get(begin..).unwrap_or_default());
        self.longest_bytes = self.longest_bytes.max(self.line_bytes);
    }

    fn check(&self) -> Result<(), String> {
        if self.has_nul {
            return Err("a NUL byte is in it, which no mail server has to take".to_owned());
        }
        if self.longest_bytes > LINE_BYTES_MAX {
            return Err(format!("a line of it has {} bytes", self.longest_bytes));
        }
        Ok(())
    }
}

impl Message {
    /// Opens and measures a message, without the ranges of `skip`.
    pub(super) async fn open(path: &Path, skip: &[Range<u64>]) -> Result<Self, Failure> {
        let (ours, skip) = (path.to_owned(), skip.to_vec());
        match spawn_blocking(move || Self::measure(ours, skip)).await {
            Ok(message) => match message.map_err(|err| unreadable(path, &err))? {
                (message, Ok(())) => Ok(message),
                (_, Err(why)) => Err(unfit(path, &why)),
            },
            Err(err) => Err(unreadable(path, &io::Error::other(err))),
        }
    }

    fn measure(path: PathBuf, skip: Vec<Range<u64>>) -> io::Result<(Self, Result<(), String>)> {
        let mut faults = Faults::default();
        let mut source = Source::open(&path, skip)?;
        let (mut chunk, mut wire) = (Vec::new(), Vec::new());
        let mut encoder = Encoder::unstuffed();
        let (mut wire_bytes, mut is_eight_bit) = (0, false);
        while source.next(&mut chunk)? {
            is_eight_bit |= !chunk.is_ascii();
            encoder.push(&chunk, &mut wire);
            wire_bytes += count(&wire);
            faults.see(&wire);
            wire.clear();
        }
        encoder.finish(&mut wire);
        wire_bytes += count(&wire);
        faults.see(&wire);
        source.rewind()?;
        Ok((Self { source, path, wire_bytes, is_eight_bit }, faults.check()))
    }

    /// Starts to hand out the stuffed bytes.
    pub(super) fn stream(self) -> Wired {
        Wired { message: self, encoder: Encoder::new(), seen: Seen::default() }
    }
}

/// A message being sent.
pub(super) struct Wired {
    message: Message,
    encoder: Encoder,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    plain: u64,
    done: bool,
}

impl Wired {
    /// Returns the next stuffed bytes; none after the last, which always ends with CRLF.
    pub(super) async fn next(mut self) -> Result<(Self, Option<Vec<u8>>), Failure> {
        let path = self.message.path.clone();
        let read = spawn_blocking(move || self.step().map(|bytes| (self, bytes)));
        match read.await {
            Ok(step) => step.map_err(|err| unreadable(&path, &err)),
            Err(err) => Err(unreadable(&path, &io::Error::other(err))),
        }
    }

    fn step(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.seen.done {
            return Ok(None);
        }
        let (mut chunk, mut wire) = (Vec::new(), Vec::new());
        if self.message.source.next(&mut chunk)? {
            self.encoder.push(&chunk, &mut wire);
        } else {
            self.encoder.finish(&mut wire);
            self.seen.done = true;
        }
        self.seen.plain += count(&wire) - self.encoder.take_stuffed();
        if self.seen.done && self.seen.plain != self.message.wire_bytes {
            return Err(io::Error::other("the file changed while it was being sent"));
        }
        Ok(Some(wire))
    }
}

/// A file without some ranges, chunk by chunk.
#[derive(Debug)]
struct Source {
    file: File,
    at: u64,
    skip: Vec<Range<u64>>,
}

impl Source {
    fn open(path: &Path, skip: Vec<Range<u64>>) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Self { file, at: 0, skip })
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.at = 0;
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    /// Replaces `chunk` by the next bytes; false at the end of the file.
    fn next(&mut self, chunk: &mut Vec<u8>) -> io::Result<bool> {
        chunk.clear();
        chunk.resize(CHUNK_BYTES, 0);
        let n = self.file.read(chunk)?;
        chunk.truncate(n);
        let start = self.at;
        self.at += count(chunk);
        if self.skip.iter().any(|range| range.start < self.at && start < range.end) {
            let mut at = start;
            let skip = &self.skip;
            chunk.retain(|_| {
                let keep = !skip.iter().any(|range| range.contains(&at));
                at += 1;
                keep
            });
        }
        Ok(n > 0)
    }
}

/// Turns line ends into CRLF and doubles leading dots, over chunks of any size.
#[derive(Debug)]
pub(super) struct Encoder {
    at_line_start: bool,
    after_cr: bool,
    stuffs: bool,
    stuffed: u64,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { at_line_start: true, after_cr: false, stuffs: true, stuffed: 0 }
    }

    fn unstuffed() -> Self {
        Self { stuffs: false, ..Self::new() }
    }

    pub(super) fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        out.reserve(input.len() + input.len() / 16);
        for byte in input {
            if std::mem::take(&mut self.after_cr) {
                out.extend_from_slice(b"\r\n");
                self.at_line_start = true;
                if *byte == b'\n' {
                    continue;
                }
            }
            match byte {
                b'\r' => self.after_cr = true,
                b'\n' => {
                    out.extend_from_slice(b"\r\n");
                    self.at_line_start = true;
                }
                _ => {
                    if self.at_line_start && self.stuffs && *byte == b'.' {
                        out.push(b'.');
                        self.stuffed += 1;
                    }
                    out.push(*byte);
                    self.at_line_start = false;
                }
            }
        }
    }

    /// Ends the last line.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.after_cr) || !self.at_line_start {
            out.extend_from_slice(b"\r\n");
            self.at_line_start = true;
        }
    }

    fn take_stuffed(&mut self) -> u64 {
        std::mem::take(&mut self.stuffed)
    }
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn unreadable(path: &Path, err: &io::Error) -> Failure {
    Failure::new(Scope::Message, Remedy::Later, Kind::LocalIo, "read the message")
        .at(path.display().to_string())
        .detail(err)
        .cure("check the file and its permissions")
}

fn unfit(path: &Path, why: &str) -> Failure {
    Failure::new(Scope::Message, Remedy::Never, Kind::NotSupported, "send the message")
        .at(path.display().to_string())
        .detail(why)
        .cure("let the mail program encode it as base64 or quoted-printable")
}

const CHUNK_BYTES: usize = 64 * 1024;
/// RFC 5321 §4.5.3.1.6 allows 1000, and everybody takes more; nobody has lines like this.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(parts: &[&[u8]]) -> Vec<u8> {
        let (mut encoder, mut out) = (Encoder::new(), Vec::new());
        for part in parts {
            encoder.push(part, &mut out);
        }
        encoder.finish(&mut out);
        out
    }

    fn check(input: &[u8], expected: &[u8]) {
        for cut in 0..=input.len() {
            let (head, tail) = input.split_at(cut);
            let seen = encode(&[head, tail]);
            assert_eq!(seen, expected, "{:?} cut at {cut}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn no_line_end_and_no_dot_gets_through_as_it_is() {
        check(b"", b"");
        check(b"a", b"a\r\n");
        check(b"a\n", b"a\r\n");
        check(b"a\r\n", b"a\r\n");
        check(b".", b"..\r\n");
        check(b"..\n.\n", b"...\r\n..\r\n");
        check(b"a\n.\nb", b"a\r\n..\r\nb\r\n");
        check(b"a\n.\r\nRCPT", b"a\r\n..\r\nRCPT\r\n");
        check(b"a\r.\rb", b"a\r\n..\r\nb\r\n");
        check(b"a\r.\nb", b"a\r\n..\r\nb\r\n");
        check(b"a\r\n.\rb", b"a\r\n..\r\nb\r\n");
        check(b"a\r\r\n.\n", b"a\r\n\r\n..\r\n");
        check(b"a\r", b"a\r\n");
        check(b"a.\n", b"a.\r\n");
        check(b"a\n\r.", b"a\r\n\r\n..\r\n");
    }

    #[tokio::test]
    async fn skipped_ranges_stay_here_and_sizes_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let mut text = b"A: 1\nBcc: x\nC: 3\n\n".to_vec();
        text.extend(std::iter::repeat_n(*b".line\n", 40_000).flatten());
        std::fs::write(&path, &text).unwrap();
        let message = Message::open(&path, &[5..12, 18..19]).await.unwrap();
        let size = message.wire_bytes;
        let (mut wired, mut all) = (message.stream(), Vec::new());
        loop {
            let (rest, bytes) = wired.next().await.unwrap();
            wired = rest;
            let Some(bytes) = bytes else { break };
            all.extend(bytes);
        }
        assert!(all.starts_with(b"A: 1\r\nC: 3\r\n\r\nline\r\n..line\r\n"));
        assert_eq!(size, count(&all) - 39_999);
    }

    proptest! {
        #[test]
        fn the_end_of_data_never_stands_in_the_data(input in "[\r\n.a]{0,40}", cut in 0_usize..40) {
            let bytes = input.as_bytes();
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let out = encode(&[head, tail]);
            let mut lines: Vec<&[u8]> = Vec::new();
            let mut rest = out.as_slice();
            while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
                lines.push(&rest[..at]);
                rest = &rest[at + 2..];
            }
            prop_assert!(rest.is_empty());
            for line in lines {
                prop_assert!(!line.contains(&b'\r') && !line.contains(&b'\n'));
                prop_assert_ne!(line, b".");
                prop_assert!(!line.starts_with(b".") || line.starts_with(b".."));
            }
        }
    }
}
