//! RFC 9113 section 8: which requests, responses and trailers are messages, and which are malformed.

use super::*;
use crate::error::Malformed;

/// A request's lines with some replaced, removed (by "") or added.
fn changed(
    base: &[(&'static str, &'static str)],
    change: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    let mut lines = base.to_vec();
    for &(name, value) in change {
        match lines.iter().position(|line| line.0 == name) {
            Some(at) if value.is_empty() => drop(lines.remove(at)),
            Some(at) => lines[at].1 = value,
            None => lines.push((name, value)),
        }
    }
    lines
}

fn request(lines: &[(&str, &str)], end: bool) -> Vec<u8> {
    frame(kind::HEADERS, OPEN | u8::from(end), 1, &block(lines))
}

/// Each malformed request is refused by RST_STREAM PROTOCOL_ERROR, and the connection goes on.
#[test]
fn malformed_requests_are_refused() {
    use Malformed::*;
    for (change, fault) in [
        (&[(":method", "")][..], PseudoMissing),
        (&[(":scheme", "")], PseudoMissing),
        (&[(":path", "")], PseudoMissing),
        (&[(":status", "200")], PseudoUnknown),
        (&[(":other", "x")], PseudoUnknown),
        (&[(":protocol", "websocket")], PseudoUnknown),
        (&[(":method", "G T")], Method),
        (&[(":method", "GET\t")], FieldValue),
        (&[(":scheme", "ht tp")], Scheme),
        (&[(":scheme", "1http")], Scheme),
        (&[(":path", "x")], Path),
        (&[(":path", "*")], Path),
        (&[(":path", "http://a/")], Path),
        (&[(":path", "/a b")], Path),
        (&[(":path", "/a#b")], Path),
        (&[(":path", "/a\r\nX: y")], FieldValue),
        (&[(":path", "/a\0")], FieldValue),
        (&[(":authority", "a b")], Authority),
        (&[(":authority", "user@a")], Authority),
        (&[(":authority", "a/b")], Authority),
        (&[(":authority", "a\r\nX: y")], FieldValue),
        (&[("host", "b")], Host),
        (&[(":authority", ""), ("host", "user@a")], Authority),
        (&[("Upper", "x")], FieldName),
        (&[("x y", "x")], FieldName),
        (&[("x:y", "x")], FieldName),
        (&[("x", "a\nb")], FieldValue),
        (&[("x", "\u{1}")], FieldValue),
        (&[("x", " a")], FieldValue),
        (&[("connection", "close")], ConnectionField),
        (&[("keep-alive", "1")], ConnectionField),
        (&[("proxy-connection", "close")], ConnectionField),
        (&[("transfer-encoding", "chunked")], ConnectionField),
        (&[("upgrade", "h2c")], ConnectionField),
        (&[("te", "trailers, gzip")], Te),
        (&[("content-length", "1")], BodyLength),
        (&[("content-length", "-1")], ContentLength),
        (&[("content-length", "0, 0")], ContentLength),
    ] {
        let mut bench = Bench::server();
        let bytes = request(&changed(&GET, change), true);
        assert_eq!(bench.feed(&bytes), Ok(vec![Seen::Refused(1, fault.into())]), "{change:?}");
        assert_eq!(bench.sent(), [reset_frame(1, ErrorCode::PROTOCOL_ERROR)]);
        assert_eq!(bench.feed(&get(3)), Ok(vec![Seen::Head(3, true)]));
    }
}

/// Lines twice, and pseudo-headers out of order, are malformed.
#[test]
fn repeated_and_late_lines_are_refused() {
    use Malformed::*;
    let twice = |line| [&GET[..], &[line, line]].concat();
    for (lines, fault) in [
        (twice((":path", "/")), PseudoTwice),
        (twice(("content-length", "0")), ContentLength),
        (twice(("host", "a")), Host),
        ([&[("x", "y")], &GET[..]].concat(), PseudoOrder),
        ([&GET[..2], &[("host", "a")], &GET[2..]].concat(), PseudoOrder),
        ([&GET[..2], &[("cookie", "a")], &GET[2..]].concat(), PseudoOrder),
    ] {
        assert_eq!(
            Bench::server().feed(&request(&lines, true)),
            Ok(vec![Seen::Refused(1, fault.into())]),
            "{lines:?}"
        );
    }
}

