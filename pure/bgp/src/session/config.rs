//! Settings of one session, checked once. Never the peer's address: that is the shell's.

use crate::error::ConfigError;
use crate::packet::{Capability, Family, Open};
use crate::peer::RemoteAs;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Settings of one session. Start from `Config::new` and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Our AS; not 0.
    pub local_as: u32,
    /// Our BGP identifier; not 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// Where an OPEN must come from.
    pub remote_as: RemoteAs,
    /// Hold time we propose, in seconds: 0 (never expire) or at least 3. Default 9.
    pub hold_secs: u16,
    /// First wait before dialling again. Default 1 s.
    pub connect_retry_min: Duration,
    /// Longest wait before dialling again, and after errors. Default 30 s.
    pub connect_retry_max: Duration,
    /// Only wait for the peer to connect. Default false.
    pub passive: bool,
    /// An external peer must stand first in the AS_PATH. Default true; off for route servers.
    pub enforce_first_as: bool,
}

impl Config {
    /// Defaults around what has none.
    pub fn new(local_as: u32, router_id: Ipv4Addr, remote_as: RemoteAs) -> Config {
        Config {
            local_as,
            router_id,
            remote_as,
            hold_secs: 9,
            connect_retry_min: Duration::from_secs(1),
            connect_retry_max: Duration::from_secs(30),
            passive: false,
            enforce_first_as: true,
        }
    }

    /// # Errors
    /// Names the first setting with which no session can be held.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.local_as == 0 || self.remote_as == RemoteAs::Exact(0) {
            return Err(ConfigError::AsZero);
        }
        if self.router_id.is_unspecified() {
            return Err(ConfigError::RouterId(self.router_id));
        }
        if matches!(self.hold_secs, 1 | 2) {
            return Err(ConfigError::HoldTime(self.hold_secs));
        }
        if self.connect_retry_min.is_zero() || self.connect_retry_min > self.connect_retry_max {
            return Err(ConfigError::ConnectRetry);
        }
        Ok(())
    }

    /// What we say of ourselves. Graceful restart names no family: we send and understand
    /// End-of-RIB, and do not ask a peer to keep our routes when we are gone (RFC 4724, section 4).
    pub(super) fn open(&self) -> Open {
        Open {
            asn: self.local_as,
            hold_secs: self.hold_secs,
            router_id: self.router_id,
            capabilities: vec![
                Capability::MultiProtocol(Family::IPV4_UNICAST),
                Capability::RouteRefresh,
                Capability::GracefulRestart { restarting: false, restart_secs: 0, families: Vec::new() },
                Capability::FourByteAs(self.local_as),
            ],
        }
    }
}
