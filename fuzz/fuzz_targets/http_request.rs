//! Any request head is read in one way or refused, however it is cut: written again from what was read, it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::cut;
use tidegate_proxy::fuzz::{
    BodyLength, Fields, HEAD_BYTES_MAX, HEADER_LINES_MAX, Malformed, RequestHead, RequestReader,
};
use tidegate_traffic::host::Authority;
use tidegate_traffic::path::normalise;

fn reader() -> RequestReader {
    RequestReader::new(Fields::default(), HEAD_BYTES_MAX, HEADER_LINES_MAX)
}

/// A head as bytes come in.
fn in_pieces(bytes: &[u8], seed: u8) -> Result<Option<RequestHead>, Malformed> {
    let mut reader = reader();
    let mut held = 0;
    for piece in cut(bytes, seed) {
        held += piece.len();
        if let Some(head) = reader.advance(&bytes[..held])? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn written_again(head: &RequestHead) -> Vec<u8> {
    let version = if head.http_1_0 { "1.0" } else { "1.1" };
    let query = head.query().map_or(String::new(), |query| format!("?{query}"));
    let absolute = if head.path() != "*" && !head.authority().is_empty() {
        format!("http://{}", head.authority())
    } else {
        String::new()
    };
    let mut bytes =
        format!("{} {absolute}{}{query} HTTP/{version}\r\n", head.method(), head.path()).into_bytes();
    for (name, value) in head.lines() {
        bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn facts(head: &RequestHead) -> impl PartialEq + std::fmt::Debug {
    let lines: Vec<(String, Vec<u8>)> =
        head.lines().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    let target = (
        head.method().to_owned(),
        head.authority().to_owned(),
        head.path().to_owned(),
        head.query().map(str::to_owned),
    );
    let framing =
        (head.body, head.http_1_0, head.persistent, head.names_headers, head.upgrade().map(<[u8]>::to_vec));
    (target, framing, lines)
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let _ = RequestHead::parse(bytes);
    let whole = reader().advance(bytes);
    assert_eq!(format!("{:?}", in_pieces(bytes, seed)), format!("{whole:?}"), "cuts change the head");
    let Ok(Some(head)) = whole else { return };
    assert!(head.len() <= HEAD_BYTES_MAX);
    let lines: Vec<(&str, &[u8])> = head.lines().collect();
    assert!(lines.len() <= HEADER_LINES_MAX);
    assert!(lines.iter().all(|(_, value)| !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))));
    let count = |name: &str| lines.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name)).count();
    match head.body {
        BodyLength::Chunked => assert_eq!((count("transfer-encoding"), count("content-length")), (1, 0)),
        BodyLength::Length(_) => assert!(count("transfer-encoding") == 0 && count("content-length") > 0),
        BodyLength::None => assert_eq!(count("transfer-encoding") + count("content-length"), 0),
        BodyLength::UntilClose => panic!("a request has an end"),
    }
    assert!(count("host") <= 1 && (head.http_1_0 || count("host") == 1));
    assert!(head.authority().is_empty() || Authority::parse(head.authority()).is_some());
    assert!(head.path() == "*" || normalise(head.path()).as_deref() == Ok(head.path()));
    let again = RequestHead::parse(&written_again(&head)).expect("what was read can be written");
    assert_eq!(facts(&again), facts(&head));
});
