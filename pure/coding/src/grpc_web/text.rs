//! Base64 as a stream (RFC 4648 section 4): padding may stand wherever a sender had nothing more to say for the moment.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What is no digit.
const NONE: u8 = 0xff;

/// The value of each byte.
const VALUES: [u8; 256] = {
    let (mut values, mut index) = ([NONE; 256], 0);
    while index < 64 {
        values[ALPHABET[index] as usize] = index as u8;
        index += 1;
    }
    values
};

/// Bytes that are no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not base64")]
pub struct BadText;

/// Reads base64, in place and in pieces of any size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextDecoder {
    /// Digits of the group so far, padding counted.
    digits: u8,
    /// The bits that are no byte yet, lowest first.
    bits: u8,
    /// The group ends in padding.
    padded: bool,
}

impl TextDecoder {
    /// Reads what stands in `bytes`, and leaves what it means at their front; how much that is. A digit makes up at most
    /// one byte, so that there is always room.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<usize, BadText> {
        let mut kept = 0;
        for index in 0..bytes.len() {
            if let Some(byte) = self.digit(bytes[index])? {
                bytes[kept] = byte;
                kept += 1;
            }
        }
        Ok(kept)
    }

    /// Whether no group has begun that did not end.
    pub fn is_complete(&self) -> bool {
        self.digits == 0
    }

    fn digit(&mut self, digit: u8) -> Result<Option<u8>, BadText> {
        let place = self.digits;
        self.digits = (place + 1) % 4;
        if digit == b'=' {
            // One or two at the end, behind digits that leave no bit over.
            if place < 2 || self.bits != 0 {
                return Err(BadText);
            }
            self.padded = place == 2;
            return Ok(None);
        }
        let value = VALUES[usize::from(digit)];
        if value == NONE || self.padded {
            return Err(BadText);
        }
        let before = self.bits;
        let (byte, bits) = match place {
            0 => (None, value),
            1 => (Some(before << 2 | value >> 4), value & 0x0f),
            2 => (Some(before << 4 | value >> 2), value & 0x03),
            _ => (Some(before << 6 | value), 0),
        };
        self.bits = bits;
        Ok(byte)
    }
}

/// Writes base64.
#[derive(Clone, Debug, Default)]
pub struct TextEncoder {
    /// Bytes that make up no group yet, and how many.
    waiting: [u8; 2],
    count: usize,
}

impl TextEncoder {
    /// Takes bytes; whole groups come out.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.reserve(bytes.len().div_ceil(3) * 4 + 4);
        let mut rest = bytes;
        while self.count > 0 && !rest.is_empty() {
            let (first, second) = (self.waiting[0], self.waiting[1]);
            if self.count == 2 {
                self.count = 0;
                group([first, second, rest[0]], 4, out);
            } else {
                self.waiting[1] = rest[0];
                self.count = 2;
            }
            rest = &rest[1..];
        }
        let mut groups = rest.chunks_exact(3);
        for bytes in &mut groups {
            group([bytes[0], bytes[1], bytes[2]], 4, out);
        }
        for &byte in groups.remainder() {
            self.waiting[self.count] = byte;
            self.count += 1;
        }
    }

    /// Whether bytes wait for others.
    pub fn holds_back(&self) -> bool {
        self.count > 0
    }

    /// Lets them out, padded.
    pub fn pause(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.count) {
            0 => {}
            1 => {
                group([self.waiting[0], 0, 0], 2, out);
                out.extend_from_slice(b"==");
            }
            _ => {
                group([self.waiting[0], self.waiting[1], 0], 3, out);
                out.push(b'=');
            }
        }
    }
}

/// So many digits of three bytes.
fn group([a, b, c]: [u8; 3], digits: usize, out: &mut Vec<u8>) {
    let all = [a >> 2, a << 4 | b >> 4, b << 2 | c >> 6, c].map(|six| ALPHABET[usize::from(six & 63)]);
    out.extend_from_slice(&all[..digits]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(pieces: &[&[u8]], pause: bool) -> Vec<u8> {
        let (mut encoder, mut out) = (TextEncoder::default(), Vec::new());
        for piece in pieces {
            encoder.push(piece, &mut out);
            if pause {
                encoder.pause(&mut out);
            }
        }
        encoder.pause(&mut out);
        out
    }

    fn decoded(text: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, bool), BadText> {
        let (mut decoder, mut out, mut rest) = (TextDecoder::default(), Vec::new(), text);
        for size in sizes.iter().cycle() {
            let (now, later) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
            let mut piece = now.to_vec();
            let kept = decoder.decode(&mut piece)?;
            out.extend_from_slice(&piece[..kept]);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        Ok((out, decoder.is_complete()))
    }

    /// The examples of RFC 4648 section 10, both ways.
    #[test]
    fn examples() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(&[bytes.as_bytes()], false), text.as_bytes());
            assert_eq!(decoded(text.as_bytes(), &[3]), Ok((bytes.as_bytes().to_vec(), true)));
        }
        assert_eq!(encoded(&[&[0xfb, 0xff, 0xbf]], false), b"+/+/");
    }

    /// Padding in the middle is read; what is no base64 is refused, and a group without its end is incomplete.
    #[test]
    fn odd_texts() {
        assert_eq!(decoded(b"Zg==Zg==", &[1]), Ok((b"ff".to_vec(), true)));
        for bad in ["=", "Z=", "Zg=v", "Zg=a", "Zm9v=", "Zh==", "Zm9=", "Zg ==", "Zg-_", "Zg==\n", "Z\0"] {
            assert_eq!(decoded(bad.as_bytes(), &[1]), Err(BadText), "{bad}");
        }
        for short in ["Z", "Zg", "Zg=", "Zm9", "Zm9vZ"] {
            assert_eq!(decoded(short.as_bytes(), &[2]).map(|(_, complete)| complete), Ok(false), "{short}");
        }
    }

    proptest! {
        /// What was written is read again, whatever the pieces and pauses on either side.
        #[test]
        fn round_trip(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8),
            sizes in proptest::collection::vec(1..40_usize, 1..6),
            pause in any::<bool>(),
        ) {
            let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let text = encoded(&slices, pause);
            prop_assert_eq!(decoded(&text, &sizes), Ok((pieces.concat(), true)));
        }
    }
}