/// What the rules allow is let through.
#[test]
fn sound_requests_pass() {
    let connect = &[(":method", "CONNECT"), (":scheme", ""), (":path", "")][..];
    for change in [
        &[(":authority", "")][..],
        &[(":authority", ""), ("host", "a:80")],
        &[(":authority", "A"), ("host", "a")],
        &[(":authority", "[::1]:80")],
        &[(":method", "OPTIONS"), (":path", "*")],
        &[(":path", "/a%20b?c=\u{e9}")],
        &[("te", "trailers")],
        &[("x", "a\tb"), ("y", "")],
        &[("content-length", "0")],
        connect,
    ] {
        assert_eq!(
            Bench::server().feed(&request(&changed(&GET, change), true)),
            Ok(vec![Seen::Head(1, true)]),
            "{change:?}"
        );
    }
}

/// CONNECT has no scheme and no path, unless it is extended, and that only if we announced it (RFC 8441).
#[test]
fn connect_has_its_own_rules() {
    let extended = &[(":method", "CONNECT"), (":protocol", "websocket")][..];
    for (change, announced, taken) in [
        (&[(":method", "CONNECT")][..], true, false),
        (&[(":method", "CONNECT"), (":scheme", ""), (":path", ""), (":authority", "")], true, false),
        (&[(":protocol", "websocket")], true, false),
        (extended, false, false),
        (extended, true, true),
        (&[(":method", "CONNECT"), (":protocol", "websocket"), (":path", "")], true, false),
    ] {
        let mut bench = Bench::server_with(Limits { extended_connect: announced, ..Limits::default() });
        let seen = bench.feed(&request(&changed(&GET, change), false)).unwrap();
        assert_eq!(matches!(seen[..], [Seen::Head(..)]), taken, "{change:?}");
    }
}

/// DATA agrees with `content-length`, or the stream is reset before a byte of the wrong frame is shown.
#[test]
fn bodies_have_the_length_they_say() {
    let post = request(&[&POST[..], &[("content-length", "3")]].concat(), false);
    let wrong = Seen::Reset(1, ResetBy::Us(Malformed::BodyLength.into()));
    for (frames, last) in [
        (vec![data(1, b"abc", true)], Seen::Data(1, b"abc".to_vec(), true)),
        (vec![data(1, b"ab", false), data(1, b"c", true)], Seen::Data(1, b"c".to_vec(), true)),
        (vec![data(1, b"abc", false), data(1, b"", true)], Seen::Data(1, vec![], true)),
        (vec![data(1, b"abcd", false)], wrong.clone()),
        (vec![data(1, b"ab", true)], wrong.clone()),
        (vec![data(1, b"", true)], wrong.clone()),
        (vec![data(1, b"abc", false), data(1, b"d", true)], wrong.clone()),
        (vec![data(1, b"ab", false), frame(kind::HEADERS, WHOLE, 1, &block(&[("x", "y")]))], wrong),
    ] {
        let mut bench = Bench::server();
        bench.feed(&post).unwrap();
        assert_eq!(bench.feed(&frames.concat()).unwrap().pop(), Some(last), "{frames:?}");
    }
}

/// Trailers end the stream and hold neither pseudo-headers nor what frames or routes a message.
#[test]
fn trailers_are_trailers() {
    use Malformed::*;
    for (lines, flags, fault) in [
        (&[("x", "y")][..], WHOLE, None),
        (&[], WHOLE, None),
        (&[("x", "y")], OPEN, Some(Trailers)),
        (&[(":path", "/")], WHOLE, Some(PseudoUnknown)),
        (&[("content-length", "0")], WHOLE, Some(TrailerField)),
        (&[("host", "a")], WHOLE, Some(TrailerField)),
        (&[("transfer-encoding", "x")], WHOLE, Some(ConnectionField)),
    ] {
        let mut bench = Bench::server();
        bench.feed(&post(1)).unwrap();
        let expected = fault.map_or(Seen::Trailers(1), |fault| Seen::Reset(1, ResetBy::Us(fault.into())));
        assert_eq!(
            bench.feed(&frame(kind::HEADERS, flags, 1, &block(lines))),
            Ok(vec![expected]),
            "{lines:?}"
        );
    }
}

