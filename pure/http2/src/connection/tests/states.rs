//! RFC 9113 sections 3.4, 4, 5.1 and 6: which frame is taken in which state, and what becomes of the others.

use super::*;
use crate::error::{Malformed, OpenError, SendError};

/// Where a server's stream 1 stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Open,
    /// The client has ended.
    HalfClosedRemote,
    /// We have ended.
    HalfClosedLocal,
    Closed,
    ResetByPeer,
    ResetByUs,
}

const STATES: [State; 7] = [
    State::Idle,
    State::Open,
    State::HalfClosedRemote,
    State::HalfClosedLocal,
    State::Closed,
    State::ResetByPeer,
    State::ResetByUs,
];

fn server_in(state: State) -> Bench {
    let mut bench = Bench::server();
    if state == State::Idle {
        return bench;
    }
    let ended = matches!(state, State::HalfClosedRemote | State::Closed);
    bench.feed(&if ended { get(1) } else { post(1) }).unwrap();
    match state {
        State::HalfClosedLocal | State::Closed => {
            bench.connection.respond(bench.id(1), 200, true, |_| {}).unwrap()
        }
        State::ResetByPeer => assert_eq!(bench.feed(&rst(1, 8)).map(|seen| seen.len()), Ok(1)),
        State::ResetByUs => bench.connection.reset(bench.id(1), ErrorCode::CANCEL),
        _ => {}
    }
    bench.sent();
    bench
}

/// What a frame led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Taken,
    Ignored,
    Stream(Fault),
    Connection(Fault),
}

fn outcome(bench: &mut Bench, bytes: &[u8]) -> Outcome {
    match bench.feed(bytes).as_deref() {
        Err(&fault) => Outcome::Connection(fault),
        Ok([Seen::Reset(1, ResetBy::Us(fault))]) => {
            assert_eq!(bench.sent(), [reset_frame(1, fault.code())]);
            Outcome::Stream(*fault)
        }
        Ok([]) => Outcome::Ignored,
        Ok(_) => Outcome::Taken,
    }
}

/// Every frame in every state of section 5.1 does what that section says.
#[test]
fn the_transition_table() {
    use Outcome::*;
    let (idle, closed) = (Connection(Fault::IdleStream), Connection(Fault::StreamClosed));
    let late = Stream(Fault::StreamClosed);
    let trailers = frame(kind::HEADERS, WHOLE, 1, &block(&[("a", "b")]));
    let priority = frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]);
    // Columns: idle, open, half closed (remote), half closed (local), closed, reset by the peer, reset by us.
    let table: [(&str, Vec<u8>, [Outcome; 7]); 8] = [
        ("DATA", data(1, b"x", false), [idle, Taken, late, Taken, closed, closed, Ignored]),
        ("DATA that ends", data(1, b"x", true), [idle, Taken, late, Taken, closed, closed, Ignored]),
        (
            "a request",
            get(1),
            [
                Taken,
                Stream(Malformed::PseudoUnknown.into()),
                late,
                Stream(Malformed::PseudoUnknown.into()),
                closed,
                closed,
                Ignored,
            ],
        ),
        ("trailers", trailers, [Taken, Taken, late, Taken, closed, closed, Ignored]),
        ("RST_STREAM", rst(1, 8), [idle, Taken, Taken, Taken, Ignored, Ignored, Ignored]),
        ("WINDOW_UPDATE", update(1, 9), [idle, Ignored, Ignored, Ignored, Ignored, Ignored, Ignored]),
        ("PRIORITY", priority, [Ignored; 7]),
        ("PUSH_PROMISE", frame(kind::PUSH_PROMISE, 4, 1, &[0; 4]), [Connection(Fault::Push); 7]),
    ];
    for (name, bytes, outcomes) in table {
        for (state, expected) in STATES.into_iter().zip(outcomes) {
            assert_eq!(outcome(&mut server_in(state), &bytes), expected, "{name} in {state:?}");
        }
    }
}

