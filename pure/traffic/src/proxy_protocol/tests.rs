use super::crc32c::crc32c;
use super::*;
use proptest::prelude::*;

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn stream(source: &str, destination: &str) -> Addresses {
    Addresses { source: socket(source), destination: socket(destination), transport: Transport::Stream }
}

/// A version 2 header of these parts.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a".to_vec();
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// 192.0.2.1:5 to 198.51.100.2:443 as version 2 has it.
const INET: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0, 5, 1, 187];

fn inet_with(extensions: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[INET.as_slice(), extensions].concat())
}

/// The lines of the specification are read whole, and what follows them is left.
#[test]
fn lines_of_version_1() {
    let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {all} {all} 65535 65535\r\n");
    assert_eq!(longest.len(), V1_BYTES_MAX);
    for (line, addresses) in [
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            Some(stream("255.255.255.255:65535", "255.255.255.255:65535")),
        ),
        (
            &format!("PROXY TCP6 {all} {all} 65535 65535\r\n"),
            Some(stream(&format!("[{all}]:65535"), &format!("[{all}]:65535"))),
        ),
        ("PROXY TCP6 2001:DB8::1 ::1 0 443\r\n", Some(stream("[2001:db8::1]:0", "[::1]:443"))),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN what ever\r\n", None),
        (&longest, None),
    ] {
        let header = Header { consumed: line.len(), addresses, local: false };
        assert_eq!(parse(line.as_bytes()), Ok(Some(header)), "{line}");
        assert_eq!(parse(format!("{line}GET / HTTP/1.1\r\n").as_bytes()), Ok(Some(header)));
        for length in 0..line.len() {
            assert_eq!(parse(&line.as_bytes()[..length]), Ok(None), "{line} cut at {length}");
        }
    }
}

/// Anything that the specification does not write is refused.
#[test]
fn lines_that_are_refused() {
    for line in [
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4\t1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY UNKNOWN \0\r\n",
        "PROXY \r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(Error::BadLine), "{line:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(V1_BYTES_MAX));
    assert_eq!(parse(endless.as_bytes()), Err(Error::TooLong));
    assert_eq!(parse(&endless.as_bytes()[..V1_BYTES_MAX - 1]), Ok(None));
}

/// What begins otherwise is no header: the first byte that differs says so.
#[test]
fn other_protocols() {
    for start in [
        "GET / HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n",
        "PROPFIND",
        "\x16\x03\x01",
        "\r\n\r\n\0\r\nQUIX",
        "proxy ",
    ] {
        assert_eq!(parse(start.as_bytes()), Err(Error::Absent), "{start:?}");
    }
    for start in ["", "P", "PRO", "\r\n", "\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(parse(start.as_bytes()), Ok(None), "{start:?}");
    }
}

/// Headers of version 2 are read byte by byte as the specification lays them out.
#[test]
fn headers_of_version_2() {
    let v6 = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0; 16]].concat();
    let v6 = [v6.as_slice(), &[0, 5, 1, 187]].concat();
    let inet = Some(stream("192.0.2.1:5", "198.51.100.2:443"));
    let inet6 = Some(stream("[2001:db8::1]:5", "[::]:443"));
    let datagram = |addresses: Option<Addresses>| {
        addresses.map(|addresses| Addresses { transport: Transport::Datagram, ..addresses })
    };
    for (bytes, addresses, local) in [
        (v2(0x21, 0x11, &INET), inet, false),
        (v2(0x21, 0x12, &INET), datagram(inet), false),
        (v2(0x21, 0x21, &v6), inet6, false),
        (v2(0x21, 0x22, &v6), datagram(inet6), false),
        (v2(0x21, 0x31, &[0; 216]), None, false),
        (v2(0x21, 0x00, &[]), None, false),
        (v2(0x21, 0x00, b"\x04\xffanything"), None, false),
        (v2(0x20, 0x00, &[]), None, true),
        (v2(0x20, 0x11, &INET), None, true),
        (v2(0x20, 0xff, b"any"), None, true),
    ] {
        let header = Header { consumed: bytes.len(), addresses, local };
        assert_eq!(parse(&bytes), Ok(Some(header)), "{bytes:?}");
        assert_eq!(parse(&[&bytes, b"rest".as_slice()].concat()), Ok(Some(header)));
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Ok(None), "{bytes:?} cut at {length}");
        }
    }
}

