//! The severity of a fault in an attribute: RFC 7606's three answers, weakest first.

use super::{Malformed, Problem, attribute_name};
use crate::error::MessageError;

/// What is to become of a message with this fault in it.
#[derive(Debug)]
pub(super) enum Fault {
    /// Ignore the attribute.
    Discard(Problem),
    /// Withdraw what the message announces.
    Withdraw(Problem),
    /// End the session.
    Reset(MessageError),
}

/// RFC 7606, section 5.2: the fault asks for a withdrawal, but nothing shows what to withdraw. The
/// subcode is the one RFC 4271, section 6.3 had for it.
pub(super) fn escalate(malformed: &Malformed) -> MessageError {
    let subcode = match &malformed.problem {
        Problem::Length(_) => 5,
        Problem::Flags(_) => 4,
        Problem::Missing => 3,
        Problem::Origin(_) => 6,
        Problem::NextHop(_) => 8,
        Problem::AsPathSegment | Problem::AsZero | Problem::FirstAs(_) => 11,
        _ => 1,
    };
    MessageError::new(3, subcode, &[], format!("{malformed}, in an UPDATE that announces nothing"))
}

/// An unreadable MP_REACH_NLRI or MP_UNREACH_NLRI (RFC 4760, section 7).
pub(super) fn multiprotocol(attribute: u8, what: &str) -> Fault {
    let name = attribute_name(attribute);
    Fault::Reset(MessageError::new(3, 9, &[], format!("{name}: {what}")))
}
