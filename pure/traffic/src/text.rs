//! Numbers and addresses as text, written straight into a head: no formatter on the path of a request.

use std::io::Write;
use std::net::IpAddr;

/// Writes a number in decimal.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes an address in its own family: IPv4 mapped into IPv6 as IPv4, IPv6 as RFC 5952 has it.
pub(crate) fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let (mut text, mut end) = ([b'.'; 16], 0);
            for octet in address.octets() {
                let digits = [octet / 100, octet / 10 % 10, octet % 10];
                let zeros = usize::from(octet < 100) + usize::from(octet < 10);
                for digit in &digits[zeros..] {
                    text[end] = b'0' + digit;
                    end += 1;
                }
                end += 1;
            }
            out.extend_from_slice(&text[..end - 1]);
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => _ = write!(out, "{address}"),
    }
}

/// A byte as two lower-case hexadecimal digits.
pub(crate) fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Whether it is a token (RFC 9110 section 5.6.2): a method or a header's name.
pub(crate) fn is_token(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_part)
}

/// The parts of a list (RFC 9110 section 5.6.1), without the empty ones.
pub(crate) fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Numbers and addresses read as the standard formatter writes them.
        #[test]
        fn equal_to_the_formatter(number: u64, address: std::net::IpAddr) {
            let mut out = Vec::new();
            push_number(&mut out, number);
            prop_assert_eq!(&out, &number.to_string().into_bytes());
            out.clear();
            push_address(&mut out, address);
            prop_assert_eq!(&out, &address.to_canonical().to_string().into_bytes());
        }
    }

    /// Empty parts of a list do not count.
    #[test]
    fn lists() {
        let items: Vec<&[u8]> = list_items(b" a,, b\t,c d,").collect();
        assert_eq!(items, [b"a".as_slice(), b"b", b"c d"]);
        assert!(is_token(b"x-1") && !is_token(b"") && !is_token(b"a b") && !is_token(b"a\r"));
    }
}
