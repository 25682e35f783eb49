//! Each flood is cut with ENHANCE_YOUR_CALM within its budget, and honest use of the same frames is not.

use super::*;
use crate::error::{Flood, Malformed};

/// Feeds `round` (by its number) until the connection ends: how many rounds passed, and why it ended.
fn rounds(bench: &mut Bench, most: u32, mut round: impl FnMut(u32) -> Vec<u8>) -> (u32, Option<Fault>) {
    for number in 0..most {
        if let Err(fault) = bench.feed(&round(number)) {
            let last = bench.sent().pop().unwrap();
            assert_eq!(
                (last.0, &last.3[4..]),
                (kind::GOAWAY, &ErrorCode::ENHANCE_YOUR_CALM.0.to_be_bytes()[..])
            );
            assert!(!bench.connection.wants_input() && bench.connection.open_streams() == 0);
            return (number, Some(fault));
        }
        bench.connection.advance_output(usize::MAX);
    }
    (most, None)
}

/// A flood of one kind is cut after its burst.
#[test]
fn floods_are_cut() {
    let priority = frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]);
    let dead = [get(1), rst(1, 8)].concat();
    let cases: [(Flood, u32, Vec<u8>, Vec<u8>); 8] = [
        (Flood::Ping, 500, vec![], frame(kind::PING, 0, 0, &[0; 8])),
        (Flood::Settings, 49, vec![], settings(&[])),
        (Flood::Priority, 500, vec![], priority),
        (Flood::EmptyData, 100, post(1), data(1, b"", false)),
        (Flood::TinyData, 1000, post(1), data(1, b"1234", false)),
        (Flood::WindowUpdate, 1000, vec![], update(0, 1)),
        (Flood::Ignored, 500, vec![], frame(0x42, 0, 0, b"?")),
        (Flood::Ignored, 500, dead, update(1, 5000)),
    ];
    for (flood, burst, before, round) in cases {
        let mut bench = Bench::server();
        bench.feed(&before).unwrap();
        let (passed, fault) = rounds(&mut bench, 5000, |_| round.clone());
        assert_eq!(fault, Some(flood.into()));
        assert!((burst..=burst + 1).contains(&passed), "{flood}: {passed}");
    }
}

/// Streams reset by the peer, or by us because of the peer, are cut alike (CVE-2023-44487, CVE-2025-8671).
#[test]
fn resets_are_cut() {
    let number = |round: u32| 2 * round + 1;
    type Round = fn(u32) -> Vec<u8>;
    let cases: [(Flood, Round); 8] = [
        (Flood::RapidReset, |n| [post(n), rst(n, 8)].concat()),
        (Flood::ProvokedReset, |n| [post(n), update(n, 0)].concat()),
        (Flood::ProvokedReset, |n| [post(n), update(n, 0x7fff_ffff)].concat()),
        (Flood::ProvokedReset, |n| [get(n), data(n, b"x", false)].concat()),
        (Flood::ProvokedReset, |n| [get(n), get(n)].concat()),
        (Flood::ProvokedReset, |n| [post(n), frame(kind::HEADERS, OPEN, n, &block(&[("a", "b")]))].concat()),
        (Flood::ProvokedReset, |n| {
            [get(n), frame(kind::PRIORITY, 0, n, &[&n.to_be_bytes()[..], &[0]].concat())].concat()
        }),
        (Flood::ProvokedReset, |n| frame(kind::HEADERS, WHOLE, n, &block(&[("a", "b")]))),
    ];
    for (flood, round) in cases {
        let (passed, fault) = rounds(&mut Bench::server(), 1000, |n| round(number(n)));
        assert_eq!((passed, fault), (200, Some(flood.into())));
    }
}

/// Streams beyond the limit are refused, so that they may be retried, and cut when they go on.
#[test]
fn streams_beyond_the_limit_are_refused() {
    let mut bench = Bench::server();
    for number in 0..100 {
        bench.feed(&get(2 * number + 1)).unwrap();
    }
    assert_eq!(bench.feed(&get(201)), Ok(vec![Seen::Refused(201, Fault::StreamLimit)]));
    assert_eq!(bench.sent(), [reset_frame(201, ErrorCode::REFUSED_STREAM)]);
    let (passed, fault) = rounds(&mut bench, 1000, |n| get(2 * n + 203));
    assert_eq!((passed, fault), (199, Some(Flood::Refused.into())));
}

