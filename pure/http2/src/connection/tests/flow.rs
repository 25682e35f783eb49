//! RFC 9113 sections 5.2 and 6.9: windows in both directions, the output's bound, and who may go on when.

use super::*;
use crate::error::SendError;

/// The DATA sent: stream, bytes, whether it ends.
fn data_sent(bench: &mut Bench) -> Vec<(u32, usize, bool)> {
    let sent = bench.sent().into_iter().filter(|frame| frame.0 == kind::DATA);
    sent.map(|(_, flags, stream, payload)| (stream, payload.len(), flags & 1 == 1)).collect()
}

/// A server with a request on each of `numbers`, answered but for the body.
fn answering(numbers: &[u32], hello: &[u8]) -> Bench {
    let mut bench = Bench::server();
    bench.feed(hello).unwrap();
    for &number in numbers {
        bench.feed(&get(number)).unwrap();
        bench.connection.respond(bench.id(number), 200, false, |_| {}).unwrap();
    }
    bench.sent();
    bench
}

/// No byte is sent beyond a stream's window, also when SETTINGS shrink it below zero; the stream goes on once it is open.
#[test]
fn stream_windows_are_kept() {
    let mut bench = answering(&[1], &settings(&[(4, 3)]));
    let id = bench.id(1);
    assert_eq!(bench.connection.send_data(id, b"0123456789", true), Ok(3));
    assert_eq!((data_sent(&mut bench), bench.connection.is_blocked(id)), (vec![(1, 3, false)], true));
    bench.feed(&[settings(&[(4, 1)]), update(1, 2)].concat()).unwrap();
    assert_eq!((bench.connection.next_writable(), bench.connection.data_room(id)), (None, 0));
    bench.feed(&update(1, 3)).unwrap();
    assert_eq!((bench.connection.next_writable(), bench.connection.next_writable()), (Some(id), None));
    assert_eq!(bench.connection.send_data(id, b"3456789", true), Ok(3));
    bench.feed(&settings(&[(4, 9)])).unwrap();
    assert_eq!(bench.connection.next_writable(), Some(id));
    assert_eq!(bench.connection.send_data(id, b"6789", true), Ok(4));
    assert_eq!(data_sent(&mut bench), [(1, 3, false), (1, 4, true)]);
    assert_eq!(bench.connection.open_streams(), 0);
}

/// The connection's window is shared; those it held back go on in their order, each named once.
#[test]
fn the_connection_window_is_shared() {
    let mut bench = answering(&[1, 3, 5], &settings(&[(4, 1 << 20)]));
    let [a, b, c] = [1, 3, 5].map(|number| bench.id(number));
    assert_eq!(bench.connection.send_data(a, &[0; 65_000], false), Ok(65_000));
    assert_eq!(bench.connection.send_data(b, &[0; 1000], true), Ok(535));
    assert_eq!(bench.connection.send_data(c, &[0; 1000], true), Ok(0));
    assert_eq!((bench.connection.blocked_streams(), bench.connection.next_writable()), (2, None));
    assert_eq!(bench.connection.send_data(a, b"", true), Ok(0), "an end needs no window");
    bench.sent();
    bench.feed(&update(0, 465 + 10)).unwrap();
    assert_eq!(bench.connection.next_writable(), Some(b));
    assert_eq!(bench.connection.send_data(b, &[0; 465], true), Ok(465));
    assert_eq!(bench.connection.next_writable(), Some(c));
    assert_eq!(bench.connection.send_data(c, &[0; 1000], true), Ok(10));
    assert_eq!((bench.connection.next_writable(), bench.connection.blocked_streams()), (None, 1));
    assert_eq!(data_sent(&mut bench), [(3, 465, true), (5, 10, false)]);
}

