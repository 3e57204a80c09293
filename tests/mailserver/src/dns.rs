//! A name server on loopback that knows what it is told, by UDP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, MX, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

/// What a name server knows.
#[derive(Debug, Clone, Default)]
pub struct Zone(Vec<Record>);

impl Zone {
    /// An address.
    #[must_use]
    pub fn a(self, name: &str, address: Ipv4Addr) -> Self {
        self.with(name, RData::A(A(address)))
    }

    /// A mail exchanger.
    #[must_use]
    pub fn mx(self, name: &str, preference: u16, exchanger: &str) -> Self {
        let data = MX::new(preference, host(exchanger));
        self.with(name, RData::MX(data))
    }

    /// Where a service is.
    #[must_use]
    pub fn srv(self, name: &str, priority: u16, target: &str, port: u16) -> Self {
        let data = SRV::new(priority, 1, port, host(target));
        self.with(name, RData::SRV(data))
    }

    /// A text.
    #[must_use]
    pub fn txt(self, name: &str, text: &str) -> Self {
        self.with(name, RData::TXT(TXT::new(vec![text.to_owned()])))
    }

    fn with(mut self, name: &str, data: RData) -> Self {
        self.0.push(Record::from_rdata(host(name), 60, data));
        self
    }
}

fn host(name: &str) -> Name {
    let mut name = Name::from_str(name).unwrap_or_default();
    name.set_fqdn(true);
    name
}

/// The server, until it is dropped.
pub struct DnsServer {
    addr: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl DnsServer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(zone: Zone) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let addr = socket.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(socket) = UdpSocket::from_std(socket) else { return };
                tokio::select! {
                    () = serve(&socket, &zone) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { addr, _stop: stop })
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

async fn serve(socket: &UdpSocket, zone: &Zone) {
    let mut buffer = [0; 4096];
    while let Ok((n, peer)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..n], zone) {
            drop(socket.send_to(&answer, peer).await);
        }
    }
}

fn answer(asked: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let asked = Message::from_vec(asked).ok()?;
    let query = asked.queries.first()?.clone();
    let named: Vec<&Record> = zone.0.iter().filter(|record| record.name == *query.name()).collect();
    let found = named.iter().filter(|record| record.record_type() == query.query_type());
    let found: Vec<Record> = found.map(|record| (*record).clone()).collect();
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    if named.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    answer.metadata.recursion_available = true;
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.add_query(query);
    answer.add_answers(found);
    answer.to_vec().ok()
}
