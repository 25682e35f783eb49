//! The sockets on which this process listens. An endpoint that is one of them would have it talk to itself: one request becomes
//! thousands, and a datagram goes round without end.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use tidegate_model::traffic::Transport;

use crate::proxy::SocketKey;

/// They, and one more that is not the proxy's: the admin address.
#[derive(Default)]
pub struct OwnSockets {
    open: RwLock<HashSet<SocketKey>>,
    admin: Option<SocketAddr>,
    /// The log says that an endpoint leads back, once after each change.
    is_told: AtomicBool,
}

impl OwnSockets {
    /// None of the proxy's yet.
    pub fn new(admin: Option<SocketAddr>) -> OwnSockets {
        OwnSockets { admin, ..OwnSockets::default() }
    }

    /// Replaces what is open.
    pub fn set(&self, open: impl IntoIterator<Item = SocketKey>) {
        let admin = self.admin.map(SocketKey::tcp);
        let open = open.into_iter().chain(admin).collect();
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = open;
        self.is_told.store(false, Ordering::Relaxed);
    }

    /// Whether an endpoint leads back to this process.
    pub fn lead_back(&self, transport: Transport, endpoint: SocketAddr) -> bool {
        let endpoint = SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port());
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let is_open = |address: IpAddr| {
            open.contains(&SocketKey { transport, address: SocketAddr::new(address, endpoint.port()) })
        };
        let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let leads = is_open(endpoint.ip()) || (any.into_iter().any(is_open) && is_local(endpoint.ip()));
        if leads && !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(%endpoint, "an endpoint is an address of this gateway itself: nothing is sent there");
        }
        leads
    }
}

/// Whether an address is this machine's: then the kernel would speak to it from itself.
fn is_local(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = || {
        // Connecting a UDP socket sends nothing.
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((address, 9)).ok()?;
        socket.local_addr().ok()
    };
    address.is_loopback() || from().is_some_and(|from| from.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open socket is found by its address, one for every address by each of this machine's, the admin address always; other
    /// transports, ports and machines are somebody else.
    #[test]
    fn who_leads_back() {
        let own = OwnSockets::new("127.0.0.1:9".parse().ok());
        let key = |address: &str| SocketKey::tcp(address.parse().unwrap());
        own.set([key("192.0.2.1:80"), key("0.0.0.0:81"), key("[::]:82")]);
        for (endpoint, leads) in [
            ("192.0.2.1:80", true),
            ("[::ffff:192.0.2.1]:80", true),
            ("192.0.2.1:81", false),
            ("192.0.2.2:80", false),
            ("127.0.0.1:81", true),
            ("127.0.0.7:82", true),
            ("[::1]:82", true),
            ("127.0.0.1:9", true),
        ] {
            assert_eq!(own.lead_back(Transport::Tcp, endpoint.parse().unwrap()), leads, "{endpoint}");
        }
        assert!(!own.lead_back(Transport::Udp, "192.0.2.1:80".parse().unwrap()));
    }
}