/// The output is bounded, and drains before streams go on; frames are as large as the peer takes and no larger.
#[test]
fn the_output_is_bounded() {
    let mut bench = answering(&[1], &[settings(&[(4, 1 << 30), (5, 40_000)]), update(0, 1 << 30)].concat());
    let (id, body) = (bench.id(1), vec![7; 1 << 20]);
    let taken = bench.connection.send_data(id, &body, true).unwrap();
    assert_eq!((taken, bench.connection.is_blocked(id)), (256 << 10, false));
    assert_eq!(
        (bench.connection.send_data(id, &body, true), bench.connection.next_writable()),
        (Ok(0), None)
    );
    assert!(bench.connection.wants_input(), "data alone does not stop reading");
    let lengths: Vec<_> = data_sent(&mut bench).into_iter().map(|(_, bytes, _)| bytes).collect();
    assert_eq!((lengths[0], lengths.iter().sum::<usize>()), (40_000, taken));
    assert_eq!(bench.connection.next_writable(), Some(id));
}

/// A peer that does not read what its frames cause is no longer read from.
#[test]
fn a_peer_that_does_not_read_is_not_read() {
    let mut bench = Bench::server_with(Limits { output_bytes_max: 1000, ..Limits::default() });
    assert!(bench.connection.wants_input());
    bench.feed(&frame(kind::PING, 0, 0, &[0; 8]).repeat(120)).unwrap();
    assert!(!bench.connection.wants_input());
    bench.sent();
    assert!(bench.connection.wants_input());
}

/// The peer may send as much as our windows say and not a byte more; what was used is given back in batches.
#[test]
fn receive_windows_are_kept() {
    let mut bench = Bench::server();
    bench.feed(&post(1)).unwrap();
    let id = bench.id(1);
    for _ in 0..16 {
        assert_eq!(bench.feed(&data(1, &[0; 16_384], false)).map(|seen| seen.len()), Ok(1));
    }
    let mut other = Bench::server();
    other.feed(&[post(1), data(1, &[0; 16_384], false).repeat(16)].concat()).unwrap();
    assert_eq!(
        other.feed(&data(1, b"x", false)),
        Ok(vec![Seen::Reset(1, ResetBy::Us(Fault::WindowExceeded))])
    );
    bench.connection.release(id, (128 << 10) - 1);
    assert!(bench.sent().is_empty());
    bench.connection.release(id, 1);
    assert_eq!(bench.sent(), frames(&update(1, 128 << 10)));
    bench.connection.release(id, usize::MAX);
    assert_eq!(bench.sent(), frames(&update(1, 128 << 10)), "never more than was taken");
    for number in [3, 5, 7] {
        bench.feed(&[post(number), data(number, &[0; 16_384], false).repeat(16)].concat()).unwrap();
    }
    assert_eq!(bench.feed(&[post(9), data(9, b"x", false)].concat()), Err(Fault::WindowExceeded));
}

/// Data that nobody will read is given back to the connection: padding, streams we reset, streams refused.
#[test]
fn discarded_data_is_given_back() {
    let mut bench = Bench::server();
    let mut number = 1;
    for _ in 0..100 {
        bench.feed(&post(number)).unwrap();
        bench.connection.reset(bench.id(number), ErrorCode::CANCEL);
        assert_eq!(bench.feed(&data(number, &[0; 16_384], false)), Ok(vec![]));
        number += 2;
    }
    bench.feed(&post(number)).unwrap();
    let padded = [&[200][..], &[0; 200]].concat();
    bench.now += Duration::from_secs(100);
    bench.feed(&frame(kind::DATA, flag::PADDED, number, &padded).repeat(90)).unwrap();
    let given_back: u32 = bench
        .sent()
        .iter()
        .filter(|frame| frame.0 == kind::WINDOW_UPDATE && frame.2 == 0)
        .fold(0, |sum, frame| sum + u32::from_be_bytes(frame.3[..].try_into().unwrap()));
    assert!(given_back >= 100 * 16_384 - (1 << 19), "{given_back}");
}

/// A stream reset within a DATA frame shows no more of it, and its bytes are given back.
#[test]
fn a_reset_within_a_frame() {
    let mut bench = Bench::server();
    let frame = data(1, &[1; 1000], true);
    assert_eq!(bench.feed(&[&post(1), &frame[..500]].concat()).map(|seen| seen.len()), Ok(2));
    bench.connection.reset(bench.id(1), ErrorCode::CANCEL);
    assert_eq!(bench.feed(&[&frame[500..], &get(3)].concat()), Ok(vec![Seen::Head(3, true)]));
}

