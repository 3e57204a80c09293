//! The POP3 server: one task per connection; the maildrop is INBOX.

mod auth;
mod session;

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::dispatch::until_cut;
use crate::state::Shared;
use crate::wire::Wire;

/// Serves one connection to its end, and returns the wire to be closed. An error ends this
/// connection only.
pub(crate) async fn serve(stream: TcpStream, id: u64, shared: Arc<Shared>) -> Wire {
    let mut session = session::Session::new(stream, id, Arc::clone(&shared));
    tokio::select! {
        // The error was the end of the connection, and nobody is left to be told.
        _ = session.run() => {}
        () = until_cut(&shared, id) => {}
    }
    session.wire
}
