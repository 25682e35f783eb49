//! The examples of RFC 7541 appendix C, the strictness of sections 2 to 6, and blocks of any bytes.

use super::*;
use crate::error::{Fault, Flood, Malformed};
use crate::fields::Fields;
use proptest::prelude::*;

const WIDE: Bounds = Bounds { list_bytes_max: 1 << 20, lines_max: 10_000 };

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Fault> {
    let mut fields = Fields::new();
    decoder.decode(block, &mut fields, WIDE).map(|()| fields)
}

/// All of a list, pseudo-headers first.
fn list(fields: &Fields) -> String {
    format!("{fields:?}")
}

/// One example: blocks in order, with the list and the table (newest first, size) after each.
fn check(size: u32, steps: &[(&str, &str, &[&str], u32)]) {
    let mut decoder = Decoder::with_size(size);
    for (block, expected, entries, table_bytes) in steps {
        let fields = decode(&mut decoder, &hex(block)).unwrap();
        assert_eq!(&list(&fields), expected);
        assert_eq!(decoder.table(), (entries.iter().map(ToString::to_string).collect(), *table_bytes));
    }
}

/// Each representation reads as in appendix C.2.
#[test]
fn representations_of_the_rfc() {
    let custom = r#"{"custom-key": "custom-header"}"#;
    check(
        4096,
        &[(
            "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
            custom,
            &["custom-key: custom-header"],
            55,
        )],
    );
    check(4096, &[("040c2f73616d706c652f70617468", r#"{":path": "/sample/path"}"#, &[], 0)]);
    check(4096, &[("100870617373776f726406736563726574", r#"{"password": "secret"}"#, &[], 0)]);
    check(4096, &[("82", r#"{":method": "GET"}"#, &[], 0)]);
    let fields = decode(&mut Decoder::new(), &hex("100870617373776f726406736563726574")).unwrap();
    assert!(fields.line(0).unwrap().never_indexed);
}

/// Requests on one connection read as in appendices C.3 and C.4, plain and in Huffman code.
#[test]
fn requests_of_the_rfc() {
    let lists = [
        r#"{":method": "GET", ":scheme": "http", ":authority": "www.example.com", ":path": "/"}"#,
        r#"{":method": "GET", ":scheme": "http", ":authority": "www.example.com", ":path": "/", "cache-control": "no-cache"}"#,
        r#"{":method": "GET", ":scheme": "https", ":authority": "www.example.com", ":path": "/index.html", "custom-key": "custom-value"}"#,
    ];
    let entries = ["custom-key: custom-value", "cache-control: no-cache", ":authority: www.example.com"];
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        check(
            4096,
            &[
                (blocks[0], lists[0], &entries[2..], 57),
                (blocks[1], lists[1], &entries[1..], 110),
                (blocks[2], lists[2], &entries, 164),
            ],
        );
    }
}

/// Responses read as in appendices C.5 and C.6, with a table of 256 bytes that evicts.
#[test]
fn responses_of_the_rfc() {
    let (private, location) = ("cache-control: private", "location: https://www.example.com");
    let (date, later) = ("date: Mon, 21 Oct 2013 20:13:21 GMT", "date: Mon, 21 Oct 2013 20:13:22 GMT");
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let lists = [
        r#"{":status": "302", "cache-control": "private", "date": "Mon, 21 Oct 2013 20:13:21 GMT", "location": "https://www.example.com"}"#,
        r#"{":status": "307", "cache-control": "private", "date": "Mon, 21 Oct 2013 20:13:21 GMT", "location": "https://www.example.com"}"#,
        &format!(
            r#"{{":status": "200", "cache-control": "private", "date": "Mon, 21 Oct 2013 20:13:22 GMT", "location": "https://www.example.com", "content-encoding": "gzip", "set-cookie": "{cookie}"}}"#
        ),
    ];
    for blocks in [
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
             474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738
             666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33
             3630 303b 2076 6572 7369 6f6e 3d31",
        ],
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
             63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7
             b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
    ] {
        check(
            256,
            &[
                (blocks[0], lists[0], &[location, date, private, ":status: 302"], 222),
                (blocks[1], lists[1], &[":status: 307", location, date, private], 222),
                (blocks[2], lists[2], &[&format!("set-cookie: {cookie}"), "content-encoding: gzip", later], 215),
            ],
        );
    }
}

/// What section 2.3.3, 4.2, 5 and 6 forbid loses the context: an index of nothing, a size update late, too large or
/// thrice, a string beyond the block, an endless integer, bad Huffman padding.
#[test]
fn broken_blocks_are_refused() {
    for block in [
        "80",
        "be",
        "ff80808080 7f",
        "82 20",
        "3fe2 1f",
        "20 20 20 82",
        "40 05 6161",
        "00 8100 00",
        "0a",
        "41",
        "",
    ]
    .map(hex)
    {
        let expected = if block.is_empty() { Ok(()) } else { Err(Fault::Compression) };
        assert_eq!(decode(&mut Decoder::new(), &block).map(|_| ()), expected, "{block:x?}");
    }
    // 4,096 itself, and two updates in a row, are sound.
    assert!(
        decode(&mut Decoder::new(), &hex("3fe1 1f 82")).is_ok()
            && decode(&mut Decoder::new(), &hex("20 3fe1 1f 82")).is_ok()
    );
}

/// Once a smaller table is acknowledged, the peer must say so before anything else.
#[test]
fn a_smaller_table_must_be_taken() {
    let mut decoder = Decoder::new();
    decoder.set_size_limit(100);
    assert_eq!(decode(&mut decoder, &hex("82")).map(|_| ()), Err(Fault::Compression));
    assert!(decode(&mut decoder, &hex("3f45 82")).is_ok() && decode(&mut decoder, &hex("82")).is_ok());
    assert!(decode(&mut decoder, &hex("3f46 82")).is_err());
}

/// A list beyond the limit is marked and the table stays in step; one far beyond it ends the connection.
#[test]
fn a_list_too_large_keeps_the_table() {
    let bounds = Bounds { list_bytes_max: 200, lines_max: 10 };
    let (mut decoder, mut fields) = (Decoder::new(), Fields::new());
    let mut block = hex("400a637573746f6d2d6b65790d637573746f6d2d686561646572");
    block.extend([0xbe; 6]);
    block.extend(hex("4001620163"));
    decoder.decode(&block, &mut fields, bounds).unwrap();
    assert!(fields.too_large && fields.len() == 3);
    assert_eq!(decoder.table(), (vec!["b: c".into(), "custom-key: custom-header".into()], 89));
    fields.clear();
    assert_eq!(decoder.decode(&[0xbf; 100], &mut fields, bounds), Err(Flood::HeaderBytes.into()));
}

/// The bytes a decoded list holds do not grow with a block that repeats one large entry: a decompression bomb is only counted.
#[test]
fn a_bomb_takes_no_memory() {
    let bounds = Bounds { list_bytes_max: 32 << 10, lines_max: 256 };
    let mut block = hex("4001 61 7f a1 1e");
    block.extend([b'x'; 4000]);
    block.extend(vec![0xbe; 12_000]);
    let mut fields = Fields::new();
    assert_eq!(Decoder::new().decode(&block, &mut fields, bounds), Err(Flood::HeaderBytes.into()));
    assert!(fields.capacity_bytes() < 128 << 10, "{}", fields.capacity_bytes());
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// Cookie crumbs become one line wherever they stand, and the lines stay one piece of text, without host.
#[test]
fn cookies_are_joined_and_host_is_set_aside() {
    let crumbs = [
        literal("a", "1"),
        literal("cookie", "x=1"),
        literal("cookie", "y=2"),
        literal("host", "example.com"),
        literal("b", ""),
        literal("cookie", "z=3"),
    ];
    let fields = decode(&mut Decoder::new(), &crumbs.concat()).unwrap();
    assert_eq!(fields.text(0..fields.len()), b"a: 1\r\nb: \r\ncookie: x=1; y=2; z=3\r\n");
    assert_eq!(
        (fields.authority(), fields.get(b"cookie")),
        (Some(&b"example.com"[..]), Some(&b"x=1; y=2; z=3"[..]))
    );
    assert_eq!(fields.text(1..2), b"b: \r\n");
    assert_eq!(fields.text(1..1), b"");
    let adjacent = decode(&mut Decoder::new(), &crumbs[1..3].concat()).unwrap();
    assert_eq!(adjacent.text(0..9), b"");
    assert_eq!(adjacent.text(0..1), b"cookie: x=1; y=2\r\n");
}

/// Unsound lines are told from the first one on, also when they come out of the table.
#[test]
fn faults_survive_the_table() {
    for (name, value, fault) in [
        ("Name", "v", Malformed::FieldName),
        ("na me", "v", Malformed::FieldName),
        ("", "v", Malformed::FieldName),
        ("n\r", "v", Malformed::FieldName),
        ("n", "v\r\nx: y", Malformed::FieldValue),
        ("n", "v\0", Malformed::FieldValue),
        ("n", " v", Malformed::FieldValue),
        (":path", "/a\nb", Malformed::FieldValue),
        ("connection", "close", Malformed::ConnectionField),
        ("te", "gzip", Malformed::Te),
        (":other", "v", Malformed::PseudoUnknown),
        ("content-length", "+1", Malformed::ContentLength),
    ] {
        let mut block = literal(name, value);
        block[0] = 0x40;
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &block).unwrap().fault(), Err(fault), "{name}: {value}");
        assert_eq!(decode(&mut decoder, &[0xbe]).unwrap().fault(), Err(fault), "{name}: {value}");
    }
    assert!(decode(&mut Decoder::new(), &literal("te", "Trailers")).unwrap().fault().is_ok());
}

/// The writer uses the static names, writes others in lower case, leaves out what belongs to a connection, and never lets
/// credentials be indexed.
#[test]
fn the_writer_writes_what_the_decoder_reads() {
    let mut block = Vec::new();
    let mut writer = FieldWriter::new(&mut block);
    writer.status(200);
    writer.field(b"Content-Type", b"text/plain");
    writer.field(b"X-Own", &[b'v'; 300]);
    for name in
        ["Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "TE", "Host", ""]
    {
        writer.field(name.as_bytes(), b"x");
    }
    writer.field(b"te", b"trailers");
    writer.field(b"Authorization", b"secret");
    writer.sensitive(b"x-token", b"t");
    let fields = decode(&mut Decoder::new(), &block).unwrap();
    assert_eq!(&block[..4], [0x88, 0x0f, 0x10, 10]);
    let lines: Vec<_> =
        fields.lines().map(|line| (line.name, line.value.len(), line.never_indexed)).collect();
    let expected: [(&[u8], usize, bool); 5] = [
        (b"content-type", 10, false),
        (b"x-own", 300, false),
        (b"te", 8, false),
        (b"authorization", 6, true),
        (b"x-token", 1, true),
    ];
    assert_eq!((fields.status(), lines), (Some(200), expected.to_vec()));
    let mut copy = Vec::new();
    FieldWriter::new(&mut copy).copy(&fields);
    assert_eq!(copy, block[1..]);
}

/// Every name of the static table is found in any case, and written by its index.
#[test]
fn every_static_name_is_indexed() {
    for index in 15..=61 {
        let entry =
            table::Table::new(0).get(index).map(|found| found.text[..found.name_bytes].to_vec()).unwrap();
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        FieldWriter::new(&mut lower).field(&entry, b"v");
        FieldWriter::new(&mut upper).field(&entry.to_ascii_uppercase(), b"v");
        assert_eq!(lower, upper);
        assert_eq!(lower.is_empty(), [38, 57].contains(&index), "host and transfer-encoding are left out");
        assert!(lower.len() <= 4);
    }
}

proptest! {
    /// Any lines written are read back as they were.
    #[test]
    fn written_lines_are_read_back(lines in proptest::collection::vec(("[a-z0-9-]{1,40}", "[!-~]([ -~]{0,200}[!-~])?"), 0..20)) {
        let left_out = |name: &str| {
            ["connection", "upgrade", "keep-alive", "proxy-connection", "transfer-encoding", "te", "host", "cookie"].contains(&name)
        };
        let lines: Vec<_> = lines.into_iter().filter(|(name, _)| !left_out(name)).collect();
        let mut block = Vec::new();
        let mut writer = FieldWriter::new(&mut block);
        for (name, value) in &lines {
            writer.field(name.as_bytes(), value.as_bytes());
        }
        let fields = decode(&mut Decoder::new(), &block).unwrap();
        let back: Vec<_> = fields.lines().map(|line| (line.name.to_vec(), line.value.to_vec())).collect();
        prop_assert_eq!(back, lines.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect::<Vec<_>>());
    }

    /// No blocks, however broken, panic; what is decoded stays within the bounds; the table within its size.
    #[test]
    fn any_blocks_are_survived(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let bounds = Bounds { list_bytes_max: 1000, lines_max: 20 };
        let (mut decoder, mut fields) = (Decoder::new(), Fields::new());
        for block in blocks {
            fields.clear();
            let _ = decoder.decode(&block, &mut fields, bounds);
            prop_assert!(fields.len() <= 20 && fields.text(0..fields.len()).len() <= 1000);
            prop_assert!(decoder.table().1 <= 4096);
        }
    }
}
