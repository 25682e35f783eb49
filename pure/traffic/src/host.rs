//! The host a request names: `host[:port]` taken apart, checked and compared.

use crate::block;

/// The longest host that is looked up, as DNS has it (RFC 1035 section 2.3.4), with a trailing dot.
pub const HOST_BYTES_MAX: usize = 255;

/// Host and port of a `Host` field or of a target in absolute form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host as written; an IPv6 address with its brackets.
    pub host: &'a str,
    /// The port, if one was written.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Takes `host[:port]` apart; nothing when it is neither name nor address: user information, spaces, lists and
    /// empty hosts are refused (RFC 9112 section 3.2 asks for 400).
    pub fn parse(text: &'a str) -> Option<Authority<'a>> {
        let (end, port) = split(text.as_bytes())?;
        Some(Authority { host: text.get(..end)?, port })
    }
}

/// Whether it is `host[:port]`; then it is ASCII.
pub fn is_authority(text: &[u8]) -> bool {
    split(text).is_some()
}

/// Where the host of `host[:port]` ends, and the port.
fn split(text: &[u8]) -> Option<(usize, Option<u16>)> {
    let is_address = text.first() == Some(&b'[');
    let (end, twice) = if is_address { (block::position(text, b']')? + 1, false) } else { name_bytes(text) };
    let (host, rest) = text.split_at(end);
    let port = match rest {
        [] | [b':'] => None,
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            let port = digits.iter().fold(0, |port: u32, digit| port * 10 + u32::from(digit - b'0'));
            Some(u16::try_from(port).ok()?)
        }
        _ => return None,
    };
    let is_name = || !twice && matches!(host, [first, ..] if *first != b'.') && host.len() <= HOST_BYTES_MAX;
    let is_host = if is_address { is_address_within(host) } else { is_name() };
    is_host.then_some((end, port))
}

/// Which bytes a name may have.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_' | b'.');
        byte += 1;
    }
    table
};

/// How many bytes at the front may be those of a name, which are ASCII; and whether two dots among them stand side by side.
fn name_bytes(text: &[u8]) -> (usize, bool) {
    let (mut start, mut twice, mut last) = (0, 0, 0);
    while start < text.len() {
        let (block, before) = block::at(text, start);
        let mut odd = (block.words() ^ block::ALL) >> before;
        let dots = block.is(b'.').bits() >> before;
        let pairs = dots & (dots << 1 | last);
        while odd != 0 {
            let index = odd.trailing_zeros();
            match text.get(start + index as usize) {
                Some(&byte) if NAME[usize::from(byte)] => odd &= odd - 1,
                _ => {
                    return (
                        (start + index as usize).min(text.len()),
                        (twice | pairs & ((1 << index) - 1)) != 0,
                    );
                }
            }
        }
        twice |= pairs;
        last = dots >> (block::BLOCK_BYTES - 1);
        start += block::BLOCK_BYTES;
    }
    (text.len(), twice != 0)
}

/// Whether it is an address of IPv6 in brackets.
#[cold]
fn is_address_within(host: &[u8]) -> bool {
    let address = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let address = address.and_then(|address| std::str::from_utf8(address).ok());
    address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

/// The host in lower case and without its trailing dot, as listeners and routes spell it; `buffer` is used only when
/// it has upper case.
pub fn canonical<'a>(host: &'a str, buffer: &'a mut [u8; HOST_BYTES_MAX]) -> &'a str {
    let host = host.strip_suffix('.').unwrap_or(host);
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host;
    }
    let Some(copy) = buffer.get_mut(..host.len()) else { return host };
    copy.copy_from_slice(host.as_bytes());
    copy.make_ascii_lowercase();
    std::str::from_utf8(copy).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and addresses are taken with and without port; anything else is no host.
    #[test]
    fn authorities() {
        for (text, expected) in [
            ("shop.example", Some(("shop.example", None))),
            ("shop.example:8080", Some(("shop.example", Some(8080)))),
            ("shop.example:", Some(("shop.example", None))),
            ("Shop.Example.", Some(("Shop.Example.", None))),
            ("10.0.0.1:80", Some(("10.0.0.1", Some(80)))),
            ("[::1]", Some(("[::1]", None))),
            ("[2001:db8::1]:80", Some(("[2001:db8::1]", Some(80)))),
            ("a_b.example", Some(("a_b.example", None))),
            ("", None),
            (":80", None),
            (".", None),
            (".example", None),
            ("a..b", None),
            ("a..", None),
            ("a b", None),
            ("a,b", None),
            ("user@a", None),
            ("a/b", None),
            ("a?b", None),
            ("a\\b", None),
            ("a:80:80", None),
            ("a:+80", None),
            ("a:99999", None),
            ("a:080000", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[evil]", None),
            ("a%00", None),
            ("é.example", None),
        ] {
            let parsed = Authority::parse(text).map(|authority| (authority.host, authority.port));
            assert_eq!(parsed, expected, "{text}");
        }
        assert_eq!(Authority::parse(&"a".repeat(256)), None);
    }

    /// Case and a trailing dot make no difference.
    #[test]
    fn hosts_are_compared_in_one_spelling() {
        for host in ["shop.example", "SHOP.example", "Shop.Example.", "shop.example."] {
            assert_eq!(canonical(host, &mut [0; HOST_BYTES_MAX]), "shop.example");
        }
    }
}
