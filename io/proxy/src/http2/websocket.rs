//! What HTTP/1's handshake for WebSocket (RFC 6455 section 4) has and HTTP/2's (RFC 8441 section 5) has not: a key and the
//! answer to it. Never looks at frames.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The one protocol that is upgraded to over HTTP/2.
pub const PROTOCOL: &[u8] = b"websocket";

/// 16 bytes in base64.
pub type Key = [u8; 24];

/// 20 bytes in base64.
pub type Accept = [u8; 28];

/// Follows the key in what is hashed (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key of random bytes.
pub fn key(high: u64, low: u64) -> Key {
    let mut key = [b'='; 24];
    base64(&(u128::from(high) << 64 | u128::from(low)).to_be_bytes(), &mut key);
    key
}

/// What a server answers to a key.
pub fn accept(key: &Key) -> Accept {
    let mut accept = [b'='; 28];
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()).as_ref(), &mut accept);
    accept
}

/// Writes all digits that hold bits (RFC 4648 section 4); what is behind them stays.
fn base64(bytes: &[u8], out: &mut [u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (part, digits) in bytes.chunks(3).zip(out.chunks_mut(4)) {
        let bits =
            part.iter().enumerate().fold(0u32, |bits, (at, &byte)| bits | u32::from(byte) << (16 - 8 * at));
        for (at, digit) in digits.iter_mut().take(part.len() + 1).enumerate() {
            *digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key is 16 bytes in base64, and its answer that of the example in RFC 6455 section 1.3.
    #[test]
    fn keys_and_answers() {
        assert_eq!(&key(0, 0), b"AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(&key(u64::MAX, u64::MAX), b"/////////////////////w==");
        let text = u128::from_be_bytes(*b"the sample nonce");
        assert_eq!(&key((text >> 64) as u64, text as u64), b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(&accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
