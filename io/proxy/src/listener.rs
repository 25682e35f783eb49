//! Listening sockets: opened together for all workers, closed without losing who waits in their queues.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, for each worker.
const BACKLOG: i32 = 8192;

/// Opens one socket for each worker, or says in a user's words why it cannot. With `both_families` an unspecified
/// IPv6 address takes IPv4 connections too.
pub fn open(address: SocketAddr, workers: usize, both_families: bool) -> Result<Vec<TcpListener>, String> {
    let sockets = (0..workers).map(|_| open_one(address, both_families)).collect::<io::Result<Vec<_>>>();
    sockets.map_err(|error| in_words(address, &error))
}

fn open_one(address: SocketAddr, both_families: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Set here, accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!both_families)?;
    }
    match address {
        _ if address.ip().is_unspecified() => {}
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn in_words(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::PermissionDenied if port < 1024 => {
            format!("port {port} needs root or CAP_NET_BIND_SERVICE; choose a port above 1023")
        }
        io::ErrorKind::AddrInUse => {
            format!(
                "port {port} on {} is in use by another program; stop it or choose another port",
                address.ip()
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is no address of this machine; add it or choose another", address.ip())
        }
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            format!("cannot listen on {address}: too many open files; raise the limit (ulimit -n)")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bind that fails says what to do, in one sentence.
    #[test]
    fn bind_errors_in_words() {
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        for (code, words) in [
            (libc::EACCES, "port 80 needs root or CAP_NET_BIND_SERVICE; choose a port above 1023"),
            (
                libc::EADDRINUSE,
                "port 80 on 10.0.0.1 is in use by another program; stop it or choose another port",
            ),
            (libc::EADDRNOTAVAIL, "10.0.0.1 is no address of this machine; add it or choose another"),
            (libc::EMFILE, "cannot listen on 10.0.0.1:80: too many open files; raise the limit (ulimit -n)"),
        ] {
            assert_eq!(in_words(address, &io::Error::from_raw_os_error(code)), words);
        }
    }

    /// An address that is not local yet can be listened on.
    #[test]
    fn free_bind() {
        let sockets = open("192.0.2.77:0".parse().unwrap(), 1, false).unwrap();
        assert_eq!(sockets[0].local_addr().unwrap().ip().to_string(), "192.0.2.77");
    }
}
