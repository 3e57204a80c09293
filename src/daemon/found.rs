//! What was found to work at the servers of accounts, for the status. Floor 5.

use crate::adapters::net;
use crate::engine::board::Board;
use crate::model::account::{Account, Endpoint, Mechanism, Settings};
use crate::model::automatic::{Memory, Open};
use crate::model::status::ServerStatus;
use crate::rules::automatic;

/// What is remembered of the servers of an account; nothing of one that was never reached, or whose settings
/// leave nothing open.
pub(super) fn servers(account: &Account) -> Vec<ServerStatus> {
    let imap = account.imap.as_ref().map(|imap| ("imap", &imap.endpoint));
    let pop3 = account.pop3.as_ref().map(|pop| ("pop3", &pop.endpoint));
    let smtp = account.smtp.as_ref().map(|smtp| ("smtp", &smtp.endpoint));
    let all = [imap, pop3, smtp].into_iter().flatten();
    all.filter_map(|(protocol, endpoint)| server(protocol, endpoint)).collect()
}

/// `host:port` of a server, at the port that was found to work.
pub(super) fn authority(endpoint: &Endpoint) -> String {
    let way = endpoint.open.as_ref().and_then(|open| memory(open, endpoint).way);
    let port = way.map_or(endpoint.port, |way| way.port);
    Endpoint { port, ..endpoint.clone() }.authority()
}

fn memory(open: &Open, endpoint: &Endpoint) -> Memory {
    automatic::about(net::recall(&open.memory), open, &endpoint.host)
}

fn server(protocol: &'static str, endpoint: &Endpoint) -> Option<ServerStatus> {
    let open = endpoint.open.as_ref()?;
    let memory = memory(open, endpoint);
    let way = memory.way.filter(|_| open.ways.len() > 1);
    let user = memory.user.filter(|user| open.users.len() > 1 && open.users.contains(user));
    let auth = memory.auth.map(Mechanism::as_str).filter(|_| endpoint.auth.len() != 1);
    // What everybody expects is no news: TLS at a port that is written down, the mechanism alone.
    let is_port_open = open.ways.iter().any(|way| way.port != endpoint.port);
    let is_unusual = |way| is_port_open || open.ways.first() != Some(&way);
    let is_news = user.is_some() || way.is_some_and(is_unusual);
    is_news.then(|| ServerStatus {
        protocol,
        host: endpoint.host.clone(),
        port: way.map(|way| way.port),
        tls: way.map(|way| way.tls.as_str()),
        user,
        auth,
    })
}

/// Shows it.
pub(super) fn show(settings: &Settings, board: &Board) {
    for (name, account) in &settings.accounts {
        let servers = servers(account);
        board.account(name, |shown| shown.servers = servers);
    }
}