/// Responses have a status of three digits and no other pseudo-header; interim ones end nothing, and 101 is none.
#[test]
fn responses_are_checked() {
    use Malformed::*;
    let reset = |fault: Malformed| Seen::Reset(1, ResetBy::Us(fault.into()));
    for (lines, end, expected) in [
        (&[(":status", "200")][..], true, Seen::Head(1, true)),
        (&[(":status", "599"), ("x", "y")], false, Seen::Head(1, false)),
        (&[(":status", "103")], false, Seen::Interim(1)),
        (&[(":status", "103")], true, reset(Interim)),
        (&[(":status", "101")], false, reset(Status)),
        (&[(":status", "20")], true, reset(Status)),
        (&[(":status", "2000")], true, reset(Status)),
        (&[(":status", "099")], true, reset(Status)),
        (&[(":status", "2x0")], true, reset(Status)),
        (&[("x", "y")], true, reset(PseudoMissing)),
        (&[(":status", "200"), (":path", "/")], true, reset(PseudoUnknown)),
        (&[(":status", "200"), ("connection", "close")], true, reset(ConnectionField)),
        (&[(":status", "200"), ("content-length", "5")], true, reset(BodyLength)),
        (&[(":status", "304"), ("content-length", "5")], true, Seen::Head(1, true)),
    ] {
        let mut bench = Bench::client();
        bench.open("GET", true);
        let bytes = frame(kind::HEADERS, OPEN | u8::from(end), 1, &block(lines));
        assert_eq!(bench.feed(&bytes), Ok(vec![expected]), "{lines:?}");
    }
}

/// A response to HEAD says a length and has no body; data before the head, and interim responses without end, are malformed.
#[test]
fn responses_in_their_order() {
    let head = |status, flags| {
        frame(kind::HEADERS, flags, 1, &block(&[(":status", status), ("content-length", "5")]))
    };
    let mut bench = Bench::client();
    bench.open("HEAD", true);
    assert_eq!(bench.feed(&head("200", WHOLE)), Ok(vec![Seen::Head(1, true)]));
    let mut bench = Bench::client();
    bench.open("HEAD", true);
    let wrong = |fault: Malformed| Seen::Reset(1, ResetBy::Us(fault.into()));
    let seen = bench.feed(&[head("200", OPEN), data(1, b"hello", true)].concat());
    assert_eq!(seen, Ok(vec![Seen::Head(1, false), wrong(Malformed::BodyLength)]));
    let mut bench = Bench::client();
    bench.open("GET", true);
    assert_eq!(bench.feed(&data(1, b"hello", true)), Ok(vec![wrong(Malformed::DataFirst)]));
    let mut bench = Bench::client();
    bench.open("GET", true);
    let interim = frame(kind::HEADERS, OPEN, 1, &block(&[(":status", "100")]));
    let seen = bench.feed(&interim.repeat(17)).unwrap();
    assert_eq!((seen.len(), seen.last()), (17, Some(&wrong(Malformed::Interim))));
}

/// A header list beyond the limit leaves an open stream to answer 431 on, and the table in step.
#[test]
fn large_heads_can_be_answered() {
    let mut bench = Bench::server_with(Limits { header_list_bytes_max: 300, ..Limits::default() });
    let value = "v".repeat(100);
    let lines = [&POST[..], &[("a", &value), ("b", &value)]].concat();
    assert_eq!(bench.feed(&request(&lines, false)), Ok(vec![Seen::TooLarge(1, false)]));
    bench.connection.respond(bench.id(1), 431, true, |_| {}).unwrap();
    bench.connection.reset(bench.id(1), ErrorCode::NO_ERROR);
    assert_eq!(bench.feed(&[data(1, b"late", true), get(3)].concat()), Ok(vec![Seen::Head(3, true)]));
}

/// A header block is amid as long as a part of it is here and its end is not, whether in one frame or in several, and nothing
/// else is.
#[test]
fn amid_a_head() {
    let mut bench = Bench::server();
    let amid = |bench: &mut Bench, bytes: &[u8]| {
        bench.feed(bytes).unwrap();
        bench.connection.is_amid_head()
    };
    let whole = get(1);
    let (begun, rest) = whole.split_at(HEADER_BYTES + 3);
    assert!(!bench.connection.is_amid_head());
    assert!(amid(&mut bench, &begun[..5]), "whatever comes");
    assert!(amid(&mut bench, &begun[5..]));
    assert!(!amid(&mut bench, rest));
    let lines = block(&POST);
    let (first, second) = lines.split_at(7);
    assert!(amid(&mut bench, &frame(kind::HEADERS, 0, 3, first)));
    assert!(amid(&mut bench, &frame(kind::CONTINUATION, 0, 3, &second[..1])));
    assert!(!amid(&mut bench, &frame(kind::CONTINUATION, flag::END_HEADERS, 3, &second[1..])));
    assert!(!amid(&mut bench, &data(3, b"hello", false)[..HEADER_BYTES + 2]), "a body may take its time");
}