/// What we may send in each state: a head, then a body, then an end, and nothing on a stream that is gone.
#[test]
fn sending_follows_the_states() {
    for state in STATES {
        let mut bench = server_in(state);
        let id = bench.connection.streams.find(1).unwrap_or(StreamId { number: 1, slot: 0 });
        let expected = match state {
            State::Open | State::HalfClosedRemote => Ok(()),
            State::HalfClosedLocal => Err(SendError::Order),
            _ => Err(SendError::Gone),
        };
        let early = if expected.is_ok() { Err(SendError::Order) } else { expected.map(|()| 0) };
        assert_eq!(bench.connection.send_data(id, b"x", false), early, "{state:?}");
        assert_eq!(bench.connection.respond(id, 103, false, |_| {}), expected, "{state:?}");
        assert_eq!(bench.connection.respond(id, 200, false, |_| {}), expected, "{state:?}");
        assert_eq!(bench.connection.send_data(id, b"x", false), expected.map(|()| 1), "{state:?}");
        assert_eq!(bench.connection.send_trailers(id, |_| {}), expected, "{state:?}");
        let after = if state == State::Open {
            Err(SendError::Order)
        } else {
            Err(expected.err().unwrap_or(SendError::Gone))
        };
        assert_eq!(bench.connection.send_data(id, b"x", true).map(|_| ()), after, "{state:?}");
    }
}

/// A stream that both sides ended is gone, and its slot is used again.
#[test]
fn slots_are_used_again() {
    let mut bench = Bench::server();
    for number in [1, 3, 5] {
        bench.feed(&get(number)).unwrap();
        let id = bench.id(number);
        assert_eq!(id.slot(), 0);
        bench.connection.respond(id, 204, true, |_| {}).unwrap();
        assert!(!bench.connection.is_open(id) && bench.connection.open_streams() == 0);
    }
}

/// Identifiers are odd and grow; one that was skipped can no longer be opened (section 5.1.1).
#[test]
fn identifiers_grow() {
    for (numbers, fault) in
        [(&[2][..], Fault::StreamId), (&[5, 3], Fault::StreamId), (&[3, 9, 5], Fault::StreamId)]
    {
        let mut bench = Bench::server();
        let (last, before) = numbers.split_last().unwrap();
        assert!(before.iter().all(|&number| bench.feed(&get(number)).is_ok()));
        assert_eq!(bench.feed(&get(*last)), Err(fault), "{numbers:?}");
        let taken = before.iter().max().copied().unwrap_or(0);
        assert_eq!(bench.sent(), [goaway_frame(taken, ErrorCode::PROTOCOL_ERROR)]);
    }
}

/// A server insists on the preface and on SETTINGS first (section 3.4).
#[test]
fn the_preface_is_required() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        &[&PREFACE[..], &get(1)].concat(),
    ] {
        let mut bench = Bench::of(Connection::server(Arc::default()));
        assert_eq!(bench.feed(bytes), Err(Fault::Preface));
    }
    let mut bench = Bench::of(Connection::client(Arc::default()));
    assert_eq!(bench.feed(b"HTTP/1.1 400 Bad Request\r\n"), Err(Fault::Preface));
}

