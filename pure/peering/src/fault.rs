//! Why a link ended.

use thiserror::Error;

use crate::frame::FRAME_BYTES_MAX;
use crate::roster::Unwelcome;

/// Why a link ended, as this end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The other holds another secret.
    #[error("it holds another secret: peers.keyFile must be the same on both gateways")]
    WrongKey,
    /// What it says is no TLS 1.3, or breaks its rules.
    #[error("it does not speak as a gateway: {0}")]
    Protocol(String),
    /// A frame that nobody may send.
    #[error("a frame of {0} bytes, more than {FRAME_BYTES_MAX}, or of fewer than a frame has")]
    FrameLength(usize),
    /// What is in a frame is not what its topic says.
    #[error("a message that cannot be read: {0}")]
    Message(&'static str),
    /// It did not prove the secret, or say its name, in time.
    #[error("it did not prove in time who it is")]
    Late,
    /// It was not heard for too long.
    #[error("nothing was heard of it for {} s", crate::link::SILENCE_MAX.as_secs())]
    Silent,
    /// It closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// It does not want this gateway.
    #[error("it refuses: {0}")]
    Refused(String),
    /// Another gateway answers at its address.
    #[error(
        "the gateway that answers there calls itself {0:?}: the addresses of two GatewayNodes are mixed up"
    )]
    Misplaced(String),
    /// This gateway does not want it.
    #[error(transparent)]
    Unwelcome(#[from] Unwelcome),
    /// It does not take what it is told.
    #[error("it does not take what it is told")]
    Slow,
    /// It called again.
    #[error("it called anew")]
    Replaced,
    /// Too many came from its address that had proved nothing.
    #[error("others came from its address before it had proved who it is")]
    Displaced,
    /// The connection could not be opened, or broke.
    #[error("{0}")]
    Io(String),
    /// The secret of this gateway changed.
    #[error("the secret of this gateway changed")]
    Rekeyed,
}

impl Fault {
    /// A word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Fault::WrongKey => "wrong_key",
            Fault::Protocol(_) | Fault::FrameLength(_) | Fault::Message(_) => "protocol",
            Fault::Late => "late",
            Fault::Silent => "silent",
            Fault::Closed => "closed",
            Fault::Refused(_) => "refused",
            Fault::Misplaced(_) | Fault::Unwelcome(_) => "unknown",
            Fault::Slow => "slow",
            Fault::Replaced => "replaced",
            Fault::Displaced => "displaced",
            Fault::Io(_) => "connection",
            Fault::Rekeyed => "rekeyed",
        }
    }
}
