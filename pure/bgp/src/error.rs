//! Errors, each blaming one side: the peer (`MessageError`), the settings (`ConfigError`), or a
//! caller who asked for what fits no message (`EncodeError`).

use crate::packet::Notification;
use std::net::Ipv4Addr;
use thiserror::Error;

/// The peer sent what ends a session. Carries the NOTIFICATION that has to be sent for it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem} ({notification})")]
pub struct MessageError {
    /// What to answer before closing (RFC 4271, section 6).
    pub notification: Notification,
    /// What was wrong, for a person.
    pub problem: String,
}

impl MessageError {
    pub(crate) fn new(code: u8, subcode: u8, data: &[u8], problem: impl Into<String>) -> MessageError {
        MessageError {
            notification: Notification { code, subcode, data: data.to_vec() },
            problem: problem.into(),
        }
    }
}

/// Settings with which no session can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// AS 0 is reserved (RFC 7607).
    #[error("AS 0 is reserved; choose another autonomous system number")]
    AsZero,
    /// RFC 6286: any value but 0.
    #[error("the router id {0} is not usable; choose one that is not 0.0.0.0")]
    RouterId(Ipv4Addr),
    /// RFC 4271, section 4.2: 0 or at least 3.
    #[error("a hold time of {0} s is not allowed; choose 0 or at least 3 s")]
    HoldTime(u16),
    /// The shortest wait must be positive and not above the longest.
    #[error("the shortest connect retry must be above zero and not above the longest")]
    ConnectRetry,
}

/// What was to be sent fits no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The attributes leave no room for one prefix in 4096 bytes.
    #[error("the path attributes take {bytes} bytes and leave no room for a prefix")]
    AttributesTooLarge {
        /// Encoded size of the attributes.
        bytes: usize,
    },
}
