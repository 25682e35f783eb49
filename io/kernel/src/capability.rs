//! What this process may do and what this kernel can.

use std::fs;

use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::Requests;
use crate::nft::dump;

const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
/// The first kernel whose addresses carry a protocol number.
const ADDRESS_PROTOCOL: (u32, u32) = (5, 18);

/// Capabilities of this process and features of this kernel. Anything false is said in words by `missing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `CAP_NET_ADMIN`: change addresses, routes, nftables, settings.
    pub net_admin: bool,
    /// `CAP_NET_RAW`: VRRP, ARP.
    pub net_raw: bool,
    /// `CAP_NET_BIND_SERVICE`: ports below 1024.
    pub net_bind_service: bool,
    /// nf_tables answers.
    pub nftables: bool,
    /// Addresses can carry our tag (`IFA_PROTO`, Linux 5.18).
    pub address_protocol: bool,
}

impl Capabilities {
    /// Looks. Never fails: what cannot be found out counts as absent.
    pub fn read() -> Self {
        let effective = effective_capabilities();
        let has = |bit: u32| effective & (1 << bit) != 0;
        let nftables =
            Requests::open(NETLINK_NETFILTER).is_ok_and(|mut socket| dump::available(&mut socket).is_ok());
        Self {
            net_admin: has(CAP_NET_ADMIN),
            net_raw: has(CAP_NET_RAW),
            net_bind_service: has(CAP_NET_BIND_SERVICE),
            nftables,
            address_protocol: release() >= ADDRESS_PROTOCOL,
        }
    }

    /// One sentence for each thing that is absent.
    pub fn missing(&self) -> Vec<&'static str> {
        let sentences = [
            (self.net_admin, "CAP_NET_ADMIN is missing: addresses, routes and nftables cannot be changed"),
            (self.net_raw, "CAP_NET_RAW is missing: VRRP and ARP cannot be spoken"),
            (
                self.net_bind_service,
                "CAP_NET_BIND_SERVICE is missing: ports below 1024, such as 179 and 443, cannot be bound",
            ),
            (self.nftables, "nf_tables does not answer: it is missing in this kernel, or CAP_NET_ADMIN is"),
            (
                self.address_protocol,
                "this kernel is older than 5.18: addresses of ours cannot be told from others",
            ),
        ];
        sentences.into_iter().filter(|(present, _)| !present).map(|(_, sentence)| sentence).collect()
    }
}

fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

/// Major and minor number of the running kernel.
fn release() -> (u32, u32) {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