/// Frames of wrong length, on wrong streams, or in the middle of a header block end the connection (sections 4.2 and 6).
#[test]
fn broken_frames_end_the_connection() {
    use kind::*;
    let open = frame(HEADERS, flag::END_STREAM, 1, &block(&GET));
    let big = vec![0; 16_385];
    for (bytes, fault) in [
        (frame(DATA, 0, 1, &big), Fault::FrameSize),
        (frame(0x42, 0, 1, &big), Fault::FrameSize),
        (frame(DATA, 0, 0, b"x"), Fault::WrongStream),
        (frame(HEADERS, OPEN, 0, &block(&GET)), Fault::WrongStream),
        (frame(HEADERS, OPEN | flag::PADDED, 1, &[]), Fault::Padding),
        (frame(HEADERS, OPEN | flag::PADDED, 1, &[3, 0x82, 0x82]), Fault::Padding),
        (frame(HEADERS, OPEN | flag::PRIORITY, 1, &[0; 4]), Fault::FrameSize),
        (frame(HEADERS, OPEN, 1, &[0x80]), Fault::Compression),
        ([post(1), frame(DATA, flag::PADDED, 1, &[])].concat(), Fault::Padding),
        ([post(1), frame(DATA, flag::PADDED, 1, &[2, 0])].concat(), Fault::Padding),
        (frame(PRIORITY, 0, 0, &[0; 5]), Fault::WrongStream),
        (frame(PRIORITY, 0, 1, &[0; 4]), Fault::FrameSize),
        (frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 0]), Fault::SelfDependency),
        (frame(RST_STREAM, 0, 0, &[0; 4]), Fault::WrongStream),
        (frame(RST_STREAM, 0, 1, &[0; 3]), Fault::FrameSize),
        (frame(SETTINGS, 0, 1, &[]), Fault::WrongStream),
        (frame(SETTINGS, 0, 0, &[0; 5]), Fault::FrameSize),
        (frame(SETTINGS, flag::ACK, 0, &[0; 6]), Fault::FrameSize),
        (settings(&[(2, 2)]), Fault::Setting),
        (settings(&[(4, 1 << 31)]), Fault::WindowOverflow),
        (settings(&[(5, 16_383)]), Fault::Setting),
        (settings(&[(5, 1 << 24)]), Fault::Setting),
        (settings(&[(8, 1), (8, 0)]), Fault::Setting),
        (frame(PING, 0, 1, &[0; 8]), Fault::WrongStream),
        (frame(PING, 0, 0, &[0; 7]), Fault::FrameSize),
        (frame(GOAWAY, 0, 1, &[0; 8]), Fault::WrongStream),
        (frame(GOAWAY, 0, 0, &[0; 7]), Fault::FrameSize),
        (update(0, 0), Fault::WindowZero),
        (update(0, 0x7fff_ffff), Fault::WindowOverflow),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 5]), Fault::FrameSize),
        (frame(CONTINUATION, 4, 1, &[]), Fault::BlockOrder),
        ([open.clone(), data(1, b"", false)].concat(), Fault::BlockOrder),
        ([open.clone(), frame(CONTINUATION, 4, 3, &[])].concat(), Fault::BlockOrder),
        ([open.clone(), frame(0x42, 0, 1, &[])].concat(), Fault::BlockOrder),
        (
            [open.clone(), frame(CONTINUATION, 4, 1, &[]), frame(CONTINUATION, 4, 1, &[])].concat(),
            Fault::BlockOrder,
        ),
    ] {
        let mut bench = Bench::server();
        assert_eq!(bench.feed(&bytes), Err(fault));
        assert_eq!(bench.sent().pop().map(|frame| frame.0), Some(GOAWAY));
        assert_eq!(bench.feed(&get(9)), Err(fault), "an error stays");
        assert!(!bench.connection.wants_input() && bench.connection.is_drained());
    }
}

/// Unknown frames, unknown settings, padding and priorities are passed over (sections 4.1 and 6.5.2).
#[test]
fn what_means_nothing_is_passed_over() {
    let mut bench = Bench::server();
    let head = [&[4, 0, 0, 0, 3, 200][..], &block(&POST), &[0; 4]].concat();
    let bytes = [
        frame(0x42, 0xff, 7, b"anything"),
        settings(&[(0x99, 7)]),
        frame(kind::HEADERS, OPEN | flag::PADDED | flag::PRIORITY, 1, &head),
        frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &[2, b'h', b'i', 0, 0]),
        frame(0x42, 0, 0, &[0; 3000]),
        get(3),
    ];
    let seen = bench.feed(&bytes.concat()).unwrap();
    assert_eq!(
        seen,
        [Seen::Settings, Seen::Head(1, false), Seen::Data(1, b"hi".to_vec(), true), Seen::Head(3, true)]
    );
}

/// A header block may come in pieces, and is taken when it is whole.
#[test]
fn header_blocks_are_continued() {
    let mut bench = Bench::server();
    let whole = block(&GET);
    let bytes = [
        frame(kind::HEADERS, flag::END_STREAM, 1, &whole[..3]),
        frame(kind::CONTINUATION, 0, 1, &whole[3..9]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, &whole[9..]),
    ];
    assert_eq!(bench.feed(&bytes.concat()), Ok(vec![Seen::Head(1, true)]));
    assert_eq!(bench.fields.path(), Some(&b"/"[..]));
}

