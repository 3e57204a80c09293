//! Runs blocking work off the async threads. Floor 4.

use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// Runs `work` on a blocking thread. A panic in it is a failure of the account, not of the daemon.
///
/// # Errors
/// Those of `work`.
pub async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(err) => {
            Err(Failure::new(Scope::Account, Remedy::Later, Kind::LocalIo, "run blocking work")
                .detail(err))
        }
    }
}