/// Versions, commands, families and lengths that there are none of are refused before more bytes are waited for.
#[test]
fn headers_that_are_refused() {
    for (bytes, cut, error) in [
        (v2(0x11, 0x11, &INET), 13, Error::BadCommand),
        (v2(0x22, 0x11, &INET), 13, Error::BadCommand),
        (v2(0x21, 0x10, &INET), 14, Error::BadCommand),
        (v2(0x21, 0x13, &INET), 14, Error::BadCommand),
        (v2(0x21, 0x41, &INET), 14, Error::BadCommand),
        (v2(0x21, 0x01, &[]), 14, Error::BadCommand),
        (v2(0x21, 0x11, &INET[..11]), 16, Error::BadLength),
        (v2(0x21, 0x21, &[0; 35]), 16, Error::BadLength),
        (v2(0x21, 0x31, &[0; 215]), 16, Error::BadLength),
        (v2(0x21, 0x11, &[0; 4081]), 16, Error::BadLength),
        (v2(0x20, 0x00, &[0; 4081]), 16, Error::BadLength),
    ] {
        assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
        assert_eq!(parse(&bytes[..cut]), Err(error), "{bytes:?}");
    }
    assert_eq!(V2_BYTES_MAX, 4096);
}

/// Extensions pass if each ends within the header; one that does not is refused.
#[test]
fn extensions() {
    let long_id = [[0x05, 0, 129].as_slice(), &[0; 129]].concat();
    for (extensions, valid) in [
        (b"\x04\0\0".as_slice(), true),
        (b"\x04\0\x02ab\x02\0\x01h", true),
        (b"\xea\0\x01x", true),
        (b"\x20\0\x05\x01\0\0\0\0", true),
        (b"\x20\0\x09\x01\0\0\0\0\x21\0\x01v", true),
        (b"\x04", false),
        (b"\x04\0", false),
        (b"\x04\0\x01", false),
        (b"\x04\0\x02ab\x02\0\x02h", false),
        (b"\x04\xff\xffab", false),
        (b"\x20\0\x04\x01\0\0\0", false),
        (b"\x20\0\x09\x01\0\0\0\0\x21\0\x02v", false),
        (b"\x03\0\x03abc", false),
        (&long_id, false),
    ] {
        let parsed = parse(&inet_with(extensions));
        assert_eq!(parsed.is_ok(), valid, "{extensions:?} {parsed:?}");
        assert!(valid || parsed == Err(Error::BadExtension), "{parsed:?}");
    }
}

/// A checksum that is there must fit, wherever it stands and whichever byte is wrong.
#[test]
fn checksums() {
    let mut bytes = inet_with(b"\x04\0\x02ab\x03\0\x04\0\0\0\0\x02\0\x01h");
    let at = 16 + 12 + 5 + 3;
    let checksum = crc32c([bytes.as_slice()]);
    bytes[at..at + 4].copy_from_slice(&checksum.to_be_bytes());
    assert!(matches!(parse(&bytes), Ok(Some(_))));
    for wrong in [16, 24, 31, at, at + 3, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[wrong] ^= 1;
        assert_eq!(parse(&changed), Err(Error::BadChecksum), "byte {wrong}");
    }
    assert_eq!(parse(&inet_with(b"\x03\0\x04\0\0\0\0\x03\0\x04\0\0\0\0")), Err(Error::BadChecksum));
}

