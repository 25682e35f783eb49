//! Kernel notifications: what strangers, and links, do. It says that something changed, never what it is now.

use std::io;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use tidegate_plan::{OURS, TABLE};
use tokio::io::unix::AsyncFd;

use crate::netlink::{Listener, messages};
use crate::nft::table_of;

/// Multicast groups of rtnetlink, as bits.
pub(crate) mod group {
    pub(crate) const LINK: u32 = 1;
    pub(crate) const IPV4_ADDRESS: u32 = 1 << 4;
    pub(crate) const IPV4_ROUTE: u32 = 1 << 6;
    pub(crate) const IPV4_RULE: u32 = 1 << 7;
    pub(crate) const IPV6_ADDRESS: u32 = 1 << 8;
    pub(crate) const IPV6_ROUTE: u32 = 1 << 10;
    pub(crate) const IPV6_RULE: u32 = 1 << 18;
    /// `NFNLGRP_NFTABLES`, of netfilter netlink.
    pub(crate) const NFTABLES: u32 = 1 << 6;
}

const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const NFT_SUBSYSTEM: u16 = 10;
const NFT_NEWGEN: u16 = (10 << 8) | 15;

/// A notification.
pub(crate) struct Notice<'a> {
    /// Netlink port of whoever caused it; 0 is the kernel.
    pub(crate) port: u32,
    nftables: bool,
    kind: u16,
    payload: &'a [u8],
}

impl Notice<'_> {
    /// Whether it tells of a route that carries our number.
    pub(crate) fn is_own_route(&self) -> bool {
        !self.nftables && matches!(self.kind, NEWROUTE | DELROUTE) && self.payload.get(5) == Some(&OURS)
    }

    /// Whether state of ours may have changed: our table, a route that carries our number, or any address, rule or link.
    pub(crate) fn concerns_us(&self) -> bool {
        match self.kind {
            NFT_NEWGEN if self.nftables => false,
            kind if self.nftables => {
                kind >> 8 == NFT_SUBSYSTEM && table_of(self.payload).is_none_or(|name| name == TABLE)
            }
            NEWROUTE | DELROUTE => self.payload.get(5) == Some(&OURS),
            _ => true,
        }
    }
}

/// Listens to notifications.
pub(crate) struct Monitor {
    routes: AsyncFd<Listener>,
    nftables: Option<AsyncFd<Listener>>,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Joins groups of rtnetlink, and of netfilter if that is not 0.
    pub(crate) fn open(route_groups: u32, nft_groups: u32) -> io::Result<Self> {
        let nftables = match nft_groups {
            0 => None,
            groups => Some(register(Listener::open(NETLINK_NETFILTER, groups)?)?),
        };
        Ok(Self {
            routes: register(Listener::open(NETLINK_ROUTE, route_groups)?)?,
            nftables,
            buffer: Vec::new(),
        })
    }

    /// Waits until at least one notification matters, and takes all that are queued. Notifications that were lost
    /// for want of room matter too. Safe to cancel: what was not read stays queued.
    pub(crate) async fn changed(&mut self, matters: &(dyn Fn(&Notice<'_>) -> bool + Sync)) -> io::Result<()> {
        loop {
            let some = tokio::select! {
                ready = self.routes.readable() => {
                    let some = drain(self.routes.get_ref(), false, &mut self.buffer, matters)?;
                    ready?.clear_ready();
                    some
                }
                ready = readable(self.nftables.as_ref()) => {
                    let (mut guard, listener) = ready?;
                    let some = drain(listener, true, &mut self.buffer, matters)?;
                    guard.clear_ready();
                    some
                }
            };
            if some {
                return Ok(());
            }
        }
    }
}

fn register(listener: Listener) -> io::Result<AsyncFd<Listener>> {
    // SAFETY: a Listener reports the one descriptor it owns, for as long as it lives.
    unsafe { AsyncFd::register(listener) }.map_err(io::Error::from)
}

async fn readable(
    listener: Option<&AsyncFd<Listener>>,
) -> io::Result<(tokio::io::unix::AsyncFdReadyGuard<'_, Listener>, &Listener)> {
    match listener {
        Some(listener) => Ok((listener.readable().await?, listener.get_ref())),
        None => std::future::pending().await,
    }
}

/// Reads until nothing is left; only then is readiness cleared, and epoll reports what came in between.
fn drain(
    listener: &Listener,
    nftables: bool,
    buffer: &mut Vec<u8>,
    matters: &(dyn Fn(&Notice<'_>) -> bool + Sync),
) -> io::Result<bool> {
    let mut some = false;
    loop {
        match listener.read(buffer) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(some),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                some = true;
                continue;
            }
            Err(error) => return Err(error),
        }
        some |= messages(buffer).any(|message| {
            matters(&Notice { port: message.port, nftables, kind: message.kind, payload: message.payload })
        });
    }
}
