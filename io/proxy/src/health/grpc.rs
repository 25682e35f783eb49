//! A health check by gRPC: `grpc.health.v1.Health/Check` (gRPC Health Checking Protocol; gRPC over HTTP2).
//!
//! The two messages have one field each, so they are written and read by hand.

use super::http::Request;
use super::http2;
use super::probe::Unfit;
use crate::wire::Wire;

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// Whether the service says that it serves.
pub async fn ask(wire: &Wire, host: &str, scheme: &str, service: &str) -> Result<(), Unfit> {
    let request = Request { method: "POST", host, path: "/grpc.health.v1.Health/Check", scheme };
    let lines = [("content-type", "application/grpc"), ("te", "trailers")];
    let answer = http2::ask(wire, &request, &lines, &message(service)).await?;
    if answer.status != 200 {
        return Err(Unfit::Status(answer.status));
    }
    let fine = answer.grpc_status.as_deref() == Some(b"0");
    if fine && serving_status(&answer.body) == Some(SERVING) { Ok(()) } else { Err(Unfit::NotServing) }
}

/// `HealthCheckRequest { string service = 1; }` with its gRPC prefix: not compressed, and the length.
fn message(service: &str) -> Vec<u8> {
    let mut body = Vec::new();
    if !service.is_empty() {
        body.push(1 << 3 | 2);
        push_varint(&mut body, service.len() as u64);
        body.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut message = vec![0];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(&body);
    message
}

/// `HealthCheckResponse { ServingStatus status = 1; }`; the last one counts, absent it is 0. Nothing: it is no message.
pub fn serving_status(message: &[u8]) -> Option<u64> {
    let (prefix, body) = message.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = prefix;
    if *compressed != 0 || u32::from_be_bytes(*length) as usize != body.len() {
        return None;
    }
    let (mut rest, mut status) = (body, 0);
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = take_varint(&mut rest)?,
            (_, 0) => _ = take_varint(&mut rest)?,
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The messages are those of the protocol, byte by byte; other fields of an answer are passed over.
    #[test]
    fn messages() {
        assert_eq!(message(""), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(message(&"x".repeat(300))[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        for (bytes, status) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 8, 1], Some(1)),
            (&[0, 0, 0, 0, 4, 8, 1, 8, 2], Some(2)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 2, 0x12, 9], None),
            (&[], None),
        ] {
            assert_eq!(serving_status(bytes), status, "{bytes:?}");
        }
    }

    proptest! {
        /// No answer makes it panic.
        #[test]
        fn any_answer(bytes in prop::collection::vec(any::<u8>(), 0..40), fit in any::<bool>()) {
            let mut message = bytes;
            if fit {
                let length = message.len() as u8;
                message.splice(0..0, [0, 0, 0, 0, length]);
            }
            serving_status(&message);
        }
    }
}
