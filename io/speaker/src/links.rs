//! The machine's interfaces as the speaker sees them, and a socket that wakes when one changes.
//!
//! What changed is never read from the event: every event leads to a fresh look at all interfaces, which costs less
//! than a missed one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// An interface now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Kernel index; a re-created interface has another.
    pub(crate) index: u32,
    /// Hardware address.
    pub(crate) mac: [u8; 6],
    /// Whether frames can leave and arrive: administratively up, with a carrier.
    pub(crate) up: bool,
    /// Its first IPv4 address.
    pub(crate) primary: Option<Ipv4Addr>,
}

/// All interfaces by name; those without a hardware address are left out.
pub(crate) fn scan() -> io::Result<BTreeMap<String, Link>> {
    let mut links: BTreeMap<String, Link> = BTreeMap::new();
    let mut primaries: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
    for entry in getifaddrs()? {
        let Some(address) = entry.address else { continue };
        if let Some(hardware) = address.as_link_addr()
            && let Some(mac) = hardware.addr()
        {
            let needed = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
            let link = Link {
                index: hardware.ifindex() as u32,
                mac,
                up: entry.flags.contains(needed),
                primary: None,
            };
            links.insert(entry.interface_name, link);
        } else if let Some(v4) = address.as_sockaddr_in() {
            primaries.entry(entry.interface_name).or_insert(v4.ip());
        }
    }
    for (name, link) in &mut links {
        link.primary = primaries.get(name).copied();
    }
    Ok(links)
}

/// Every IPv4 address of this machine, those on loopback too.
pub(crate) fn own_addresses() -> BTreeSet<Ipv4Addr> {
    let entries = getifaddrs().into_iter().flatten();
    entries.filter_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip())).collect()
}

/// Readable after a link or an address changed.
#[derive(Debug)]
pub(crate) struct LinkEvents(OwnedFd);

impl LinkEvents {
    /// Subscribes to changes of links and IPv4 addresses.
    pub(crate) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and is owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: sockaddr_nl is plain data for which all zeroes is a valid value.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR) as u32;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: `address` is a sockaddr_nl that outlives the call, and `length` is its size.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(LinkEvents(socket))
    }

    /// Empties the queue; true when something was in it. An overflow counts: the look that follows is a full one.
    pub(crate) fn drain(&self) -> bool {
        let mut buffer = [0u8; 8192];
        let mut any = false;
        loop {
            // SAFETY: the buffer is writable for its whole length.
            let read = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            if read >= 0 {
                any = true;
            } else if io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS) {
                return true;
            } else {
                return any;
            }
        }
    }
}

impl AsRawFd for LinkEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