/// What is written is, byte for byte, what the specification shows.
#[test]
fn written_headers() {
    let mut out = Vec::new();
    write_v1(socket("192.0.2.1:5"), socket("198.51.100.2:443"), &mut out);
    assert_eq!(out, b"PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\n");
    out.clear();
    write_v1(socket("192.0.2.1:5"), socket("[2001:db8::1]:443"), &mut out);
    assert_eq!(out, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 5 443\r\n");
    out.clear();
    write_v1(socket("[::ffff:192.0.2.1]:5"), socket("198.51.100.2:443"), &mut out);
    assert_eq!(out, b"PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\n");
    out.clear();
    write_v2(&stream("192.0.2.1:5", "198.51.100.2:443"), &mut out);
    assert_eq!(out, v2(0x21, 0x11, &INET));
    out.clear();
    let udp = Addresses { transport: Transport::Datagram, ..stream("[::1]:5", "192.0.2.9:443") };
    write_v2(&udp, &mut out);
    let one = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 9];
    assert_eq!(out, v2(0x21, 0x22, &[one.as_slice(), &mapped, &[0, 5, 1, 187]].concat()));
    out.clear();
    write_v2_local(&mut out);
    assert_eq!(out, v2(0x20, 0x00, &[]));
}

/// A header as it may come, and such bytes broken in one place.
fn nearly_valid() -> impl Strategy<Value = Vec<u8>> {
    let line = "PROXY (TCP4|TCP6|UNKNOWN)( [0-9.:a-f]{1,6}){0,5}\r?\n?".prop_map(String::into_bytes);
    let body = (
        proptest::sample::select(vec![0x20, 0x21]),
        any::<u8>(),
        proptest::collection::vec(any::<u8>(), 0..60),
    )
        .prop_map(|(command, family, body)| v2(command, family & 0x33, &body));
    (prop_oneof![line, body], any::<proptest::sample::Index>(), any::<Option<u8>>()).prop_map(
        |(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte.unwrap_or(bytes[at]);
            bytes
        },
    )
}

proptest! {
    /// What is written is read back, in one family, and not before its last byte.
    #[test]
    fn round_trip(source: SocketAddr, destination: SocketAddr, datagram: bool) {
        // Scope and flow label have no place in a header.
        let plain = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
        let (source, destination) = one_family(plain(source), plain(destination));
        let transport = if datagram { Transport::Datagram } else { Transport::Stream };
        let addresses = Addresses { source, destination, transport };
        let mut out = Vec::new();
        write_v2(&addresses, &mut out);
        let header = Header { consumed: out.len(), addresses: Some(addresses), local: false };
        prop_assert_eq!(parse(&out), Ok(Some(header)));
        prop_assert_eq!(parse(&out[..out.len() - 1]), Ok(None));
        out.clear();
        write_v1(source, destination, &mut out);
        prop_assert!(out.len() <= V1_BYTES_MAX);
        let addresses = Addresses { transport: Transport::Stream, ..addresses };
        let header = Header { consumed: out.len(), addresses: Some(addresses), local: false };
        prop_assert_eq!(parse(&out), Ok(Some(header)));
    }

    /// No bytes make it panic; a verdict other than "more" stays whatever follows, and "more" ends at the bound.
    #[test]
    fn verdicts_stand(bytes in prop_oneof![nearly_valid(), proptest::collection::vec(any::<u8>(), 0..200)], more: Vec<u8>) {
        let verdict = parse(&bytes);
        if verdict != Ok(None) {
            prop_assert_eq!(parse(&[bytes.as_slice(), &more].concat()), verdict);
            if let Ok(Some(header)) = verdict {
                prop_assert!(header.consumed <= bytes.len());
            }
        }
        let mut filled = bytes;
        filled.resize(V2_BYTES_MAX.max(filled.len()), 0);
        prop_assert!(parse(&filled) != Ok(None));
    }
}
