//! Whether this process may change the network.

use std::fs;

const CAP_NET_ADMIN: u32 = 12;

/// Whether this thread has `CAP_NET_ADMIN`; what cannot be found out counts as absent.
pub(crate) fn may_administer() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|effective| effective & (1 << CAP_NET_ADMIN) != 0)
}
