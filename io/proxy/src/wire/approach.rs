//! How an endpoint is approached on behalf of one client: whose address the connection comes from, and what goes first on
//! it. A connection approached so serves that client only.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_model::traffic::{BackendPolicy, ProxyProtocolOut};
use tidegate_traffic::proxy_protocol::{Addresses, Transport, write_v1, write_v2};
use tokio::net::{TcpSocket, TcpStream};

use crate::listener::set_option;

/// What is particular about a connection to an endpoint; the default is nothing.
#[derive(Default)]
pub struct Approach {
    /// A PROXY protocol header, in the clear; empty: none.
    pub preface: Vec<u8>,
    /// Who needs it, for what each client may have; none: nobody in particular.
    pub on_behalf: Option<IpAddr>,
    /// The client's own address, to come from.
    source: Option<IpAddr>,
}

impl Approach {
    /// As the policy says, for a client. `asked` tells which address it connected to, and is called only where that
    /// matters; `believed` is the client's address, also where a trusted hop before it named it.
    pub fn of(
        policy: &BackendPolicy,
        client: SocketAddr,
        asked: impl FnOnce() -> SocketAddr,
        believed: IpAddr,
    ) -> Approach {
        let mut preface = Vec::new();
        match policy.proxy_protocol {
            None => {}
            Some(ProxyProtocolOut::V1) => write_v1(client, asked(), &mut preface),
            Some(ProxyProtocolOut::V2) => {
                let told = Addresses { source: client, destination: asked(), transport: Transport::Stream };
                write_v2(&told, &mut preface);
            }
        }
        let on_behalf = Some(believed.to_canonical());
        Approach { preface, on_behalf, source: policy.client_source.then(|| believed.to_canonical()) }
    }

    /// Whether connections of this policy serve one client each.
    pub fn is_personal(policy: &BackendPolicy) -> bool {
        policy.proxy_protocol.is_some() || policy.client_source
    }

    /// Whether any client may use such a connection.
    pub fn is_plain(&self) -> bool {
        self.preface.is_empty() && self.source.is_none()
    }

    /// Opens a TCP connection.
    pub async fn dial(&self, endpoint: SocketAddr) -> io::Result<TcpStream> {
        let stream = match self.source {
            None => TcpStream::connect(endpoint).await?,
            Some(client) => {
                let socket = bound(client, endpoint, Type::STREAM, Protocol::TCP)?;
                TcpSocket::from_std_stream(socket.into()).connect(endpoint).await?
            }
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A socket of a session's own towards an endpoint, bound to the client's address; UDP.
pub fn datagram_socket(client: IpAddr, endpoint: SocketAddr) -> io::Result<std::net::UdpSocket> {
    Ok(bound(client.to_canonical(), endpoint, Type::DGRAM, Protocol::UDP)?.into())
}

/// A socket bound to an address that is not this machine's. The port is chosen when it connects, so that as many clients
/// as there are endpoints and ports can be spoken for.
fn bound(client: IpAddr, endpoint: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    if client.is_ipv4() != endpoint.is_ipv4() {
        let why = format!("{endpoint} cannot be reached from {client}: another family of addresses");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
    }
    let domain = if client.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))?;
    let (level, option) = match client {
        IpAddr::V4(_) => (libc::SOL_IP, libc::IP_TRANSPARENT),
        IpAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
    };
    set_option(socket.as_raw_fd(), level, option, 1).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(
            error.kind(),
            "sourceAddress: Client needs CAP_NET_ADMIN, which this process lacks",
        ),
        _ => error,
    })?;
    set_option(socket.as_raw_fd(), libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    socket.bind(&SocketAddr::new(client, 0).into())?;
    Ok(socket)
}