/// A header block longer than the peer's frames continues in CONTINUATION, and reads the same.
#[test]
fn long_heads_are_continued() {
    let mut bench = answering(&[], &[]);
    bench.feed(&get(1)).unwrap();
    let value = vec![b'v'; 40_000];
    bench.connection.respond(bench.id(1), 200, true, |writer| writer.field(b"x", &value)).unwrap();
    let sent = bench.connection.output().to_vec();
    let kinds: Vec<_> = frames(&sent).iter().map(|frame| (frame.0, frame.1)).collect();
    assert_eq!(kinds, [(kind::HEADERS, 1), (kind::CONTINUATION, 0), (kind::CONTINUATION, 4)]);
    let mut client = Bench::client();
    client.connection.limits = Arc::new(Limits { header_list_bytes_max: 50_000, ..Limits::default() });
    client.open("GET", true);
    assert_eq!(client.feed(&sent), Ok(vec![Seen::Head(1, true)]));
    assert_eq!(client.fields.get(b"x"), Some(&value[..]));
}

/// A peer that allows no table is told that there is none, before the next field (RFC 7541 section 4.2).
#[test]
fn a_smaller_table_is_acknowledged() {
    let mut bench = Bench::server();
    bench.feed(&[settings(&[(1, 0), (1, 4096)]), get(1), get(3)].concat()).unwrap();
    bench.sent();
    for (number, block) in [(1, &[0x20, 0x88][..]), (3, &[0x88])] {
        bench.connection.respond(bench.id(number), 200, true, |_| {}).unwrap();
        assert_eq!(bench.sent()[0].3, block);
    }
}

/// Who asks for room hears of it once there is some, and only if there was none; before its head nobody may ask.
#[test]
fn room_is_waited_for() {
    let mut bench = answering(&[1], &settings(&[(4, 5)]));
    let id = bench.id(1);
    assert_eq!((bench.connection.await_room(id), bench.connection.next_writable()), (Ok(5), None));
    bench.connection.send_data(id, b"12345", false).unwrap();
    assert_eq!(bench.connection.await_room(id), Ok(0));
    bench.feed(&update(1, 3)).unwrap();
    assert_eq!((bench.connection.next_writable(), bench.connection.await_room(id)), (Some(id), Ok(3)));
    bench.feed(&get(3)).unwrap();
    assert_eq!(bench.connection.await_room(bench.id(3)), Err(SendError::Order));
    bench.feed(&rst(1, 8)).unwrap();
    assert_eq!(bench.connection.await_room(id), Err(SendError::Gone));
}

/// As a client, a stream begins with a small window that grows as its bytes are used, and no streams are opened while those that
/// are not used fill half of the connection's.
#[test]
fn windows_of_a_client_grow() {
    let limits = Limits {
        stream_window_bytes: 128 << 10,
        stream_window_start_bytes: 32 << 10,
        connection_window_bytes: 100 << 10,
        ..Limits::default()
    };
    let mut bench = Bench::of(Connection::client(Arc::new(limits)));
    let announced = frames(bench.connection.output().strip_prefix(PREFACE).unwrap());
    assert_eq!(announced[0].3[6..12], [0, 4, 0, 0, 0x80, 0]);
    bench.connection.advance_output(usize::MAX);
    bench.feed(&[settings(&[]), frame(kind::SETTINGS, flag::ACK, 0, &[])].concat()).unwrap();
    let id = bench.open("GET", true);
    let room = bench.connection.open_room();
    bench.feed(&frame(kind::HEADERS, OPEN, 1, &block(&[(":status", "200")]))).unwrap();
    bench.feed(&data(1, &[0; 16 << 10], false).repeat(2)).unwrap();
    assert_eq!(bench.connection.open_room(), room);
    bench.connection.release(id, 32 << 10);
    assert!(bench.sent().contains(&frames(&update(1, 64 << 10))[0]), "twice the window that was used");
    bench.feed(&data(1, &[0; 16 << 10], false).repeat(4)).unwrap();
    assert_eq!(bench.connection.open_room(), 0);
    bench.connection.release(id, 64 << 10);
    assert_eq!(bench.connection.open_room(), room);
    assert!(bench.sent().contains(&frames(&update(1, 128 << 10))[0]));
}
