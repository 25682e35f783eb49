//! Integers with a prefix (RFC 7541 section 5.1). Never above 2^28: nothing in a header block is as long.

/// Reads an integer whose first byte is `first`, with `prefix_bits` of it in use; `rest` follows that byte.
#[inline]
pub(super) fn decode(first: u8, prefix_bits: u32, rest: &mut &[u8]) -> Option<usize> {
    let mask = (1usize << prefix_bits) - 1;
    let low = usize::from(first) & mask;
    if low < mask {
        return Some(low);
    }
    let mut value = mask;
    for shift in [0, 7, 14, 21] {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Writes `value` with `prefix_bits`, the bits above them taken from `pattern`.
#[inline]
pub(super) fn encode(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: usize) {
    let mask = (1usize << prefix_bits) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7541 appendix C.1 come out as printed there.
    #[test]
    fn examples_of_the_rfc() {
        for (value, prefix_bits, bytes) in
            [(10, 5, &[0b01010][..]), (1337, 5, &[0b11111, 0b1001_1010, 0b0000_1010]), (42, 8, &[42])]
        {
            let mut out = Vec::new();
            encode(&mut out, 0, prefix_bits, value);
            assert_eq!(out, bytes);
            assert_eq!(decode(out[0], prefix_bits, &mut &out[1..]), Some(value));
        }
    }

    /// An integer that does not end, or that no block could hold, is refused.
    #[test]
    fn endless_integers_are_refused() {
        assert_eq!(decode(0x1f, 5, &mut &[0xff; 3][..]), None);
        assert_eq!(decode(0x1f, 5, &mut &[0xff, 0xff, 0xff, 0xff, 0x01][..]), None);
        assert_eq!(decode(0x1f, 5, &mut &[0x80; 9][..]), None);
    }
}
