//! When a gateway is ready, and when it may hold addresses that others could hold.

/// What the shells have achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Every worker of the proxy serves the Model.
    pub proxied: bool,
    /// The kernel holds what it should; none when this process may not program it.
    pub kernel: Option<bool>,
    /// Traffic to and from pods would find its way: a session is up, and if routes are to be learned, some were.
    pub carries: bool,
    /// Every socket on an address that moves is open.
    pub vips_open: bool,
}

impl Facts {
    /// `/readyz`: the first Snapshot is applied to the proxy, and to the kernel as far as this process may. It needs
    /// neither a BGP peer nor an API server.
    pub fn is_ready(&self) -> bool {
        self.proxied && self.kernel != Some(false)
    }

    /// Whether this gateway would serve what it attracts. One that would not leaves addresses to those that would: it
    /// would answer for a VIP without a socket, or forward without the filter that gives pods their address.
    pub fn may_hold_addresses(&self) -> bool {
        self.proxied && self.kernel == Some(true) && self.carries && self.vips_open
    }
}

#[cfg(test)]
mod tests {
    use super::Facts;

    const ALL: Facts = Facts { proxied: true, kernel: Some(true), carries: true, vips_open: true };

    /// Each missing fact keeps addresses away; only proxy and kernel keep a gateway from being ready, and a kernel
    /// that may not be programmed does not.
    #[test]
    fn each_fact_counts_where_it_should() {
        for (facts, ready, holds) in [
            (ALL, true, true),
            (Facts { proxied: false, ..ALL }, false, false),
            (Facts { kernel: Some(false), ..ALL }, false, false),
            (Facts { kernel: None, ..ALL }, true, false),
            (Facts { carries: false, ..ALL }, true, false),
            (Facts { vips_open: false, ..ALL }, true, false),
        ] {
            assert_eq!((facts.is_ready(), facts.may_hold_addresses()), (ready, holds), "{facts:?}");
        }
    }
}
