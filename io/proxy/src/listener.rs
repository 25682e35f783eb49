//! Listening sockets: opened together for all workers, closed without losing who waits in their queues.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_model::traffic::Transport;

use crate::proxy::SocketKey;

/// Connections that may wait to be accepted, for each worker.
pub const BACKLOG: i32 = 8192;

/// Bytes of datagrams that may wait to be read, for each worker; the kernel may grant less.
const DATAGRAM_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// A socket that clients reach.
pub enum DoorSocket {
    /// Accepts connections.
    Tcp(TcpListener),
    /// Gets datagrams, each with the address it was sent to.
    Udp(UdpSocket),
}

/// Opens one socket for each worker, or says in a user's words why it cannot. With `both_families` an unspecified
/// IPv6 address takes IPv4 too.
pub fn open(key: SocketKey, workers: usize, both_families: bool) -> Result<Vec<DoorSocket>, String> {
    let sockets = (0..workers).map(|_| open_one(key, both_families)).collect::<io::Result<Vec<_>>>();
    sockets.map_err(|error| in_words(key, &error))
}

/// A socket that another process opened, if it is one of this address; else what it is instead, in words.
pub fn adopt(key: SocketKey, fd: OwnedFd, both_families: bool) -> Result<DoorSocket, String> {
    let socket = Socket::from(fd);
    let error = |error: io::Error| format!("it cannot be examined: {error}");
    let kind = socket.r#type().map_err(error)?;
    let address = socket.local_addr().map_err(error)?.as_socket();
    let wanted = if key.transport == Transport::Udp { Type::DGRAM } else { Type::STREAM };
    if kind != wanted || address != Some(key.address) {
        return Err("it is another socket than it was said to be".into());
    }
    if key.address.is_ipv6() && socket.only_v6().map_err(error)? == both_families {
        return Err("it takes other address families than it is to take now".into());
    }
    socket.set_nonblocking(true).map_err(error)?;
    match key.transport {
        Transport::Udp => Ok(DoorSocket::Udp(socket.into())),
        Transport::Tcp if socket.is_listener().map_err(error)? => Ok(DoorSocket::Tcp(socket.into())),
        Transport::Tcp => Err("it does not listen".into()),
    }
}

fn open_one(key: SocketKey, both_families: bool) -> io::Result<DoorSocket> {
    let address = key.address;
    let (kind, protocol) = match key.transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!both_families)?;
    }
    match address {
        _ if address.ip().is_unspecified() => {}
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    socket.set_nonblocking(true)?;
    match key.transport {
        Transport::Tcp => {
            socket.set_reuse_address(true)?;
            // Set here, accepted sockets inherit it.
            socket.set_tcp_nodelay(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(DoorSocket::Tcp(socket.into()))
        }
        Transport::Udp => {
            ask_for_destination(&socket, address.is_ipv6())?;
            // More than the machine allows is cut down silently, and a short queue is no reason not to serve.
            let _ = socket.set_recv_buffer_size(DATAGRAM_QUEUE_BYTES);
            let _ = socket.set_send_buffer_size(DATAGRAM_QUEUE_BYTES);
            socket.bind(&address.into())?;
            Ok(DoorSocket::Udp(socket.into()))
        }
    }
}

/// Asks that each datagram come with the address it was sent to (RFC 3542 section 6.1; ip(7)).
fn ask_for_destination(socket: &Socket, v6: bool) -> io::Result<()> {
    let (level, option) = match v6 {
        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    set_option(socket.as_raw_fd(), level, option, 1)
}

/// Sets a socket option that is a number.
pub fn set_option(fd: i32, level: i32, option: i32, value: i32) -> io::Result<()> {
    let value = (&raw const value).cast();
    let length = std::mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` points to an i32 that lives to the end of the call, and `length` is its size.
    match unsafe { libc::setsockopt(fd, level, option, value, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn in_words(key: SocketKey, error: &io::Error) -> String {
    let SocketKey { transport, address } = key;
    let port = address.port();
    let of = if transport == Transport::Udp { "UDP port" } else { "port" };
    match error.kind() {
        io::ErrorKind::PermissionDenied if port < 1024 => {
            format!("{of} {port} needs root or CAP_NET_BIND_SERVICE; choose a port above 1023")
        }
        io::ErrorKind::AddrInUse => {
            format!(
                "{of} {port} on {} is in use by another program; stop it or choose another port",
                address.ip()
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is no address of this machine; add it or choose another", address.ip())
        }
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            format!("cannot listen on {key}: too many open files; raise the limit (ulimit -n)")
        }
        _ => format!("cannot listen on {key}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bind that fails says what to do, in one sentence.
    #[test]
    fn bind_errors_in_words() {
        let tcp = SocketKey::tcp("10.0.0.1:80".parse().unwrap());
        let udp = SocketKey { transport: Transport::Udp, ..tcp };
        for (key, code, words) in [
            (tcp, libc::EACCES, "port 80 needs root or CAP_NET_BIND_SERVICE; choose a port above 1023"),
            (
                tcp,
                libc::EADDRINUSE,
                "port 80 on 10.0.0.1 is in use by another program; stop it or choose another port",
            ),
            (
                udp,
                libc::EADDRINUSE,
                "UDP port 80 on 10.0.0.1 is in use by another program; stop it or choose another port",
            ),
            (tcp, libc::EADDRNOTAVAIL, "10.0.0.1 is no address of this machine; add it or choose another"),
            (
                udp,
                libc::EMFILE,
                "cannot listen on 10.0.0.1:80/udp: too many open files; raise the limit (ulimit -n)",
            ),
        ] {
            assert_eq!(in_words(key, &io::Error::from_raw_os_error(code)), words);
        }
    }

    /// An address that is not local yet can be listened on, by either transport.
    #[test]
    fn free_bind() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let sockets = open(SocketKey { transport, address: "192.0.2.77:0".parse().unwrap() }, 1, false);
            let bound = match &sockets.unwrap()[0] {
                DoorSocket::Tcp(socket) => socket.local_addr(),
                DoorSocket::Udp(socket) => socket.local_addr(),
            };
            assert_eq!(bound.unwrap().ip().to_string(), "192.0.2.77");
        }
    }
}
