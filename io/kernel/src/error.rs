//! What can go wrong between us and the kernel. An error keeps the operation that failed.

use std::io;

use tidegate_plan::Op;

/// Why the kernel cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The process may not change the network.
    #[error(
        "not permitted to change addresses, routes and nftables: CAP_NET_ADMIN is missing; run as root, or grant it to the \
         binary with `setcap cap_net_admin,cap_net_raw,cap_net_bind_service+ep`"
    )]
    NoNetAdmin,
    /// No nf_tables in this kernel.
    #[error("this kernel has no usable nf_tables; load the module `nf_tables`")]
    NoNftables(#[source] io::Error),
    /// A netlink socket could not be opened.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    /// The record of settings cannot be read.
    #[error("cannot read the record of kernel settings, {path}")]
    Record {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The kernel's state could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} from the kernel")]
pub struct ObserveError {
    /// Which part.
    pub what: &'static str,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// What was not done.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// An operation that the kernel refused.
    #[error("{op}: {source}")]
    Refused {
        /// The operation.
        op: Op,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Operations that were not tried, because they rely on one that was refused.
    #[error("{count} held back until what they rely on succeeds, the first: {first}")]
    HeldBack {
        /// The first of them.
        first: Op,
        /// How many, 1...
        count: usize,
    },
}

impl OpError {
    /// Whether all it means is that a route is not as it should be.
    pub(crate) fn is_route(&self) -> bool {
        matches!(self, Self::Refused { op, .. } if op.is_route())
    }
}

/// An error of the rtnetlink crate, with the errno where the kernel gave one.
pub(crate) fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(refused) => refused.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