/// Header lists beyond the limit are answered, and cut when they go on.
#[test]
fn header_lists_beyond_the_limit_are_cut() {
    let lines: Vec<_> = GET.into_iter().chain([("x", "y"); 300]).collect();
    let mut bench = Bench::server_with(Limits { concurrent_streams_max: 1000, ..Limits::default() });
    let (passed, fault) =
        rounds(&mut bench, 1000, |n| frame(kind::HEADERS, WHOLE, 2 * n + 1, &block(&lines)));
    assert_eq!((passed, fault), (200, Some(Flood::HeaderLists.into())));
}

/// A header block without end, in frames or in bytes, or empty ones, is cut (CVE-2024-27316).
#[test]
fn continuations_are_cut() {
    let open = frame(kind::HEADERS, 0, 1, &block(&GET));
    for (payload, frames, flood) in
        [(0, 17, Flood::Continuation), (1, 17, Flood::Continuation), (16_384, 4, Flood::Continuation)]
    {
        let mut bench = Bench::server();
        bench.feed(&open).unwrap();
        let next = frame(kind::CONTINUATION, 0, 1, &vec![0x82; payload]);
        assert_eq!(rounds(&mut bench, 100, |_| next.clone()), (frames - 1, Some(flood.into())));
    }
    let empty = |n: u32| frame(kind::HEADERS, WHOLE, 2 * n + 1, &[]);
    assert_eq!(rounds(&mut Bench::server(), 100, empty), (20, Some(Flood::EmptyHeaders.into())));
}

/// A decompression bomb ends the connection; a list that is only too large does not.
#[test]
fn bombs_are_cut() {
    let entry = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4000]].concat();
    let bomb = [&entry[..], &[0xbe; 12_000]].concat();
    let round = |_| frame(kind::HEADERS, WHOLE, 1, &bomb);
    assert_eq!(rounds(&mut Bench::server(), 1, round), (0, Some(Flood::HeaderBytes.into())));
    let large = [&block(&GET)[..], &entry, &[0xbe; 20]].concat();
    let mut bench = Bench::server();
    assert_eq!(bench.feed(&frame(kind::HEADERS, WHOLE, 1, &large)), Ok(vec![Seen::TooLarge(1, true)]));
}

/// Window updates of one byte, each answered by one byte of DATA, are cut: such DATA is no useful work.
#[test]
fn a_trickle_is_cut() {
    let mut bench = Bench::server();
    bench.feed(&[settings(&[(4, 0)]), get(1)].concat()).unwrap();
    let id = bench.id(1);
    bench.connection.respond(id, 200, false, |_| {}).unwrap();
    let mut passed = 0;
    let fault = loop {
        let _ = bench.connection.send_data(id, &[0; 5000], true);
        match bench.feed(&update(1, 1)) {
            Ok(_) => passed += 1,
            Err(fault) => break fault,
        }
        assert!(passed < 5000);
    };
    assert_eq!((passed, fault), (1000, Flood::WindowUpdate.into()));
}

/// A client that cancels now and then, pings, and updates its window for each small answer is never cut.
#[test]
fn honest_clients_are_not_cut() {
    let mut bench = Bench::server();
    for round in 0..5000 {
        let number = 4 * round + 1;
        bench.feed(&[get(number), post(number + 2), frame(kind::PING, 0, 0, &[0; 8])].concat()).unwrap();
        let id = bench.id(number);
        bench.connection.respond(id, 200, false, |_| {}).unwrap();
        assert_eq!(bench.connection.send_data(id, b"small", true), Ok(5));
        bench.feed(&[update(number, 5), update(0, 5), rst(number + 2, 8)].concat()).unwrap();
        bench.sent();
    }
    let mut bench = Bench::server();
    for round in 0..2000 {
        bench.now += Duration::from_millis(50);
        bench.feed(&[post(2 * round + 1), rst(2 * round + 1, 8), settings(&[])].concat()).unwrap();
        bench.sent();
        if round % 4 > 0 {
            bench.now += Duration::from_millis(200);
        }
    }
    assert_eq!(bench.connection.error(), None);
}

/// An origin that resets its own streams is not a flood: each costs one of our own requests.
#[test]
fn origins_may_reset() {
    let mut bench = Bench::client();
    for round in 0..1000 {
        bench.open("GET", true);
        let seen = bench.feed(&rst(2 * round + 1, 7)).unwrap();
        let by = ResetBy::Peer(ErrorCode::REFUSED_STREAM);
        assert_eq!(seen, [Seen::Reset(2 * round + 1, by)]);
        assert!(by.retry_is_safe());
    }
}

/// Every cause has a name of its own for a metric, and a code.
#[test]
fn causes_have_names() {
    let mut names: Vec<_> = Flood::ALL.iter().map(|&flood| Fault::Flood(flood).name()).collect();
    names.extend(Malformed::ALL.iter().map(|&malformed| Fault::Malformed(malformed).name()));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())));
}