/// A server that ends gracefully takes what is on its way, then names its last stream, and is drained when that ends.
#[test]
fn graceful_shutdown() {
    let mut bench = Bench::server();
    bench.feed(&get(1)).unwrap();
    bench.connection.begin_shutdown();
    let sent = bench.sent();
    assert_eq!(sent[0], goaway_frame(MAX_31, ErrorCode::NO_ERROR));
    assert_eq!(bench.feed(&get(3)), Ok(vec![Seen::Head(3, true)]));
    assert_eq!(bench.feed(&frame(kind::PING, flag::ACK, 0, &sent[1].3)), Ok(vec![]));
    assert_eq!(bench.sent(), [goaway_frame(3, ErrorCode::NO_ERROR)]);
    assert_eq!(bench.feed(&[post(5), data(5, b"x", true)].concat()), Ok(vec![]), "too late");
    assert!(bench.sent().is_empty() && !bench.connection.is_drained());
    for number in [1, 3] {
        bench.connection.respond(bench.id(number), 200, true, |_| {}).unwrap();
    }
    assert!(!bench.connection.is_drained(), "the answers are not written");
    bench.sent();
    assert!(bench.connection.is_drained());
}

/// A client told to go loses only the streams that the origin did not take, and may retry them elsewhere.
#[test]
fn goaway_leaves_streams_out() {
    let mut bench = Bench::client();
    let [first, ..] = [(); 3].map(|()| bench.open("GET", true));
    let goaway = frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0, b'x']);
    assert_eq!(
        bench.feed(&goaway),
        Ok(vec![
            Seen::GoAway(1, ErrorCode::NO_ERROR),
            Seen::Reset(5, ResetBy::GoAway),
            Seen::Reset(3, ResetBy::GoAway)
        ])
    );
    assert!(ResetBy::GoAway.retry_is_safe());
    assert_eq!(bench.connection.open(RequestLine::default(), true, |_| {}), Err(OpenError::Ending));
    assert!(bench.connection.is_open(first) && !bench.connection.is_drained());
    let answer = frame(kind::HEADERS, WHOLE, 1, &block(&[(":status", "200")]));
    assert_eq!(bench.feed(&answer), Ok(vec![Seen::Head(1, true)]));
    assert!(bench.connection.is_drained());
}

/// A client opens no more streams than the origin allows, nor beyond the last identifier.
#[test]
fn a_client_opens_what_it_may() {
    let mut bench = Bench::client();
    bench.feed(&settings(&[(3, 2)])).unwrap();
    let first = bench.open("GET", true);
    bench.open("GET", true);
    assert_eq!(bench.connection.open(RequestLine::default(), true, |_| {}), Err(OpenError::Full));
    bench.connection.reset(first, ErrorCode::CANCEL);
    assert_eq!(bench.connection.open_room(), 1);
    bench.connection.past.last = MAX_31 - 2;
    assert_eq!(bench.connection.open(RequestLine::default(), true, |_| {}).map(StreamId::number), Ok(MAX_31));
    assert_eq!(bench.connection.open(RequestLine::default(), true, |_| {}), Err(OpenError::Ending));
}

/// A client takes nothing on streams it did not open.
#[test]
fn a_client_takes_no_pushes() {
    let head = block(&[(":status", "200")]);
    for (bytes, fault) in [
        (frame(kind::HEADERS, WHOLE, 2, &head), Fault::IdleStream),
        (frame(kind::HEADERS, WHOLE, 3, &head), Fault::IdleStream),
        (frame(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]), Fault::Push),
        (settings(&[(2, 1)]), Fault::Setting),
        (data(3, b"x", false), Fault::IdleStream),
    ] {
        let mut bench = Bench::client();
        bench.open("GET", true);
        assert_eq!(bench.feed(&bytes), Err(fault));
        assert_eq!(bench.sent().pop().map(|frame| frame.0), Some(kind::GOAWAY));
    }
}
