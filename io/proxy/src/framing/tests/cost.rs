//! What the two heads of a small proxied request cost, for `valgrind --tool=callgrind`; `docs/bench.md` has the figures.

use std::hint::black_box;

use super::super::fields::Fields;
use super::super::request::{RequestHead, RequestReader};
use super::super::response::{ResponseHead, ResponseReader};
use super::super::{HEAD_BYTES_MAX, HEADER_LINES_MAX};

const REQUEST: &[u8] = b"GET /api-3/v1/items/42?page=2 HTTP/1.1\r\nHost: svc-042.shop.example.com\r\nUser-Agent: Mozilla/5.0 \
    (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: \
    text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: \
    gzip, deflate, br\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nConnection: keep-alive\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 19:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 128\r\nConnection: keep-alive\r\nCache-Control: max-age=60\r\n\r\n";

#[inline(never)]
fn read_one_request(bytes: &[u8], fields: Fields) -> RequestHead {
    let mut reader = RequestReader::new(fields, HEAD_BYTES_MAX, HEADER_LINES_MAX);
    reader.advance(bytes).unwrap().unwrap()
}

#[inline(never)]
fn read_one_response(bytes: &[u8], fields: Fields) -> ResponseHead {
    ResponseReader::new(fields).advance(bytes).unwrap().unwrap()
}

/// The heads of a thousand requests are read, each into the memory of the one before.
///
/// For what one costs: callgrind with `--toggle-collect='*read_one_request'` or `'*read_one_response'`, divided by a thousand.
#[test]
fn a_thousand_heads() {
    let (mut asked, mut answered) = (Fields::default(), Fields::default());
    for _ in 0..1000 {
        let request = read_one_request(black_box(REQUEST), asked);
        let response = read_one_response(black_box(RESPONSE), answered);
        assert_eq!((request.fields().len(), request.authority()), (7, "svc-042.shop.example.com"));
        assert_eq!((response.fields().len(), response.status), (6, 200));
        (asked, answered) = (request.into_fields(), response.into_fields());
        asked.clear();
        answered.clear();
    }
}
