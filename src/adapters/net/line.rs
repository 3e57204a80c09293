//! Connections that can all be cut at once: those of an account whose network went away. Floor 3.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What connections hang on.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<Mutex<CancellationToken>>);

impl Line {
    /// Cuts all connections that hang on it now: whoever reads or writes is told at once. Those that
    /// are dialled later are not concerned.
    pub fn hang_up(&self) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
    }

    pub(super) fn end(&self) -> End {
        let token = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        End(Box::pin(token.cancelled_owned()))
    }
}

/// The end of a connection on the line.
pub(super) struct End(Pin<Box<WaitForCancellationFutureOwned>>);

impl End {
    /// An error once the line was hung up.
    pub(super) fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.0.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the machine slept, or is in another network",
            )),
            Poll::Pending => Ok(()),
        }
    }
}
