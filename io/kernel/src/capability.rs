//! What this process may do.

use std::fs;

const CAP_NET_ADMIN: u32 = 12;

/// Whether this thread has `CAP_NET_ADMIN`; what cannot be found out counts as absent.
pub(crate) fn may_administer() -> bool {
    effective() & (1 << CAP_NET_ADMIN) != 0
}

/// The effective capabilities of this thread, a bit each; none if they cannot be found out.
pub(crate) fn effective() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}
