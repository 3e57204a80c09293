//! Takes a message that came by file descriptor into the outbox. Floor 5.
//!
//! A regular file (a memfd too) is read from its beginning, without moving its offset; a pipe until
//! its end. Anything else is refused, since nobody knows when it ends.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::daemon::bus::Submission;
use crate::daemon::spool::{Spooling, spool};
use crate::engine::board::micros_now;
use crate::model::account::Settings;
use crate::model::ids::OutboxId;

/// The name of a D-Bus error, and what is wrong.
type Refusal = (String, String);

/// Takes the message and answers.
pub(super) async fn take(settings: Arc<Settings>, state_dir: PathBuf, submission: Submission) {
    let Submission { message, submitted, wishes, reply } = submission;
    let source = match source(message) {
        Ok(source) => source,
        Err(refusal) => {
            drop(reply.send(Err(refusal)));
            return;
        }
    };
    let work = move |mut input: Box<dyn Read + Send>| -> Result<OutboxId, Refusal> {
        let how = Spooling {
            settings: &settings,
            state_dir: &state_dir,
            daemon_runs: true,
            now: micros_now(),
            random: fastrand::u32(..),
        };
        let mut input = Bounded { left: MESSAGE_BYTES_MAX, input: &mut *input };
        let done = spool(&how, &submitted, &wishes, &mut input);
        if input.left == 0 {
            return Err(too_big());
        }
        let text = |err: String| err.trim().trim_start_matches("postrider: ").to_owned();
        done.map(|(id, _)| id).map_err(|answer| (answer.name.to_owned(), text(answer.err)))
    };
    let done = match source {
        Source::File(file) => {
            spawn_blocking(move || work(Box::new(FromStart { file, at: 0 }))).await
        }
        Source::Pipe(pipe) => {
            let (chunks, received) = mpsc::channel(CHUNKS);
            let worker = spawn_blocking(move || work(Box::new(Chunks::new(received))));
            pump(pipe, chunks).await;
            worker.await
        }
    };
    let broken = |err| Err(("LocalIo".to_owned(), format!("take the message: {err}")));
    // Whoever asked may be gone; the message stays.
    drop(reply.send(done.unwrap_or_else(broken)));
}

enum Source {
    File(File),
    Pipe(pipe::Receiver),
}

fn source(message: OwnedFd) -> Result<Source, Refusal> {
    let failed = |err: io::Error| ("LocalIo".to_owned(), format!("read the message: {err}"));
    let file = File::from(message);
    let meta = file.metadata().map_err(failed)?;
    if meta.is_file() {
        return if meta.len() > MESSAGE_BYTES_MAX {
            Err(too_big())
        } else {
            Ok(Source::File(file))
        };
    }
    if meta.file_type().is_fifo() {
        return pipe::Receiver::from_file(file).map(Source::Pipe).map_err(failed);
    }
    let text = "read the message: pass a regular file or the reading end of a pipe";
    Err(("NotSupported".to_owned(), text.to_owned()))
}

/// Carries a pipe to the blocking side, which alone touches the disk.
async fn pump(mut pipe: pipe::Receiver, chunks: mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = match timeout(SILENCE_MAX, pipe.read(&mut chunk)).await {
            Ok(Ok(0)) => return,
            Ok(read) => read,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the pipe is silent for 30 s")),
        };
        let is_over = read.is_err();
        let sent = chunks.send(read.map(|n| {
            chunk.truncate(n);
            chunk
        }));
        // Nobody takes it any more: the message was refused.
        if sent.await.is_err() || is_over {
            return;
        }
    }
}

/// Reads a file from its beginning, whatever the offset is that its owner left.
struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(u64::try_from(n).unwrap_or_default());
        Ok(n)
    }
}

/// Reads what [`pump`] sends.
struct Chunks {
    received: mpsc::Receiver<io::Result<Vec<u8>>>,
    chunk: io::Cursor<Vec<u8>>,
}

impl Chunks {
    fn new(received: mpsc::Receiver<io::Result<Vec<u8>>>) -> Self {
        Self { received, chunk: io::Cursor::default() }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match Read::read(&mut self.chunk, buffer)? {
                0 => match self.received.blocking_recv() {
                    Some(chunk) => self.chunk = io::Cursor::new(chunk?),
                    None => return Ok(0),
                },
                n => return Ok(n),
            }
        }
    }
}

/// Fails rather than to end early, so that half a message is never taken for a whole one.
struct Bounded<'a> {
    left: u64,
    input: &'a mut dyn Read,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.left = self.left.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
        if self.left == 0 { Err(io::Error::other("the message is too big")) } else { Ok(n) }
    }
}

fn too_big() -> Refusal {
    let text = "a message over 1 GiB: no mail server would take it";
    ("MessageTooBig".to_owned(), text.to_owned())
}

const MESSAGE_BYTES_MAX: u64 = 1 << 30;
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS: usize = 4;
const SILENCE_MAX: Duration = Duration::from_secs(30);
