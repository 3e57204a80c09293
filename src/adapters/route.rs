//! Which way packets to the internet would take, and when that changes. Floor 3.
//!
//! The system says so by itself: rtnetlink(7) on Linux, whoever configures the network, route(4) on
//! macOS. What it says is not read; it is a reason to look.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use tokio::net::UnixDatagram;

use crate::model::failure::{Failure, Kind, Remedy, Scope};

/// The addresses that packets to the internet would leave from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sources {
    /// By IPv4.
    pub v4: Option<IpAddr>,
    /// By IPv6.
    pub v6: Option<IpAddr>,
}

/// Asks the system which addresses packets would leave from; nothing is sent. (The destinations are
/// for documentation, RFC 5737 and RFC 3849: no host has them.) An interface without a carrier lets
/// nothing leave, although its addresses stay.
pub fn source_addresses() -> Sources {
    let from = |any: &str, to: &str| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let sources =
        Sources { v4: from("0.0.0.0:0", "192.0.2.1:9"), v6: from("[::]:0", "[2001:db8::1]:9") };
    if sources == Sources::default() || has_carrier() { sources } else { Sources::default() }
}

/// Whether an interface of a default route has a carrier; yes where that cannot be known.
fn has_carrier() -> bool {
    // The last word of a line of the one table, the first of the other, is the interface (proc(5)).
    let v4 = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let v4 = v4.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let interface = words.next()?;
        (words.next()? == "00000000").then(|| interface.to_owned())
    });
    let v6 = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let v6 = v6.lines().filter_map(|line| {
        let interface = line.split_ascii_whitespace().next_back()?;
        (line.starts_with(V6_DEFAULT) && interface != "lo").then(|| interface.to_owned())
    });
    let mut carriers = v4.chain(v6).filter_map(|interface| {
        std::fs::read_to_string(format!("/sys/class/net/{interface}/carrier")).ok()
    });
    let mut n_dead = 0;
    let is_alive = carriers.any(|carrier| {
        n_dead += 1;
        carrier.trim() != "0"
    });
    is_alive || n_dead == 0
}

/// The destination of the default route in the table of IPv6.
const V6_DEFAULT: &str = "00000000000000000000000000000000 00 ";

/// Hears that addresses, routes or interfaces changed.
///
/// What tokio has for any descriptor is unsafe; a datagram socket is received from alike, whatever its
/// family.
#[derive(Debug)]
pub struct Changes(UnixDatagram);

impl Changes {
    /// Listens to the kernel.
    ///
    /// # Errors
    /// The system has no such thing, or a sandbox forbids it.
    pub fn listen() -> Result<Self, Failure> {
        let listen = || UnixDatagram::from_std(socket()?.into());
        listen().map(Self).map_err(|err| {
            Failure::new(
                Scope::Daemon,
                Remedy::Later,
                Kind::NotSupported,
                "listen to the kernel's routes",
            )
            .detail(err)
        })
    }

    /// Waits for a change; several at once are one. Nothing once it cannot hear any more. Cancel safe.
    pub async fn next(&mut self) -> Option<()> {
        let mut told = [0; 8192];
        self.0.recv(&mut told).await.or_else(too_many).ok()?;
        loop {
            match self.0.try_recv(&mut told).or_else(too_many) {
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Some(()),
                Err(_) => return None,
            }
        }
    }
}

/// What the kernel had no place for was a change as well.
fn too_many(err: io::Error) -> io::Result<usize> {
    if err.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) { Ok(0) } else { Err(err) }
}

#[cfg(target_os = "linux")]
fn socket() -> io::Result<OwnedFd> {
    use rustix::net::SocketFlags;
    use rustix::net::netlink::SocketAddrNetlink;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

/// RTMGRP_LINK, and RTMGRP_IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE of linux/rtnetlink.h.
#[cfg(target_os = "linux")]
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

#[cfg(not(target_os = "linux"))]
fn socket() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::ROUTE, SocketType::RAW, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}
