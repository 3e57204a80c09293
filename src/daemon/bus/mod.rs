//! The D-Bus surface: the same objects on the session bus and on the private socket. Floor 5.
//!
//! Reads snapshots and sends commands; it never waits for the engine but in `WaitJob`, so it answers
//! while a sync hangs. It takes names and ids, never paths of files.

mod account;
mod desk;
mod error;
mod follow;
mod manager;
mod outbox;
mod private;
mod session;
mod stream;
mod values;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::desk::Desk;
use self::private::PrivateSocket;
use crate::engine::jobs::Jobs;
use crate::engine::relay::Request;
use crate::model::account::BusChoice;
use crate::model::event::{Command, Notice};
use crate::model::failure::Failure;
use crate::model::ids::OutboxId;
use crate::model::outbox::{OutboxEvent, Submitted};
use crate::model::status::Status;

pub use self::desk::OUTBOX_JOB;

/// What the outbox is asked; whoever gets it answers in it.
#[derive(Debug)]
pub enum OutboxCall {
    /// Look at the queue, or steer it.
    Ask(Request),
    /// Take a message.
    Submit(Submission),
}

/// A message that comes by file descriptor.
#[derive(Debug)]
pub struct Submission {
    /// The message.
    pub message: OwnedFd,
    /// What the caller says about the envelope.
    pub submitted: Submitted,
    /// Control header fields that the caller's options stand for, as (name, value).
    pub wishes: Vec<(&'static str, String)>,
    /// Gets its id, or the name of the error and what is wrong.
    pub reply: oneshot::Sender<Result<OutboxId, (String, String)>>,
}

/// What the bus shows, and whom it tells what a person asks.
#[derive(Debug)]
pub struct BusContext {
    /// The status.
    pub status: watch::Receiver<Arc<Status>>,
    /// Where commands go; a full queue is the error `Busy`.
    pub commands: mpsc::Sender<Command>,
    /// The jobs of `Sync` and `Flush`.
    pub jobs: Jobs,
    /// What readers of mail want to hear of at once.
    pub notices: broadcast::Sender<Notice>,
    /// What happens to outgoing messages.
    pub outbox: broadcast::Sender<OutboxEvent>,
    /// Where calls for the outbox go; a full queue is the error `Busy`.
    pub calls: mpsc::Sender<OutboxCall>,
    /// The configuration file.
    pub config_path: PathBuf,
    /// Says what is wrong with the configuration file, if anything is.
    pub find_mistake: fn(&Path) -> Option<String>,
    /// Which bus.
    pub session: BusChoice,
    /// The address of the session bus; none means that of the environment.
    pub session_address: Option<String>,
    /// The private socket. The caller holds the state lock.
    pub socket: PathBuf,
    /// Ends the service.
    pub shutdown: CancellationToken,
}

/// A service that is ready: the private socket takes connections.
pub struct Bus {
    desk: Arc<Desk>,
    socket: Option<PrivateSocket>,
    session: Option<Option<String>>,
    shutdown: CancellationToken,
}

impl Bus {
    /// Makes the private socket, unless the bus is off.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn bind(context: BusContext) -> Result<Self, Failure> {
        let bind = |path: &Path| PrivateSocket::bind(path).map(Some);
        let (socket, session) = match context.session {
            BusChoice::Off => (None, None),
            BusChoice::Private => (bind(&context.socket)?, None),
            BusChoice::Session => (bind(&context.socket)?, Some(context.session_address)),
        };
        let desk = Desk {
            status: context.status,
            commands: context.commands,
            jobs: context.jobs,
            config_path: context.config_path.display().to_string(),
            find_mistake: context.find_mistake,
            notices: context.notices,
            outbox: context.outbox,
            calls: context.calls,
            submissions: Semaphore::new(SUBMISSIONS_MAX),
            open_jobs: Arc::new(Semaphore::new(OPEN_JOBS_MAX)),
            waits: Semaphore::new(WAITS_MAX),
        };
        Ok(Self { desk: Arc::new(desk), socket, session, shutdown: context.shutdown })
    }

    /// Serves until the shutdown is asked for. An absent session bus is retried, never an error.
    pub async fn serve(self) {
        let private = async {
            match self.socket {
                Some(socket) => socket.serve(Arc::clone(&self.desk), self.shutdown.clone()).await,
                None => self.shutdown.cancelled().await,
            }
        };
        let session = async {
            if let Some(address) = self.session {
                session::serve(Arc::clone(&self.desk), address, self.shutdown.clone()).await;
            }
        };
        tokio::join!(private, session);
    }
}

/// Makes the private socket and serves until the shutdown is asked for.
///
/// # Errors
/// The private socket cannot be made.
pub async fn serve(context: BusContext) -> Result<(), Failure> {
    Bus::bind(context)?.serve().await;
    Ok(())
}

/// Jobs that may run at one time. Fewer than are remembered, so that none that runs is forgotten.
const OPEN_JOBS_MAX: usize = 128;

/// Messages that may be read from their descriptors at one time.
const SUBMISSIONS_MAX: usize = 8;

/// Callers that may wait for jobs at one time.
const WAITS_MAX: usize = 4096;
